"""Sets of positions as half-open intervals: what has landed of a stream (audit.md, The loader drops repeats by identity)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class IntervalSet:
    """Disjoint, not touching, ascending half-open intervals of integers. Nearly always one."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in intervals:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def __contains__(self, position: int) -> bool:
        at = bisect_right(self._starts, position) - 1
        return at >= 0 and position < self._ends[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"

    def copy(self) -> "IntervalSet":
        twin = IntervalSet()
        twin._starts, twin._ends = self._starts.copy(), self._ends.copy()
        return twin

    def add(self, start: int, end: int) -> None:
        """Add [start, end); empty intervals add nothing."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)  # the first interval that ends at or after start: it touches or follows
        last = bisect_right(self._starts, end)  # one past the last that starts at or before end
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def discard(self, start: int, end: int) -> None:
        """Take [start, end) out."""
        kept = [(s, min(e, start)) for s, e in self if s < start] + [(max(s, end), e) for s, e in self if e > end]
        self._starts, self._ends = [], []
        for s, e in kept:
            self.add(s, e)

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any position of [start, end) is in the set."""
        first = bisect_right(self._ends, start)
        return start < end and first < len(self._starts) and self._starts[first] < end

    def ends_at(self, position: int) -> bool:
        """Whether one of the intervals ends just before `position`."""
        at = bisect_left(self._ends, position)
        return at < len(self._ends) and self._ends[at] == position
