"""The v2 record batch: its 61-byte header, and what is checked before untrusted bytes become part of a log.

    base offset i64 @0 | length i32 @8 | leader epoch i32 @12 | magic i8 @16 | crc u32 @17 | attributes i16 @21 |
    last offset delta i32 @23 | base timestamp i64 @27 | max timestamp i64 @35 | producer id i64 @43 | producer epoch i16 @51 |
    base sequence i32 @53 | record count i32 @57 | records @61

`length` counts what follows it. The CRC-32C covers attributes to the end, so base offset and leader epoch are stamped in place.
Attributes: bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon. Records stay opaque here (record.py
decodes them, where one must look inside); they are counted by their lengths, 0.1 µs each, those of a compressed batch when it
has been decompressed (appending.py). Source: KIP-98; Kafka's LogValidator.
"""

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

from crc32c import crc32c

from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Buffer
from headrace.broker.wire import ErrorCode

Origin = Literal["client", "internal"]

HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_SIZE = HEADER.size
LOG_OVERHEAD = 12  # base offset and length, before what `length` counts
CRC_START = 21
NO_TIMESTAMP = -1
NO_PRODUCER_ID = -1
MAGIC = 2
CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40  # the base timestamp is the time at which the batch's tombstones may go (KIP-534)
MAX_CODEC = 4  # none, gzip, snappy, lz4, zstd
_SHORT_RUN = 16  # after a run of fewer records than that, which costs more than it saves, the next is not looked for at once
_LENGTH_BITS = 28  # beyond so many comes the fifth byte, which is the last of a 32-bit varint
MIN_RECORD_SIZE = 7  # length, attributes, two deltas, key length, value length, header count: a byte each

_OFFSET_LENGTH_EPOCH = struct.Struct(">qii")


class BatchHeader(NamedTuple):
    """The header's fields, in their order; a named tuple, because one is made per batch on the hot path."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.length + LOG_OVERHEAD

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def codec(self) -> int:
        return self.attributes & CODEC_MASK


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why bytes were not accepted: a wire code, and a sentence for the producer."""

    error: ErrorCode
    message: str


def parse_header(data: Buffer, position: int = 0) -> BatchHeader:
    """Unpack the header at `position`; the caller has made sure of 61 bytes."""
    return BatchHeader._make(HEADER.unpack_from(data, position))


def is_whole_batch(data: memoryview, header: BatchHeader, position: int) -> bool:
    """Whether `header`, found at `position` of `data`, begins a v2 batch whose CRC is right and which ends within `data`."""
    end = position + header.size
    return (
        header.magic == MAGIC
        and header.size >= HEADER_SIZE
        and end <= len(data)
        and header.last_offset_delta >= 0
        and crc32c(data[position + CRC_START : end]) == header.crc
    )


def check_batch(data: memoryview, *, config: LogConfig, now_ms: int, origin: Origin) -> BatchHeader | Rejection:
    """Check the first batch in `data`, which may come from anyone.

    Args:
        data: begins with a batch; what follows the batch is the caller's business.
        now_ms: wall time, for timestamps in bounds.
        origin: the broker's own batches may be control batches and larger than `max.message.bytes`, and may have any base
            offset; a client's is alone and has none (KIP-98).
    Returns:
        The header, each of whose fields has been checked against the others, or the reason to refuse.
    """
    there = len(data)
    if there < LOG_OVERHEAD + 5:
        return Rejection(ErrorCode.invalid_record, f"{there} bytes are too few for a record batch")
    if data[16] != MAGIC:
        return _wrong_magic(data[16])
    if there < HEADER_SIZE:
        return Rejection(ErrorCode.invalid_record, f"{there} bytes are too few for a record batch header")
    header = BatchHeader._make(HEADER.unpack_from(data))
    size = header.length + LOG_OVERHEAD
    if size < HEADER_SIZE or size > there:
        error = ErrorCode.corrupt_message if size < HEADER_SIZE else ErrorCode.invalid_record  # as Kafka tells them apart
        return Rejection(error, f"the batch says that it has {size} bytes, there are {there}")
    if origin == "client" and (size < there or header.base_offset or size > config.max_message_bytes):
        return _not_a_clients(header, size < there, config)
    if crc32c(data[CRC_START:size]) != header.crc:
        return Rejection(ErrorCode.corrupt_message, "the CRC of the batch is wrong")
    return (
        _check_counts(header)
        or _check_attributes(header, origin)
        or _check_times(header, config, now_ms)
        or (None if header.attributes & CODEC_MASK else check_count(bytes(data[HEADER_SIZE:size]), header))
        or header
    )


