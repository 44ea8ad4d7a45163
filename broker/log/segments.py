"""The segments of one partition, oldest first: which holds an offset, and where a time is found."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from headrace.broker.log.lookup import BatchAt, PartAt
from headrace.broker.log.segment import Segment


class Segments:
    """At least one segment; base offsets rise, and the last segment is the active one."""

    __slots__ = ("_bases", "_segments", "active")

    def __init__(self, segments: Sequence[Segment]) -> None:
        assert segments
        self._segments = list(segments)
        self._bases = [segment.base_offset for segment in segments]
        self.active = segments[-1]  # the one that is written

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    @property
    def first(self) -> Segment:
        """The oldest."""
        return self._segments[0]

    @property
    def size_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def add(self, segment: Segment) -> None:
        """Make a new segment the active one."""
        assert segment.base_offset > self._bases[-1]
        self._segments.append(segment)
        self._bases.append(segment.base_offset)
        self.active = segment

    def pop_first(self) -> Segment:
        """Take the oldest away; one remains."""
        assert len(self._segments) > 1
        del self._bases[0]
        return self._segments.pop(0)

    def replace(self, old: Sequence[Segment], new: Segment) -> None:
        """Put one segment in the place of some that follow one another; the active one stays."""
        at = self._segments.index(old[0])
        assert self._segments[at : at + len(old)] == list(old)
        assert old[-1] is not self.active
        self._segments[at : at + len(old)] = [new]
        self._bases[at : at + len(old)] = [new.base_offset]

    def end_of_first(self) -> int:
        """The offset at which the oldest segment ends."""
        return self._bases[1] if len(self._bases) > 1 else self._segments[0].next_offset

    def with_ends(self) -> Iterator[tuple[Segment, int]]:
        """Each segment with the offset at which it ends, oldest first."""
        for at, segment in enumerate(self._segments):
            yield segment, self._bases[at + 1] if at + 1 < len(self._bases) else segment.next_offset

    def holding(self, offset: int) -> Sequence[Segment]:
        """The segment that holds `offset`, and those after it."""
        at = bisect_right(self._bases, offset) - 1
        return self._segments[at:] if at < len(self._segments) - 1 else self._segments[-1:]

    def after(self, offset: int) -> list[Segment]:
        """The segments with records at `offset` or later."""
        return [segment for segment in self._segments if segment.next_offset > offset]

    def greatest_timestamp(self, offset: int) -> tuple[int, PartAt | None]:
        """Of the records from `offset` on, ms, -1 if there are none; and what must be read to know of a greater one: part of a
        segment, where its earlier records were deleted.

        Raises:
            CorruptError: there is no batch where one should be. OSError: the disk fails.
        """
        first, *rest = self.holding(offset)
        greatest = max((segment.greatest_timestamp() for segment in rest), default=-1)
        if first.base_offset >= offset or first.greatest_timestamp() <= greatest:
            return max(greatest, first.greatest_timestamp() if first.base_offset >= offset else -1), None
        position = first.find(offset)
        return greatest, None if position is None else PartAt(first.file, position, first.size, offset)

    def batch_not_before(self, timestamp_ms: int, offset: int) -> BatchAt | None:
        """The first batch with records from `offset` on whose greatest timestamp is not before `timestamp_ms`.

        Raises:
            CorruptError: there is no batch where one should be. OSError: the disk fails.
        """
        for segment in self.holding(offset):
            if segment.greatest_timestamp() < timestamp_ms:
                continue
            for position, header in segment.batches_not_before(timestamp_ms, offset):
                return BatchAt(segment.file, position, header)
        return None
