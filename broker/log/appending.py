"""What a client's bytes must pass before they become part of a log: pure, and without a look at the log's state.

    check_batch  on the loop: the header, whose every field is checked against the others, and the CRC
    inspected    anywhere: what one must decompress for (the count of records, keys on a compacted topic, a latest time that the
                 client has left to us), and the records in the topic's own codec
    PartitionLog on the loop: whether the producer may write it next; stamps and writes

Decompressing and compressing release the GIL, so a thread is enough for what is slow (ADR 0023). Records are not touched: what
is compressed again holds the same bytes. Source: Kafka's LogValidator, KIP-390.
"""

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

Batch = tuple[memoryview, BatchHeader]
"""One batch, and its header as parsed; its base offset and leader epoch are not stamped yet."""

_QUICK_BYTES = 16 * 1024  # inspected on the loop takes 30 µs, with gzip anew 0.3 ms; a thread costs 0.1 ms


def inspected(batch: Batch, config: LogConfig, *, now_ms: int) -> Batch | Rejection:
    """The batch as it is to be stored, or why it is not; on any thread. `now_ms`: wall time, for timestamps in bounds."""
    if is_inspected(batch[1], config):
        return batch
    try:
        return _looked_into(batch, config, now_ms, MAX_INFLATED_SIZE)
    except TooLargeError as error:
        return Rejection(ErrorCode.message_too_large, str(error))


def inspected_quickly(batch: Batch, config: LogConfig, *, now_ms: int) -> Batch | Rejection | None:
    """The same of a batch that is not, or None where it may take longer than the loop can wait."""
    if batch[1].size > _QUICK_BYTES:
        return None
    try:
        return _looked_into(batch, config, now_ms, _QUICK_BYTES)
    except TooLargeError:
        return None


def is_inspected(header: BatchHeader, config: LogConfig) -> bool:
    """Whether nothing is left to do: not compressed, and nobody asks for keys, a time or a codec."""
    return not (
        header.attributes & CODEC_MASK
        or config.looks_inside
        or (header.max_timestamp == NO_TIMESTAMP and lacks_max_timestamp(header) and not config.stamps_append_time)
    )


def _looked_into(batch: Batch, config: LogConfig, now_ms: int, limit: int) -> Batch | Rejection:
    """
    Raises:
        TooLargeError: it inflates to more than `limit` bytes.
    """
    data, header = batch
    try:
        return _with_look_inside(batch, bytes(decompress(header.codec, data[HEADER_SIZE:], limit=limit)), config, now_ms)
    except TooLargeError:
        raise
    except CorruptError as error:
        return Rejection(ErrorCode.corrupt_message, str(error))


def _with_look_inside(batch: Batch, inflated: bytes, config: LogConfig, now_ms: int) -> Batch | Rejection:
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
        return data, header
    return _compressed_anew(header, config.codec, inflated, config)


def _compressed_anew(header: BatchHeader, codec: int, inflated: bytes, config: LogConfig) -> Batch | Rejection:
    data, again = with_records(header, codec, compress(codec, inflated, config.codec_level))
    if again.size > config.max_message_bytes:  # as Kafka, which asks before and after
        return Rejection(
            ErrorCode.message_too_large,
            f"as {config.compression_type} the batch has {again.size} bytes, {config.max_message_bytes} are allowed",
        )
    return data, again
