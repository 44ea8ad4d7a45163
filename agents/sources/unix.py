"""The unix input: lines that programs of this machine write to a socket, as a stream or as datagrams.

Who may write is whom the socket file's permissions let. A stream whose first line is HELLO is told how many of its lines are
durable (a decimal number and a newline, after each time that some became so): its peer keeps the others, and sends them again
on another connection. headrace's own `logging.Handler` does that (agents/handler.py). A datagram is a line.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence

from headrace.agents.handler import HELLO
from headrace.agents.sources.framing import BrokenStreamError, CountedCutter, Cutter
from headrace.agents.sources.intake import Intake, Pushed
from headrace.agents.sources.keys import UnixKeys
from headrace.agents.sources.lines import LineCutter
from headrace.agents.sources.network import Connections, take_path, unix_errors
from headrace.clock import Clock

logger = logging.getLogger(__name__)
_READ_BYTES = 64 * 1024
_AT_ONCE = 256  # datagrams that are put together
_LONGEST_DATAGRAM = 1024 * 1024


class UnixSource:
    """One socket."""

    def __init__(self, name: str, keys: UnixKeys, clock: Clock) -> None:
        self._name, self._keys, self._clock = name, keys, clock
        self._source = f"unix:{keys.path}"

    @property
    def ports(self) -> Mapping[str, int]:
        """None."""
        return {}

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled.

        Raises:
            UsageError: the path is taken, or not ours to make.
        """
        if self._keys.type == "datagram":
            await self._datagrams(intake)
        else:
            await self._streams(intake)

    # ---- streams

    async def _streams(self, intake: Intake) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: str) -> None:
            await self._serve(reader, writer, intake)

        streams = Connections(self._name, self._keys.max_connections, _READ_BYTES, serve)
        try:
            await streams.listen_unix(self._keys.path, int(self._keys.mode, 8))
            intake.began()
            await streams.wait()
        finally:
            await streams.close()

    def _cutter(self) -> Cutter:
        if self._keys.framing == "lines":
            return LineCutter(self._keys.max_line_bytes)
        return CountedCutter(self._keys.max_line_bytes, digits=self._keys.framing == "octets")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, intake: Intake) -> None:
        """One connection, to its end: what is read goes into the spool, and only then more is read."""
        cutter, answers = self._cutter(), _Answers(writer)
        try:
            while data := await reader.read(_READ_BYTES):
                await self._put(intake, cutter.feed(data), answers)
        except BrokenStreamError as error:
            logger.warning("hung up on a peer", extra={"input": self._name, "error": str(error)})
            await self._put(intake, error.lines, answers)
        except (OSError, asyncio.CancelledError):
            # The peer is gone, or we stop: what it has sent of a line is kept, unless it keeps that itself.
            await self._end(intake, cutter, answers)
            raise
        else:
            await self._end(intake, cutter, answers)

    async def _end(self, intake: Intake, cutter: Cutter, answers: "_Answers") -> None:
        if not answers.wanted:
            await self._put(intake, cutter.close(), answers)

    async def _put(self, intake: Intake, lines: Sequence[bytes], answers: "_Answers") -> None:
        lines = answers.without_hello(lines)
        if lines:
            now_ms = self._clock.wall_ms()
            await intake.put([Pushed(line, now_ms, self._source) for line in lines])
            answers.durable(len(lines))

    # ---- datagrams

    async def _datagrams(self, intake: Intake) -> None:
        path = self._keys.path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            with unix_errors(self._name, path):
                take_path(path, socket.SOCK_DGRAM)
                sock.bind(str(path))
            try:
                os.chmod(path, int(self._keys.mode, 8))
                sock.setblocking(False)
                intake.began()
                await self._take_in(sock, intake)
            finally:
                path.unlink(missing_ok=True)

    async def _take_in(self, sock: socket.socket, intake: Intake) -> None:
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(sock, ready.set)
        try:
            while True:
                await ready.wait()
                ready.clear()
                while lines := _waiting(sock):
                    now_ms = self._clock.wall_ms()
                    await intake.put([Pushed(line, now_ms, self._source) for line in lines])
        finally:
            loop.remove_reader(sock)


class _Answers:
    """What one peer is told, if it asked to be: how many of its lines are durable."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._count = 0
        self._begun = False
        self.wanted = False

    def without_hello(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Lines to be taken in: all but the first that asks for answers."""
        if self._begun or not lines:
            return lines
        self._begun = True
        self.wanted = lines[0] == HELLO
        return lines[1:] if self.wanted else lines

    def durable(self, lines: int) -> None:
        """So many more are; a peer that reads nothing costs a few bytes a time, and its connection at most."""
        self._count += lines
        if self.wanted:
            self._writer.write(b"%d\n" % self._count)


def _waiting(sock: socket.socket) -> list[bytes]:
    """What is at the socket now, without the newline that some senders add."""
    lines: list[bytes] = []
    try:
        while len(lines) < _AT_ONCE:
            lines.append(sock.recv(_LONGEST_DATAGRAM).removesuffix(b"\n"))
    except BlockingIOError:
        pass
    return lines
