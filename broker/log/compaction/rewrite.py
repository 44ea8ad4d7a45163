"""What stays of one batch; pure.

A record stays if no later one has its key, and a tombstone until its batch's delete horizon: `delete.retention.ms` after the
cleaning that met it first, which stamps the time into the batch (attribute bit 6; it takes the place of the base timestamp,
KIP-534). A batch keeps its base offset, last offset, sequence, epoch and codec, so that offsets and producers' sequences stay
what they were; one whose records all go is kept without records where its place must be (`shell`).
What is not understood stays: control batches, and the batches of transactions, whose outcome is not known here.
Source: Kafka's Cleaner (shouldRetainRecord), MemoryRecords.filterTo, DefaultRecordBatch.writeEmptyHeader.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crc32c import crc32c

from headrace.broker.log.batch import (
    CODEC_MASK,
    CONTROL,
    CRC_START,
    DELETE_HORIZON,
    HEADER,
    HEADER_SIZE,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    NO_TIMESTAMP,
    TRANSACTIONAL,
    BatchHeader,
)
from headrace.broker.log.compaction.keys import Entry, KeyMap, entries
from headrace.broker.log.compression import compress, decompress
from headrace.broker.log.config import MAX_LONG
from headrace.broker.log.disk import Buffer
from headrace.varints import read_zigzag, zigzag


@dataclass(frozen=True, slots=True)
class Tombstones:
    """How long records without a value stay: the time now and `delete.retention.ms`, both ms.

    Attributes:
        are_held: they stay for ever, because before them lie values of transactions, which stay too and would come back.
    """

    now_ms: int
    retention_ms: int
    are_held: bool = False

    @property
    def horizon_ms(self) -> int:
        """Until when those stay that are met now."""
        return min(self.now_ms + self.retention_ms, MAX_LONG)


def is_opaque(header: BatchHeader) -> bool:
    """Whether a batch must stay as it is, and its keys say nothing of others."""
    return header.attributes & (CONTROL | TRANSACTIONAL) != 0


def plain_records(header: BatchHeader, batch: memoryview) -> bytes:
    """The records of a batch, uncompressed.

    Raises:
        CorruptError: they cannot be decompressed.
    """
    return bytes(decompress(header.codec, batch[HEADER_SIZE : header.size]))


def remains(header: BatchHeader, batch: memoryview, keys: KeyMap, tombstones: Tombstones, *, dirty_from: int) -> Buffer | None:
    """What stays of a batch: itself, a smaller one, or None where no record does.

    Args:
        dirty_from: batches from here up to `keys.end` were added to `keys`.
    Raises:
        CorruptError: its records cannot be read.
    """
    if is_opaque(header) or header.base_offset >= keys.end:
        return batch
    if header.base_offset >= dirty_from:
        staying = keys.count_last(header)
        if staying == 0:
            return None
        if staying == header.record_count and not keys.has_tombstone(header):
            return batch
    records = plain_records(header, batch)
    found = entries(records, header)
    horizon_ms = header.base_timestamp if header.attributes & DELETE_HORIZON else None
    expired = horizon_ms is not None and tombstones.now_ms >= horizon_ms and not tombstones.are_held
    stays = [
        key is not None and not (is_tombstone and expired) and keys.is_last(key, header.base_offset + delta)
        for _, delta, key, is_tombstone in found
    ]
    if not any(stays):
        return None
    new_horizon = horizon_ms is None and any(entry[3] for entry, kept in zip(found, stays, strict=True) if kept)
    if all(stays) and not new_horizon:
        return batch
    return _rebuilt(header, _kept(records, found, stays), tombstones.horizon_ms if new_horizon else None)


def _kept(records: bytes, found: Sequence[Entry], stays: Sequence[bool]) -> list[bytes]:
    ends = [entry[0] for entry in found[1:]] + [len(records)]
    return [records[entry[0] : end] for entry, end, kept in zip(found, ends, stays, strict=True) if kept]


def _rebuilt(header: BatchHeader, kept: list[bytes], horizon_ms: int | None) -> bytes:
    """The batch with these of its records, and with a delete horizon if one is given."""
    times = [_time(record) for record in kept]
    base, attributes = header.base_timestamp, header.attributes
    if horizon_ms is not None:
        kept = [_with_time(record, base + delta - horizon_ms, end) for record, (delta, _, end) in zip(kept, times, strict=True)]
        attributes |= DELETE_HORIZON
    if header.attributes & LOG_APPEND_TIME or header.max_timestamp == NO_TIMESTAMP:
        max_timestamp = header.max_timestamp
    else:
        latest = base + max(delta for delta, _, _ in times)
        max_timestamp = max(min(latest, header.max_timestamp), NO_TIMESTAMP)
    body = compress(header.codec, b"".join(kept))
    changed = header._replace(
        attributes=attributes,
        base_timestamp=base if horizon_ms is None else horizon_ms,
        max_timestamp=max_timestamp,
        record_count=len(kept),
    )
    return _encoded(changed, body)


def _time(record: bytes) -> tuple[int, int, int]:
    """A record's timestamp delta, and where it begins and ends."""
    _, position = read_zigzag(record, 0)
    delta, end = read_zigzag(record, position + 1)
    return delta, position + 1, end


def _with_time(record: bytes, delta: int, end: int) -> bytes:
    """The record with another timestamp delta, in place of the one that ends at `end`; beyond 64 bits it wraps, as in Java."""
    _, position = read_zigzag(record, 0)
    wrapped = (delta + (1 << 63) & (1 << 64) - 1) - (1 << 63)
    body = record[position : position + 1] + zigzag(wrapped) + record[end:]
    return zigzag(len(body)) + body


def shell(header: BatchHeader) -> bytes:
    """The batch without records: it holds the place of its offsets, and a producer's last sequence.

    Kafka leaves it the greatest time of the records that are gone; then a look-up by that time would find none. Without a time
    it cannot be one of LogAppendTime either: recovery would take it for the time of the producer's last write.
    """
    attributes = header.attributes & ~(CODEC_MASK | DELETE_HORIZON | LOG_APPEND_TIME)
    changed = header._replace(
        attributes=attributes, base_timestamp=NO_TIMESTAMP, max_timestamp=NO_TIMESTAMP, record_count=0
    )  # fmt: skip
    return _encoded(changed, b"")


def _encoded(header: BatchHeader, body: bytes) -> bytes:
    header = header._replace(length=HEADER_SIZE + len(body) - LOG_OVERHEAD)
    batch = bytearray(HEADER_SIZE) + body
    HEADER.pack_into(batch, 0, *header)
    HEADER.pack_into(batch, 0, *header._replace(crc=crc32c(memoryview(batch)[CRC_START:])))
    return bytes(batch)
