"""What of one stream is on its way, and since when the stream is complete: the same for files and for spools. Pure.

Invariant: the chunks on their way lie in order, and a position moves over a contiguous run of delivered ones only.
"""

from dataclasses import dataclass
from typing import Any

from headrace.agents.effects import Now, Shipped
from headrace.agents.rows import ChunkRow, StreamRow

_MAX_MARKS = 64


@dataclass(slots=True)
class InFlight:
    """A chunk that was sent: the row as it will be once it and all before it are delivered."""

    chunk: ChunkRow
    cost_bytes: int
    after: StreamRow
    shipped: Shipped
    result: Any = None
    delivered: bool = False


class Flight:
    """The chunks of one stream that are on their way, and what they cost in memory (an empty one: next to nothing)."""

    __slots__ = ("chunks", "cost_bytes")

    def __init__(self) -> None:
        self.chunks: tuple[InFlight, ...] = ()
        self.cost_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.chunks)

    def sent(self, chunk: ChunkRow, cost_bytes: int, after: StreamRow) -> None:
        """A chunk is on its way."""
        self.cost_bytes += cost_bytes
        self.chunks = (*self.chunks, InFlight(chunk, cost_bytes, after, Shipped(after.shipped_to)))

    def shipped(self, what: Shipped) -> None:
        """What became of the chunk that was sent last."""
        self.chunks[-1].shipped = what

    def delivered(self, start: int, result: Any) -> list[InFlight]:
        """The chunk that begins at `start` is acknowledged as a whole: take out the contiguous run of such chunks."""
        for entry in self.chunks:
            if entry.chunk.start == start:
                entry.delivered, entry.result = True, result
        done: list[InFlight] = []
        while self.chunks and self.chunks[0].delivered:
            done.append(self.chunks[0])
            self.chunks = self.chunks[1:]
            self.cost_bytes -= done[-1].cost_bytes
        return done


@dataclass(frozen=True, slots=True)
class _Mark:
    """A look that found everything up to `position` read: once that is acknowledged, the stream was complete then."""

    at: Now
    position: int


class Completeness:
    """The last moment at which all of one stream that was readable then is acknowledged now."""

    __slots__ = ("_goal", "_marks", "at")

    def __init__(self, at: Now | None) -> None:
        self.at = at
        self._goal: tuple[Now, int] | None = None
        self._marks: tuple[_Mark, ...] = ()

    def looked(self, at: Now, end: int) -> None:
        """A look begun at `at` found the stream to reach `end`: remembered until all up to there is read."""
        if self._goal is None:
            self._goal = (at, end)

    def forget_look(self) -> None:
        """What was looked at is not to be read on."""
        self._goal = None

    def reached(self, seen: int, read_to: int) -> None:
        """All up to `seen` was looked through and sent up to `read_to`: the look is complete once that is acknowledged."""
        if self._goal is None or seen < self._goal[1]:
            return
        mark = _Mark(self._goal[0], read_to)
        self._goal = None
        self._marks = (*self._marks[: _MAX_MARKS - 1], mark)

    def settle(self, position: int) -> bool:
        """All up to `position` is acknowledged, and nothing waits to be repeated. Returns whether `at` is a later moment."""
        moved = False
        while self._marks and self._marks[0].position <= position:
            self.at, moved = self._marks[0].at, True
            self._marks = self._marks[1:]
        return moved
