"""What an idempotent producer has written: sequence checks, duplicates, and the snapshot file that outlives a restart.

Up to five batches per producer id are remembered, because a client may have five requests in flight. A producer id that is not
known (expired, or its records are gone) may begin with any sequence. Sequences wrap from 2³¹-1 to 0.

A producer is forgotten when it has not written for `producer.id.expiration.ms`, counted from its last write and not from the
times of its records, which may be of any age (KAFKA-9144 is what else happens); or when too many others have written since:
every start of a producer takes a new id, so that without a bound a client that starts a million times would fill the memory
and each snapshot. Kafka has no bound (KIP-936 would have been one).

Snapshot `%020d.snapshot`, named by the offset up to which it holds: version i16 (1), CRC-32C u32 of what follows, count i32,
then
entries: producer id i64, epoch i16, last sequence i32, last offset i64, offset delta i32, timestamp i64, coordinator epoch i32,
first offset of an open transaction i64. Kafka writes one entry per producer, its last batch. We write up to five, oldest first:
Kafka takes the last of several, and here a retry of any of the five is still answered after a clean restart. The timestamp is
when the batch was written; Kafka's, and ours of before, is the batch's own.
Source: KIP-98, KIP-360, Kafka's ProducerStateManager.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crc32c import crc32c

from headrace.broker.log.batch import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, BatchHeader, Rejection
from headrace.broker.wire import ErrorCode

BATCHES_KEPT = 5
MAX_PRODUCERS = 10_000  # of one partition: a retry within two minutes is known unless 80 producers a second start on it
SNAPSHOT_VERSION = 1
_MAX_SEQUENCE = (1 << 31) - 1
_PREFIX = struct.Struct(">hIi")
_CRC_END = 6
_ENTRY = struct.Struct(">qhiqiqiq")


class WrittenBatch(NamedTuple):
    """One batch of a producer that is in the log; `timestamp_ms` is when it was written, wall time."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp_ms: int

    @property
    def base_offset(self) -> int:
        return self.last_offset - self.offset_delta


class _Producer:
    __slots__ = ("batches", "coordinator_epoch", "epoch", "open_from")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.coordinator_epoch = self.open_from = -1  # of a transaction of Apache Kafka, where it began; kept as they were
        self.batches: tuple[WrittenBatch, ...] = ()  # a deque would take 600 bytes; most have one batch

    def wrote(self, batch: WrittenBatch) -> None:
        self.batches = (*self.batches[1 - BATCHES_KEPT :], batch)

    @property
    def last_write_ms(self) -> int:
        return self.batches[-1].timestamp_ms


def sequence_after(sequence: int, count: int) -> int:
    """The sequence `count` records later, wrapping at 2³¹."""
    return (sequence + count) & _MAX_SEQUENCE


