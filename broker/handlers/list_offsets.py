"""ListOffsets v1-10. v2 isolation, v4 leader epochs, v6 flexible, v7 -3, v8 -4, v9 -5, v10 a timeout.

Special timestamps: -1 the end that may be read, -2 the start, -3 the record with the greatest timestamp, -4 the start of
what is local (all is), -5 the end of what is tiered (nothing is). No match is offset -1; an unknown special is
UNSUPPORTED_VERSION.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Response, Steps
from headrace.broker.handlers.steps import TOPICS_AT_A_TIME, mapped
from headrace.broker.log.lookup import BatchAt, SlowLookError
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Rest
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

_LATEST, _EARLIEST, _MAX_TIMESTAMP, _EARLIEST_LOCAL, _LATEST_TIERED = -1, -2, -3, -4, -5
_SINCE_VERSION = {_LATEST: 0, _EARLIEST: 0, _MAX_TIMESTAMP: 7, _EARLIEST_LOCAL: 8, _LATEST_TIERED: 9}
_NONE = (-1, -1, -1)
_AT_A_TIME = 8  # to look into a batch takes up to 0.2 ms
_LONG_RECORDS = 20_000  # of a batch: to look at so many takes some 0.1 s
_Late = tuple[dict[str, Any], PartitionLog, int]
_Found = tuple[int, int, int]  # offset, timestamp, leader epoch: -1 for what there is not
T = TypeVar("T")


def _handle(broker: Broker, context: RequestContext, request: Any) -> Steps:
    topics = []
    late: list[_Late] = []
    for topic in request.topics:
        may = context.may(Operation.DESCRIBE, ResourceType.TOPIC, topic.name)
        partition = partial(_partition, broker, context.api_version, topic.name, late, may=may)
        found = yield from mapped(partition, topic.partitions, at_a_time=_AT_A_TIME)
        topics.append({"name": topic.name, "partitions": found})
        if len(topics) % TOPICS_AT_A_TIME == 0:
            yield
    return _when_found(broker, {"topics": topics}, late) if late else {"topics": topics}


def _partition(broker: Broker, version: int, topic: str, late: list[_Late], asked: Any, *, may: bool) -> dict[str, Any]:
    log = broker.logs.get(topic, asked.partition_index)
    answer = {"partition_index": asked.partition_index}
    if not may:
        return answer | _told(error=ErrorCode.topic_authorization_failed)
    if log is None:
        return answer | _told(error=ErrorCode.unknown_topic_or_partition)
    if log.fenced:
        return answer | _told(error=ErrorCode.kafka_storage_error)
    if asked.current_leader_epoch > log.leader_epoch:
        return answer | _told(error=ErrorCode.unknown_leader_epoch)
    if asked.timestamp < 0 and _SINCE_VERSION.get(asked.timestamp, 1 << 15) > version:
        return answer | _told(error=ErrorCode.unsupported_version)
    try:
        answer |= _told(*_found_at_once(log, asked.timestamp))
    except SlowLookError:
        late.append((answer, log, asked.timestamp))
    except StorageError:
        answer |= _told(error=ErrorCode.kafka_storage_error)
    return answer


def _told(
    offset: int = -1, timestamp: int = -1, leader_epoch: int = -1, *, error: ErrorCode = ErrorCode.none
) -> dict[str, Any]:
    return {"error_code": int(error), "timestamp": timestamp, "offset": offset, "leader_epoch": leader_epoch}


def _found_at_once(log: PartitionLog, timestamp: int) -> _Found:
    """What need not be looked for, or is found with one quick look.

    Raises:
        SlowLookError: it takes more. StorageError: the disk fails.
    """
    if timestamp == _LATEST:
        return log.high_watermark, -1, log.leader_epoch
    if timestamp in (_EARLIEST, _EARLIEST_LOCAL):
        return log.log_start_offset, -1, log.leader_epoch
    if timestamp == _MAX_TIMESTAMP:
        raise SlowLookError
    batch = log.batch_not_before(timestamp, log.log_start_offset) if timestamp >= 0 else None
    if batch is None:
        return _NONE
    found = log.looked(partial(batch.first_at_once, timestamp, log.log_start_offset))
    if found is None:  # a batch behind it may have it
        raise SlowLookError
    return _exposed(log, batch, found)


def _exposed(log: PartitionLog, batch: BatchAt, found: tuple[int, int]) -> _Found:
    return (*found, batch.header.leader_epoch) if found[0] < log.high_watermark else _NONE


async def _when_found(broker: Broker, response: Response, late: Sequence[_Late]) -> Response:
    """The answer, when every record has been looked for."""
    for answer, log, timestamp in late:
        try:
            answer |= _told(*await _find(broker, log, timestamp))
        except StorageError:
            answer |= _told(error=ErrorCode.kafka_storage_error)
    return response


async def _find(broker: Broker, log: PartitionLog, timestamp: int) -> _Found:
    if timestamp == _MAX_TIMESTAMP:
        timestamp, part = log.greatest_timestamp()
        if part is not None:
            timestamp = max(timestamp, await _looked(broker, log, part.greatest_timestamp, is_long=True))
        if timestamp < 0:
            return _NONE
    offset = log.log_start_offset
    while (batch := log.batch_not_before(timestamp, offset)) is not None:
        look = partial(batch.first_at_or_after, timestamp, offset)
        found = await _looked(broker, log, look, is_long=batch.header.record_count > _LONG_RECORDS)
        if found is not None:
            return _exposed(log, batch, found)
        offset = batch.header.last_offset + 1
    return _NONE


async def _looked(broker: Broker, log: PartitionLog, look: Callable[[Rest], T], *, is_long: bool) -> T:
    """What a look into batches finds: it reads, decompresses and counts, which may take long, so a thread does it."""
    try:
        return await broker.appends.look_into(look, is_long=is_long)
    except OSError as error:
        log.fence(error)
        raise StorageError(f"{log.path}: {error.strerror or error}") from error


LIST_OFFSETS = Api(2, "ListOffsets", 1, 10, _handle)
