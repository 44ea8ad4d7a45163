"""After a crash: batches are read from the recovery point on, and the log ends at the first damaged one (why: recovery.py)."""

import logging
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.broker.log.batch import HEADER_SIZE, NO_PRODUCER_ID, BatchHeader, is_whole_batch, parse_header
from headrace.broker.log.config import MAX_LONG
from headrace.broker.log.disk import Disk
from headrace.broker.log.segment import Segment

logger = logging.getLogger(__name__)

_CHUNK_SIZE = 1 << 22


@dataclass(frozen=True, slots=True)
class Facts:
    """What the log directory knows of a partition: its checkpoints, and whether the last stop was clean. Offsets.

    Attributes:
        is_checkpointed: the checkpoint of recovery points could be read; 0 in it, or nothing, is then what was promised.
    """

    clean: bool
    recovery_point: int = 0
    log_start_offset: int = 0
    high_watermark: int = 0
    cleaned_to: int = 0
    is_checkpointed: bool = True

    @property
    def holes_before(self) -> int:
        """Up to which offset batches need not follow one another without a hole."""
        return self.recovery_point if self.is_checkpointed else MAX_LONG


@dataclass(slots=True)
class Scan:
    """What a scan of batches has seen: where it began, those of idempotent producers, and where an epoch began."""

    begin: int | None = None
    producer_batches: list[BatchHeader] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)

    def see(self, header: BatchHeader) -> None:
        if self.begin is None:
            self.begin = header.base_offset
        if header.producer_id != NO_PRODUCER_ID:
            self.producer_batches.append(header)
        if not self.epochs or header.leader_epoch > self.epochs[-1][0]:
            self.epochs.append((header.leader_epoch, header.base_offset))


def valid_prefix(data: memoryview, next_offset: int, *, holes_before: int = 0) -> Iterator[BatchHeader]:
    """The headers of the whole, undamaged batches at the start of `data` whose offsets follow on from `next_offset`; pure.

    A hole is let pass if the batch after it begins at `holes_before` at the latest.
    """
    position = 0
    while position + HEADER_SIZE <= len(data):
        header = parse_header(data, position)
        if not _follows(header.base_offset, next_offset, holes_before) or not is_whole_batch(data, header, position):
            return
        yield header
        position += header.size
        next_offset = header.last_offset + 1


def _follows(base_offset: int, next_offset: int, holes_before: int) -> bool:
    return base_offset == next_offset or next_offset < base_offset <= holes_before


def scan_and_cut(disk: Disk, path: str, segments: list[Segment], facts: Facts, scan: Scan) -> None:
    """Scan from the recovery point, cut at the first bad batch, delete what follows; `segments` is changed in place."""
    first = max(bisect_right([segment.base_offset for segment in segments], facts.recovery_point) - 1, 0)
    expected = segments[first].base_offset
    for at in range(first, len(segments)):
        segment, size = segments[at], segments[at].size
        if not _follows(segment.base_offset, expected, facts.holes_before):
            _cut(disk, path, segments, at, 0)
            return
        _scan_segment(segment, size, facts, scan)
        if segment.size < size:
            _cut(disk, path, segments, at + 1, size - segment.size)
            return
        expected = segment.next_offset
        if at + 1 < len(segments):
            segment.seal()


def _scan_segment(segment: Segment, size: int, facts: Facts, scan: Scan) -> None:
    """Note every good batch of a segment after those that its index covers before the recovery point; sets its size."""
    recovery_point = facts.recovery_point
    stored = segment.stored_indexes() if recovery_point > segment.base_offset else None
    if stored is not None:
        for index in stored:
            index.truncate(recovery_point - segment.base_offset)
        if not segment.points_truly(*stored):
            stored = None
    if stored is None:
        segment.start_empty()
    else:
        segment.resume_from(*stored)
    start = segment.header_at(segment.size, size)
    expected = start.base_offset if start is not None and segment.size else segment.base_offset
    segment.next_offset = expected
    while segment.size < size:
        before = segment.size
        for header in _read_valid(segment, before, size, expected, facts.holes_before):
            segment.note(header.last_offset, header.max_timestamp, header.size)
            scan.see(header)
        expected = segment.next_offset
        if segment.size == before:
            break


def _read_valid(segment: Segment, position: int, size: int, expected: int, holes_before: int) -> list[BatchHeader]:
    """The good batches in one chunk of the file; the chunk is as large as its first batch needs."""
    header = segment.header_at(position, size)
    if header is None:
        return []
    data = segment.file.pread(min(size - position, max(_CHUNK_SIZE, header.size)), position)
    return list(valid_prefix(memoryview(data), expected, holes_before=holes_before))


def _cut(disk: Disk, path: str, segments: list[Segment], keep: int, bad_bytes: int) -> None:
    """The log ends with the first `keep` segments, the last of which has `bad_bytes` after its good ones."""
    deleted = sum(segment.size for segment in segments[keep:])
    for segment in reversed(segments[keep:]):
        segment.remove()
    if keep < len(segments):
        disk.sync_directory(path)  # before the cut: else a crash could find a good end, and go on into what follows
    del segments[keep:]
    last = segments[-1]
    if bad_bytes:
        last.cut_back()
        last.file.sync()  # before anything is appended: else the old tail could come back behind it
    logger.warning(
        "log cut at the first damaged batch",
        extra={"log": path, "log_end_offset": last.next_offset, "cut_bytes": bad_bytes, "deleted_bytes": deleted},
    )
