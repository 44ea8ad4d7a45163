"""One spool: a log of records in segments, appended by one thread and read and released by another.

Held (tests/sim/spool): a number names one record for ever; what `append` returned for is read again after any crash, in
order, the very same, until it is released; nothing is read that a crash could still take back.

- An append is one frame, written and synced before the next is begun, so what a crash can tear is the last frame only, and
  nobody was answered for it: it is cut off at the next start. What is whole is synced then, before anybody reads it.
- A write that fails is cut off again before anything else is written.
- A new segment, and its name, are durable before anything is written to it. There is always one: its name is where numbers
  go on when all others are deleted. `least_end` is a second guard: the numbers below it are taken, whatever the disk says.
- Bytes that cannot be what was written (a disk's fault) are told as a `Hole`, with the numbers that were in it; what is
  whole behind it is read.
"""

import bisect
import threading
from dataclasses import dataclass
from functools import partial

from headrace.agents.spool.files import SpoolFiles
from headrace.agents.spool.frames import (
    FRAME_HEAD_BYTES,
    MAX_SEGMENT_HEAD_BYTES,
    FrameHead,
    Records,
    base_of,
    beside_bytes,
    cursor_of,
    decode_frame,
    decode_segment_head,
    encode_segment_head,
    find_mark,
    frame_head,
    is_whole,
    segment_name,
)
from headrace.errors import StorageError


@dataclass(slots=True)
class _Segment:
    """One file: the number of its first record, where its frames may begin, and how many bytes of it are durable."""

    base: int
    head_bytes: int
    size: int

    @property
    def name(self) -> str:
        return segment_name(self.base)

    @property
    def is_empty(self) -> bool:
        return self.size <= self.head_bytes


@dataclass(frozen=True, slots=True)
class Hole:
    """Records that are not there any more, `[start, end)`, and how many bytes of their segment cannot be read."""

    start: int
    end: int
    size_bytes: int


@dataclass(slots=True)
class _Place:
    """Where reading is: in which segment, where its next frame begins, and the records that were read from it last."""

    segment: _Segment
    offset: int
    next: int
    frame: Records | None = None


class _Room:
    """How much more one read may take: a first record always."""

    def __init__(self, most_bytes: int, most_beside_bytes: int, most_ms: int) -> None:
        self._left_bytes, self._left_beside_bytes, self._most_ms = most_bytes, most_beside_bytes, most_ms
        self._first_ms: int | None = None

    def stop(self, records: Records, begin: int) -> int:
        """Behind the last record, of those from `begin` on, that still fits."""
        stop = begin
        for line, origin, beside in zip(records.lines[begin:], records.origins[begin:], records.beside[begin:], strict=True):
            self._left_bytes -= len(line) + 1
            self._left_beside_bytes -= beside_bytes(beside)
            if self._first_ms is None:
                self._first_ms = origin.received_ms
            elif (
                self._left_bytes < 0 or self._left_beside_bytes < 0 or abs(origin.received_ms - self._first_ms) > self._most_ms
            ):
                break
            stop += 1
        return stop


