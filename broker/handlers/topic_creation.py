"""Making topics: the checks that CreateTopics and auto-creation share."""

from collections.abc import Mapping

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import RequestContext
from headrace.broker.log.config import with_overrides
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import INTERNAL_TOPICS, OFFSETS_TOPIC, colliding_name, name_fault
from headrace.broker.wire import ErrorCode
from headrace.errors import ConfigError, StorageError

MAX_PARTITIONS = 10_000  # of one topic: every one of them costs files, memory and a line of each checkpoint


def may_create(context: RequestContext, name: str) -> bool:
    """Whether a client may make a topic of that name: it may make any, or this one."""
    return context.sees_cluster(Operation.CREATE) or context.may(Operation.CREATE, ResourceType.TOPIC, name)


def name_error(name: str | None) -> int:
    """0, or INVALID_TOPIC_EXCEPTION."""
    return ErrorCode.none if name_fault(name) is None else ErrorCode.invalid_topic_exception


def creation_fault(broker: Broker, name: str, partitions: int, configs: Mapping[str, str | None]) -> tuple[int, str] | None:
    """Why such a topic cannot be made: wire code and message; None if it can."""
    fault = name_fault(name)
    if fault is not None:
        return ErrorCode.invalid_topic_exception, fault
    if broker.topics.get(name) is not None:
        return ErrorCode.topic_already_exists, f"Topic '{name}' already exists."
    other = colliding_name(name, [topic.name for topic in broker.topics.all()])
    if other is not None:
        return ErrorCode.invalid_topic_exception, f"{name} and {other} differ in '.' and '_' only"
    if partitions < 1:
        return ErrorCode.invalid_partitions, f"a topic has at least 1 partition, not {partitions}"
    if partitions > MAX_PARTITIONS:
        return ErrorCode.policy_violation, f"a topic has at most {MAX_PARTITIONS} partitions here, not {partitions}"
    try:
        with_overrides(broker.log_defaults, configs)
    except ConfigError as error:
        return ErrorCode.invalid_config, str(error)
    return None


async def auto_create(broker: Broker, name: str, *, by: str) -> int:
    """Make a topic with the broker's defaults because somebody asked for it; 0 once it is there, or a wire code."""
    if name in INTERNAL_TOPICS and name != OFFSETS_TOPIC:
        return ErrorCode.unknown_topic_or_partition
    try:
        if name == OFFSETS_TOPIC:
            await broker.topics.ensure_offsets()
            return ErrorCode.none
        async with broker.topics.changes:
            fault = creation_fault(broker, name, broker.config.num_partitions, {})
            if fault is None:
                await broker.topics.create(name, broker.config.num_partitions, {}, by=by)
    except StorageError:
        return ErrorCode.kafka_storage_error
    return ErrorCode.none if fault is None or fault[0] == ErrorCode.topic_already_exists else fault[0]
