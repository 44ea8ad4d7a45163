"""One partition's log: what is appended, and when it is exposed. Reading is `ReadableLog`'s.

Single-threaded: everything here runs on the loop that owns it, except `PartitionSync.run` and `BatchWrite.run`, which only
touch files.

Durability (design D3). Without `flush.messages`/`flush.ms` a record is exposed when it is in the page cache: the high
watermark is the log end. With either, the high watermark is what has been fsynced, and `append` leaves it behind. The shell
then must:
- call `sync()` (or, off its loop, `begin_sync()`, `run()` in a thread, `complete()` on the loop) when `sync_due(now_ms)` says
  so, after the appends of one turn, so that one fsync serves all of them;
- answer a Produce only when the high watermark is at `answerable_from`;
- wake fetches that wait when the high watermark has moved.

An I/O error takes the partition offline (`ReadableLog.fence`). A full disk does not: the half-written batch is cut off and the
producer told to retry. Nor does a lack of descriptors.
"""

from uuid import UUID

from headrace.broker.log.appending import inspected
from headrace.broker.log.batch import BatchHeader, Origin, Rejection, check_batch, stamped, with_append_time
from headrace.broker.log.checkpoint import LEADER_EPOCHS, TopicPartition, encode_epochs
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Buffer, Disk, is_full, write_whole
from headrace.broker.log.durability import Durability
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.producers import WrittenBatch
from headrace.broker.log.readable_log import ReadableLog
from headrace.broker.log.results import AppendResult, refused
from headrace.broker.log.retirement import Retirement
from headrace.broker.log.segment import Segment
from headrace.broker.log.space import FreeSpace
from headrace.broker.log.sync import PartitionSync
from headrace.broker.log.writing import BatchWrite
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError


class PartitionLog(ReadableLog):
    """The log of one partition; made by `LogDirectory`."""

    def __init__(
        self, disk: Disk, path: str, topic: str, partition: int, topic_id: UUID, config: LogConfig, space: FreeSpace,
        loaded: LoadedLog, awake: dict[TopicPartition, None], now_ms: int,
    ) -> None:  # fmt: skip
        super().__init__(disk, path, topic, partition, topic_id, config, loaded, awake)
        self._disk, self._space, self._producers = disk, space, loaded.producers
        self.durability = Durability(disk, path, self.segments, loaded.recovery_point, now_ms)
        self.retirement = Retirement(disk, self, self.durability, self._roll)
        self.cleaned_to = loaded.cleaned_to  # before it compaction has left one record a key

    def configure(self, config: LogConfig) -> None:
        before = self.config.hold_groups
        super().configure(config)
        if config.hold_groups != before:
            self.retirement.hold_anew()
        self.wake()

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
        self.epochs, self.leader_epoch = epochs, epoch

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
        data = memoryview(records)
        if origin == "internal":
            return self._append_several(data, now_ms)
        header = self.admit(data, now_ms=now_ms)
        if isinstance(header, AppendResult):
            return header
        batch = inspected((data, header), self.config, now_ms=now_ms)
        return refused(batch.error, batch.message) if isinstance(batch, Rejection) else self._append_now(*batch, now_ms)

    def admit(self, records: memoryview, *, now_ms: int) -> BatchHeader | AppendResult:
        """The first half of a client's append: the header of a batch that is to be inspected (appending.py), or its refusal."""
        if self.closed or self.fenced:
            return self._offline()
        if not self._space.admits(len(records)):
            return refused(ErrorCode.kafka_storage_error, "the disk is nearly full; try again")
        header = check_batch(records, config=self.config, now_ms=now_ms, origin="client")
        return refused(header.error, header.message) if isinstance(header, Rejection) else header

    def _offline(self) -> AppendResult:
        if self.closed:
            return refused(ErrorCode.unknown_topic_or_partition, "the topic has been deleted")
        return refused(ErrorCode.kafka_storage_error, "this partition is offline after a disk error")

    def _append_several(self, rest: memoryview, now_ms: int) -> AppendResult:
        first = -1
        while True:
            header = check_batch(rest, config=self.config, now_ms=now_ms, origin="internal")
            if isinstance(header, Rejection):
                return refused(header.error, header.message)
            result = self._append_now(rest[: header.size], header, now_ms)
            first = result.base_offset if first < 0 else first
            rest = rest[header.size :]
            if result.error or not rest:
                return (
                    result if first == result.base_offset or result.error else self._accepted(first, result.last_offset, now_ms)
                )

    def _append_now(self, data: memoryview, header: BatchHeader, now_ms: int) -> AppendResult:
        write = self.begin_append(data, header, now_ms=now_ms)
        if isinstance(write, AppendResult):
            return write
        write.run()
        return self.complete_append(write)

    def begin_append(self, data: memoryview, header: BatchHeader, *, now_ms: int) -> BatchWrite | AppendResult:
        """The second half, in the order in which the batches were admitted, up to the write, which may run in a thread; nothing
        else is appended meanwhile. Or what there is to say without a write.
        """
        assert not self.is_writing
        if self.closed or self.fenced:
            return self._offline()
        if header.producer_id >= 0:
            verdict = self._producers.check(header)
            if isinstance(verdict, WrittenBatch):
                return self._accepted(verdict.base_offset, verdict.last_offset, verdict.timestamp_ms)
            if verdict is not None:
                return refused(verdict.error, verdict.message)
        if self.config.stamps_append_time:
            data, header = with_append_time(data, header, now_ms)
        base_offset = self.log_end_offset
        self.wake()
        try:
            segment = self.segments.active
            if segment.size and not segment.takes(header, base_offset + header.last_offset_delta, self.config):
                segment = self._roll()
            write = BatchWrite(segment, segment.file, stamped(data, header, base_offset, self.leader_epoch), header, now_ms)
        except OSError as error:
            return self._write_failed(error)
        self.is_writing = True
        return write

    def complete_append(self, write: BatchWrite) -> AppendResult:
        """Take note of what has been written."""
        self.is_writing = False
        if write.error is not None:
            return self._write_failed(write.error)
        if self.closed or self.fenced:
            return self._offline()
        segment, header, now_ms, base_offset = write.segment, write.header, write.now_ms, self.log_end_offset
        last_offset = base_offset + header.last_offset_delta
        size_bytes = header.size
        segment.note(last_offset, header.max_timestamp, size_bytes)
        self.durability.appended(segment, base_offset, size_bytes, now_ms)
        self._awake[self.at] = None
        if header.producer_id >= 0:
            self._producers.appended(header, last_offset, now_ms)
        self.log_end_offset = last_offset + 1
        if not self.config.flushes:
            self.high_watermark = self.log_end_offset
        return self._accepted(base_offset, last_offset, now_ms)

    def _roll(self) -> Segment:
        """Begin a new segment at the log end."""
        segment = Segment.create(
            self._disk, self.path, self.log_end_offset, index_interval_bytes=self.config.index_interval_bytes
        )
        self.segments.active.seal()
        self.durability.rolled()
        self.segments.add(segment)
        return segment

    def _write_failed(self, error: OSError) -> AppendResult:
        if is_full(error):
            try:
                self.segments.active.cut_back()
                return refused(ErrorCode.kafka_storage_error, "the disk is full; try again")
            except OSError as second:
                error = second
        self.fence(error)
        return refused(ErrorCode.kafka_storage_error, f"disk error: {error.strerror or error}")

    def _accepted(self, base_offset: int, last_offset: int, time_ms: int) -> AppendResult:
        stamped_ms = time_ms if self.config.stamps_append_time else -1
        return AppendResult(0, None, base_offset, last_offset, stamped_ms, self.log_start_offset)

    # Durability

    def sync_due(self, now_ms: int) -> bool:
        """Whether the topic's `flush.messages` or `flush.ms` asks for an fsync now."""
        return self.durability.sync_due(self.config, self.log_end_offset, now_ms)

    def answerable_from(self, last_offset: int, acks: int) -> int:
        """The high watermark at which a producer of the record at `last_offset` may be told that it is written.

        With acks=-1, when it is exposed. With acks=1, when fewer than `flush.messages` records up to it are not on disk:
        so many may be lost with the power, in Kafka too, whose append flushes when there are as many.
        """
        return last_offset + 1 if acks == -1 else last_offset + 2 - self.config.flush_messages

    def begin_sync(self, *, checkpoint: bool = False) -> PartitionSync:
        """Capture what must be made durable; `checkpoint` (one at a time) also moves the recovery point."""
        return self.durability.begin_sync(
            self.log_end_offset,
            self.end_position,
            self._producers.encode() if checkpoint else None,
            on_complete=self._synced,
            is_closed=lambda: self.closed,
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
        if self.durability.synced(step) and self.config.flushes and step.end_offset > self.high_watermark:
            self.high_watermark, self._readable = step.end_offset, step.limit

    # Producers

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

    # Leaving

    def tidy(self) -> bool:
        """Give back what idle segments hold; whether the log is at rest: nothing is to be given back, synced or removed."""
        active = self.segments.active
        released = [segment.release(active=segment is active) for segment in self.segments]
        return all(released) and not self.retirement.has_deleted and (self.fenced or not self.durability.uncheckpointed_bytes)

    def close(self) -> None:
        """Write everything and give the files back; a fenced log only gives its files back."""
        unsaved = any(segment.indexes.unsaved() for segment in self.segments)
        if not self.fenced and (unsaved or self.durability.recovery_point < self.log_end_offset):
            self.sync(checkpoint=True)
        self.abandon()

    def abandon(self) -> None:
        """Give the files back and write nothing more."""
        self.closed = True
        for segment in self.segments:
            segment.close()
        self.retirement.close()