def _wrong_magic(magic: int) -> Rejection:
    if magic < MAGIC:  # what Kafka answers to Produce v3 and later
        return Rejection(ErrorCode.invalid_record, f"record batches have magic 2; these are messages of magic {magic}")
    return Rejection(ErrorCode.corrupt_message, f"magic {magic} is unknown")


def _not_a_clients(header: BatchHeader, more_follows: bool, config: LogConfig) -> Rejection:
    if more_follows:
        return Rejection(ErrorCode.invalid_record, "a Produce request has exactly one record batch per partition")
    if header.base_offset:
        return Rejection(ErrorCode.invalid_record, f"the base offset of a batch must be 0, not {header.base_offset}")
    return Rejection(
        ErrorCode.message_too_large, f"the batch has {header.size} bytes, max.message.bytes is {config.max_message_bytes}"
    )


def _check_counts(header: BatchHeader) -> Rejection | None:
    count = header.record_count
    if count < 1 or header.last_offset_delta != count - 1:
        return Rejection(
            ErrorCode.invalid_record, f"{count} records do not fit a last offset delta of {header.last_offset_delta}"
        )
    room = header.length + LOG_OVERHEAD - HEADER_SIZE
    if room < (MIN_RECORD_SIZE * count if header.attributes & CODEC_MASK == 0 else 1):
        return Rejection(ErrorCode.invalid_record, f"{count} records do not fit into {room} bytes")
    return None


def check_count(records: bytes, header: BatchHeader) -> Rejection | None:
    """That as many records are there, inflated, as the header says: else every reader of the partition would stop here."""
    found = count_records(records)
    if found == header.record_count:
        return None
    what = "its records do not end where it ends" if found is None else f"it has {found}"
    return Rejection(ErrorCode.invalid_record, f"the batch says that it has {header.record_count} records, and {what}")


def count_records(records: bytes) -> int | None:
    """How many records lie here, one after another, by their lengths alone; None if the last does not end at the end.

    The lengths are zig-zag varints. Mostly they have one or two bytes, and a batch may hold 100,000 of them: hence the shape,
    and that records of one length that follow one another, as they do in many batches, are counted together (0.002 to 0.01 µs
    each, others 0.14).
    """
    position, end, count, odd, before, run_from = 0, len(records), 0, 0, -1, 0
    try:
        while position < end:
            start = position
            size = records[position]
            position += 1
            if size >= 0x80:
                size &= 0x7F
                shift = 7
                while True:
                    byte = records[position]
                    position += 1
                    size |= (byte & 0x7F) << shift
                    if byte < 0x80:
                        break
                    shift += 7
                    if shift > _LENGTH_BITS:
                        return None
            if size == before and count >= run_from:
                step = position - start + (size >> 1)
                run = _run(records, start, records[start:position], step)
                count += run
                position = start + run * step
                if run < _SHORT_RUN:
                    run_from = count + 4 * _SHORT_RUN
                continue
            before = size
            odd |= size
            position += size >> 1
            count += 1
    except IndexError:
        return None
    return count if position == end and not odd & 1 else None  # odd: a negative length


def _run(records: bytes, position: int, length: bytes, step: int) -> int:
    """How many records of `step` bytes follow one another, each beginning with `length`; the one at `position` does."""
    run, window = 0, _SHORT_RUN
    while True:
        begin = position + run * step
        columns = [records[begin + at : begin + window * step : step] for at in range(len(length))]
        same = min(len(column) - len(column.lstrip(length[at : at + 1])) for at, column in enumerate(columns))
        run += same
        if same < window:
            return run
        window *= 4


