"""Records inside a batch: read with bounds, and built for internal topics.

    length varint | attributes i8 | timestamp delta varlong | offset delta varint | key length varint, key |
    value length varint, value | header count varint, headers (key length, key, value length, value)

Integers are zig-zag varints, lengths of -1 are nulls. Not for the hot path: a Python object per record.
Times in ms since the epoch. Source: KIP-98, Kafka's DefaultRecord.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from crc32c import crc32c

from headrace.broker.log.batch import (
    CONTROL,
    CRC_START,
    HEADER,
    HEADER_SIZE,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    MAGIC,
    NO_TIMESTAMP,
    BatchHeader,
    parse_header,
)
from headrace.broker.log.compression import MAX_INFLATED_SIZE, NONE, compress, decompress
from headrace.broker.log.disk import Buffer
from headrace.errors import CorruptError
from headrace.varints import zigzag

_AT_A_TIME = 32  # records that are looked at without a rest: some 50 µs
Rest = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `offset` is meaningful only when it was read from a log."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int = -1


class _Reader:
    """A cursor over untrusted bytes; every step is checked against the end."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: memoryview) -> None:
        self.data, self.position, self.end = data, 0, len(data)

    def byte(self) -> int:
        if self.position >= self.end:
            raise CorruptError("a record is cut off")
        value = self.data[self.position]
        self.position += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise CorruptError("a varint in a record is too long")

    def take(self, size: int) -> bytes:
        if not 0 <= size <= self.end - self.position:
            raise CorruptError(f"a record has a field of {size} bytes where {self.end - self.position} are left")
        start, self.position = self.position, self.position + size
        return bytes(self.data[start : self.position])

    def nullable(self) -> bytes | None:
        size = self.varint()
        return None if size == -1 else self.take(size)


def batches(data: bytes | memoryview) -> Iterator[tuple[BatchHeader, memoryview]]:
    """The batches in what `PartitionLog.read` returned (or any run of trusted, whole batches), each with its bytes.

    Raises:
        CorruptError: bytes that are not a whole v2 batch.
    """
    view, position = memoryview(data), 0
    while position < len(view):
        if position + HEADER_SIZE > len(view):
            raise CorruptError("a record batch is cut off")
        header = parse_header(view, position)
        if header.magic != MAGIC or not HEADER_SIZE <= header.size <= len(view) - position:
            raise CorruptError("these bytes are not a record batch")
        yield header, view[position : position + header.size]
        position += header.size


def records(data: bytes | memoryview) -> Iterator[Record]:
    """Every record of a run of batches, decompressed; control batches are skipped.

    Raises:
        CorruptError: at the first record that cannot be read.
    """
    for header, batch in batches(data):
        if header.attributes & CONTROL:
            continue
        reader = _Reader(decompress(header.codec, batch[HEADER_SIZE:]))
        for _ in range(header.record_count):
            yield _record(reader, header)


def _timestamp(header: BatchHeader, delta: int) -> int:
    return header.max_timestamp if header.attributes & LOG_APPEND_TIME else header.base_timestamp + delta


def _record(reader: _Reader, header: BatchHeader) -> Record:
    end = reader.varint() + reader.position
    reader.byte()  # attributes: none are in use
    timestamp = _timestamp(header, reader.varint())
    offset = header.base_offset + reader.varint()
    key, value = reader.nullable(), reader.nullable()
    count = reader.varint()
    if not 0 <= count <= reader.end - reader.position:
        raise CorruptError(f"a record says that it has {count} headers")
    headers = tuple((reader.take(reader.varint()).decode("utf-8", "replace"), reader.nullable()) for _ in range(count))
    if reader.position != end:
        raise CorruptError("a record is longer or shorter than it says")
    return Record(key, value, timestamp, headers, offset)


def no_rest() -> None:
    """Nobody else is kept waiting."""


def first_at_or_after(
    batch: Buffer, timestamp_ms: int, offset: int = 0, *, limit: int = MAX_INFLATED_SIZE, rest: Rest = no_rest
) -> tuple[int, int] | None:
    """(offset, timestamp) of the first record in one batch, from `offset` on, that is not before `timestamp_ms`, or None.

    `rest` is called after every 32 records.

    Raises:
        CorruptError: the records cannot be read, or inflate to more than `limit` bytes.
    """
    view = memoryview(batch)
    header = parse_header(view)
    is_whole = header.record_count > header.last_offset_delta
    if header.attributes & LOG_APPEND_TIME and is_whole:  # one time for all, and none compacted: nothing to decompress
        first = max(offset, header.base_offset)
        return (first, header.max_timestamp) if header.max_timestamp >= timestamp_ms else None
    reader = _Reader(decompress(header.codec, view[HEADER_SIZE : header.size], limit=limit))
    for count in range(header.record_count):
        if count % _AT_A_TIME == _AT_A_TIME - 1:
            rest()
        end = reader.varint() + reader.position
        reader.byte()
        timestamp, at = _timestamp(header, reader.varint()), header.base_offset + reader.varint()
        if timestamp >= timestamp_ms and at >= offset:
            return at, timestamp
        if not reader.position <= end <= reader.end:
            raise CorruptError("a record is longer or shorter than it says")
        reader.position = end
    return None


