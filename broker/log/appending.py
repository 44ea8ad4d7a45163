"""What a client's bytes must pass before they become part of a log: pure, and without a look at the log's state.

`checked` is the first half of an append: it tells whether the bytes are one batch that this topic takes, and gives the batch
as it will be stored, but for what is stamped when its offset is known. The second half (`PartitionLog.append`) asks whether
the producer may write it next, and writes. Source: Kafka's LogValidator.
"""

from typing import NamedTuple

from headrace.broker.log.batch import (
    BatchHeader,
    Rejection,
    check_batch,
    lacks_max_timestamp,
    with_max_timestamp,
)
from headrace.broker.log.config import LogConfig
from headrace.broker.log.record import has_null_key, latest_timestamp
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError


class Checked(NamedTuple):
    """One batch that may be written, and its header as parsed; its base offset and leader epoch are not stamped yet."""

    data: memoryview
    header: BatchHeader


def checked(records: memoryview, config: LogConfig, *, now_ms: int) -> Checked | Rejection:
    """Check what a client wants to append.

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
    try:
        if config.compacts and has_null_key(records):
            return Rejection(ErrorCode.invalid_record, "every record of a compacted topic needs a key")
        if lacks_max_timestamp(header) and not config.stamps_append_time:
            return _with_max_timestamp(records, header, config, now_ms)
    except CorruptError as error:
        return Rejection(ErrorCode.corrupt_message, str(error))
    return Checked(records, header)


def _with_max_timestamp(records: memoryview, header: BatchHeader, config: LogConfig, now_ms: int) -> Checked | Rejection:
    """The batch with the latest of its records' times, which the client has left to us, if that is in bounds."""
    data, header = with_max_timestamp(records, header, latest_timestamp(records))
    again = check_batch(data, config=config, now_ms=now_ms, origin="client")
    return again if isinstance(again, Rejection) else Checked(data, header)