class SpoolLog:
    """An open spool.

    Args:
        files: its folder, which no other process uses. mark: its frames' (frames.py).
        segment_bytes: about how big a segment gets. max_bytes: how much all of them may take (`has_room`).
        least_end: numbers below it were given. cursor: of one that is begun now, the last record's before it.
    Raises:
        VersionError: a newer headrace wrote it. StorageError: the disk refuses.
    """

    def __init__(
        self, files: SpoolFiles, mark: bytes, *, segment_bytes: int, max_bytes: int, least_end: int, cursor: str = ""
    ) -> None:
        self._files, self._mark, self._segment_bytes, self._max_bytes = files, mark, segment_bytes, max_bytes
        self._segments: list[_Segment] = []  # changed under the lock; the last is appended to
        self._lock = threading.Lock()
        self._leavings: str | None = None  # a segment that was begun in vain, and has to go
        self._torn = False
        self._place: _Place | None = None
        self._released = 0
        self.end = 0  # the number of the next record; all below it are durable
        self.cursor = cursor
        self.cut_bytes = 0  # what was cut off at the start: a frame that nobody was answered for
        try:
            self._open(least_end)
        except OSError as error:
            raise _refused(error) from error

    # ---- the start

    def _open(self, least_end: int) -> None:
        for name, size in sorted(self._files.sizes().items()):
            base = base_of(name)
            if base is not None:
                self._segments.append(_Segment(base, 0, size))
        if self._segments:
            self._recover(self._segments[-1])
        self.end = max(self.end, least_end)
        if not self._segments:
            self._begin(self.end)

    def _recover(self, last: _Segment) -> None:
        """Find the end of the last segment's whole frames, cut off what is behind it, and make durable what is left."""
        head = decode_segment_head(self._files.read(last.name, 0, MAX_SEGMENT_HEAD_BYTES))
        found_bytes, last.size, self.end = last.size, 0, last.base
        if head is None:
            head = self._write_head(last.name, "")
            found_bytes = last.size = max(found_bytes, head[0])
        last.head_bytes, self.cursor = head
        last.size, at = last.head_bytes, last.head_bytes
        while (found := self._next_frame(last, at, found_bytes, self.end)) is not None:
            at, frame = found
            data = self._files.read(last.name, at, frame.size)
            at += frame.size
            last.size, self.end, self.cursor = at, frame.end, cursor_of(data)
        if found_bytes > last.size:
            self.cut_bytes = found_bytes - last.size
            self._files.truncate(last.name, last.size)
        self._files.sync(last.name)
        self._files.sync_folder()

    def _write_head(self, name: str, cursor: str) -> tuple[int, str]:
        head = encode_segment_head(cursor)
        self._files.write(name, 0, head)
        return len(head), cursor

    def resize(self, *, segment_bytes: int, max_bytes: int) -> None:
        """So much may be kept from now on; what is there beyond it stays until it is released."""
        self._segment_bytes, self._max_bytes = segment_bytes, max_bytes

    # ---- appending, by one thread

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more may be kept; a spool of which all is released takes one frame of any size."""
        return self.size_bytes + size_bytes <= self._max_bytes or self._released >= self.end

    @property
    def size_bytes(self) -> int:
        """What the segments take on the disk."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def append(self, frame: bytes, cursor: str) -> None:
        """Make a frame durable, whose first record has the number `end`.

        Raises:
            StorageError: the disk refuses. Nothing of it will be read, and it may be tried again.
        """
        head = frame_head(self._mark, frame)
        assert head is not None
        assert head.start == self.end
        try:
            self._mend()
            last = self._segments[-1]
            all_released = self._released >= self.end and self.size_bytes + len(frame) > self._max_bytes
            if not last.is_empty and (last.size + len(frame) > self._segment_bytes or all_released):
                self._begin(self.end)
                last = self._segments[-1]
            self._torn = True
            self._files.write(last.name, last.size, frame)
            self._files.sync(last.name)
            self._torn = False
        except OSError as error:
            raise _refused(error) from error
        last.size += len(frame)
        self.cursor, self.end = cursor, head.end

    def _mend(self) -> None:
        """Take away what an append left that failed."""
        if self._torn:
            self._files.truncate(self._segments[-1].name, self._segments[-1].size)
            self._torn = False
        if self._leavings is not None:
            self._files.delete(self._leavings)
            self._files.sync_folder()
            self._leavings = None

    def _begin(self, base: int) -> None:
        """A new segment, durable before anything is in it; whatever is released before it goes."""
        name = self._leavings = segment_name(base)
        head_bytes, _ = self._write_head(name, self.cursor)
        self._files.sync(name)
        self._files.sync_folder()
        self._leavings = None
        with self._lock:
            self._segments.append(_Segment(base, head_bytes, head_bytes))
        self._drop_released()

    # ---- reading and releasing, by another

    def release(self, position: int) -> None:
        """All below `position` is acknowledged, durably: segments that hold nothing else are deleted."""
        self._released = max(self._released, position)
        self._drop_released()

    def _drop_released(self) -> None:
        while True:
            with self._lock:
                if len(self._segments) < 2 or self._segments[1].base > self._released:
                    return
                gone = self._segments.pop(0)
            try:
                self._files.delete(gone.name)
            except OSError as error:
                raise _refused(error) from error

    @property
    def first(self) -> int:
        """The number of the first record that may still be read."""
        with self._lock:
            return self._segments[0].base

    def read(
        self, start: int, *, most_lines: int, most_bytes: int, most_beside_bytes: int, most_ms: int
    ) -> Records | Hole | None:
        """Records from `start` on: one, and more up to so many lines and bytes (newlines too), received within so long.

        `most_beside_bytes` bounds what protocols said beside the lines.

        None at the end.

        Raises:
            StorageError: the disk refuses.
        """
        taken, at = Records(start, [], [], []), start
        limits = _Room(most_bytes, most_beside_bytes, most_ms)
        try:
            while at < self.end and len(taken.lines) < most_lines:
                found = self._frame_with(at)
                if isinstance(found, Hole):
                    return taken if taken.lines else found
                begin = found.index_of(at)
                stop = min(limits.stop(found, begin), begin + most_lines - len(taken.lines))
                if stop == begin:
                    break
                part = found.part(begin, stop)
                taken.extend(part)
                at = part.end
        except OSError as error:
            self._place = None
            raise _refused(error) from error
        return taken if taken.lines else None

    def _frame_with(self, start: int) -> Records | Hole:
        """The frame that holds a record, or what is missing from that number on."""
        place = self._place
        if place is not None and place.frame is not None and place.frame.start <= start < place.frame.end:
            return place.frame
        with self._lock:
            index = bisect.bisect_right(self._segments, start, key=lambda segment: segment.base) - 1
            following = self._segments[index + 1].base if 0 <= index < len(self._segments) - 1 else None
            segment = self._segments[max(index, 0)]
            size, end = segment.size, self.end if following is None else following
        if index < 0:
            return Hole(start, segment.base, 0)
        if place is None or place.segment is not segment or place.next > start:
            place = _Place(segment, segment.head_bytes, segment.base)
        self._place = place
        while (found := self._next_frame(segment, place.offset, size, place.next)) is not None:
            offset, head = found
            if head.start > start:
                return Hole(start, min(head.start, end), offset - place.offset)
            place.offset, place.next = offset + head.size, head.end
            if head.end > start:
                place.frame = decode_frame(self._files.read(segment.name, offset, head.size))
                return place.frame
        return Hole(start, end, max(0, size - place.offset))

    def _next_frame(self, segment: _Segment, at: int, size: int, start: int) -> tuple[int, FrameHead] | None:
        """The first whole frame at `at` or behind it, of the segment's first `size` bytes, with numbers from `start` on."""
        while at + FRAME_HEAD_BYTES <= size:
            head = frame_head(self._mark, self._files.read(segment.name, at, FRAME_HEAD_BYTES))
            if head is not None and head.start >= start and at + head.size <= size:
                data = self._files.read(segment.name, at, head.size)
                if is_whole(data, head):
                    return at, head
            at = find_mark(self._mark, partial(self._files.read, segment.name), at + 1, size)
        return None


def _refused(error: OSError) -> StorageError:
    return StorageError(f"the spool: {error.strerror or error}; make room, the agent waits")