def _check_attributes(header: BatchHeader, origin: Origin) -> Rejection | None:
    attributes = header.attributes
    if attributes & CODEC_MASK > MAX_CODEC:
        return Rejection(ErrorCode.unsupported_compression_type, f"compression codec {attributes & CODEC_MASK} is unknown")
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        return Rejection(ErrorCode.invalid_record, "a batch with a producer id needs a sequence and an epoch from 0 on")
    if origin == "internal" or not attributes & ~(CODEC_MASK | LOG_APPEND_TIME):
        return None
    if attributes & CONTROL:
        return Rejection(ErrorCode.invalid_record, "clients may not write control batches")
    if attributes & TRANSACTIONAL:
        return Rejection(ErrorCode.invalid_txn_state, "this broker has no transactions")
    return Rejection(ErrorCode.invalid_record, f"attributes {attributes:#x} have bits that clients may not set")


def _check_times(header: BatchHeader, config: LogConfig, now_ms: int) -> Rejection | None:
    if header.attributes & LOG_APPEND_TIME:
        return Rejection(ErrorCode.invalid_timestamp, "only the broker may set the timestamp type LogAppendTime")
    if config.stamps_append_time:
        return None
    first, last = header.base_timestamp, header.max_timestamp
    if first < NO_TIMESTAMP or last < NO_TIMESTAMP:
        return Rejection(ErrorCode.invalid_timestamp, f"timestamps {first} to {last} are negative")
    if last < first and last != NO_TIMESTAMP:
        return Rejection(ErrorCode.invalid_timestamp, f"the batch's max timestamp {last} is before its base timestamp {first}")
    if last - now_ms > config.message_timestamp_after_max_ms:
        return Rejection(ErrorCode.invalid_timestamp, f"timestamp {last} is too far after the broker's time {now_ms}")
    if first != NO_TIMESTAMP and now_ms - first > config.message_timestamp_before_max_ms:
        return Rejection(ErrorCode.invalid_timestamp, f"timestamp {first} is too far before the broker's time {now_ms}")
    return None


def lacks_max_timestamp(header: BatchHeader) -> bool:
    """Whether records have times and the header does not say the latest: all Sarama before 1.45.1."""
    return header.max_timestamp == NO_TIMESTAMP < header.base_timestamp


def stamped(data: memoryview, header: BatchHeader, base_offset: int, leader_epoch: int) -> tuple[Buffer, Buffer]:
    """The batch as it goes into the log, in two pieces to write one after another; the given bytes are not changed."""
    return _OFFSET_LENGTH_EPOCH.pack(base_offset, header.length, leader_epoch), data[16:]


def with_append_time(data: memoryview, header: BatchHeader, now_ms: int) -> tuple[memoryview, BatchHeader]:
    """A copy whose timestamp type is LogAppendTime and whose max timestamp is `now_ms`; this changes the CRC."""
    return _with_header(data, header._replace(attributes=header.attributes | LOG_APPEND_TIME, max_timestamp=now_ms))


def with_max_timestamp(data: memoryview, header: BatchHeader, max_timestamp_ms: int) -> tuple[memoryview, BatchHeader]:
    """A copy that says its latest time; this changes the CRC."""
    return _with_header(data, header._replace(max_timestamp=max_timestamp_ms))


def with_records(header: BatchHeader, codec: int, records: bytes) -> tuple[memoryview, BatchHeader]:
    """The batch with its records in another encoding."""
    changed = header._replace(
        length=HEADER_SIZE - LOG_OVERHEAD + len(records), attributes=header.attributes & ~CODEC_MASK | codec
    )
    return _sealed(bytearray(HEADER_SIZE) + records, changed)


def _with_header(data: memoryview, changed: BatchHeader) -> tuple[memoryview, BatchHeader]:
    return _sealed(bytearray(data[: changed.size]), changed)


def _sealed(batch: bytearray, header: BatchHeader) -> tuple[memoryview, BatchHeader]:
    """The bytes under this header, with the CRC that fits."""
    HEADER.pack_into(batch, 0, *header)
    header = header._replace(crc=crc32c(memoryview(batch)[CRC_START:]))
    HEADER.pack_into(batch, 0, *header)
    return memoryview(batch), header
