"""CreateTopics v2-7. v4 lets counts be -1 (the broker's default); v5 answers with what was made; v7 with its id.

A topic is ready when the answer leaves: there is nobody to wait for, so the timeout is not used.
"""

from collections import Counter
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.handlers.topic_creation import creation_fault, may_create
from headrace.broker.log.config import describe, with_overrides
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

DYNAMIC_TOPIC_CONFIG, DEFAULT_CONFIG = 1, 5


async def _handle(broker: Broker, context: RequestContext, request: Any) -> Response:
    names = Counter(topic.name for topic in request.topics)
    once = [topic for topic in request.topics if names[topic.name] == 1]
    made = []
    for topic in once:
        async with broker.topics.changes:
            made.append(await _create(broker, context, topic, validate_only=request.validate_only))
    twice = (ErrorCode.invalid_request, "Duplicate topic name.")  # such a name is answered once, as in Kafka
    return {"topics": made + [_refused(name, twice) for name, count in names.items() if count > 1]}


async def _create(broker: Broker, context: RequestContext, topic: Any, *, validate_only: bool) -> dict[str, Any]:
    if not may_create(context, topic.name):
        return _refused(topic.name, (ErrorCode.topic_authorization_failed, "Authorization failed."))
    configs = {config.name: config.value for config in topic.configs or ()}
    fault, partitions = _layout(broker, topic)
    nulls = [name for name, value in configs.items() if value is None]
    if nulls:
        fault = fault or (ErrorCode.invalid_config, f"Null value not supported for topic configs: {', '.join(nulls)}")
    fault = fault or creation_fault(broker, topic.name, partitions, configs)
    if fault is not None:
        return _refused(topic.name, fault)
    overrides = {name: value for name, value in configs.items() if value is not None}
    topic_id = None
    if not validate_only:
        try:
            by = str(context.session.principal)
            topic_id = (await broker.topics.create(topic.name, partitions, overrides, by=by)).topic_id
        except StorageError as error:
            return _refused(topic.name, (ErrorCode.kafka_storage_error, str(error)))
    made = {"name": topic.name, "topic_id": topic_id, "error_code": 0, "error_message": None}
    if not context.sees(Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, topic.name):  # KIP-525
        hidden = {"num_partitions": -1, "replication_factor": -1, "configs": []}
        return {**made, **hidden, "topic_config_error_code": ErrorCode.topic_authorization_failed}
    return {
        **made,
        "num_partitions": partitions,
        "replication_factor": 1,
        "configs": [
            {
                "name": name,
                "value": value,
                "read_only": False,
                "config_source": DYNAMIC_TOPIC_CONFIG if name in overrides else DEFAULT_CONFIG,
                "is_sensitive": False,
            }
            for name, value in describe(with_overrides(broker.log_defaults, overrides)).items()
        ],
    }


def _layout(broker: Broker, topic: Any) -> tuple[tuple[int, str] | None, int]:
    """(fault, number of partitions) of counts or of a manual assignment; every replica can only be on this broker."""
    if topic.assignments:
        if (topic.num_partitions, topic.replication_factor) != (-1, -1):
            return (ErrorCode.invalid_request, "give counts or assignments, not both"), 0
        partitions = sorted(assignment.partition_index for assignment in topic.assignments)
        only_us = all(tuple(assignment.broker_ids) == (broker.node_id,) for assignment in topic.assignments)
        if partitions != list(range(len(partitions))) or not only_us:
            return (ErrorCode.invalid_replica_assignment, f"assign partitions 0, 1, … to broker {broker.node_id} alone"), 0
        return None, len(partitions)
    if topic.replication_factor not in (-1, 1):
        return (
            ErrorCode.invalid_replication_factor,
            f"1 broker cannot hold {topic.replication_factor} replicas",
        ), 0
    return None, broker.config.num_partitions if topic.num_partitions == -1 else topic.num_partitions


def _refused(name: str, fault: tuple[int, str]) -> dict[str, Any]:
    return {
        "name": name,
        "topic_id": None,
        "error_code": fault[0],
        "error_message": fault[1],
        "num_partitions": -1,
        "replication_factor": -1,
        "configs": [],
    }


CREATE_TOPICS = Api(19, "CreateTopics", 2, 7, _handle)
