"""DeleteTopics v1-6. v5 adds messages; v6 names topics by name or by id."""

from collections import Counter
from typing import Any
from uuid import UUID

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import INTERNAL_TOPICS
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

_UNAUTHORIZED = "Topic authorization failed."


async def _handle(broker: Broker, context: RequestContext, request: Any) -> Response:
    if context.api_version >= 6:
        wanted = [(topic.name, topic.topic_id) for topic in request.topics]
    else:
        wanted = [(name, None) for name in request.topic_names]
    responses = []
    for (name, topic_id), count in Counter(wanted).items():
        if count > 1:
            twice = "Duplicate topic name." if name else "Duplicate topic id."
            responses.append(_result(name, topic_id, ErrorCode.invalid_request, twice))
            continue
        async with broker.topics.changes:
            responses.append(await _delete(broker, context, name, topic_id))
    return {"responses": responses}


async def _delete(broker: Broker, context: RequestContext, name: str | None, topic_id: UUID | None) -> dict[str, Any]:
    if (name is None) == (topic_id is None):
        return _result(name, topic_id, ErrorCode.invalid_request, "name a topic by its name or by its id")
    if name is not None and not _may(context, Operation.DESCRIBE, name):
        return _result(name, None, ErrorCode.topic_authorization_failed, _UNAUTHORIZED)
    topic = broker.topics.get(name) if name is not None else broker.topics.by_id(topic_id) if topic_id is not None else None
    if topic is None:
        by_id = topic_id is not None
        error = ErrorCode.unknown_topic_id if by_id else ErrorCode.unknown_topic_or_partition
        return _result(name, topic_id, error, f"there is no topic {topic_id if by_id else name}")
    if not _may(context, Operation.DELETE, topic.name):
        shown = name or (topic.name if _may(context, Operation.DESCRIBE, topic.name) else None)
        return _result(shown, topic_id, ErrorCode.topic_authorization_failed, _UNAUTHORIZED)
    if topic.name in INTERNAL_TOPICS:
        return _result(topic.name, topic.topic_id, ErrorCode.policy_violation, f"{topic.name} is the broker's own")
    if not broker.config.delete_topic_enable:
        return _result(topic.name, topic.topic_id, ErrorCode.topic_deletion_disabled, "delete.topic.enable is false")
    try:
        await broker.topics.delete(topic, by=str(context.session.principal))
    except StorageError as error:
        return _result(topic.name, topic.topic_id, ErrorCode.kafka_storage_error, str(error))
    return _result(topic.name, topic.topic_id, ErrorCode.none, None)


def _may(context: RequestContext, operation: Operation, topic: str) -> bool:
    """Who may delete anything in the cluster may see and delete each topic."""
    return context.sees_cluster(Operation.DELETE) or context.may(operation, ResourceType.TOPIC, topic)


def _result(name: str | None, topic_id: UUID | None, error: int, message: str | None) -> dict[str, Any]:
    return {"name": name, "topic_id": topic_id, "error_code": error, "error_message": message}


DELETE_TOPICS = Api(20, "DeleteTopics", 1, 6, _handle)
