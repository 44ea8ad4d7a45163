"""What a client's bytes must pass before they become part of a log: pure, and without a look at the log's state.

    admitted     on the loop: the header, whose every field is checked against the others, and the CRC
    inspected    anywhere: what one must decompress for (the count of records, keys on a compacted topic, a latest time that the
                 client has left to us), and the records in the topic's own codec
    PartitionLog on the loop: whether the producer may write it next; stamps and writes

Decompressing and compressing release the GIL, so a thread is enough for what is slow (ADR 0023). Records are not touched: what
is compressed again holds the same bytes. Source: Kafka's LogValidator, KIP-390.
"""

from typing import NamedTuple

from headrace.broker.log.batch import (
    CODEC_MASK,
    HEADER_SIZE,
    NO_TIMESTAMP,
    BatchHeader,
    Rejection,
    check_batch,
    check_count,
    lacks_max_timestamp,
    with_max_timestamp,
    with_records,
)
from headrace.broker.log.compression import MAX_INFLATED_SIZE, NONE, TooLargeError, compress, decompress
from headrace.broker.log.config import LogConfig
from headrace.broker.log.record import has_null_key, latest_of
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError

QUICK_BYTES = 16 * 1024
"""Batches of so many bytes, inflated, are inspected on the loop: 30 µs, with gzip anew 0.3 ms; a thread costs 0.1 ms."""


_AS_IT_IS = ("producer", "uncompressed")


class Admitted(NamedTuple):
    """One batch, and its header as parsed; its base offset and leader epoch are not stamped yet."""

    data: memoryview
    header: BatchHeader


def admitted(records: memoryview, config: LogConfig, *, now_ms: int) -> Admitted | Rejection:
    """Check what a client wants to append, but for what is inside.

    Args:
        records: all that the client sent for the partition.
        now_ms: wall time, for timestamps in bounds.
    """
    header = check_batch(records, config=config, now_ms=now_ms, origin="client")
    if isinstance(header, Rejection):
        return header
    if header.size != len(records):
        return Rejection(ErrorCode.invalid_record, "a Produce request has exactly one record batch per partition")
    if header.base_offset != 0:
        return Rejection(ErrorCode.invalid_record, f"the base offset of a batch must be 0, not {header.base_offset}")
    return Admitted(records, header)


def is_inspected(batch: Admitted, config: LogConfig) -> bool:
    """Whether nothing is left to do: not compressed, and nobody asks for keys, a time or a codec."""
    header = batch.header
    return (  # compared with fields, not asked of properties: this is on the path of every batch
        header.attributes & CODEC_MASK == NONE
        and config.compression_type in _AS_IT_IS
        and config.cleanup_policy == "delete"
        and (header.max_timestamp != NO_TIMESTAMP or config.stamps_append_time or not lacks_max_timestamp(header))
    )


def inspected(batch: Admitted, config: LogConfig, *, now_ms: int, limit: int = MAX_INFLATED_SIZE) -> Admitted | Rejection:
    """The batch as it is to be stored, or why it is not; on any thread.

    Raises:
        TooLargeError: it inflates to more than `limit` bytes, which is less than the most that is taken.
    """
    if is_inspected(batch, config):
        return batch
    try:
        inflated = decompress(batch.header.codec, batch.data[HEADER_SIZE:], limit=limit)
        return _with_look_inside(batch, bytes(inflated), config, now_ms)
    except TooLargeError as error:
        if limit < MAX_INFLATED_SIZE:
            raise
        return Rejection(ErrorCode.message_too_large, str(error))
    except CorruptError as error:
        return Rejection(ErrorCode.corrupt_message, str(error))


def _with_look_inside(batch: Admitted, inflated: bytes, config: LogConfig, now_ms: int) -> Admitted | Rejection:
    data, header = batch
    miscounted = None if header.codec == NONE else check_count(inflated, header)
    if miscounted is not None:
        return miscounted
    if config.compacts and has_null_key(inflated):
        return Rejection(ErrorCode.invalid_record, "every record of a compacted topic needs a key")
    if lacks_max_timestamp(header) and not config.stamps_append_time:
        data, _ = with_max_timestamp(data, header, latest_of(memoryview(inflated), header))
        checked = check_batch(data, config=config, now_ms=now_ms, origin="client")
        if isinstance(checked, Rejection):
            return checked
        header = checked
    if config.codec is None or config.codec == header.codec:
        return Admitted(data, header)
    return _compressed_anew(header, config.codec, inflated, config)


def _compressed_anew(header: BatchHeader, codec: int, inflated: bytes, config: LogConfig) -> Admitted | Rejection:
    again = Admitted(*with_records(header, codec, compress(codec, inflated, config.codec_level)))
    if again.header.size > config.max_message_bytes:  # as Kafka, which asks before and after
        return Rejection(
            ErrorCode.message_too_large,
            f"as {config.compression_type} the batch has {again.header.size} bytes, {config.max_message_bytes} are allowed",
        )
    return again
