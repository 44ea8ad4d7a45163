"""Answers operators on the control socket, in threads beside the loop: metrics for `top`, what is sent for `tap`."""

import contextlib
import json
import logging
import os
import resource
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any, Final

from prometheus_client import REGISTRY

from headrace import __version__
from headrace.agents.operate.control_socket import SOCKET_NAME, address_in, unix_socket
from headrace.agents.operate.taps import Taps

logger = logging.getLogger(__name__)
_AT_A_TIME: Final = 8
_LONGEST_REQUEST: Final = 4096
_REQUEST_TIMEOUT_S: Final = 5.0
_WRITE_TIMEOUT_S: Final = 10.0
_STILL_THERE_S: Final = 1.0


class Control:
    """The socket of one agent, from `start` to `close`; the state directory must be locked by it.

    Args:
        about: what `top` shows of the agent itself.
    """

    def __init__(self, directory: Path, taps: Taps, about: dict[str, Any]) -> None:
        self._directory, self._taps, self._about = directory, taps, about
        self._places = threading.BoundedSemaphore(_AT_A_TIME)
        self._listening: socket.socket | None = None

    def start(self) -> None:
        """Listen; an agent on whose disk no socket can be made ships all the same."""
        listening = unix_socket()
        try:
            (self._directory / SOCKET_NAME).unlink(missing_ok=True)  # of one that was killed
            before = os.umask(0o177)
            try:
                with address_in(self._directory) as address:
                    listening.bind(address)
            finally:
                os.umask(before)
            listening.listen(_AT_A_TIME)
        except OSError as error:
            listening.close()
            logger.warning("no control socket: tap and top do not work", extra={"error": str(error)})
            return
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), name="control", daemon=True).start()

    def close(self) -> None:
        """Take the socket away."""
        if self._listening is not None:
            (self._directory / SOCKET_NAME).unlink(missing_ok=True)
            self._listening.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if not _is_ours(connection) or not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):  # who asks may go away at any moment
                connection.settimeout(_REQUEST_TIMEOUT_S)
                asked = _asked(connection)
                connection.settimeout(_WRITE_TIMEOUT_S)
                if asked == "metrics":
                    connection.sendall(json.dumps(self._metrics()).encode() + b"\n")
                elif asked == "tap":
                    self._tap(connection)
        finally:
            self._places.release()

    def _metrics(self) -> dict[str, Any]:
        """Every sample of the agent's metrics, and what the process takes."""
        samples = [
            [sample.name, sample.labels, sample.value]
            for family in REGISTRY.collect()
            if family.name.startswith("headrace_agent_")
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            **self._about,
            "version": __version__,
            "pid": os.getpid(),
            "monotonic_s": time.monotonic(),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "memory_bytes": _resident_bytes(),
            "samples": samples,
        }

    def _tap(self, connection: socket.socket) -> None:
        watcher = self._taps.watch()
        try:
            while True:
                piece = watcher.take(_STILL_THERE_S)
                if piece is None:
                    connection.sendall(b"{}\n")  # finds out whether anybody is there
                    continue
                head = {
                    "input": piece.input,
                    "topic": piece.topic,
                    "schema": piece.schema,
                    "sizes": [len(value) for value in piece.values],
                    "left_out": piece.left_out,
                }
                connection.sendall(b"".join((json.dumps(head).encode(), b"\n", *piece.values)))
        finally:
            self._taps.leave(watcher)


def _is_ours(connection: socket.socket) -> bool:
    """Whether this process's user, or root, is at the other end (the socket's mode says the same)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return user in (0, os.geteuid())


def _asked(connection: socket.socket) -> str:
    """What is asked for; an empty text for what is no request."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_REQUEST and (piece := connection.recv(_LONGEST_REQUEST)):
        line += piece
    try:
        request = json.loads(line)
    except ValueError:
        return ""
    return str(request.get("ask")) if isinstance(request, dict) else ""


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
