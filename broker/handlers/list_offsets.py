"""ListOffsets v1-10. v2 isolation, v4 leader epochs, v6 flexible, v7 -3, v8 -4, v9 -5, v10 a timeout.

Special timestamps: -1 the end that may be read, -2 the start, -3 the record with the greatest timestamp, -4 the start of
what is local (all is), -5 the end of what is tiered (nothing is). No match is offset -1; an unknown special is
UNSUPPORTED_VERSION.
"""

from functools import partial
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Steps
from headrace.broker.handlers.steps import TOPICS_AT_A_TIME, mapped
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

_LATEST, _EARLIEST, _MAX_TIMESTAMP, _EARLIEST_LOCAL, _LATEST_TIERED = -1, -2, -3, -4, -5
_SINCE_VERSION = {_LATEST: 0, _EARLIEST: 0, _MAX_TIMESTAMP: 7, _EARLIEST_LOCAL: 8, _LATEST_TIERED: 9}
_NONE = (-1, -1, -1)


def _handle(broker: Broker, context: RequestContext, request: Any) -> Steps:
    topics = []
    for topic in request.topics:
        may = context.may(Operation.DESCRIBE, ResourceType.TOPIC, topic.name)
        partition = partial(_partition, broker, context.api_version, topic.name, may=may)
        topics.append({"name": topic.name, "partitions": (yield from mapped(partition, topic.partitions))})
        if len(topics) % TOPICS_AT_A_TIME == 0:
            yield
    return {"topics": topics}


def _partition(broker: Broker, version: int, topic: str, asked: Any, *, may: bool) -> dict[str, Any]:
    log = broker.log(topic, asked.partition_index)
    found, error = _NONE, int(ErrorCode.none)
    if not may:
        error = ErrorCode.topic_authorization_failed
    elif log is None:
        error = ErrorCode.unknown_topic_or_partition
    elif log.fenced:
        error = ErrorCode.kafka_storage_error
    elif asked.current_leader_epoch > log.leader_epoch:
        error = ErrorCode.unknown_leader_epoch
    elif asked.timestamp < 0 and _SINCE_VERSION.get(asked.timestamp, 1 << 15) > version:
        error = ErrorCode.unsupported_version
    else:
        try:
            found = _find(log, asked.timestamp)
        except StorageError:
            error = ErrorCode.kafka_storage_error
    offset, timestamp, leader_epoch = found
    return {
        "partition_index": asked.partition_index,
        "error_code": error,
        "timestamp": timestamp,
        "offset": offset,
        "leader_epoch": leader_epoch,
    }


def _find(log: PartitionLog, timestamp: int) -> tuple[int, int, int]:
    """(offset, timestamp, leader epoch), -1 for what there is not."""
    if timestamp == _LATEST:
        return log.high_watermark, -1, log.leader_epoch
    if timestamp in (_EARLIEST, _EARLIEST_LOCAL):
        return log.log_start_offset, -1, log.leader_epoch
    if timestamp == _LATEST_TIERED:
        return _NONE
    if timestamp == _MAX_TIMESTAMP:
        return log.max_timestamp_offset() or _NONE
    return log.offset_for_timestamp(timestamp) or _NONE


LIST_OFFSETS = Api(2, "ListOffsets", 1, 10, _handle)
