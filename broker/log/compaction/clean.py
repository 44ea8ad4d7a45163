"""Cleaning the sealed segments of one log: a function of files, for a process of its own (plain Python, up to a core busy).

The first pass reads the dirty segments and notes the last offset of every key, as far as the memory for keys reaches. The
second reads all segments up to there and writes what stays into `.cleaned` files, as many old segments in each as fit
(KAFKA-6264: also by their offsets). Nothing that is there is changed: `swap` does that, if the log still is what it was.
Every batch's CRC is checked, so that damage is never copied under a new CRC. Source: Kafka's Cleaner.
"""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from headrace.broker.log.batch import HEADER_SIZE, BatchHeader, is_whole_batch, parse_header
from headrace.broker.log.compaction import rewrite
from headrace.broker.log.compaction.choice import SealedSegment
from headrace.broker.log.compaction.keys import KeyMap, entries
from headrace.broker.log.disk import Buffer, Disk, DiskFile, RealDisk, read_whole
from headrace.broker.log.file_names import LOG, TXN_INDEX, segment_name
from headrace.broker.log.index import MAX_RELATIVE_OFFSET, OFFSET_ENTRY_SIZE, TIME_ENTRY_SIZE
from headrace.broker.log.leftovers import CLEANED, drop_unfinished
from headrace.broker.log.segment import Segment
from headrace.errors import CorruptError

_CHUNK_SIZE = 1 << 22
_WRITE_SIZE = 1 << 20

Pause = Callable[[int], None]
"""Told how many bytes were read or written, waits as long as the limit asks for."""


@dataclass(frozen=True, slots=True)
class CleanJob:
    """All that cleaning needs to know; offsets, bytes and ms.

    Attributes:
        segments: those that may be rewritten, oldest first.
        kept_ends: last offsets of the batches from which producers' sequences would be read again: they stay, if need be
            without records (KAFKA-17076 for the end of the log, which our rule for the last batch covers).
        free_bytes_min: writing stops where the disk would have less.
    """

    path: str
    segments: Sequence[SealedSegment]
    dirty_from: int
    now_ms: int
    delete_retention_ms: int
    segment_bytes: int
    index_bytes: int
    index_interval_bytes: int
    key_map_bytes: int
    kept_ends: Sequence[int]
    free_bytes_min: int = 0
    bytes_per_second: float = float("inf")


@dataclass(frozen=True, slots=True)
class CleanedSegment:
    """A `.cleaned` segment and the base offsets of those that it stands for; the first of them is its own."""

    bases: Sequence[int]
    next_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class CleanResult:
    """What was written, and that all before `end_offset` is clean then; `key_map_share` is how full the key map was, 0 to 1."""

    segments: Sequence[CleanedSegment]
    end_offset: int
    bytes_read: int
    bytes_written: int
    key_map_share: float


def clean_in_worker(job: CleanJob) -> CleanResult:
    """`clean` on the real disk, slowed down to the job's limit."""
    return clean(RealDisk(), job, _limited(job.bytes_per_second))


def clean(disk: Disk, job: CleanJob, pause: Pause) -> CleanResult:
    """Write what stays of a log, durably but for the names.

    Raises:
        CorruptError: a batch cannot be read; the log cannot be cleaned.
        OSError: the disk fails, is full, or the log is gone. In either case no file is left behind, if that can be helped.
    """
    try:
        drop_unfinished(disk, job.path)
        return _Cleaning(disk, job, pause).run()
    except (CorruptError, OSError):
        drop_unfinished(disk, job.path)
        raise


class _Cleaning:
    def __init__(self, disk: Disk, job: CleanJob, pause: Pause) -> None:
        self._disk, self._job, self._pause = disk, job, pause
        self._keys = KeyMap(job.key_map_bytes, job.dirty_from)
        self._tombstones = rewrite.Tombstones(job.now_ms, job.delete_retention_ms)
        self._kept_ends = frozenset(job.kept_ends)
        self._read = self._written = 0

    def run(self) -> CleanResult:
        self._note_keys()
        self._keys.finish()
        segments = self._write()
        return CleanResult(segments, self._keys.end, self._read, self._written, self._keys.share)

    def _note_keys(self) -> None:
        for segment in self._job.segments:
            if segment.next_offset <= self._keys.end:
                continue
            for header, batch in self._batches(segment):
                if header.last_offset < self._job.dirty_from:
                    continue
                if self._keys.share >= 1:
                    return
                if not rewrite.is_opaque(header):
                    self._keys.add(header, entries(rewrite.plain_records(header, batch), header))
                self._keys.end = header.last_offset + 1
            self._keys.end = segment.next_offset

    def _write(self) -> list[CleanedSegment]:
        done: list[CleanedSegment] = []
        output: _Output | None = None
        for segment in self._job.segments:
            if segment.base_offset >= self._keys.end:
                break
            if output is not None and not output.has_room_for(segment):
                self._finish(output, done)
                output = None
            if output is None:
                output = _Output(self._disk, self._job, segment.base_offset, self._pause)
            output.begin(segment)
            for header, batch in self._batches(segment):
                self._pass_on(output, header, batch)
        if output is not None:
            self._finish(output, done)
        return done

    def _pass_on(self, output: "_Output", header: BatchHeader, batch: memoryview) -> None:
        if rewrite.is_opaque(header) and not self._tombstones.are_held:
            self._tombstones = replace(self._tombstones, are_held=True)
        rest = rewrite.remains(header, batch, self._keys, self._tombstones, dirty_from=self._job.dirty_from)
        if rest is None and header.last_offset in self._kept_ends:
            rest = batch if header.record_count == 0 else rewrite.shell(header)
        if rest is None:
            output.leave_out(header)
        else:
            output.add(rest, changed=rest is not batch)

    def _finish(self, output: "_Output", done: list[CleanedSegment]) -> None:
        cleaned = output.finish()
        if cleaned is not None:
            self._written += cleaned.size
            done.append(cleaned)

    def _batches(self, segment: SealedSegment) -> Iterator[tuple[BatchHeader, memoryview]]:
        """Every batch of a segment, each checked.

        Raises:
            CorruptError: there is none where one should be, or its CRC is wrong.
        """
        name = f"{self._job.path}/{segment_name(segment.base_offset)}{LOG}"
        file, position = self._disk.open(name), 0
        try:
            while position < segment.size:
                before = position
                for header, batch in _whole_batches(_chunk(file, position, segment.size)):
                    yield header, batch
                    position += header.size
                if position == before:
                    raise CorruptError(f"{name}: no undamaged record batch at byte {position}")
                self._read += position - before
                self._pause(position - before)
        finally:
            file.close()


