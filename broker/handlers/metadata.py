"""Metadata v0-12: brokers, topics, partitions; makes topics that are asked for where it may.

v0: no topics named means all; v1+: null means all, an empty list none; v4+ the client says whether topics may be made; v5
offline replicas; v7 leader epochs; v8-10 authorized operations of the cluster; v10 topic ids (never zero, or clients fall
back to Fetch v12); v12 topics by id. v13 would add re-bootstrapping (KIP-1102), which one broker never asks for.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from headrace.broker.broker import Broker
from headrace.broker.coordination.store import TopicRecord
from headrace.broker.handlers.api import Answer, Api, Encoded, RequestContext, Response
from headrace.broker.handlers.topic_creation import auto_create, name_error
from headrace.broker.topics import INTERNAL_TOPICS
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.schema import request_codec

_KEY = 3
_SERVED = (0, 12)
_ABSENT = -(1 << 31)
# Bits by number of Kafka's AclOperation. Without authorization everybody may do all that applies to the resource.
TOPIC_OPERATIONS = sum(1 << operation for operation in (3, 4, 5, 6, 7, 8, 10, 11))
CLUSTER_OPERATIONS = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))


def _all_topics(broker: Broker, context: RequestContext) -> bytes:
    """The encoded answer "all topics", kept while no topic changes: consumers with patterns ask it again and again."""
    key = (_KEY, context.api_version, context.session.advertised)
    if key not in broker.encoded:
        topics = [_described(broker, topic, _ABSENT) for topic in broker.topics()]
        codec = request_codec(_KEY, context.api_version, _SERVED)
        broker.encoded[key] = codec.encode_body(_response(broker, context, topics, _ABSENT))
    return broker.encoded[key]


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    topic_operations = TOPIC_OPERATIONS if request.include_topic_authorized_operations else _ABSENT
    with_cluster = getattr(request, "include_cluster_authorized_operations", False)  # v8-10
    wants_all = request.topics is None or (context.api_version == 0 and not request.topics)
    if wants_all and topic_operations == _ABSENT and not with_cluster:
        return Encoded([_all_topics(broker, context)])
    cluster_operations = CLUSTER_OPERATIONS if with_cluster else _ABSENT
    if wants_all:
        topics = [_described(broker, topic, topic_operations) for topic in broker.topics()]
        return _response(broker, context, topics, cluster_operations)

    def answer(errors: Mapping[str, int]) -> Response:
        topics = [_one(broker, asked.name, asked.topic_id, errors, topic_operations) for asked in request.topics]
        return _response(broker, context, topics, cluster_operations)

    may_create = request.allow_auto_topic_creation and broker.config.auto_create_topics_enable
    absent = [asked.name for asked in request.topics if may_create and _can_be_made(broker, asked.name, asked.topic_id)]
    return _answer_once_made(broker, absent, answer) if absent else answer({})


def _can_be_made(broker: Broker, name: str | None, topic_id: UUID | None) -> bool:
    return topic_id is None and name is not None and not name_error(name) and broker.topic(name) is None


async def _answer_once_made(broker: Broker, names: list[str], answer: Callable[[Mapping[str, int]], Response]) -> Response:
    return answer({name: await auto_create(broker, name) for name in names})


def _response(broker: Broker, context: RequestContext, topics: list[dict[str, Any]], operations: int) -> dict[str, Any]:
    host, port = context.session.advertised
    return {
        "brokers": [{"node_id": broker.node_id, "host": host, "port": port}],
        "cluster_id": broker.cluster_id,
        "controller_id": broker.node_id,
        "topics": topics,
        "cluster_authorized_operations": operations,
    }


def _one(broker: Broker, name: str | None, topic_id: UUID | None, errors: Mapping[str, int], operations: int) -> dict[str, Any]:
    """One topic; `errors` are those of making it."""
    if topic_id is not None:
        topic = broker.topic_by_id(topic_id)
        return _missing(ErrorCode.unknown_topic_id, None, topic_id) if topic is None else _described(broker, topic, operations)
    error: int = name_error(name)
    if error or name is None:
        return _missing(error or ErrorCode.invalid_topic_exception, name or "", None)
    topic = broker.topic(name)
    if topic is None:
        return _missing(errors.get(name) or ErrorCode.unknown_topic_or_partition, name, None)
    return _described(broker, topic, operations)


def _missing(error: int, name: str | None, topic_id: UUID | None) -> dict[str, Any]:
    return {
        "error_code": error,
        "name": name,
        "topic_id": topic_id,
        "is_internal": name in INTERNAL_TOPICS,
        "partitions": [],
    }


def _described(broker: Broker, topic: TopicRecord, operations: int) -> dict[str, Any]:
    nodes = (broker.node_id,)
    return {
        "error_code": 0,
        "name": topic.name,
        "topic_id": topic.topic_id,
        "is_internal": topic.name in INTERNAL_TOPICS,
        "partitions": [
            {
                "error_code": 0,
                "partition_index": partition,
                "leader_id": broker.node_id,
                "leader_epoch": 0,
                "replica_nodes": nodes,
                "isr_nodes": nodes,
            }
            for partition in range(topic.partitions)
        ],
        "topic_authorized_operations": operations,
    }


METADATA = Api(_KEY, "Metadata", *_SERVED, _handle)
