"""Record batches out of a fetched answer: proved whole, inflated, without what readers of committed records do not see. Pure.

    base offset i64 @0 | length i32 @8 | leader epoch i32 @12 | magic i8 @16 | crc u32 @17 | attributes i16 @21 |
    last offset delta i32 @23 | base timestamp i64 @27 | max timestamp i64 @35 | producer id i64 @43 | producer epoch i16 @51 |
    base sequence i32 @53 | record count i32 @57 | records @61

Whatever is not as it should be raises UnreadableError: Kafka's client reads on there, and says what is wrong. Source: KIP-98;
Kafka's DefaultRecordBatch, CompletedFetch (aborted transactions).
"""

import heapq
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from crc32c import crc32c

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH: Final = 12
_CRC_START: Final = 21
_MAGIC: Final = 2
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_CODECS: Final = {1: "gzip", 3: "lz4", 4: "zstd"}
_SNAPPY: Final = 2
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_MAX_INFLATED_BYTES: Final = 1 << 27
_MIN_RECORD_BYTES: Final = 7
_ABORT: Final = 0
_CONTROL_TYPE: Final = slice(7, 9)
"""In a control batch's records: after length, attributes, two deltas, the key's length (a byte each), and the key's version."""


class UnreadableError(Exception):
    """Bytes that Kafka's client is to judge."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of records that readers of committed records see; `records` may be compressed."""

    base_offset: int
    last_offset: int
    leader_epoch: int
    base_timestamp_ms: int
    append_ms: int | None
    """Of all its records, where brokers stamp them."""
    count: int
    codec: int
    records: memoryview


@dataclass(frozen=True, slots=True)
class Walk:
    """What an answer holds: batches, and where to read on."""

    batches: tuple[Batch, ...]
    next_offset: int
    last_epoch: int
    unread: tuple[tuple[int, int, str], ...] = ()
    """Offsets [start, end) of batches that readers of committed records do not see, and why: `control` or `aborted`."""


def walk(data: memoryview, offset: int, epoch: int, aborted: tuple[tuple[int, int], ...]) -> Walk:
    """The whole batches of an answer that was asked for from `offset` on, of which the last may be cut off.

    Args:
        epoch: of the record before; what the walk says where there is nothing.
        aborted: (producer id, first offset) of aborted transactions in the answer.
    Raises:
        UnreadableError.
    """
    waiting = [(first, producer) for producer, first in aborted]
    heapq.heapify(waiting)
    skipped: set[int] = set()
    found: list[Batch] = []
    unread: list[tuple[int, int, str]] = []
    at = 0
    while len(data) - at >= _HEADER.size:
        header = _HEADER.unpack_from(data, at)
        base, length, batch_epoch, magic, crc, attributes, last_delta, base_ms, max_ms, producer, _, _, count = header
        end = at + _BEFORE_LENGTH + length
        if magic != _MAGIC or length + _BEFORE_LENGTH < _HEADER.size or last_delta < 0 or count < 0:
            raise UnreadableError(f"no record batch of magic {_MAGIC}")
        if end > len(data):
            break
        if crc32c(data[at + _CRC_START : end]) != crc:
            raise UnreadableError("a batch's CRC is wrong")
        last = base + last_delta
        records = data[at + _HEADER.size : end]
        at = end
        if last < offset:  # brokers begin with the batch that holds the offset, or one before it
            continue
        while waiting and waiting[0][0] <= last:
            skipped.add(heapq.heappop(waiting)[1])
        offset, epoch = last + 1, batch_epoch
        if attributes & _CONTROL:
            unread.append((base, last + 1, "control"))
            if _is_abort(records):
                skipped.discard(producer)
        elif attributes & _TRANSACTIONAL and producer in skipped:
            unread.append((base, last + 1, "aborted"))
        elif count:
            append_ms = max_ms if attributes & _LOG_APPEND_TIME else None
            found.append(Batch(base, last, batch_epoch, base_ms, append_ms, count, attributes & _CODEC, records))
    if at == 0 and len(data):
        raise UnreadableError("a batch that does not fit into an answer")
    return Walk(tuple(found), offset, epoch, tuple(unread))


def _is_abort(records: memoryview) -> bool:
    return int.from_bytes(records[_CONTROL_TYPE], "big") == _ABORT


def inflated(batch: Batch) -> bytes | memoryview:
    """The records of a batch, as many as it says if they are right.

    Raises:
        UnreadableError.
    """
    try:
        records = _inflated(batch.codec, batch.records)
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        raise UnreadableError(f"records cannot be inflated: {error}") from error
    if len(records) > _MAX_INFLATED_BYTES or batch.count * _MIN_RECORD_BYTES > len(records):
        raise UnreadableError("a batch says that it has more records than it can have, or they are too large")
    return records


def _inflated(codec: int, data: memoryview) -> bytes | memoryview:
    if codec == 0:
        return data
    if codec == _SNAPPY:
        return b"".join(_snappy(bytes(data)))
    if codec not in _CODECS:
        raise UnreadableError(f"compression codec {codec} is unknown")
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), _CODECS[codec]) as stream:
        inflated: bytes = stream.read(_MAX_INFLATED_BYTES + 1)
        return inflated


def _snappy(data: bytes) -> Iterator[bytes]:
    """Raw snappy, as librdkafka writes it, or chunks of it in snappy-java's framing: a magic, two i32, then i32 lengths."""
    chunks, at, left = [data], 0, _MAX_INFLATED_BYTES
    if data.startswith(_XERIAL_MAGIC):
        chunks, at = [], _XERIAL_HEADER_BYTES
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if size > len(data) - at - 4:
                raise UnreadableError("a snappy chunk is cut off")
            chunks.append(data[at + 4 : at + 4 + size])
            at += 4 + size
    for chunk in chunks:
        size = _snappy_bytes(chunk)
        left -= size
        if left < 0:
            raise UnreadableError("records inflate to too much")
        yield pa.decompress(chunk, size, codec="snappy", asbytes=True)


def _snappy_bytes(chunk: bytes) -> int:
    """What a chunk inflates to, as its first bytes say."""
    size = 0
    for at in range(5):
        size |= (chunk[at] & 0x7F) << 7 * at
        if chunk[at] < 0x80:
            break
    return size
