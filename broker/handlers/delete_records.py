"""DeleteRecords v0-2 (KIP-107): everything before an offset is gone, durably, when the answer leaves.

-1 means the high watermark. v2 is flexible. The answer's low watermark is the log start offset; -1 with an error. Segments that
lie wholly before it are taken away at once, and their files after `file.delete.delay.ms`.
"""

from functools import partial
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Response, Steps
from headrace.broker.handlers.steps import mapped
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import INTERNAL_TOPICS
from headrace.broker.wire import ErrorCode

_HIGH_WATERMARK = -1


def _handle(broker: Broker, context: RequestContext, request: Any) -> Steps:
    results = []
    for topic in request.topics:
        delete = partial(_partition, broker, context, topic.name)
        results.append({"name": topic.name, "partitions": (yield from mapped(delete, topic.partitions, at_a_time=10))})
    if any(not partition["error_code"] for topic in results for partition in topic["partitions"]):
        return _durably(broker, {"topics": results})
    return {"topics": results}


def _partition(broker: Broker, context: RequestContext, topic: str, asked: Any) -> dict[str, Any]:
    error, low_watermark = _delete(broker, context, topic, asked)
    return {"partition_index": asked.partition_index, "low_watermark": low_watermark, "error_code": int(error)}


def _delete(broker: Broker, context: RequestContext, topic: str, asked: Any) -> tuple[ErrorCode, int]:
    if not context.may(Operation.DELETE, ResourceType.TOPIC, topic):
        return ErrorCode.topic_authorization_failed, -1
    log = broker.logs.get(topic, asked.partition_index)
    if log is None:
        return ErrorCode.unknown_topic_or_partition, -1
    if topic in INTERNAL_TOPICS:
        return ErrorCode.invalid_topic_exception, -1
    if log.fenced:
        return ErrorCode.kafka_storage_error, -1
    if not log.config.deletes:
        return ErrorCode.policy_violation, -1
    offset = log.high_watermark if asked.offset == _HIGH_WATERMARK else asked.offset
    if not 0 <= offset <= log.high_watermark:
        return ErrorCode.offset_out_of_range, -1
    broker.housekeeping.delete_records(log, offset)
    return ErrorCode.none, log.log_start_offset


async def _durably(broker: Broker, answer: dict[str, Any]) -> Response:
    """Answer when the log start offsets are on disk; else a crash could bring back what was deleted."""
    if not await broker.housekeeping.log_starts_durable():
        for topic in answer["topics"]:
            for partition in topic["partitions"]:
                if not partition["error_code"]:
                    partition.update(error_code=int(ErrorCode.kafka_storage_error), low_watermark=-1)
    return answer


DELETE_RECORDS = Api(21, "DeleteRecords", 0, 2, _handle)
