"""What an idempotent producer has written: sequence checks, duplicates, and the snapshot file that outlives a restart.

Up to five batches per producer id are remembered, because a client may have five requests in flight. A producer id that is not
known (expired, or its records are gone) may begin with any sequence. Sequences wrap from 2³¹-1 to 0.

Snapshot `%020d.snapshot`, named by the offset up to which it holds: version i16 (1), CRC-32C u32 of what follows, count i32,
then
entries: producer id i64, epoch i16, last sequence i32, last offset i64, offset delta i32, timestamp i64, coordinator epoch i32,
first offset of an open transaction i64. Kafka writes one entry per producer, its last batch. We write up to five, oldest first:
Kafka takes the last of several, and here a retry of any of the five is still answered after a clean restart.
Source: KIP-98, KIP-360, Kafka's ProducerStateManager.
"""

import struct
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from crc32c import crc32c

from headrace.broker.log.batch import CONTROL, TRANSACTIONAL, BatchHeader, Rejection
from headrace.broker.wire import ErrorCode

BATCHES_KEPT = 5
SNAPSHOT_VERSION = 1
_MAX_SEQUENCE = (1 << 31) - 1
_PREFIX = struct.Struct(">hIi")
_CRC_END = 6
_ENTRY = struct.Struct(">qhiqiqiq")


class WrittenBatch(NamedTuple):
    """One batch of a producer that is in the log."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp_ms: int

    @property
    def base_offset(self) -> int:
        return self.last_offset - self.offset_delta


class _Producer:
    __slots__ = ("batches", "coordinator_epoch", "epoch", "last_write_ms", "open_from")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.coordinator_epoch = self.open_from = -1  # of a transaction of Apache Kafka, where it began; kept as they were
        self.batches: deque[WrittenBatch] = deque(maxlen=BATCHES_KEPT)
        self.last_write_ms = -1


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

        Markers of Apache Kafka's transactions have no sequence: they end what the batches before them began.
        """
        producer = self._producers.get(header.producer_id)
        if header.attributes & CONTROL:
            if producer is not None:
                producer.open_from = -1
            return
        if producer is None or producer.epoch != header.producer_epoch:
            producer = self._producers[header.producer_id] = _Producer(header.producer_epoch)
        delta = header.last_offset_delta
        last_sequence = sequence_after(header.base_sequence, delta)
        producer.batches.append(WrittenBatch(last_sequence, last_offset, delta, header.max_timestamp))
        producer.last_write_ms = now_ms
        if header.attributes & TRANSACTIONAL and producer.open_from < 0:
            producer.open_from = last_offset - delta

    def expire(self, now_ms: int, expiration_ms: int) -> None:
        """Forget producers that have not written for `expiration_ms`."""
        self._producers = {
            producer_id: producer
            for producer_id, producer in self._producers.items()
            if now_ms - producer.last_write_ms < expiration_ms or producer.open_from >= 0
        }

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
        now_ms: counts as each producer's last write, for expiry: a snapshot does not hold when the broker last heard of it.
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
        producer.batches.append(WrittenBatch(last_sequence, last_offset, delta, timestamp))
        producer.last_write_ms, producer.coordinator_epoch, producer.open_from = now_ms, coordinator_epoch, open_from
    return producers
