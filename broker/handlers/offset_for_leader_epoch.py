"""OffsetForLeaderEpoch v2-4: where a leader epoch ended, so that a consumer notices truncation (KIP-320). v4 is flexible."""

from collections.abc import Generator
from functools import partial
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Steps
from headrace.broker.handlers.steps import TOPICS_AT_A_TIME, mapped
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode


def _handle(broker: Broker, context: RequestContext, request: Any) -> Steps:
    topics = []
    for topic in request.topics:
        topics.append((yield from _topic(broker, context, topic)))
        if len(topics) % TOPICS_AT_A_TIME == 0:
            yield
    return {"topics": topics}


def _topic(broker: Broker, context: RequestContext, topic: Any) -> Generator[None, None, dict[str, Any]]:
    may = context.sees_cluster(Operation.CLUSTER_ACTION) or context.may(Operation.DESCRIBE, ResourceType.TOPIC, topic.topic)
    if not may:
        refused = [_answer(asked.partition, ErrorCode.topic_authorization_failed, -1, -1) for asked in topic.partitions]
        return {"topic": topic.topic, "partitions": refused}
    partitions = yield from mapped(partial(_partition, broker, topic.topic), topic.partitions)
    return {"topic": topic.topic, "partitions": partitions}


def _partition(broker: Broker, topic: str, asked: Any) -> dict[str, Any]:
    log = broker.logs.get(topic, asked.partition)
    if log is None:
        return _answer(asked.partition, ErrorCode.unknown_topic_or_partition, -1, -1)
    if log.fenced:
        return _answer(asked.partition, ErrorCode.kafka_storage_error, -1, -1)
    if asked.current_leader_epoch > log.leader_epoch:
        return _answer(asked.partition, ErrorCode.unknown_leader_epoch, -1, -1)
    if 0 <= asked.current_leader_epoch < log.leader_epoch:
        return _answer(asked.partition, ErrorCode.fenced_leader_epoch, -1, -1)
    epoch, end_offset = log.end_offset_for_epoch(asked.leader_epoch)
    return _answer(asked.partition, ErrorCode.none, epoch, end_offset)


def _answer(partition: int, error: int, epoch: int, end_offset: int) -> dict[str, Any]:
    return {"error_code": error, "partition": partition, "leader_epoch": epoch, "end_offset": end_offset}


OFFSET_FOR_LEADER_EPOCH = Api(23, "OffsetForLeaderEpoch", 2, 4, _handle)