class ProducerStates:
    """Every producer that one partition remembers."""

    __slots__ = ("_producers",)

    def __init__(self) -> None:
        self._producers: dict[int, _Producer] = {}

    def __len__(self) -> int:
        return len(self._producers)

    def check(self, header: BatchHeader) -> WrittenBatch | Rejection | None:
        """Whether a batch may be appended next.

        Returns:
            None if it may; the batch that it repeats, whose offsets are the answer; or a rejection.
        """
        producer = self._producers.get(header.producer_id)
        if producer is None:
            return None
        if header.producer_epoch < producer.epoch:
            return Rejection(
                ErrorCode.invalid_producer_epoch,
                f"producer {header.producer_id} has epoch {producer.epoch}; {header.producer_epoch} is fenced",
            )
        if header.producer_epoch > producer.epoch:
            if header.base_sequence == 0:
                return None
            return self._out_of_order(header, "a new epoch begins with sequence 0")
        last_sequence = sequence_after(header.base_sequence, header.last_offset_delta)
        for batch in producer.batches:
            if batch.last_sequence == last_sequence and batch.offset_delta == header.last_offset_delta:
                return batch
        expected = sequence_after(producer.batches[-1].last_sequence, 1)
        if header.base_sequence != expected:
            return self._out_of_order(header, f"{expected} comes next")
        return None

    @staticmethod
    def _out_of_order(header: BatchHeader, why: str) -> Rejection:
        return Rejection(
            ErrorCode.out_of_order_sequence_number,
            f"producer {header.producer_id} sent sequence {header.base_sequence} in epoch {header.producer_epoch}: {why}",
        )

    def appended(self, header: BatchHeader, last_offset: int, now_ms: int) -> None:
        """A batch with a producer id is in the log; `last_offset` is that of its last record.

        In recovery, where it is not known when the batch was written, `now_ms` errs on the side of remembering.
        Markers of Apache Kafka's transactions have no sequence: they end what the batches before them began.
        """
        producer = self._producers.get(header.producer_id)
        if header.attributes & CONTROL:
            if producer is not None:
                producer.open_from = -1
            return
        if producer is None or producer.epoch != header.producer_epoch:
            producer = self._producers[header.producer_id] = _Producer(header.producer_epoch)
            if len(self._producers) > MAX_PRODUCERS:
                del self._producers[header.producer_id]
                self.trim(MAX_PRODUCERS * 9 // 10)  # many at once: each time all are looked at
                self._producers[header.producer_id] = producer
        delta = header.last_offset_delta
        last_sequence = sequence_after(header.base_sequence, delta)
        written_ms = header.max_timestamp if header.attributes & LOG_APPEND_TIME else now_ms
        producer.wrote(WrittenBatch(last_sequence, last_offset, delta, written_ms))
        if header.attributes & TRANSACTIONAL and producer.open_from < 0:
            producer.open_from = last_offset - delta

    def expire(self, now_ms: int, expiration_ms: int) -> None:
        """Forget producers that have not written for `expiration_ms`."""
        self._producers = {
            producer_id: producer
            for producer_id, producer in self._producers.items()
            if now_ms - producer.last_write_ms < expiration_ms or producer.open_from >= 0
        }

    def trim(self, count: int) -> None:
        """Forget all but the `count` producers that wrote last, and those of open transactions."""
        by_time = sorted(self._producers.items(), key=lambda item: (item[1].open_from < 0, -item[1].last_write_ms))
        for producer_id, producer in by_time[count:]:
            if producer.open_from < 0:
                del self._producers[producer_id]

    def batches_of(self, producer_id: int) -> list[WrittenBatch]:
        """The remembered batches of one producer, oldest first."""
        producer = self._producers.get(producer_id)
        return list(producer.batches) if producer else []

    def ends(self) -> list[int]:
        """The last offsets of all remembered batches."""
        return [batch.last_offset for producer in self._producers.values() for batch in producer.batches]

    def greatest_id(self) -> int:
        """The greatest producer id that is remembered; -1 if there is none."""
        return max(self._producers, default=-1)

    def open_transactions(self) -> list[tuple[int, int]]:
        """(producer id, first offset) of transactions that were open when Apache Kafka last wrote here."""
        return [(producer_id, each.open_from) for producer_id, each in self._producers.items() if each.open_from >= 0]

    def encode(self) -> bytes:
        """The snapshot file."""
        entries = [
            _ENTRY.pack(producer_id, producer.epoch, *batch, producer.coordinator_epoch, producer.open_from)
            for producer_id, producer in self._producers.items()
            for batch in producer.batches
        ]
        body = struct.pack(">i", len(entries)) + b"".join(entries)
        return struct.pack(">hI", SNAPSHOT_VERSION, crc32c(body)) + body


def snapshot_entries(data: bytes) -> list[tuple[int, ...]] | None:
    """The entries of a snapshot file as they stand there; None if it is damaged or of another version."""
    if len(data) < _PREFIX.size:
        return None
    version, crc, count = _PREFIX.unpack_from(data)
    if version != SNAPSHOT_VERSION or crc32c(data[_CRC_END:]) != crc or count < 0:
        return None
    if len(data) != _PREFIX.size + count * _ENTRY.size:
        return None
    return list(_ENTRY.iter_unpack(data[_PREFIX.size :]))


def decode_snapshot(data: bytes, now_ms: int) -> ProducerStates | None:
    """Read a snapshot file; None if it is damaged or of another version, and older state must be used.

    Args:
        now_ms: wall time; what claims to have been written later was written now.
    """
    entries = snapshot_entries(data)
    if entries is None:
        return None
    states = ProducerStates()
    states._producers = _collect(entries, now_ms)
    return states


def _collect(entries: Iterable[tuple[int, ...]], now_ms: int) -> dict[int, _Producer]:
    producers: dict[int, _Producer] = {}
    for producer_id, epoch, last_sequence, last_offset, delta, timestamp, coordinator_epoch, open_from in entries:
        producer = producers.get(producer_id)
        if producer is None or producer.epoch != epoch:
            producer = producers[producer_id] = _Producer(epoch)
        producer.wrote(WrittenBatch(last_sequence, last_offset, delta, min(timestamp, now_ms)))
        producer.coordinator_epoch, producer.open_from = coordinator_epoch, open_from
    return producers


def fair_share(counts: Sequence[int], total: int) -> int:
    """How many producers each partition may remember so that all together remember at most `total`; small ones keep all."""
    left = total
    for at, count in enumerate(sorted(counts)):
        share = left // (len(counts) - at)
        if count > share:
            return share
        left -= count
    return total
