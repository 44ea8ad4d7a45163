"""The syslog input: RFC 3164 and RFC 5424 messages over UDP, TCP, TLS and Unix sockets, as they came.

Syslog acknowledges nothing. A stream is read only as fast as the spool takes lines, so that its sender waits; datagrams wait in
the kernel, which drops and counts what does not fit.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.addresses import Address
from headrace.agents.sources import metrics
from headrace.agents.sources.doors import Door, Doors
from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.listening import syslog_doors
from headrace.agents.sources.network import Connections, in_url, together
from headrace.agents.sources.syslog_framing import Framed, Framer
from headrace.agents.sources.syslog_message import sender_of, without_trailer
from headrace.agents.sources.waiting import readable
from headrace.clock import Clock
from headrace.https import server_context, warn_if_exposed

if TYPE_CHECKING:
    from headrace.agents.sources.syslog_keys import SyslogKeys

logger = logging.getLogger(__name__)
_READ_BYTES: Final = 32 * 1024
_AT_ONCE: Final = 256  # datagrams that are put together
_LONGEST_DATAGRAM: Final = 65_536
_SO_RCVBUFFORCE, _SO_MEMINFO, _MEMINFO_DROPS = 33, 55, 8  # linux/sock_diag.h
_LOOK_AT_DROPS_S: Final = 1.0


class SyslogSource:
    """One syslog input.

    Args:
        name: of the input. doors: of the agent.
    """

    def __init__(self, name: str, keys: "SyslogKeys", clock: Clock, doors: Doors) -> None:
        self._name, self._keys, self._clock, self._doors = name, keys, clock, doors
        self._tls: ssl.SSLContext | None = None
        self._changed = asyncio.Event()

    @property
    def doors(self) -> list[Door]:
        """Where it listens."""
        return syslog_doors(self._keys, self._name)

    @property
    def ports(self) -> Mapping[str, int]:
        """What it listens on once it runs, by transport."""
        return {door.transport: self._doors.port(door) for door in self.doors if isinstance(door.at, Address)}

    async def prepare(self) -> None:
        """Open its doors, and read its certificate.

        Raises:
            UsageError: a port or a path is taken, or a certificate cannot be used.
        """
        await self._doors.open(self.doors)
        if self._tls is None:
            keys = self._keys
            self._tls = server_context(keys.ssl_keystore_location, keys.ssl_key_password, keys.ssl_truststore_location)

    def become(self, other: "Source") -> bool:
        """Go on as another of this kind; a connection keeps to the keys that it came under."""
        assert isinstance(other, SyslogSource)
        self._keys, self._tls = other._keys, other._tls
        self._changed.set()
        return True

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled.

        Raises:
            UsageError: a port or a path is taken, or a certificate cannot be used.
        """
        streams = Connections("syslog", self._keys.max_connections, _READ_BYTES, _Stream(self._keys, self._clock, intake))
        try:
            while True:
                await self.prepare()
                await self._take_in(streams, intake)
        finally:
            await streams.close()

    async def _take_in(self, streams: Connections, intake: Intake) -> None:
        """Until other keys are to be gone on with."""
        self._changed.clear()
        keys = self._keys
        _warn(keys)
        streams.most, streams.serve = keys.max_connections, _Stream(keys, self._clock, intake)
        sockets = {door: self._doors.sockets(door) for door in self.doors}
        for door in sockets:
            if isinstance(door.at, Path):
                door.at.chmod(int(keys.unix_mode, 8))
        await streams.listen(
            (sock, self._tls if door.transport == "tls" else None)
            for door, own in sockets.items()
            if door.kind in ("tcp", "stream")
            for sock in own
        )
        with contextlib.ExitStack() as stack:
            datagrams = []
            for door, own in sockets.items():
                if door.kind in ("udp", "datagram"):
                    (sock,) = own
                    stack.enter_context(sock)
                    if door.kind == "udp":
                        _widen(sock, keys.udp_buffer_bytes)
                    datagrams.append(_Datagrams(door.transport, sock, self._clock, intake))
            intake.began()
            await together(self._changed.wait(), streams.wait(), *(each.run() for each in datagrams))


class _Stream:
    """Serves connections: messages of what is read, into the spool, and only then the next read."""

    def __init__(self, keys: "SyslogKeys", clock: Clock, intake: Intake) -> None:
        self._keys, self._clock, self._intake = keys, clock, intake

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        framer, pieces = Framer(self._keys.max_message_bytes), Pieces(_source(writer, peer))
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

    async def _put(self, pieces: "Pieces", messages: Sequence[Framed]) -> None:
        if messages:
            await self._intake.put(pieces.lines(messages, self._clock.wall_ms()))


class Pieces:
    """Lines of one connection's messages; the later pieces of a long message are from whom the first is."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sender: tuple[str | None, str | None] = (None, None)

    def lines(self, messages: Sequence[Framed], now_ms: int) -> list[Pushed]:
        """All of them."""
        lines = []
        for message, number, more in messages:
            if number or more:
                lines.append(self._piece(message, number, more, now_ms))
            else:
                line = without_trailer(message)
                lines.append(Pushed(line, now_ms, self._source, *sender_of(line)))
        return lines

    def _piece(self, message: bytes, number: int, more: bool, now_ms: int) -> Pushed:
        if number == 0:
            self._sender = sender_of(message)
        fields = {"syslog.piece": str(number)}
        return Pushed(message if more else without_trailer(message), now_ms, self._source, *self._sender, fields=fields)


class _Datagrams:
    """Takes in what waits at a socket, many at a time."""

    def __init__(self, transport: str, sock: socket.socket, clock: Clock, intake: Intake) -> None:
        self._transport, self._sock, self._clock, self._intake = transport, sock, clock, intake
        self._address = str(sock.getsockname()) if transport == "unix" else f"udp:{sock.getsockname()[1]}"
        self._dropped = _dropped(sock)

    async def run(self) -> None:
        """Until cancelled."""
        await together(self._take_in(), self._watch())

    async def _take_in(self) -> None:
        while True:
            await readable(self._sock.fileno())
            now_ms = self._clock.wall_ms()
            await self._intake.put([self._line(data, sender, now_ms) for data, sender in self._waiting()])

    def _waiting(self) -> list[tuple[bytes, object]]:
        found: list[tuple[bytes, object]] = []
        with contextlib.suppress(BlockingIOError):
            while len(found) < _AT_ONCE:
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
            told = _dropped(self._sock)
            if told != self._dropped:
                new, self._dropped = (told - self._dropped) % 2**32, told
                metrics.syslog_dropped.labels(self._address).inc(new)
                logger.warning(
                    "syslog: the kernel dropped datagrams; raise udp_buffer_bytes and net.core.rmem_max, or send over tcp",
                    extra={"address": self._address, "dropped": new},
                )


def _dropped(sock: socket.socket) -> int:
    """How many datagrams the kernel has dropped of a socket."""
    return int(struct.unpack_from("=9I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[_MEMINFO_DROPS])


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


def _warn(keys: "SyslogKeys") -> None:
    """Of what others than this machine can reach."""
    trusts = keys.ssl_truststore_location is not None
    for transport, address, tls in (("tcp", keys.tcp, False), ("tls", keys.tls, True), ("udp", keys.udp, False)):
        if address is not None:
            shown = f"syslog {transport} {address}"
            warn_if_exposed(shown, address, tls=tls, authenticates=tls and trusts, risk="write log lines")