def _chunk(file: DiskFile, position: int, end: int) -> memoryview:
    """Some bytes from `position` on, at least one batch if there is one."""
    head = file.pread(HEADER_SIZE, position)
    size = parse_header(head).size if len(head) == HEADER_SIZE else 0
    return memoryview(file.pread(min(end - position, max(_CHUNK_SIZE, size)), position))


def _whole_batches(data: memoryview) -> Iterator[tuple[BatchHeader, memoryview]]:
    position = 0
    while position + HEADER_SIZE <= len(data):
        header = parse_header(data, position)
        if not is_whole_batch(data, header, position):
            return
        yield header, data[position : position + header.size]
        position += header.size


class _Output:
    """One cleaned segment, while it is written."""

    def __init__(self, disk: Disk, job: CleanJob, base_offset: int, pause: Pause) -> None:
        self._disk, self._job, self._pause = disk, job, pause
        self._segment = Segment.create(
            disk, job.path, base_offset, index_interval_bytes=job.index_interval_bytes, suffix=CLEANED
        )  # fmt: skip
        self._bases: list[int] = []
        self._buffer = bytearray()
        self._flushed = 0
        self._held: BatchHeader | None = None  # left out; but if nothing follows, it must hold the end of the segment
        self._changed = False

    def has_room_for(self, source: SealedSegment) -> bool:
        """Whether all of another segment would fit."""
        segment, job = self._segment, self._job
        more = source.size // (job.index_interval_bytes + 1) + 1
        return (
            segment.size + source.size <= job.segment_bytes
            and source.next_offset - 1 - segment.base_offset <= MAX_RELATIVE_OFFSET
            and (len(segment.offsets) + more) * OFFSET_ENTRY_SIZE <= job.index_bytes
            and (len(segment.times) + more + 1) * TIME_ENTRY_SIZE <= job.index_bytes
        )

    def begin(self, source: SealedSegment) -> None:
        """Batches of this segment come next."""
        self._bases.append(source.base_offset)

    def leave_out(self, header: BatchHeader) -> None:
        """Nothing stays of a batch."""
        self._changed |= self._held is not None or header.record_count > 0
        self._held = header

    def add(self, batch: Buffer, *, changed: bool) -> None:
        """A batch stays, changed or not."""
        self._changed |= changed or self._held is not None
        self._held = None
        header = parse_header(batch)
        self._segment.note(header.last_offset, header.max_timestamp, header.size)
        self._buffer += batch
        if len(self._buffer) >= _WRITE_SIZE:
            self._flush()

    def _flush(self) -> None:
        if self._disk.space(self._job.path)[0] - len(self._buffer) < self._job.free_bytes_min:
            raise OSError(errno.ENOSPC, "compaction leaves the rest of the disk to others", self._job.path)
        self._segment.file.pwrite([self._buffer], self._flushed)
        self._flushed += len(self._buffer)
        self._pause(len(self._buffer))
        self._buffer = bytearray()

    def finish(self) -> CleanedSegment | None:
        """Make it durable, but for its names; None, and no files, if it would be the same as the one that is there."""
        if self._held is not None:
            header, self._held = self._held, None
            self.add(rewrite.shell(header), changed=False)
        segment = self._segment
        if len(self._bases) == 1 and not self._changed:
            segment.remove()
            return None
        self._flush()
        segment.seal()
        for path, position, data in [*segment.indexes.unsaved(), *self._aborted_transactions()]:
            _write_durably(self._disk, path, position, data)
        segment.file.sync()
        segment.close()
        return CleanedSegment(tuple(self._bases), segment.next_offset, segment.size)

    def _aborted_transactions(self) -> list[tuple[str, int, bytes]]:
        """What the old segments' indexes of aborted transactions say, for there are their batches now (aborted.py)."""
        names = (f"{self._job.path}/{segment_name(base)}{TXN_INDEX}" for base in self._bases)
        entries = b"".join(read_whole(self._disk, name) or b"" for name in names)
        return [(self._segment.path(TXN_INDEX), 0, entries)] if entries else []


def _write_durably(disk: Disk, path: str, position: int, data: bytes) -> None:
    file = disk.open(path, create=True)
    try:
        file.pwrite([data], position)
        file.sync()
    finally:
        file.close()


def _limited(bytes_per_second: float) -> Pause:
    """A pause that keeps the rate since the beginning below the limit."""
    began, total = time.monotonic(), 0

    def pause(size_bytes: int) -> None:
        nonlocal total
        total += size_bytes
        ahead_s = total / bytes_per_second - (time.monotonic() - began)
        if ahead_s > 0:
            time.sleep(ahead_s)

    return pause
