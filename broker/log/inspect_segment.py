"""One segment looked at as it lies on disk, changing nothing: every batch, and every index entry against the batch it names.

Index entries are compared while the batches go by, so that memory does not grow with the segment. After a batch whose CRC is
wrong the look goes on where its length says that the next one begins; after a length that cannot be, it ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from crc32c import crc32c

from headrace.broker.log.batch import (
    CONTROL,
    CRC_START,
    HEADER_SIZE,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    MAGIC,
    MAX_CODEC,
    NO_TIMESTAMP,
    BatchHeader,
    count_records,
    parse_header,
)
from headrace.broker.log.compression import decompress
from headrace.broker.log.disk import Disk, DiskFile, read_whole
from headrace.broker.log.file_names import INDEX, LOG, TIME_INDEX, segment_name
from headrace.broker.log.index import MAX_RELATIVE_OFFSET, OffsetIndex, TimeIndex, decode_offset_index, decode_time_index
from headrace.broker.log.record import records
from headrace.errors import CorruptError

_CHUNK_SIZE = 1 << 22
_KNOWN_ATTRIBUTES = 0x7F  # codec, timestamp type, transactional, control, delete horizon

See = Callable[[BatchHeader], None]


@dataclass(slots=True)
class SegmentLook:
    """What a look at a segment found.

    Attributes:
        next_offset: the offset after the last good batch.
        torn_at: the byte from which on there is no whole batch; None if the file ends with one.
        faults: (file, byte or None, what is wrong), in the log and in its indexes.
    """

    base_offset: int
    next_offset: int
    size: int
    records: int = 0
    max_timestamp: int = NO_TIMESTAMP
    torn_at: int | None = None
    log_faults: list[tuple[str, int | None, str]] = field(default_factory=list)
    index_faults: list[tuple[str, int | None, str]] = field(default_factory=list)


def look_at_segment(
    disk: Disk, directory: str, base_offset: int, expected: int, *, sealed: bool, deep: bool, see: See
) -> SegmentLook:
    """Look at one segment's log and indexes.

    Args:
        expected: no batch may begin before this offset (the end of the segment before).
        sealed: whether a later segment follows, so that the time index must know the greatest time.
        deep: decode the records too.
        see: is called with every good batch.
    Raises:
        OSError: the disk fails.
    """
    stem = segment_name(base_offset)
    file = disk.open(f"{directory}/{stem}{LOG}")
    try:
        look = SegmentLook(base_offset, max(expected, base_offset), file.size())
        entries = _IndexEntries(disk, directory, look)
        for position, header in _batches(file, look, stem + LOG, deep=deep):
            entries.see(position, header)
            see(header)
        entries.end(sealed=sealed)
    finally:
        file.close()
    return look


def _batches(file: DiskFile, look: SegmentLook, name: str, *, deep: bool) -> Iterator[tuple[int, BatchHeader]]:
    """Every good batch; faults go into `look`."""
    position = chunk_start = 0
    data = memoryview(b"")
    while position < look.size:
        if position + HEADER_SIZE > chunk_start + len(data):
            chunk_start, data = position, memoryview(file.pread(_CHUNK_SIZE, position))
        if len(data) - (position - chunk_start) < HEADER_SIZE:
            look.torn_at = position
            return
        header = parse_header(data, position - chunk_start)
        if header.magic != MAGIC or not HEADER_SIZE <= header.size <= look.size - position:
            look.torn_at = position
            return
        if position + header.size > chunk_start + len(data):
            chunk_start, data = position, memoryview(file.pread(max(_CHUNK_SIZE, header.size), position))
        batch = data[position - chunk_start : position - chunk_start + header.size]
        fault = batch_fault(header, batch, look.base_offset, look.next_offset)
        if fault is None:
            look.records += 0 if header.attributes & CONTROL else header.record_count
            look.next_offset = header.last_offset + 1
            yield position, header
            fault = _records_fault(header, batch) if deep else None
        if fault is not None:
            look.log_faults.append((name, position, fault))
        position += header.size


def batch_fault(header: BatchHeader, batch: memoryview, segment_base: int, expected: int) -> str | None:
    """What is wrong with a batch in a log, or None. Compaction leaves holes in offsets, and batches with fewer records.

    Args:
        batch: the bytes that `header` was read from, as long as it says.
        expected: the lowest offset that it may begin with.
    """
    if crc32c(batch[CRC_START:]) != header.crc:
        return f"the CRC of the batch at offset {header.base_offset} is wrong"
    if header.base_offset < expected:
        return f"the batch begins at offset {header.base_offset}, below {expected}"
    if header.last_offset_delta < 0 or header.last_offset - segment_base > MAX_RELATIVE_OFFSET:
        return f"the last offset delta {header.last_offset_delta} cannot be"
    if not 0 <= header.record_count <= header.last_offset_delta + 1:
        return f"{header.record_count} records do not fit a last offset delta of {header.last_offset_delta}"
    if header.codec > MAX_CODEC or header.attributes & ~_KNOWN_ATTRIBUTES:
        return f"the attributes {header.attributes:#x} are unknown"
    return None


def _records_fault(header: BatchHeader, batch: memoryview) -> str | None:
    """What is wrong with the records inside a batch: their number, the order of offsets, the latest time."""
    if header.record_count == 0:
        return None if header.length + LOG_OVERHEAD == HEADER_SIZE else "the batch has no records, and bytes of some"
    try:
        count = count_records(bytes(decompress(header.codec, batch[HEADER_SIZE:])))
        if count != header.record_count:
            return f"the batch says that it has {header.record_count} records, and {count} are there"
        return None if header.attributes & CONTROL else _order_fault(header, batch)
    except CorruptError as error:
        return f"the records of the batch at offset {header.base_offset} cannot be read: {error}"


def _order_fault(header: BatchHeader, batch: memoryview) -> str | None:
    last, latest = header.base_offset - 1, NO_TIMESTAMP
    for record in records(batch):
        if not last < record.offset <= header.last_offset:
            return f"record {record.offset} follows {last} in a batch that ends at {header.last_offset}"
        last, latest = record.offset, max(latest, record.timestamp_ms)
    if latest != header.max_timestamp and not header.attributes & LOG_APPEND_TIME:
        return f"the latest record is of {latest}, the batch says {header.max_timestamp}"
    return None


class _IndexEntries:
    """The entries of a segment's two indexes, compared with the batches in their order."""

    def __init__(self, disk: Disk, directory: str, look: SegmentLook) -> None:
        self._look, self._stem = look, segment_name(look.base_offset)
        self._offsets, self._times = OffsetIndex(), TimeIndex()
        self._offset_at = self._time_at = 0  # entries compared so far
        self.readable = True
        for suffix, decode in ((INDEX, decode_offset_index), (TIME_INDEX, decode_time_index)):
            try:
                content = read_whole(disk, f"{directory}/{self._stem}{suffix}")
            except OSError as error:  # no start can build it again: something is in its place
                self.readable = False
                look.log_faults.append((self._stem + suffix, None, f"cannot be read: {error.strerror or error}"))
                continue
            index = None if content is None else decode(content)
            if index is None:
                self.readable = False
                self._fault(suffix, None, "it is missing" if content is None else "it is no index: its entries do not rise")
            elif isinstance(index, OffsetIndex):
                self._offsets = index
            else:
                self._times = index

    def _fault(self, suffix: str, byte: int | None, what: str) -> None:
        self._look.index_faults.append((self._stem + suffix, byte, what))

    def see(self, position: int, header: BatchHeader) -> None:
        """The next batch of the log."""
        first, last = header.base_offset - self._look.base_offset, header.last_offset - self._look.base_offset
        self._pass_offsets_before(position)
        offsets, at = self._offsets, self._offset_at
        if at < len(offsets) and offsets.positions[at] == position:
            self._offset_at += 1
            if offsets.offsets[at] != last:
                wrong = offsets.offsets[at] + self._look.base_offset
                self._fault(INDEX, at * 8, f"it names offset {wrong}, the batch there ends with {header.last_offset}")
        self._pass_times_before(first)
        self._look.max_timestamp = max(self._look.max_timestamp, header.max_timestamp)
        times = self._times
        while self._time_at < len(times) and times.offsets[self._time_at] <= last:
            if times.timestamps[self._time_at] != header.max_timestamp or header.max_timestamp < self._look.max_timestamp:
                self._untrue_time()
            self._time_at += 1

    def _pass_offsets_before(self, position: int) -> None:
        offsets = self._offsets
        while self._offset_at < len(offsets) and offsets.positions[self._offset_at] < position:
            wrong = offsets.positions[self._offset_at]
            self._fault(INDEX, self._offset_at * 8, f"it names byte {wrong}, where no batch begins")
            self._offset_at += 1

    def _pass_times_before(self, relative_offset: int) -> None:
        while self._time_at < len(self._times) and self._times.offsets[self._time_at] < relative_offset:
            self._untrue_time()
            self._time_at += 1

    def _untrue_time(self) -> None:
        time, offset = self._times.timestamps[self._time_at], self._times.offsets[self._time_at] + self._look.base_offset
        self._fault(TIME_INDEX, self._time_at * 12, f"time {time} at offset {offset} is not the greatest so far there")

    def end(self, *, sealed: bool) -> None:
        """No more batches: what is left names nothing; a sealed segment's greatest time must be known."""
        self._pass_offsets_before(1 << 62)
        self._pass_times_before(1 << 62)
        greatest = self._times.timestamps[-1] if len(self._times) else NO_TIMESTAMP
        if sealed and self.readable and greatest < self._look.max_timestamp:
            self._fault(TIME_INDEX, None, f"the greatest time is {self._look.max_timestamp}, the last entry says {greatest}")
