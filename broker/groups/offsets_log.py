"""The topic `__consumer_offsets`: where a group's records go, how they are appended, and how all are read again."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.broker.groups.records import Record, decode, encode
from headrace.broker.log.batch import TRANSACTIONAL
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record as LogRecord
from headrace.broker.log.record import batches, build_batch, records
from headrace.broker.log.results import AppendResult, refused
from headrace.broker.topic_names import OFFSETS_TOPIC
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError, StorageError

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

logger = logging.getLogger(__name__)
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Appended:
    """Records are in the log, and meet its durability when its high watermark reaches `end_offset`."""

    log: PartitionLog
    end_offset: int

    @property
    def is_durable(self) -> bool:
        return self.log.high_watermark >= self.end_offset


class OffsetsLog:
    """Reads and writes `__consumer_offsets` of one broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._unread: set[int] = set()  # partitions that were offline when the records were read

    def holds(self, group_id: str) -> bool:
        """Whether all that is stored of a group was read: else it must not be said that it has no offsets."""
        topic = self._broker.topics.get(OFFSETS_TOPIC)
        return topic is None or partition_of(group_id, topic.partitions) not in self._unread

    def read_all(self) -> Iterator[Record]:
        """Every record, in order within a group.

        Raises:
            CorruptError: a partition cannot be read.
            VersionError: a record is of a newer version.
        """
        topic = self._broker.topics.get(OFFSETS_TOPIC)
        for partition in range(topic.partitions if topic else 0):
            yield from self._read(partition)

    def _read(self, partition: int) -> Iterator[Record]:
        log = self._partition(partition)
        if log.fenced:
            logger.error("GROUPS OFFLINE, with the partition that holds them", extra={"partition": partition})
            self._unread.add(partition)
            return
        position = log.log_start_offset
        while position < log.high_watermark:
            read = log.read(position, _READ_BYTES)
            if not read.records:
                raise CorruptError(f"{OFFSETS_TOPIC}-{partition} cannot be read at offset {position} (error {read.error})")
            for header, batch in batches(read.records):
                position = header.last_offset + 1
                if header.attributes & TRANSACTIONAL and log.aborted.holds(header.producer_id, header.base_offset):
                    continue  # Apache Kafka's: offsets that a transaction committed, and that was aborted
                yield from _decoded(batch, partition)

    @property
    def is_there(self) -> bool:
        """Whether there is the topic."""
        return self._broker.topics.get(OFFSETS_TOPIC) is not None

    async def ready(self) -> None:
        """Make the topic, if there is none; where the disk fails, `append` says so."""
        with contextlib.suppress(StorageError):
            await self._broker.topics.ensure_offsets()

    def append(self, group_id: str, new: Sequence[Record]) -> Coroutine[None, None, Appended | ErrorCode]:
        """Append one group's records, at least one, as one batch.

        Returns:
            To be awaited: the batch has its place in the order of appends now, and is in the log then; or an error that the
            group's members may be told.
        """
        now_ms = self._broker.clock.wall_ms()
        topic = self._broker.topics.get(OFFSETS_TOPIC)
        if topic is None:
            return _outcome(group_id, None, refused(ErrorCode.coordinator_not_available, f"there is no {OFFSETS_TOPIC}"))
        log = self._partition(partition_of(group_id, topic.partitions))
        batch = build_batch([LogRecord(key, value, now_ms) for key, value in map(encode, new)])
        return _outcome(group_id, log, self._broker.appends.append_own(log, batch))

    def _partition(self, partition: int) -> PartitionLog:
        log = self._broker.logs.get(OFFSETS_TOPIC, partition)
        assert log is not None
        return log


async def _outcome(
    group_id: str, log: PartitionLog | None, appended: AppendResult | asyncio.Future[AppendResult]
) -> Appended | ErrorCode:
    result = await appended if isinstance(appended, asyncio.Future) else appended
    if log is not None and not result.error:
        return Appended(log, result.last_offset + 1)
    logger.warning("group not stored", extra={"group": group_id, "reason": result.message})
    too_large = result.error in (ErrorCode.message_too_large, ErrorCode.record_list_too_large)
    return ErrorCode.unknown_server_error if too_large else ErrorCode.coordinator_not_available


def _decoded(batch: memoryview, partition: int) -> Iterator[Record]:
    """The records of one batch; what is not such a record is skipped: whoever wrote it, it must not keep the broker down."""
    try:
        for stored in records(batch):
            record = decode(stored.key or b"", stored.value)
            if record is not None:
                yield record
    except CorruptError as error:
        logger.warning("batch skipped", extra={"topic": OFFSETS_TOPIC, "partition": partition, "reason": str(error)})


def partition_of(group_id: str, partitions: int) -> int:
    """The partition of `__consumer_offsets` that holds a group: Java's `String.hashCode` modulo their number, as in Kafka."""
    hashed = 0
    encoded = group_id.encode("utf-16-be", "surrogatepass")
    for position in range(0, len(encoded), 2):
        hashed = (31 * hashed + int.from_bytes(encoded[position : position + 2], "big")) & 0xFFFFFFFF
    signed = hashed - (1 << 32) if hashed >= 1 << 31 else hashed
    return 0 if signed == -(1 << 31) else abs(signed) % partitions
