"""The syslog input: RFC 3164 and RFC 5424 messages over UDP, TCP, TLS and Unix sockets, as they came.

Syslog acknowledges nothing. A stream is read only as fast as the spool takes lines, so that its sender waits; datagrams wait in
the kernel, which drops and counts what does not fit.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from headrace.agents.sources import metrics
from headrace.agents.sources.intake import Intake, Pushed
from headrace.agents.sources.network import Connections, in_url, take_path, together, unix_errors
from headrace.agents.sources.syslog_framing import Framed, Framer
from headrace.agents.sources.syslog_keys import SyslogKeys
from headrace.agents.sources.syslog_message import sender_of, without_trailer
from headrace.clock import Clock
from headrace.config_values import Address
from headrace.errors import UsageError
from headrace.https import warn_if_exposed

logger = logging.getLogger(__name__)
_READ_BYTES: Final = 32 * 1024
_AT_ONCE: Final = 256  # datagrams that are put together
_LONGEST_DATAGRAM: Final = 65_536
_SO_RCVBUFFORCE, _SO_MEMINFO, _MEMINFO_DROPS = 33, 55, 8  # linux/sock_diag.h
_LOOK_AT_DROPS_S: Final = 1.0


class SyslogSource:
    """One syslog input."""

    def __init__(self, keys: SyslogKeys, clock: Clock) -> None:
        self._keys, self._clock = keys, clock
        self._ports: dict[str, int] = {}

    @property
    def ports(self) -> Mapping[str, int]:
        """What it listens on once it runs, by transport."""
        return self._ports

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled.

        Raises:
            UsageError: a port or a path is taken, or a certificate cannot be used.
        """
        keys = self._keys
        streams = Connections("syslog", keys.max_connections, _READ_BYTES, _Stream(keys, self._clock, intake))
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(streams.close)
            await self._listen(streams)
            datagrams = [_Datagrams(transport, sock, self._clock, intake) for transport, sock in self._open_datagrams(stack)]
            intake.began()
            await together(streams.wait(), *(each.run() for each in datagrams))

    async def _listen(self, streams: Connections) -> None:
        keys = self._keys
        if keys.tcp is not None:
            await streams.listen("tcp", keys.tcp)
            _warn("tcp", keys.tcp, tls=False, authenticates=False)
        if keys.tls is not None:
            await streams.listen("tls", keys.tls, keys.context())
            _warn("tls", keys.tls, tls=True, authenticates=keys.ssl_truststore_location is not None)
        if keys.unix_stream is not None:
            await streams.listen_unix(keys.unix_stream, int(keys.unix_mode, 8))
        self._ports |= streams.ports

    def _open_datagrams(self, stack: contextlib.AsyncExitStack) -> list[tuple[str, socket.socket]]:
        keys, opened = self._keys, []
        if keys.udp is not None:
            sock = stack.enter_context(_udp(keys.udp, keys.udp_buffer_bytes))
            self._ports["udp"] = sock.getsockname()[1]
            _warn("udp", keys.udp, tls=False, authenticates=False)
            opened.append(("udp", sock))
        if keys.unix is not None:
            opened.append(("unix", stack.enter_context(_unix(keys.unix, int(keys.unix_mode, 8)))))
            stack.callback(keys.unix.unlink, missing_ok=True)
        return opened


class _Stream:
    """Serves connections: messages of what is read, into the spool, and only then the next read."""

    def __init__(self, keys: SyslogKeys, clock: Clock, intake: Intake) -> None:
        self._keys, self._clock, self._intake = keys, clock, intake

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        framer, pieces = Framer(self._keys.max_message_bytes), _Pieces(_source(writer, peer))
        try:
            while not framer.broken and (data := await self._read(reader)):
                await self._put(pieces, framer.feed(data))
        finally:  # also where we are told to stop
            await self._put(pieces, framer.close())
        if framer.broken:
            metrics.syslog_broken.inc()
            logger.warning("syslog: what should be a message's length is none; hung up", extra={"client": peer})

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """What came; nothing at the end, be it that the peer has reset the connection or was silent for too long."""
        try:
            async with asyncio.timeout(self._keys.idle_timeout_s):
                return await reader.read(_READ_BYTES)
        except OSError:  # TimeoutError is one
            return b""

    async def _put(self, pieces: "_Pieces", messages: Sequence[Framed]) -> None:
        if messages:
            await self._intake.put(pieces.lines(messages, self._clock.wall_ms()))


