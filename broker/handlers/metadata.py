"""Metadata v0-12: brokers, topics, partitions; makes topics that are asked for where it may.

v0: no topics named means all; v1+: null means all, an empty list none; v4+ the client says whether topics may be made; v5
offline replicas; v7 leader epochs; v8-10 authorized operations of the cluster; v10 topic ids (never zero, or clients fall
back to Fetch v12); v12 topics by id. v13 would add re-bootstrapping (KIP-1102), which one broker never asks for.

A partition that is offline has no leader, LEADER_NOT_AVAILABLE, as in Kafka (KRaftMetadataCache, KIP-112): clients keep what is
for it, and ask again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from headrace.broker.broker import Broker
from headrace.broker.coordination.store import TopicRecord
from headrace.broker.handlers.api import Answer, Api, Encoded, RequestContext, Response, Steps
from headrace.broker.handlers.steps import TOPICS_AT_A_TIME, mapped
from headrace.broker.handlers.topic_creation import auto_create, may_create, name_error
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import INTERNAL_TOPICS
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.schema import request_codec

_KEY = 3
_SERVED = (0, 12)
_THROTTLE_TIME_FROM_VERSION = 3
_ABSENT = -(1 << 31)
_NO_LEADER = -1


def _all_topics(broker: Broker, context: RequestContext) -> bytes:
    """The encoded answer "all topics", kept while no topic changes: consumers with patterns ask it again and again.

    Not for when a partition is offline, which would be told too late.
    """
    key = (_KEY, context.api_version, context.session.advertised)
    if key not in broker.topics.encoded:
        topics = [_described(broker, topic, _ABSENT) for topic in broker.topics.all()]
        codec = request_codec(_KEY, context.api_version, _SERVED)
        broker.topics.encoded[key] = codec.encode_body(_response(broker, context, topics, _ABSENT))
    return broker.topics.encoded[key]


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    with_operations = request.include_topic_authorized_operations
    with_cluster = getattr(request, "include_cluster_authorized_operations", False)  # v8-10

    def respond(topics: list[dict[str, Any]]) -> Response:
        return _response(broker, context, topics, context.cluster_operations() if with_cluster else _ABSENT)

    def described(describe: Callable[[Any], dict[str, Any]], topics: Iterable[Any]) -> Steps:
        return respond((yield from mapped(describe, topics, at_a_time=TOPICS_AT_A_TIME)))

    def one(errors: Mapping[str, int]) -> Callable[[Any], dict[str, Any]]:
        return lambda asked: _one(broker, context, asked, errors, with_operations=with_operations)

    if request.topics is None or (context.api_version == 0 and not request.topics):
        every = broker.topics.all()
        seen = [topic for topic in every if _may_see(context, topic.name)]
        shows_all = len(seen) == len(every) and not with_operations and not with_cluster
        if shows_all and not broker.logs.has_offline_partition:
            return Encoded([_all_topics(broker, context)], 0 if context.api_version >= _THROTTLE_TIME_FROM_VERSION else None)
        return described(lambda topic: _described(broker, topic, _operations(context, topic, asked=with_operations)), seen)

    if not (request.allow_auto_topic_creation and broker.config.auto_create_topics_enable):
        return described(one({}), request.topics)
    absent = [asked.name for asked in request.topics if _can_be_made(broker, context, asked.name, asked.topic_id)]
    refused = {name: ErrorCode.topic_authorization_failed for name in absent if not may_create(context, name)}
    makes = [name for name in absent if name not in refused]
    if not makes:
        return described(one(refused), request.topics)
    by = str(context.session.principal)
    return _answer_once_made(broker, makes, by, refused, lambda errors: respond(list(map(one(errors), request.topics))))


def _may_see(context: RequestContext, topic: str) -> bool:
    return context.sees(Operation.DESCRIBE, ResourceType.TOPIC, topic)


def _may_describe(context: RequestContext, topic: str) -> bool:
    return context.may(Operation.DESCRIBE, ResourceType.TOPIC, topic)


def _operations(context: RequestContext, topic: TopicRecord, *, asked: bool) -> int:
    return context.operations(ResourceType.TOPIC, topic.name) if asked else _ABSENT


def _can_be_made(broker: Broker, context: RequestContext, name: str | None, topic_id: UUID | None) -> bool:
    if topic_id is not None or name is None or not _may_see(context, name):
        return False
    return not name_error(name) and broker.topics.get(name) is None


async def _answer_once_made(
    broker: Broker, names: list[str], by: str, refused: Mapping[str, int], answer: Callable[[Mapping[str, int]], Response]
) -> Response:
    return answer({**refused, **{name: await auto_create(broker, name, by=by) for name in names}})


def _response(broker: Broker, context: RequestContext, topics: list[dict[str, Any]], operations: int) -> dict[str, Any]:
    host, port = context.session.advertised
    return {
        "brokers": [{"node_id": broker.node_id, "host": host, "port": port}],
        "cluster_id": broker.cluster_id,
        "controller_id": broker.node_id,
        "topics": topics,
        "cluster_authorized_operations": operations,
    }


def _one(
    broker: Broker, context: RequestContext, asked: Any, errors: Mapping[str, int], *, with_operations: bool
) -> dict[str, Any]:
    """One topic, by id or by name; `errors` are those of making it. What may not be seen answers the same, there or not.

    Ids are no secret, as in Kafka; the name of a topic is told only to who may see it.
    """
    name, topic_id = asked.name, asked.topic_id
    if topic_id is not None:
        topic = broker.topics.by_id(topic_id)
        if topic is None:
            return _missing(ErrorCode.unknown_topic_id, None, topic_id)
        if not _may_describe(context, topic.name):
            return _missing(ErrorCode.topic_authorization_failed, None, topic_id)
        return _described(broker, topic, _operations(context, topic, asked=with_operations))
    if name is not None and not _may_describe(context, name):
        return {**_missing(ErrorCode.topic_authorization_failed, name, None), "is_internal": False}
    error: int = name_error(name)
    if error or name is None:
        return _missing(error or ErrorCode.invalid_topic_exception, name or "", None)
    topic = broker.topics.get(name)
    if topic is None:
        return _missing(errors.get(name) or ErrorCode.unknown_topic_or_partition, name, None)
    return _described(broker, topic, _operations(context, topic, asked=with_operations))


def _missing(error: int, name: str | None, topic_id: UUID | None) -> dict[str, Any]:
    return {
        "error_code": error,
        "name": name,
        "topic_id": topic_id,
        "is_internal": name in INTERNAL_TOPICS,
        "partitions": [],
    }


def _described(broker: Broker, topic: TopicRecord, operations: int) -> dict[str, Any]:
    logs = [broker.logs.get(topic.name, partition) for partition in range(topic.partitions)]
    return {
        "error_code": 0,
        "name": topic.name,
        "topic_id": topic.topic_id,
        "is_internal": topic.name in INTERNAL_TOPICS,
        "partitions": [_partition(broker.node_id, partition, log) for partition, log in enumerate(logs)],
        "topic_authorized_operations": operations,
    }


def _partition(node_id: int, partition: int, log: PartitionLog | None) -> dict[str, Any]:
    is_offline = log is None or log.fenced
    nodes = (node_id,)
    return {
        "error_code": ErrorCode.leader_not_available if is_offline else ErrorCode.none,
        "partition_index": partition,
        "leader_id": _NO_LEADER if is_offline else node_id,
        "leader_epoch": 0 if log is None else log.leader_epoch,
        "replica_nodes": nodes,
        "isr_nodes": nodes,  # the last one that was in sync stays there
        "offline_replicas": nodes if is_offline else (),
    }


METADATA = Api(_KEY, "Metadata", *_SERVED, _handle)