def latest_timestamp(batch: bytes | memoryview, offset: int = 0, rest: Rest = no_rest) -> int:
    """The latest time of the records in one batch, from `offset` on; only lengths, times and offsets are read.

    `rest` is called after every 32 records.

    Raises:
        CorruptError: the records cannot be read.
    """
    view = memoryview(batch)
    header = parse_header(view)
    if (
        header.attributes & LOG_APPEND_TIME and header.record_count > header.last_offset_delta
    ):  # one time for all, and all there
        return header.max_timestamp
    return latest_of(decompress(header.codec, view[HEADER_SIZE : header.size]), header, offset, rest)


def latest_of(inflated: memoryview, header: BatchHeader, offset: int = 0, rest: Rest = no_rest) -> int:
    """The same of records that are decompressed already, in a batch that says CreateTime."""
    reader = _Reader(inflated)
    latest = NO_TIMESTAMP
    for count in range(header.record_count):
        if count % _AT_A_TIME == _AT_A_TIME - 1:
            rest()
        end = reader.varint() + reader.position
        reader.byte()
        timestamp, at = _timestamp(header, reader.varint()), header.base_offset + reader.varint()
        if at >= offset:
            latest = max(latest, timestamp)
        if not reader.position <= end <= reader.end:
            raise CorruptError("a record is longer or shorter than it says")
        reader.position = end
    if latest >= 1 << 63:
        raise CorruptError("a record's time does not fit 64 bits")
    return latest


def has_null_key(inflated: bytes) -> bool:
    """Whether any of these records, decompressed, has no key; lengths alone are read, 1 µs a record.

    Raises:
        CorruptError: the records cannot be read.
    """
    position, end = 0, len(inflated)
    try:
        while position < end:
            size, position = _varint_at(inflated, position)
            following = position + size
            position += 1  # attributes
            for _ in range(2):  # timestamp and offset
                while inflated[position] >= 0x80:
                    position += 1
                position += 1
            key_size, position = _varint_at(inflated, position)
            if key_size == -1:
                return True
            position = _after_value_and_headers(inflated, position + key_size)
            if key_size < 0 or position != following or position > end:
                raise CorruptError("a record is longer or shorter than it says")
    except IndexError:
        raise CorruptError("a record is cut off") from None
    return False


def _after_value_and_headers(data: bytes, position: int) -> int:
    """Where a record ends whose value's length stands at `position`. Raises IndexError, CorruptError."""
    size, position = _varint_at(data, position)
    position += max(size, 0)
    count, position = _varint_at(data, position)
    if size < -1 or not 0 <= count <= len(data) - position:
        raise CorruptError(f"a record has a value of {size} bytes and {count} headers")
    for at in range(2 * count):  # a name, a value, which may be null
        size, position = _varint_at(data, position)
        if size < -(at & 1):
            raise CorruptError(f"a record has a header of {size} bytes")
        position += max(size, 0)
    return position


def _varint_at(data: bytes, position: int) -> tuple[int, int]:
    """The number there, and where it ends. Raises IndexError."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return (value >> 1) ^ -(value & 1), position
        shift += 7


def _sized(field: bytes | None) -> bytes:
    return zigzag(-1) if field is None else zigzag(len(field)) + field


def _encode(record: Record, delta: int, base_timestamp: int) -> bytes:
    parts = [b"\0", zigzag(record.timestamp_ms - base_timestamp), zigzag(delta), _sized(record.key), _sized(record.value)]
    parts.append(zigzag(len(record.headers)))
    parts.extend(_sized(name.encode()) + _sized(value) for name, value in record.headers)
    body = b"".join(parts)
    return zigzag(len(body)) + body


def build_batch(
    content: Sequence[Record] | Iterable[Record],
    *,
    base_offset: int = 0,
    codec: int = NONE,
    attributes: int = 0,
    leader_epoch: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> bytes:
    """One v2 batch with at least one record; the records' own `offset` is not looked at.

    Args:
        attributes: bits besides the codec (control, transactional).
    """
    content = list(content)
    base_timestamp = content[0].timestamp_ms
    body = compress(codec, b"".join(_encode(record, delta, base_timestamp) for delta, record in enumerate(content)))
    batch = bytearray(HEADER_SIZE) + body
    header = BatchHeader(
        base_offset, len(batch) - LOG_OVERHEAD, leader_epoch, MAGIC, 0, attributes | codec, len(content) - 1, base_timestamp,
        max((record.timestamp_ms for record in content), default=NO_TIMESTAMP),
        producer_id, producer_epoch, base_sequence, len(content),
    )  # fmt: skip
    HEADER.pack_into(batch, 0, *header)
    HEADER.pack_into(batch, 0, *header._replace(crc=crc32c(memoryview(batch)[CRC_START:])))
    return bytes(batch)
