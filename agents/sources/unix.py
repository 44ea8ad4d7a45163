"""The unix input: lines that programs of this machine write to a socket, as a stream or as datagrams.

Who may write is whom the socket file's permissions let. A stream whose first line is HELLO is told how many of its lines are
durable (a decimal number and a newline, after each time that some became so): its peer keeps the others, and sends them again
on another connection. headrace's own `logging.Handler` does that (agents/handler.py). A datagram is a line.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headrace.agents.handler import HELLO
from headrace.agents.sources.doors import Door, Doors
from headrace.agents.sources.framing import BrokenStreamError, CountedCutter, Cutter
from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.lines import LineCutter
from headrace.agents.sources.listening import unix_doors
from headrace.agents.sources.network import Connections, Serve, together
from headrace.agents.sources.waiting import readable
from headrace.clock import Clock

if TYPE_CHECKING:
    from headrace.agents.sources.keys import UnixKeys

logger = logging.getLogger(__name__)
_READ_BYTES = 64 * 1024
_AT_ONCE = 256  # datagrams that are put together
_LONGEST_DATAGRAM = 1024 * 1024


class UnixSource:
    """One socket.

    Args:
        name: of the input. doors: of the agent.
    """

    def __init__(self, name: str, keys: "UnixKeys", clock: Clock, doors: Doors) -> None:
        self._name, self._keys, self._clock, self._doors = name, keys, clock, doors
        self._changed = asyncio.Event()

    @property
    def doors(self) -> list[Door]:
        """The socket."""
        return unix_doors(self._keys, self._name)

    @property
    def ports(self) -> Mapping[str, int]:
        """None."""
        return {}

    async def prepare(self) -> None:
        """Make the socket.

        Raises:
            UsageError: the path is taken, or not ours to make.
        """
        await self._doors.open(self.doors)

    def become(self, other: "Source") -> bool:
        """Go on as another of this kind; a connection keeps to the keys that it came under."""
        assert isinstance(other, UnixSource)
        self._keys = other._keys
        self._changed.set()
        return True

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled.

        Raises:
            UsageError: the path is taken, or not ours to make.
        """
        streams = Connections(self._name, self._keys.max_connections, _READ_BYTES, self._server(intake))
        try:
            while True:
                await self.prepare()
                self._changed.clear()
                await self._take_in(streams, intake)
        finally:
            await streams.close()

    async def _take_in(self, streams: Connections, intake: Intake) -> None:
        """Until other keys are to be gone on with."""
        (door,) = self.doors
        self._keys.path.chmod(int(self._keys.mode, 8))
        streams.most, streams.serve = self._keys.max_connections, self._server(intake)
        (sock,) = self._doors.sockets(door)
        if door.kind == "stream":
            await streams.listen([(sock, None)])
            intake.began()
            await together(self._changed.wait(), streams.wait())
        else:
            await streams.listen([])
            with sock:
                intake.began()
                await together(self._changed.wait(), self._datagrams(sock, f"unix:{self._keys.path}", intake))

    def _server(self, intake: Intake) -> Serve:
        """Serves connections by the keys as they are now."""
        return _Stream(self._name, self._keys, self._clock, intake)

    async def _datagrams(self, sock: socket.socket, source: str, intake: Intake) -> None:
        while True:
            await readable(sock.fileno())
            while lines := _waiting(sock):
                now_ms = self._clock.wall_ms()
                await intake.put([Pushed(line, now_ms, source) for line in lines])


class _Stream:
    """Serves connections."""

    def __init__(self, name: str, keys: "UnixKeys", clock: Clock, intake: Intake) -> None:
        self._name, self._keys, self._clock, self._intake = name, keys, clock, intake
        self._source = f"unix:{keys.path}"

    def _cutter(self) -> Cutter:
        if self._keys.framing == "lines":
            return LineCutter(self._keys.max_line_bytes)
        return CountedCutter(self._keys.max_line_bytes, digits=self._keys.framing == "octets")

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: str) -> None:
        """One connection, to its end: what is read goes into the spool, and only then more is read."""
        cutter, answers = self._cutter(), _Answers(writer)
        try:
            while data := await reader.read(_READ_BYTES):
                await self._put(cutter.feed(data), answers)
        except BrokenStreamError as error:
            logger.warning("hung up on a peer", extra={"input": self._name, "error": str(error)})
            await self._put(error.lines, answers)
        except (OSError, asyncio.CancelledError):
            # The peer is gone, or we stop: what it has sent of a line is kept, unless it keeps that itself.
            await self._end(cutter, answers)
            raise
        else:
            await self._end(cutter, answers)

    async def _end(self, cutter: Cutter, answers: "_Answers") -> None:
        if not answers.wanted:
            await self._put(cutter.close(), answers)

    async def _put(self, lines: Sequence[bytes], answers: "_Answers") -> None:
        lines = answers.without_hello(lines)
        if lines:
            now_ms = self._clock.wall_ms()
            await self._intake.put([Pushed(line, now_ms, self._source) for line in lines])
            answers.durable(len(lines))


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
