"""One partition's log: append, read, look up; what is exposed, and what is durable.

Single-threaded: everything here runs on the loop that owns it, except `PartitionSync.run`, which only touches files.

    log_start_offset ≤ high_watermark ≤ log_end_offset; readers see records below the high watermark.

Durability (design D3). Without `flush.messages`/`flush.ms` a record is exposed when it is in the page cache: the high
watermark is the log end. With either, the high watermark is what has been fsynced, and `append` leaves it behind. The shell
then must:
- call `sync()` (or, off its loop, `begin_sync()`, `run()` in a thread, `complete()` on the loop) when `sync_due(now_ms)` says
  so, after the appends of one turn, so that one fsync serves all of them;
- answer a Produce only when the high watermark is at `answerable_from`;
- wake fetches that wait when the high watermark has moved.

An I/O error fences the partition (KAFKA-10778): appends and reads answer KAFKA_STORAGE_ERROR until the broker starts again.
A full disk does not: the half-written batch is cut off and the producer told to retry. Nor does a lack of descriptors.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from headrace.broker.log.aborted import AbortedTransactions
from headrace.broker.log.appending import Admitted, admitted, inspected
from headrace.broker.log.batch import BatchHeader, Origin, Rejection, check_batch, stamped, with_append_time
from headrace.broker.log.checkpoint import LEADER_EPOCHS, encode_epochs
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Buffer, Disk, DiskFile, is_full, is_out_of_descriptors, write_whole
from headrace.broker.log.epochs import epoch_end
from headrace.broker.log.leftovers import finish_swap
from headrace.broker.log.lookup import BatchAt, PartAt
from headrace.broker.log.producers import ProducerStates, WrittenBatch
from headrace.broker.log.results import AppendResult, FileRegion, LocateResult, ReadResult
from headrace.broker.log.retention import Aged, is_held, outlived
from headrace.broker.log.segment import LOG, Segment
from headrace.broker.log.segments import Segments
from headrace.broker.log.space import FreeSpace
from headrace.broker.log.sync import Checkpoint, PartitionSync
from headrace.broker.log.writing import BatchWrite
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError, StorageError

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoadedLog:
    """What loading found (recovery.py).

    With `must_checkpoint` the recovery point must move to the end before it is written and before anything is appended: there
    are holes before the end that the next recovery could not explain.
    """

    segments: list[Segment]
    producers: ProducerStates
    epochs: list[tuple[int, int]]
    log_start_offset: int
    recovery_point: int
    must_checkpoint: bool = False
    cleaned_to: int = 0


class PartitionLog:
    """The log of one partition; made by `LogDirectory`."""

    def __init__(
        self, disk: Disk, path: str, topic: str, partition: int, topic_id: UUID, config: LogConfig, space: FreeSpace,
        loaded: LoadedLog, now_ms: int,
    ) -> None:  # fmt: skip
        self.topic, self.partition, self.topic_id, self.path, self.config = topic, partition, topic_id, path, config
        self.fenced = self.closed = False
        self.is_swapping = False  # cleaned segments are taking old ones' place (compaction/swap.py)
        self.epochs = loaded.epochs
        self.recovery_point = loaded.recovery_point  # all before it is on disk, with its index entries and a snapshot
        self.log_start_offset = loaded.log_start_offset
        self.cleaned_to = loaded.cleaned_to  # before it compaction has left one record a key
        self._disk, self._space = disk, space
        self._segments, self._producers = Segments(loaded.segments), loaded.producers
        self.log_end_offset = self.high_watermark = self._segments.active.next_offset
        self.aborted = AbortedTransactions(disk, path, self._producers.open_transactions(), self.log_end_offset)
        self._readable = (
            self._segments.active.base_offset,
            self._segments.active.size,
        )  # segment and position of the high watermark
        unsynced = self._segments.after(loaded.recovery_point)
        self._unsynced = unsynced  # segments with bytes that no fsync has covered
        self._uncheckpointed = list(unsynced)  # segments with bytes after the recovery point
        self._rolls = int(bool(unsynced))  # new segments' names; `_rolls_synced` of them are durable
        self._rolls_synced = 0
        self._synced_offset = loaded.recovery_point if unsynced else self.log_end_offset
        self._appended_bytes = sum(segment.size for segment in unsynced)
        self._checkpointed_bytes = 0  # `_appended_bytes` at the recovery point
        self._unsynced_since_ms = self._uncheckpointed_since_ms = now_ms
        self.held_from = 0 if config.hold_groups else None  # records from here on are held back from retention
        self.unlanded_deleted_bytes = self.unlanded_deleted_records = 0  # that were held, and went all the same
        self._deleted: list[tuple[int, list[str], Segment]] = []  # when to remove, names, segment
        self._is_writing = False  # a batch is on its way into the active segment: it is not rolled meanwhile

    @property
    def leader_epoch(self) -> int:
        """The epoch that batches appended now carry."""
        return self.epochs[-1][0] if self.epochs else 0

    def begin_epoch(self, epoch: int) -> None:
        """Let batches appended from now on carry a later epoch, durably.

        Raises:
            StorageError: the disk fails; nothing has changed.
        """
        epochs = [*(entry for entry in self.epochs if entry[1] < self.log_end_offset), (epoch, self.log_end_offset)]
        try:
            write_whole(self._disk, self.path, LEADER_EPOCHS, encode_epochs(epochs))
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error
        self.epochs = epochs

    @property
    def segments(self) -> Segments:
        """The segments, oldest first; for looking at."""
        return self._segments

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self._segments.size_bytes

    def configure(self, config: LogConfig) -> None:
        """Other settings from now on; what was exposed stays exposed."""
        if config.flushes and not self.config.flushes:
            self._readable = (self._segments.active.base_offset, self._segments.active.size)
        self.config = config
        if not config.flushes:
            self.high_watermark = self.log_end_offset

    # Append

    def append(self, records: Buffer, *, now_ms: int, origin: Origin = "client") -> AppendResult:
        """Validate, stamp and write record batches.

        Args:
            records: one v2 batch from a client (KIP-98: exactly one per partition and request); the broker itself may pass
                several.
            now_ms: wall time.
        Returns:
            The offsets given, or the error. On an error nothing was appended, except that of several internal batches those
            before the one in error were.
        """
        if origin == "internal":
            return self._offline() or self._append_several(memoryview(records).cast("B"), now_ms)
        batch = self.admit(records, now_ms=now_ms)
        if isinstance(batch, AppendResult):
            return batch
        return self.append_inspected(inspected(batch, self.config, now_ms=now_ms), now_ms=now_ms)

    def admit(self, records: Buffer, *, now_ms: int) -> Admitted | AppendResult:
        """The first half of a client's append: the batch, to be inspected (appending.py), or its refusal."""
        offline = self._offline()
        if offline is not None:
            return offline
        view = memoryview(records).cast("B")
        if not self._space.admits(len(view)):
            return self._refused(ErrorCode.kafka_storage_error, "the disk is nearly full; try again")
        batch = admitted(view, self.config, now_ms=now_ms)
        return self._refused(batch.error, batch.message) if isinstance(batch, Rejection) else batch

    def append_inspected(self, batch: Admitted | Rejection, *, now_ms: int) -> AppendResult:
        """The second half, in the order in which the batches were admitted."""
        if isinstance(batch, Rejection):
            return self._refused(batch.error, batch.message)
        return self._offline() or self._append_checked(batch.data, batch.header, now_ms)

    def _offline(self) -> AppendResult | None:
        if self.closed:
            return self._refused(ErrorCode.unknown_topic_or_partition, "the topic has been deleted")
        if self.fenced:
            return self._refused(ErrorCode.kafka_storage_error, "this partition is offline after a disk error")
        return None

    def _append_several(self, rest: memoryview, now_ms: int) -> AppendResult:
        first = -1
        while True:
            header = check_batch(rest, config=self.config, now_ms=now_ms, origin="internal")
            if isinstance(header, Rejection):
                return self._refused(header.error, header.message)
            result = self._append_checked(rest[: header.size], header, now_ms)
            first = result.base_offset if first < 0 else first
            rest = rest[header.size :]
            if result.error or not rest:
                return (
                    result if first == result.base_offset or result.error else self._accepted(first, result.last_offset, now_ms)
                )

    def _append_checked(self, data: memoryview, header: BatchHeader, now_ms: int) -> AppendResult:
        write = self._begin_write(data, header, now_ms)
        if isinstance(write, AppendResult):
            return write
        write.run()
        return self.complete_append(write)

    def begin_append(self, batch: Admitted | Rejection, *, now_ms: int) -> BatchWrite | AppendResult:
        """Like `append_inspected`, up to the write, which may run in a thread; nothing else is appended meanwhile."""
        if isinstance(batch, Rejection):
            return self._refused(batch.error, batch.message)
        return self._offline() or self._begin_write(batch.data, batch.header, now_ms)

    def _begin_write(self, data: memoryview, header: BatchHeader, now_ms: int) -> BatchWrite | AppendResult:
        assert not self._is_writing
        if header.producer_id >= 0:
            verdict = self._producers.check(header)
            if isinstance(verdict, WrittenBatch):
                return self._accepted(verdict.base_offset, verdict.last_offset, verdict.timestamp_ms)
            if verdict is not None:
                return self._refused(verdict.error, verdict.message)
        if self.config.stamps_append_time:
            data, header = with_append_time(data, header, now_ms)
        base_offset = self.log_end_offset
        try:
            segment = self._segment_for(header, base_offset)
            write = BatchWrite(segment, segment.file, stamped(data, header, base_offset, self.leader_epoch), header, now_ms)
        except OSError as error:
            return self._write_failed(error)
        self._is_writing = True
        return write

    def complete_append(self, write: BatchWrite) -> AppendResult:
        """Take note of what has been written."""
        self._is_writing = False
        if write.error is not None:
            return self._write_failed(write.error)
        offline = self._offline()
        if offline is not None:
            return offline
        segment, header, now_ms, base_offset = write.segment, write.header, write.now_ms, self.log_end_offset
        last_offset = base_offset + header.last_offset_delta
        segment.note(last_offset, header.max_timestamp, header.size)
        for unsafe in (self._unsynced, self._uncheckpointed):
            if not unsafe or unsafe[-1] is not segment:
                unsafe.append(segment)
        if header.producer_id >= 0:
            self._producers.appended(header, last_offset, now_ms)
        if self._synced_offset == base_offset:
            self._unsynced_since_ms = now_ms
        if self._appended_bytes == self._checkpointed_bytes:
            self._uncheckpointed_since_ms = now_ms
        self._appended_bytes += header.size
        self.log_end_offset = last_offset + 1
        if not self.config.flushes:
            self.high_watermark = self.log_end_offset
        return self._accepted(base_offset, last_offset, now_ms)

    def _segment_for(self, header: BatchHeader, base_offset: int) -> Segment:
        """The active segment, or a new one where the batch does not fit or is of a later time."""
        segment, config = self._segments.active, self.config
        if not segment.size:
            return segment
        last_offset = base_offset + header.last_offset_delta
        room = segment.has_room(
            header.size, last_offset, segment_bytes=config.segment_bytes, index_bytes=config.segment_index_bytes
        )
        start = segment.start_timestamp()
        late = start is not None and header.max_timestamp - start > config.roll_ms
        return segment if room and not late else self._roll()

    def _roll(self) -> Segment:
        """Begin a new segment at the log end."""
        segment = Segment.create(
            self._disk, self.path, self.log_end_offset, index_interval_bytes=self.config.index_interval_bytes
        )
        self._segments.active.seal()
        self._rolls += 1
        self._segments.add(segment)
        return segment

    def _write_failed(self, error: OSError) -> AppendResult:
        if is_full(error):
            try:
                self._segments.active.cut_back()
                return self._refused(ErrorCode.kafka_storage_error, "the disk is full; try again")
            except OSError as second:
                error = second
        self.fence(error)
        return self._refused(ErrorCode.kafka_storage_error, f"disk error: {error.strerror or error}")

    def fence(self, error: OSError) -> None:
        """Take this partition offline after an I/O error: what its files hold is not known any more.

        An open that found no descriptor has touched nothing: the caller answers retriably, and the partition stays.
        """
        if not self.fenced and not is_out_of_descriptors(error):
            self.fenced = True
            logger.error(
                "partition offline after a disk error",
                extra={"topic": self.topic, "partition": self.partition, "error": str(error)},
            )

    def _accepted(self, base_offset: int, last_offset: int, time_ms: int) -> AppendResult:
        stamped_ms = time_ms if self.config.stamps_append_time else -1
        return AppendResult(0, None, base_offset, last_offset, stamped_ms, self.log_start_offset)

    def _refused(self, error: ErrorCode, message: str) -> AppendResult:
        return AppendResult(int(error), message, -1, -1, -1, self.log_start_offset)

    # Read

    def locate(self, offset: int, max_bytes: int, *, min_one: bool = True) -> LocateResult:
        """Where whole batches from `offset` on lie, up to the high watermark.

        Args:
            max_bytes: of batches; the first one comes even if it is larger, where `min_one` (KIP-74).
        Returns:
            At most one segment's region; OFFSET_OUT_OF_RANGE below the log start or beyond the log end.
        """
        if self.fenced:
            return self._located(ErrorCode.kafka_storage_error)
        if not self.log_start_offset <= offset <= self.log_end_offset:
            return self._located(ErrorCode.offset_out_of_range)
        if offset >= self.high_watermark:
            return self._located(ErrorCode.none)
        try:
            return self._located(ErrorCode.none, self._region(offset, max_bytes, min_one))
        except CorruptError as error:
            logger.error("a segment is damaged", extra={"topic": self.topic, "partition": self.partition, "error": str(error)})
            return self._located(ErrorCode.corrupt_message)
        except OSError as error:
            self.fence(error)
            return self._located(ErrorCode.kafka_storage_error)

    def _region(self, offset: int, max_bytes: int, min_one: bool) -> FileRegion | None:
        for segment in self._segments.holding(offset):
            limit = self._limit_in(segment)
            extent = segment.extent(offset, limit, max_bytes, min_one=min_one)
            if extent is not None:
                start, end = extent
                if end == limit:
                    segment.hint(min(segment.next_offset, self.high_watermark), end)
                return FileRegion(segment.file, start, end - start)
        return None

    def _limit_in(self, segment: Segment) -> int:
        """How far into a segment readers may look, bytes."""
        if not self.config.flushes:
            return segment.size
        base_offset, position = self._readable
        if segment.base_offset == base_offset:
            return position
        return segment.size if segment.base_offset < base_offset else 0

    def _located(self, error: ErrorCode, region: FileRegion | None = None) -> LocateResult:
        return LocateResult(int(error), region, self.high_watermark, self.log_start_offset)

    def read(self, offset: int, max_bytes: int, *, min_one: bool = True) -> ReadResult:
        """Like `locate`, with the bytes."""
        found = self.locate(offset, max_bytes, min_one=min_one)
        records = b""
        if found.region is not None:
            try:
                records = found.region.file.pread(found.region.size, found.region.position)
            except OSError as error:
                self.fence(error)
                return ReadResult(int(ErrorCode.kafka_storage_error), b"", self.high_watermark, self.log_start_offset)
        return ReadResult(found.error, records, found.high_watermark, found.log_start_offset)

    # Look up

    def offset_for_timestamp(self, timestamp_ms: int) -> tuple[int, int, int] | None:
        """(offset, timestamp ms, leader epoch) of the first exposed record not before `timestamp_ms`; None if there is none.

        Raises:
            StorageError: the log is damaged where the record should be, or the disk fails.
        """
        offset = self.log_start_offset
        while (batch := self.batch_not_before(timestamp_ms, offset)) is not None:
            found = self.looked(partial(batch.first_at_or_after, timestamp_ms, offset))
            if found is not None:
                return (*found, batch.header.leader_epoch) if found[0] < self.high_watermark else None
            offset = batch.header.last_offset + 1
        return None

    def batch_not_before(self, timestamp_ms: int, offset: int) -> BatchAt | None:
        """Where to look next for the first record, from `offset` on, not before `timestamp_ms`. Raises StorageError."""
        return self.looked(lambda: self._segments.batch_not_before(timestamp_ms, offset))

    def max_timestamp_offset(self) -> tuple[int, int, int] | None:
        """The same of the first record that has the greatest timestamp of all; None if there are no records."""
        greatest, part = self.greatest_timestamp()
        if part is not None:
            greatest = max(greatest, self.looked(part.greatest_timestamp))
        return None if greatest < 0 else self.offset_for_timestamp(greatest)

    def greatest_timestamp(self) -> tuple[int, PartAt | None]:
        """Of all records, ms, -1 if there are none; and what must be read to know of a greater one. Raises StorageError."""
        return self.looked(lambda: self._segments.greatest_timestamp(self.log_start_offset))

    def looked(self, look: Callable[[], T]) -> T:
        """What a look at the files finds; an I/O error takes the partition offline. Raises StorageError."""
        try:
            return look()
        except OSError as error:
            self.fence(error)
            raise StorageError(f"{self.path}: {error.strerror or error}") from error

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """(the greatest epoch not above `epoch`, the offset at which it ended); (-1, -1) if `epoch` is not known yet."""
        return epoch_end(self.epochs, epoch, self.log_end_offset)

    def producer_ends(self) -> list[int]:
        """The last offsets of the batches from which what it remembers of producers could be read again."""
        return self._producers.ends()

    @property
    def greatest_producer_id(self) -> int:
        """Of those that this partition remembers; -1 if there is none."""
        return self._producers.greatest_id()

    def producer_batches(self, producer_id: int) -> list[WrittenBatch]:
        """What this partition remembers of a producer, oldest first."""
        return self._producers.batches_of(producer_id)

    # Durability

    def sync_due(self, now_ms: int) -> bool:
        """Whether the topic's `flush.messages` or `flush.ms` asks for an fsync now."""
        pending = self.log_end_offset - self._synced_offset
        return pending > 0 and (
            pending >= self.config.flush_messages or now_ms - self._unsynced_since_ms >= self.config.flush_ms
        )

    def answerable_from(self, last_offset: int, acks: int) -> int:
        """The high watermark at which a producer of the record at `last_offset` may be told that it is written.

        With acks=-1, when it is exposed. With acks=1, when fewer than `flush.messages` records up to it are not on disk:
        so many may be lost with the power, in Kafka too, whose append flushes when there are as many.
        """
        return last_offset + 1 if acks == -1 else last_offset + 2 - self.config.flush_messages

    @property
    def uncheckpointed_bytes(self) -> int:
        """Bytes that recovery would have to scan."""
        return self._appended_bytes - self._checkpointed_bytes

    def checkpoint_due(self, now_ms: int, *, max_bytes: int, max_age_ms: int) -> bool:
        """Whether the recovery point lags by so many bytes, or so long."""
        pending = self.uncheckpointed_bytes
        return not self.fenced and (
            pending >= max_bytes or (pending > 0 and now_ms - self._uncheckpointed_since_ms >= max_age_ms)
        )

    def begin_sync(self, *, checkpoint: bool = False) -> PartitionSync:
        """Capture what must be made durable; `checkpoint` (one at a time) also moves the recovery point."""
        segments = self._uncheckpointed if checkpoint else self._unsynced
        captured = None
        if checkpoint:
            for segment in segments:
                segment.seal()
            chunks = [chunk for segment in segments for chunk in segment.unsaved_indexes()]
            lengths = [(segment, segment.index_lengths()) for segment in segments]
            captured = Checkpoint(chunks, lengths, self._producers.encode())
        files: list[DiskFile] = []
        failed = None
        try:
            files = [segment.file for segment in segments]
        except OSError as error:
            failed = error
        return PartitionSync(
            disk=self._disk,
            path=self.path,
            files=files,
            rolls=self._rolls,
            names=self._rolls > self._rolls_synced,
            end_offset=self.log_end_offset,
            limit=(self._segments.active.base_offset, self._segments.active.size),
            appended_bytes=self._appended_bytes,
            checkpoint=captured,
            on_complete=self._synced,
            is_closed=lambda: self.closed,
            error=failed,
        )

    def sync(self, *, checkpoint: bool = False) -> None:
        """Make all that was appended durable, here and now (blocks for an fsync), and expose it."""
        if not self.fenced:
            step = self.begin_sync(checkpoint=checkpoint)
            step.run()
            step.complete()

    def _synced(self, step: PartitionSync) -> None:
        if self.closed or self.fenced:
            return
        if step.error is not None:
            self.fence(step.error)  # the kernel may have dropped the pages: another fsync would lie (fsyncgate)
            return
        self._rolls_synced = max(self._rolls_synced, step.rolls)
        self._unsynced = [segment for segment in self._unsynced if segment.next_offset > step.end_offset]
        if step.end_offset > self._synced_offset:
            self._synced_offset = step.end_offset
            if self.config.flushes:
                self.high_watermark, self._readable = step.end_offset, step.limit
        if step.checkpoint is not None and step.end_offset >= self.recovery_point:
            for segment, (entries, times) in step.checkpoint.index_lengths:
                segment.indexes_saved(entries, times)
            self._uncheckpointed = [segment for segment in self._uncheckpointed if segment.next_offset > step.end_offset]
            self.recovery_point, self._checkpointed_bytes = step.end_offset, step.appended_bytes

    # Housekeeping

    def retain(self, now_ms: int) -> None:
        """Delete segments that time, size or the log start offset allow, and that nothing holds."""
        self._delete_while(self._may_take_oldest, now_ms)

    def release_oldest(self, now_ms: int) -> int:
        """Delete the oldest segment although it is held, its files at once; how many bytes that frees, 0 where it fails."""
        first, end = self._segments.first, self._segments.end_of_first()
        records = end - max(first.base_offset, self.log_start_offset, self.held_from or 0)
        self._delete_while(lambda _: self._segments.first is first, now_ms)
        if self._segments.first is first:
            return 0
        self._deleted[-1] = (now_ms, *self._deleted[-1][1:])
        self.unlanded_deleted_bytes += first.size
        self.unlanded_deleted_records += records
        logger.error(
            "records deleted before they were landed: the disk is nearly full",
            extra={"topic": self.topic, "partition": self.partition, "before": self.log_start_offset, "records": records},
        )
        return first.size

    def delete_records(self, offset: int, now_ms: int) -> None:
        """Records before `offset`, at most the high watermark, are no longer to be read; segments without others go now."""
        self.log_start_offset = max(self.log_start_offset, min(offset, self.high_watermark))
        self._delete_while(lambda _: self._segments.end_of_first() <= self.log_start_offset, now_ms)

    def _delete_while(self, is_due: Callable[[int], bool], now_ms: int) -> None:
        if self.fenced or self.is_swapping:
            return
        if self._is_writing:  # into the active segment, which may have to be rolled first: next time
            return
        try:
            while self._segments.first.size and is_due(now_ms):
                if len(self._segments) == 1:
                    self._roll()
                self._delete_first(now_ms)
        except CorruptError as error:
            logger.error("retention stopped", extra={"topic": self.topic, "partition": self.partition, "error": str(error)})
        except OSError as error:
            if not is_full(error):
                self.fence(error)

    def _may_take_oldest(self, now_ms: int) -> bool:
        oldest, start = next(self.ages()), self.log_start_offset
        return outlived(
            oldest, self.config, log_start_offset=start, high_watermark=self.high_watermark, now_ms=now_ms
        ) and not is_held(oldest, self.held_from, log_start_offset=start)

    def ages(self) -> Iterator[Aged]:
        """The segments as retention sees them, oldest first. Raises OSError, CorruptError."""
        bytes_after = self.size_bytes
        for segment, end_offset in self._segments.with_ends():
            newest_ms = segment.greatest_timestamp()
            if newest_ms < 0:
                newest_ms = self._disk.modified_ms(segment.path(LOG))
            bytes_after -= segment.size
            yield Aged(end_offset, newest_ms, segment.size, bytes_after)

    def _delete_first(self, now_ms: int) -> None:
        segment = self._segments.pop_first()
        self.log_start_offset = max(self.log_start_offset, self._segments.first.base_offset)
        for unsafe in (self._unsynced, self._uncheckpointed):
            if segment in unsafe:
                unsafe.remove(segment)
        self._set_aside(segment, now_ms)
        logger.info(
            "segment deleted",
            extra={"topic": self.topic, "partition": self.partition, "base_offset": segment.base_offset},
        )

    def _set_aside(self, segment: Segment, now_ms: int) -> None:
        self._deleted.append((now_ms + self.config.file_delete_delay_ms, segment.rename_deleted(), segment))

    def swap_in(self, cleaned: Segment, old: Sequence[Segment], now_ms: int) -> None:
        """Put a cleaned segment, whose files are `.swap`, in the place of old ones that follow one another.

        Raises:
            OSError: the names may be anything in between; the partition is offline, and the next start finishes it.
        """
        try:
            for segment in old:
                self._set_aside(segment, now_ms)
            finish_swap(self._disk, self.path, cleaned.base_offset)
        except OSError as error:
            self.fence(error)
            raise
        self._segments.replace(old, cleaned)
        if self._readable[0] in [segment.base_offset for segment in old]:
            self._readable = (cleaned.base_offset, cleaned.size)

    @property
    def deleted_bytes(self) -> int:
        """Bytes of segments that are deleted, and whose files are still there."""
        return sum(segment.size for _, _, segment in self._deleted)

    def take_deleted(self, now_ms: int) -> list[str]:
        """The files of deleted segments whose delay is over: to be removed by the caller, who need not hurry."""
        due = [entry for entry in self._deleted if entry[0] <= now_ms]
        self._deleted = [entry for entry in self._deleted if entry[0] > now_ms]
        for _, _, segment in due:
            segment.close()
        return [name for _, names, _ in due for name in names]

    @property
    def producer_count(self) -> int:
        """How many producers it remembers."""
        return len(self._producers)

    def expire_producers(self, now_ms: int, expiration_ms: int) -> None:
        """Forget producers that have not written for so long."""
        self._producers.expire(now_ms, expiration_ms)

    def trim_producers(self, count: int) -> None:
        """Forget all but so many producers, those that wrote last."""
        self._producers.trim(count)

    def tidy(self) -> None:
        """Give back what idle segments hold."""
        for segment in self._segments:
            segment.release(active=segment is self._segments.active)

    def close(self) -> None:
        """Write everything and give the files back; a fenced log only gives its files back."""
        changed = self.recovery_point < self.log_end_offset or any(segment.unsaved_indexes() for segment in self._segments)
        if changed and not self.fenced:
            self.sync(checkpoint=True)
        self.abandon()

    def abandon(self) -> None:
        """Give the files back and write nothing more."""
        self.closed = True
        for segment in [*self._segments, *(segment for _, _, segment in self._deleted)]:
            segment.close()
