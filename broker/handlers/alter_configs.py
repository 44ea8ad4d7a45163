"""AlterConfigs v0-2 and IncrementalAlterConfigs v0-1 of topics: what a topic sets of its own, at once and durably.

AlterConfigs gives a topic exactly the settings that are named, and takes all others away; IncrementalAlterConfigs (KIP-339)
sets, deletes, and appends to or subtracts from lists. A resource is changed whole or not at all; each has its own error. A
broker's settings are those of its file: all are read-only here, as DescribeConfigs says, and Kafka's answer for a key that
cannot be changed while a broker runs is INVALID_REQUEST. Source: Kafka's ConfigAdminManager, ConfigurationControlManager.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.coordination.changes import Change
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.log.config import LIST_KEYS, LogConfig, describe, with_overrides
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import name_fault
from headrace.broker.wire import ErrorCode
from headrace.errors import ConfigError, StorageError

_TOPIC, _BROKER = 2, 4
_SET, _DELETE, _APPEND, _SUBTRACT = range(4)
_Fault = tuple[int, str | None]
_DONE: _Fault = (int(ErrorCode.none), None)
_TWICE: _Fault = (int(ErrorCode.invalid_request), "Each resource must appear at most once.")


async def _alter(broker: Broker, context: RequestContext, request: Any) -> Response:
    return await broker.changes.make(_answer(broker, context, request, incremental=False))


async def _alter_incrementally(broker: Broker, context: RequestContext, request: Any) -> Response:
    return await broker.changes.make(_answer(broker, context, request, incremental=True))


def _answer(broker: Broker, context: RequestContext, request: Any, *, incremental: bool) -> Change[Response]:
    named = Counter((asked.resource_type, asked.resource_name) for asked in request.resources)
    responses = []
    for asked in request.resources:
        error, message = _TWICE
        if named[asked.resource_type, asked.resource_name] == 1:
            error, message = yield from _resource(
                broker, context, asked, incremental=incremental, validate_only=request.validate_only
            )
        responses.append(
            {
                "error_code": error,
                "error_message": message,
                "resource_type": asked.resource_type,
                "resource_name": asked.resource_name,
            }
        )
    return {"responses": responses}


def _resource(broker: Broker, context: RequestContext, asked: Any, *, incremental: bool, validate_only: bool) -> Change[_Fault]:
    if asked.resource_type == _TOPIC:
        if not context.may(Operation.ALTER_CONFIGS, ResourceType.TOPIC, asked.resource_name):
            return ErrorCode.topic_authorization_failed, None
    elif not context.may_cluster(Operation.ALTER_CONFIGS):
        return ErrorCode.cluster_authorization_failed, None
    changes = [(each.name, each.config_operation if incremental else _SET, each.value) for each in asked.configs]
    fault = _form_fault(changes)
    if fault is not None:
        return ErrorCode.invalid_request, fault
    if asked.resource_type == _TOPIC:
        by = str(context.session.principal)
        name, only = asked.resource_name, validate_only
        return (yield from _topic(broker, name, changes, by=by, incremental=incremental, validate_only=only))
    if asked.resource_type == _BROKER:
        return _broker(broker, asked.resource_name, changes)
    return ErrorCode.invalid_request, f"Unknown resource type {asked.resource_type}"


def _form_fault(changes: Sequence[tuple[str, int, str | None]]) -> str | None:
    """What is wrong with the request, whatever the resource."""
    if len({name for name, _, _ in changes}) < len(changes):
        return "Error due to duplicate config keys"
    nulls = [name for name, operation, value in changes if operation != _DELETE and value is None]
    if nulls:
        return f"Null value not supported for : {', '.join(nulls)}"
    unknown = [operation for _, operation, _ in changes if not _SET <= operation <= _SUBTRACT]
    return f"Unknown operations type {unknown[0]}" if unknown else None


def _topic(
    broker: Broker,
    name: str,
    changes: Sequence[tuple[str, int, str | None]],
    *,
    by: str,
    incremental: bool,
    validate_only: bool,
) -> Change[_Fault]:
    if not name:
        return ErrorCode.invalid_request, "Default topic resources are not allowed."
    invalid = name_fault(name)
    if invalid is not None:
        return ErrorCode.invalid_topic_exception, invalid
    topic = broker.topics.get(name)
    try:
        configs = changed(topic.configs if incremental and topic is not None else {}, changes, broker.log_defaults)
    except ConfigError as error:
        return ErrorCode.invalid_config, str(error)
    if topic is None:
        return ErrorCode.unknown_topic_or_partition, f"there is no topic {name}"
    if validate_only or configs == topic.configs:
        return _DONE
    try:
        yield from broker.topics.configure(topic, configs, by=by)
    except StorageError as error:
        return ErrorCode.kafka_storage_error, str(error)
    return _DONE


def changed(
    overrides: Mapping[str, str], changes: Sequence[tuple[str, int, str | None]], defaults: LogConfig
) -> dict[str, str]:
    """A topic's own settings after changes: (key, operation, value), each key once.

    Raises:
        ConfigError: an unknown key, a bad value, or a list's operation on what is no list.
    """
    result = dict(overrides)
    for key, operation, value in changes:
        if operation == _DELETE:
            with_overrides(defaults, {key: None})  # the key is known
            result.pop(key, None)
        elif operation == _SET:
            result[key] = str(value)
        elif key not in LIST_KEYS:
            verb = "append" if operation == _APPEND else "subtract"
            raise ConfigError(f"Can't {verb} to key {key} because its type is not LIST.")
        else:
            result[key] = _list(result.get(key, describe(defaults)[key]), operation, str(value))
    with_overrides(defaults, result)
    return result


def _list(text: str, operation: int, value: str) -> str:
    """A list after appending what it lacks, or subtracting what it has."""
    words, given = _words(text), _words(value)
    if operation == _APPEND:
        return ",".join(dict.fromkeys([*words, *given]))
    return ",".join(word for word in words if word not in given)


def _words(text: str) -> list[str]:
    return [word for word in (each.strip() for each in text.split(",")) if word]


def _broker(broker: Broker, name: str, changes: Sequence[tuple[str, int, str | None]]) -> _Fault:
    if name and name != str(broker.node_id):
        return ErrorCode.invalid_request, f"Unexpected broker id, expected {broker.node_id}, but received {name}"
    if not changes:
        return _DONE
    keys = ", ".join(key for key, _, _ in changes)
    return (
        ErrorCode.invalid_request,
        f"Cannot update these configs dynamically: {keys}; change them in the broker's file and start it again",
    )


ALTER_CONFIGS = Api(33, "AlterConfigs", 0, 2, _alter)
INCREMENTAL_ALTER_CONFIGS = Api(44, "IncrementalAlterConfigs", 0, 1, _alter_incrementally)
