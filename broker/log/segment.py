"""One segment of a log: a file of whole batches in offset order, its two indexes, and where in it a record is.

Files `%020d.log`, `.index`, `.timeindex`, named by the base offset, in Kafka's format. The descriptor is opened when first
needed and the indexes of a segment that is no longer written are loaded when first asked for; `release` gives both back, so
that a thousand idle partitions cost little. An index is never trusted: the batch at a position is compared with the entry that
led there, and a damaged index is built again from the log.
"""

from collections.abc import Iterator

from headrace.broker.log.batch import HEADER_SIZE, MAGIC, BatchHeader, parse_header
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk, DiskFile, remove_if_there
from headrace.broker.log.file_names import INDEX, LOG, SUFFIXES, segment_name
from headrace.broker.log.index import MAX_RELATIVE_OFFSET, OFFSET_ENTRY_SIZE, TIME_ENTRY_SIZE, OffsetIndex, TimeIndex
from headrace.broker.log.segment_indexes import SegmentIndexes
from headrace.errors import CorruptError

_HINTS_KEPT = 16


class Segment:
    """Batches from `base_offset` up to `next_offset`, `size` bytes in all."""

    __slots__ = (
        "_bytes_since_entry", "_disk", "_file", "_hints", "_interval", "_stem", "_suffix", "_used", "base_offset",
        "first_timestamp", "indexes", "max_timestamp", "max_timestamp_offset", "next_offset", "size",
    )  # fmt: skip

    def __init__(
        self, disk: Disk, directory: str, base_offset: int, *, index_interval_bytes: int, size: int, suffix: str = ""
    ) -> None:  # fmt: skip
        """A segment whose `.log` is there; nothing is read until it is needed. `suffix` is what follows its files' names."""
        self._disk, self._stem, self._interval = disk, f"{directory}/{segment_name(base_offset)}", index_interval_bytes
        self._suffix = suffix
        self._file: DiskFile | None = None
        self.indexes = SegmentIndexes(disk, self._stem, suffix)
        self._bytes_since_entry = 0
        self._hints: dict[int, int] = {}  # offset → position of the batch that begins with it, where readers stopped
        self._used = True
        self.base_offset = self.next_offset = base_offset
        self.size = size
        self.first_timestamp: int | None = None
        self.max_timestamp: int | None = None  # greatest in the segment; None until it is known
        self.max_timestamp_offset = base_offset  # last offset of the batch that first reached it

    @classmethod
    def create(
        cls, disk: Disk, directory: str, base_offset: int, *, index_interval_bytes: int, suffix: str = ""
    ) -> "Segment":  # fmt: skip
        """A new, empty segment; its name is durable only after the directory is synced."""
        segment = cls(disk, directory, base_offset, index_interval_bytes=index_interval_bytes, size=0, suffix=suffix)
        try:
            segment._file = disk.open(segment.path(LOG), create=True)
            segment._file.truncate(0)
            segment.start_empty()
        except OSError:
            segment.remove()  # else, when the one before goes on, recovery would find this in the way and cut the log there
            raise
        return segment

    def path(self, suffix: str) -> str:
        """The name of one of this segment's files."""
        return self._stem + suffix + self._suffix

    @property
    def file(self) -> DiskFile:
        """The log file, opened if it is not."""
        self._used = True
        if self._file is None:
            self._file = self._disk.open(self.path(LOG))
        return self._file

    # Writing

    def note(self, last_offset: int, max_timestamp: int, size_bytes: int) -> None:
        """A batch stands at the end: remember it in the indexes, if enough bytes have passed since the last entry."""
        if self.max_timestamp is None or max_timestamp > self.max_timestamp:
            self.max_timestamp, self.max_timestamp_offset = max_timestamp, last_offset
        if self.size == 0:
            self.first_timestamp = max_timestamp
        if self._bytes_since_entry > self._interval:
            self.offsets.append(last_offset - self.base_offset, self.size)
            self.times.append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
            self._bytes_since_entry = 0
        self._bytes_since_entry += size_bytes
        self.size += size_bytes
        self.next_offset = last_offset + 1

    def cut_back(self) -> None:
        """Remove what a failed write left behind `size`."""
        self.file.truncate(self.size)

    def takes(self, header: BatchHeader, last_offset: int, config: LogConfig) -> bool:
        """Whether another batch, to end with `last_offset`, belongs here: bytes, 31-bit relative offsets, index entries, time.

        Raises OSError.
        """
        start_ms = self.start_timestamp() if self.first_timestamp is None else self.first_timestamp
        return (
            self.size + header.size <= config.segment_bytes
            and last_offset - self.base_offset <= MAX_RELATIVE_OFFSET
            and (len(self.offsets.offsets) + 1) * OFFSET_ENTRY_SIZE <= config.segment_index_bytes
            and (len(self.times.offsets) + 2) * TIME_ENTRY_SIZE <= config.segment_index_bytes
            and (start_ms is None or header.max_timestamp - start_ms <= config.roll_ms)
        )

    def seal(self) -> None:
        """Let the last time index entry say the greatest timestamp so far; due at roll and before the index is made durable."""
        if self.max_timestamp is not None:
            self.times.append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)

    # Indexes

    @property
    def offsets(self) -> OffsetIndex:
        """The offset index, loaded or built again if it is not in memory."""
        offsets = self.indexes.offsets
        if offsets is None:
            self._load_indexes()
            offsets = self.indexes.offsets
            assert offsets is not None
        return offsets

    @property
    def times(self) -> TimeIndex:
        """The time index, loaded or built again if it is not in memory."""
        times = self.indexes.times
        if times is None:
            self._load_indexes()
            times = self.indexes.times
            assert times is not None
        return times

    def start_empty(self) -> None:
        """Begin without batches or index entries; index files of this name that are there are emptied."""
        self._begin_empty()
        self.indexes.cut()

    def _begin_empty(self) -> None:
        self.indexes.begin()
        self._bytes_since_entry = 0
        self.size, self.next_offset, self.max_timestamp, self.first_timestamp = 0, self.base_offset, None, None
        self._hints.clear()

    def stored_indexes(self) -> tuple[OffsetIndex, TimeIndex] | None:
        """The index files, if both are there and well formed, and point into this segment."""
        return self.indexes.stored(self.size)

    def resume_from(self, offset_index: OffsetIndex, time_index: TimeIndex) -> int:
        """Take over stored entries and return the position from which batches must be noted again.

        The caller has cut entries that it does not trust; the files are cut to match. `size` is set to that position.
        """
        self.indexes.take(offset_index, time_index)
        self.indexes.cut()
        self._hints.clear()
        self._bytes_since_entry = 0
        self.max_timestamp = time_index.timestamps[-1] if len(time_index) else None
        self.max_timestamp_offset = self.base_offset + (time_index.offsets[-1] if len(time_index) else 0)
        self.size = offset_index.positions[-1] if len(offset_index) else 0
        return self.size

    def points_truly(self, offset_index: OffsetIndex, time_index: TimeIndex) -> bool:
        """Whether the last entry of each index says what is so of the batch that it names."""
        if len(offset_index):
            header = self.header_at(offset_index.positions[-1])
            if header is None or header.last_offset != self.base_offset + offset_index.offsets[-1]:
                return False
        if not len(time_index):
            return True
        position = offset_index.position_at_or_before(time_index.offsets[-1])
        return self._entry_is_true(time_index.timestamps[-1], time_index.offsets[-1], position)

    def _entry_is_true(self, timestamp_ms: int, relative_offset: int, position: int) -> bool:
        """Whether the batch that ends with this offset, at or after `position`, has this as its greatest timestamp."""
        last_offset = self.base_offset + relative_offset
        while (header := self.header_at(position)) is not None and header.last_offset < last_offset:
            position += header.size
        return header is not None and (header.last_offset, header.max_timestamp) == (last_offset, timestamp_ms)

    def _load_indexes(self) -> None:
        self._used = True
        stored = self.stored_indexes()
        if stored is None or not self.points_truly(*stored):
            self.rebuild_indexes()
            return
        self.indexes.take(*stored)

    def rebuild_indexes(self) -> None:
        """Build both indexes from the batches' headers, and write them durably: a file that a crash cut short between two
        entries could not be told from a whole one.

        Raises:
            CorruptError: the log itself has a hole where a batch should be.
        """
        end, next_offset = self.size, self.next_offset
        self._begin_empty()
        while self.size < end:
            header = self.header_at(self.size, end)
            if header is None:
                bad, self.size, self.next_offset = self.size, end, next_offset
                raise CorruptError(f"{self.path(LOG)}: no record batch at byte {bad}")
            self.note(header.last_offset, header.max_timestamp, header.size)
        self.next_offset = max(next_offset, self.next_offset)
        self.seal()
        self.indexes.write()

    # Reading

    def header_at(self, position: int, end: int | None = None) -> BatchHeader | None:
        """The header of the batch at `position`; None if there is none, or its batch goes past `end` (the segment's end)."""
        data = self.file.pread(HEADER_SIZE, position)
        if len(data) < HEADER_SIZE:
            return None
        header = parse_header(data)
        end = self.size if end is None else end
        return header if header.magic == MAGIC and HEADER_SIZE <= header.size <= end - position else None

    def headers(self, offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of each batch from the one that holds `offset` on.

        Raises:
            CorruptError: there is no batch where one should be.
        """
        position = self.find(offset)
        while position is not None and position < self.size:
            header = self._whole(position)
            yield position, header
            position += header.size

    def _whole(self, position: int) -> BatchHeader:
        header = self.header_at(position)
        if header is None:
            raise CorruptError(f"{self.path(LOG)}: no record batch at byte {position}")
        return header

    def find(self, offset: int) -> int | None:
        """Where the batch begins that holds `offset` (or, in a hole, the next one); None at the end.

        Raises:
            CorruptError: there is no batch where one should be.
        """
        hint = self._hints.get(offset)
        if hint is not None:
            return hint if hint < self.size else None
        try:
            return self._search(offset)
        except CorruptError:
            self.rebuild_indexes()
            return self._search(offset)

    def _search(self, offset: int) -> int | None:
        index = self.offsets
        position = index.position_at_or_before(offset - self.base_offset)
        first = True
        while position < self.size:
            header = self._whole(position)
            if first and position and not index.names(position, header.last_offset - self.base_offset):
                raise CorruptError(f"{self.path(INDEX)}: byte {position} is not the batch that it names")
            if header.last_offset >= offset:
                return position
            position += header.size
            first = False
        return None

    def extent(self, offset: int, limit: int, max_bytes: int, *, min_one: bool) -> tuple[int, int] | None:
        """Whole batches from the one that holds `offset`, as (start, end) in bytes; None if there are none before `limit`.

        Args:
            limit: where what may be read ends; a boundary between batches.
            min_one: the first batch counts even if it is larger than `max_bytes`.
        """
        start = self.find(offset)
        if start is None or start >= limit:
            return None
        if limit - start <= max_bytes:
            return start, limit
        end = self._boundary(start, start + max_bytes)
        if end == start and min_one:
            header = self._whole(start)
            end = start + header.size
            self.hint(header.last_offset + 1, end)
        return start, end

    def _boundary(self, start: int, stop: int) -> int:
        """The last boundary between batches from `start` to `stop`."""
        position = max(start, self.offsets.boundary_at_or_before(stop))
        header = self.header_at(position)
        if position > start and (header is None or not self.offsets.names(position, header.last_offset - self.base_offset)):
            self.rebuild_indexes()
            return self._boundary(start, stop)
        last = None
        while position < self.size:
            header = self._whole(position)
            if position + header.size > stop:
                break
            last, position = header, position + header.size
        if last is not None:
            self.hint(last.last_offset + 1, position)
        return position

    def hint(self, offset: int, position: int) -> None:
        """A reader will ask for `offset` next, and its batch is (or will be) at `position`."""
        if len(self._hints) >= _HINTS_KEPT:
            del self._hints[next(iter(self._hints))]
        self._hints[offset] = position

    # Time

    def greatest_timestamp(self) -> int:
        """The greatest timestamp in a sealed or active segment, ms; -1 if it has none.

        Raises:
            CorruptError: the index is gone and the log is damaged.
        """
        if self.max_timestamp is None:
            times = self.times
            if not len(times) and self.size:
                self.rebuild_indexes()
                times = self.times
            if self.max_timestamp is None and len(times):
                self.max_timestamp = times.timestamps[-1]
                self.max_timestamp_offset = self.base_offset + times.offsets[-1]
        return -1 if self.max_timestamp is None else self.max_timestamp

    def start_timestamp(self) -> int | None:
        """The greatest timestamp of the first batch: from it `segment.ms` counts. None while empty."""
        if self.first_timestamp is None and self.size:
            header = self.header_at(0)
            self.first_timestamp = None if header is None else header.max_timestamp
        return self.first_timestamp

    def batches_not_before(self, timestamp_ms: int, offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of each batch, from `offset` on, whose greatest timestamp is not before `timestamp_ms`."""
        entry = self.times.at_or_before(timestamp_ms)
        if entry is not None and not self._entry_is_true(*entry, self.offsets.position_at_or_before(entry[1])):
            self.rebuild_indexes()
            entry = self.times.at_or_before(timestamp_ms)
        start = max(offset, self.base_offset + (entry[1] if entry is not None else 0))
        for position, header in self.headers(start):
            if header.max_timestamp >= timestamp_ms:
                yield position, header

    # Leaving

    def release(self, *, active: bool) -> bool:
        """Give back the descriptor, and for a sealed segment the indexes, if it was not used since the last call; whether."""
        was_used, self._used = self._used, False
        if was_used:
            return False
        self.close()
        if not active:
            self.indexes.forget()
        return True

    def close(self) -> None:
        """Let go of the file; it is closed when readers and syncs under way have let go of it too."""
        self._file = None

    def remove(self) -> None:
        """Delete the files, the log first: an index without its log is recognized as a stray."""
        self.close()
        for suffix in SUFFIXES:
            remove_if_there(self._disk, self.path(suffix))

    def rename_deleted(self) -> list[str]:
        """Take the segment out of the log by name (`.deleted`), readers go on; returns the names to remove later."""
        renamed = []
        for suffix in SUFFIXES:
            try:
                self._disk.rename(self.path(suffix), self.path(suffix) + ".deleted")
            except FileNotFoundError:
                continue
            renamed.append(self.path(suffix) + ".deleted")
        return renamed
