"""A partition's log to those who look at it: which records are exposed, and where they lie.

    log_start_offset ≤ high_watermark ≤ log_end_offset; readers see records below the high watermark.

An I/O error fences the partition (KAFKA-10778): appends and reads answer KAFKA_STORAGE_ERROR until the broker starts again.
"""

import logging
import os.path
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

from headrace.broker.log.aborted import AbortedTransactions
from headrace.broker.log.checkpoint import TopicPartition
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk, is_out_of_descriptors
from headrace.broker.log.epochs import epoch_end
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.lookup import BatchAt, PartAt
from headrace.broker.log.results import FileRegion, LocateResult, ReadResult
from headrace.broker.log.segment import Segment
from headrace.broker.log.segments import Segments
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError, StorageError

logger = logging.getLogger(__name__)
T = TypeVar("T")


class ReadableLog:
    """What is read and looked up; `PartitionLog` appends to it, `Retirement` takes its oldest segments away."""

    def __init__(
        self, disk: Disk, path: str, topic: str, partition: int, topic_id: UUID, config: LogConfig, loaded: LoadedLog,
        awake: dict[TopicPartition, None],
    ) -> None:  # fmt: skip
        """`awake` has those logs that housekeeping must look at, by their names (directory.py)."""
        self.topic, self.partition, self.topic_id, self.path, self.config = topic, partition, topic_id, path, config
        self.at, self._awake = (topic, partition), awake
        self.log_directory = os.path.dirname(path)
        self.fenced = self.closed = False
        self.is_writing = False  # a batch is on its way into the active segment: it is not rolled meanwhile
        self.epochs = loaded.epochs
        self.leader_epoch = self.epochs[-1][0] if self.epochs else 0  # that batches appended now carry
        self.segments = Segments(loaded.segments)
        self.log_start_offset = loaded.log_start_offset
        self.log_end_offset = self.high_watermark = self.segments.active.next_offset
        self.aborted = AbortedTransactions(disk, path, loaded.producers.open_transactions(), self.log_end_offset)
        self._readable = self.end_position  # of the high watermark, where it may be behind the log end

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self.segments.size_bytes

    @property
    def end_position(self) -> tuple[int, int]:
        """Where the log ends: the active segment's base offset, and bytes into it."""
        active = self.segments.active
        return active.base_offset, active.size

    def configure(self, config: LogConfig) -> None:
        """Other settings from now on; what was exposed stays exposed."""
        if config.flushes and not self.config.flushes:
            self._readable = self.end_position
        self.config = config
        if not config.flushes:
            self.high_watermark = self.log_end_offset

    def wake(self) -> None:
        """Something is done with this log: there may be files to sync or to give back, and its checkpoints may be old."""
        self._awake[self.at] = None

    def replaced(self, old: Sequence[Segment], cleaned: Segment) -> None:
        """A cleaned segment is read from now on, in the place of old ones that follow one another."""
        self.segments.replace(old, cleaned)
        if self._readable[0] in [segment.base_offset for segment in old]:
            self._readable = (cleaned.base_offset, cleaned.size)

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
        self._awake[self.at] = None
        for segment in self.segments.holding(offset):
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
        return self.looked(lambda: self.segments.batch_not_before(timestamp_ms, offset))

    def max_timestamp_offset(self) -> tuple[int, int, int] | None:
        """The same of the first record that has the greatest timestamp of all; None if there are no records."""
        greatest, part = self.greatest_timestamp()
        if part is not None:
            greatest = max(greatest, self.looked(part.greatest_timestamp))
        return None if greatest < 0 else self.offset_for_timestamp(greatest)

    def greatest_timestamp(self) -> tuple[int, PartAt | None]:
        """Of all records, ms, -1 if there are none; and what must be read to know of a greater one. Raises StorageError."""
        return self.looked(lambda: self.segments.greatest_timestamp(self.log_start_offset))

    def looked(self, look: Callable[[], T]) -> T:
        """What a look at the files finds; an I/O error takes the partition offline. Raises StorageError."""
        self._awake[self.at] = None
        try:
            return look()
        except OSError as error:
            self.fence(error)
            raise StorageError(f"{self.path}: {error.strerror or error}") from error

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """(the greatest epoch not above `epoch`, the offset at which it ended); (-1, -1) if `epoch` is not known yet."""
        return epoch_end(self.epochs, epoch, self.log_end_offset)