class _Pieces:
    """Lines of one connection's messages; the later pieces of a long message are from whom the first is."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sender: tuple[str | None, str | None] = (None, None)

    def lines(self, messages: Sequence[Framed], now_ms: int) -> list[Pushed]:
        return [self._line(each, now_ms) for each in messages]

    def _line(self, framed: Framed, now_ms: int) -> Pushed:
        if framed.number == 0:
            self._sender = sender_of(framed.message)
        host, service = self._sender
        fields = {"syslog.piece": str(framed.number)} if framed.more or framed.number else {}
        line = framed.message if framed.more else without_trailer(framed.message)
        return Pushed(line, now_ms, self._source, host=host, service=service, fields=fields)


class _Datagrams:
    """Takes in what waits at a socket, many at a time."""

    def __init__(self, transport: str, sock: socket.socket, clock: Clock, intake: Intake) -> None:
        self._transport, self._sock, self._clock, self._intake = transport, sock, clock, intake
        self._address = str(sock.getsockname()) if transport == "unix" else f"udp:{sock.getsockname()[1]}"
        self._dropped = 0

    async def run(self) -> None:
        """Until cancelled."""
        await together(self._take_in(), self._watch())

    async def _take_in(self) -> None:
        while True:
            first = await asyncio.get_running_loop().sock_recvfrom(self._sock, _LONGEST_DATAGRAM)
            now_ms = self._clock.wall_ms()
            await self._intake.put([self._line(data, sender, now_ms) for data, sender in [first, *self._waiting()]])

    def _waiting(self) -> list[tuple[bytes, object]]:
        found: list[tuple[bytes, object]] = []
        with contextlib.suppress(BlockingIOError):
            while len(found) < _AT_ONCE - 1:
                found.append(self._sock.recvfrom(_LONGEST_DATAGRAM))
        return found

    def _line(self, data: bytes, sender: object, now_ms: int) -> Pushed:
        line = without_trailer(data)
        host, service = sender_of(line)
        source = f"syslog+udp://{in_url(str(sender[0]))}" if isinstance(sender, tuple) else f"syslog+unix://{self._address}"
        return Pushed(line, now_ms, source, host=host, service=service)

    async def _watch(self) -> None:
        """Count what the kernel drops, which it tells by socket since it was opened (a u32 that may wrap)."""
        while True:
            await asyncio.sleep(_LOOK_AT_DROPS_S)
            told = struct.unpack_from("=9I", self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[_MEMINFO_DROPS]
            if told != self._dropped:
                new, self._dropped = (told - self._dropped) % 2**32, told
                metrics.syslog_dropped.labels(self._address).inc(new)
                logger.warning(
                    "syslog: the kernel dropped datagrams; raise udp_buffer_bytes and net.core.rmem_max, or send over tcp",
                    extra={"address": self._address, "dropped": new},
                )


def _udp(address: Address, buffer_bytes: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.bind(where)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise UsageError(f"syslog udp {address}: {error.strerror or error}; choose another address") from error
    _widen(sock, buffer_bytes)
    sock.setblocking(False)
    return sock


def _unix(path: Path, mode: int) -> socket.socket:
    with unix_errors("syslog", path):
        take_path(path, socket.SOCK_DGRAM)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(str(path))
            os.chmod(path, mode)
        except OSError:
            sock.close()
            raise
    sock.setblocking(False)
    return sock


def _widen(sock: socket.socket, buffer_bytes: int) -> None:
    """Ask for a buffer beyond net.core.rmem_max, which only root gets; else as much as that allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it for its own use
    if got < buffer_bytes:
        logger.warning(
            "syslog: the kernel keeps fewer bytes of datagrams than udp_buffer_bytes; raise net.core.rmem_max",
            extra={"udp_buffer_bytes": buffer_bytes, "granted_bytes": got},
        )


def _source(writer: asyncio.StreamWriter, peer: str) -> str:
    if not peer:
        return f"syslog+unix://{writer.get_extra_info('sockname')}"
    kind = "tls" if writer.get_extra_info("ssl_object") is not None else "tcp"
    return f"syslog+{kind}://{in_url(peer)}"


def _warn(transport: str, address: Address, *, tls: bool, authenticates: bool) -> None:
    warn_if_exposed(f"syslog {transport} {address}", address, tls=tls, authenticates=authenticates, risk="write log lines")
