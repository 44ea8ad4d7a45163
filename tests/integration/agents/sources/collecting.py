"""A source on a loop of this process, with an intake that keeps what it is given: for tests of what sources take in."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.agents.sources.doors import Doors
from headrace.agents.sources.intake import Pushed, Source
from headrace.clock import MonotonicMs, WallMs

NOW_MS = 1_795_680_000_123
DOORS = Doors()  # of all sources of a process of tests; shut when a source ends
SCRATCH = Path(tempfile.gettempdir())


class StillClock:
    """Always the same moment."""

    def wall_ms(self) -> WallMs:
        return WallMs(NOW_MS)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(77)


@dataclass
class Kept:
    """An intake; while `room` is not set, it is full and `put` waits. `asked` says that it was called."""

    pushed: list[Pushed] = field(default_factory=list)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    fails: Exception | None = None
    told_full: bool = True
    cursor: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.room.set()

    def began(self) -> None:
        self.begun.set()

    @property
    def full(self) -> bool:
        return self.told_full and not self.room.is_set()

    async def put(self, lines: Sequence[Pushed]) -> None:
        self.asked.set()
        await self.room.wait()
        if self.fails is not None:
            raise self.fails
        self.pushed += lines
        for line in lines:
            self.cursor = line.cursor or self.cursor
        async with self._more:
            self._more.notify_all()

    @property
    def lines(self) -> list[bytes]:
        return [each.line for each in self.pushed]

    async def wait_for(self, count: int) -> list[Pushed]:
        """What was taken in once it is so many lines."""
        async with asyncio.timeout(30), self._more:
            await self._more.wait_for(lambda: len(self.pushed) >= count)
        return self.pushed


@contextlib.asynccontextmanager
async def running(source: Source, intake: Kept) -> AsyncIterator[asyncio.Task[None]]:
    """The source from when it has begun."""
    task = asyncio.ensure_future(source.run(intake))
    begun = asyncio.ensure_future(intake.begun.wait())
    try:
        await asyncio.wait([task, begun], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            task.result()
        yield task
    finally:
        begun.cancel()
        task.cancel()
        await asyncio.gather(task, begun, return_exceptions=True)
        DOORS.close()


async def command(*words: str, stdin: bytes = b"") -> None:
    """Run a command of this machine; it must end well."""
    process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(stdin), 30)
    assert process.returncode == 0, errors.decode()
