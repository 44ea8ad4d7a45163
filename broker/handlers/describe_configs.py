"""DescribeConfigs v1-4 of topics and of this broker: every setting, its value and where that comes from. v3 adds types and
text.
"""

from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Steps
from headrace.broker.handlers.steps import mapped
from headrace.broker.log.config import LIST_KEYS, describe, with_overrides
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import name_fault
from headrace.broker.wire import ErrorCode
from headrace.config_secrets import is_secret, without_user_info

_TOPIC, _BROKER = 2, 4
_DYNAMIC_TOPIC, _STATIC_BROKER, _DEFAULT = 1, 4, 5
_BOOLEAN, _STRING, _INT, _LONG, _DOUBLE, _LIST = 1, 2, 3, 5, 6, 7
# Kafka's types: other numbers are LONG. Tools that write settings down (Terraform's provider, say) compare them.
_INT_NAMES = """
    index.interval.bytes max.message.bytes min.insync.replicas segment.bytes segment.index.bytes
    default.replication.factor fetch.max.bytes group.initial.rebalance.delay.ms group.max.session.timeout.ms group.max.size
    group.min.session.timeout.ms log.flush.offset.checkpoint.interval.ms log.index.interval.bytes log.index.size.max.bytes
    log.retention.hours log.retention.minutes log.roll.hours log.segment.bytes max.in.flight.requests.per.connection
    message.max.bytes node.id num.partitions offset.metadata.max.bytes offsets.retention.minutes offsets.topic.num.partitions
    quota.window.num quota.window.size.seconds
    offsets.topic.segment.bytes producer.id.expiration.ms socket.request.max.bytes
"""
_INTS = frozenset(_INT_NAMES.split())
_LISTS = frozenset({*LIST_KEYS, "log.cleanup.policy", "log.retention.hold"})
_LONGS_WITHOUT_DEFAULT = frozenset({"log.dirs.free.bytes.min", "log.flush.interval.ms", "log.retention.ms", "log.roll.ms"})


_Settings = list[dict[str, Any]]
_Kept = dict[object, _Settings]  # what was described before in the same answer: topics with equal settings share one list


def _handle(broker: Broker, context: RequestContext, request: Any) -> Steps:
    kept: _Kept = {}
    described = yield from mapped(
        lambda asked: _resource(broker, context, asked, request, kept), request.resources, at_a_time=1
    )
    return {"results": described}


def _refusal(context: RequestContext, asked: Any) -> tuple[int, str] | None:
    if asked.resource_type == _TOPIC:
        may = context.may(Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, asked.resource_name)
        return None if may else (ErrorCode.topic_authorization_failed, "Topic authorization failed.")
    may = asked.resource_type != _BROKER or context.may_cluster(Operation.DESCRIBE_CONFIGS)
    return None if may else (ErrorCode.cluster_authorization_failed, "Cluster authorization failed.")


def _resource(broker: Broker, context: RequestContext, asked: Any, request: Any, kept: _Kept) -> dict[str, Any]:
    error, message = int(ErrorCode.none), None
    configs: _Settings = []
    refused = _refusal(context, asked)
    if refused is not None:
        error, message = refused
    elif asked.resource_type == _TOPIC:
        topic = broker.topics.get(asked.resource_name)
        fault = name_fault(asked.resource_name)
        if fault is not None:
            error, message = ErrorCode.invalid_topic_exception, fault
        elif topic is None:
            error, message = ErrorCode.unknown_topic_or_partition, f"there is no topic {asked.resource_name}"
        else:
            key = frozenset(topic.configs.items())
            configs = kept.get(key) or _of_topic(broker, topic.configs, with_synonyms=request.include_synonyms)
            kept[key] = configs
    elif asked.resource_type == _BROKER:
        if asked.resource_name not in ("", str(broker.node_id)):
            error, message = ErrorCode.invalid_request, f"this is broker {broker.node_id}, not {asked.resource_name}"
        elif asked.resource_name:
            configs = kept[_BROKER] = kept.get(_BROKER) or _of_broker(broker)
    else:
        error, message = ErrorCode.invalid_request, f"resource type {asked.resource_type} has no settings here"
    if asked.configuration_keys:
        configs = [config for config in configs if config["name"] in asked.configuration_keys]
    return {
        "error_code": error,
        "error_message": message,
        "resource_type": asked.resource_type,
        "resource_name": asked.resource_name,
        "configs": configs,
    }


def _of_topic(broker: Broker, overrides: Any, *, with_synonyms: bool) -> _Settings:
    defaults = describe(broker.log_defaults)
    configs = []
    for name, value in describe(with_overrides(broker.log_defaults, overrides)).items():
        values = [(_DYNAMIC_TOPIC, value)] if name in overrides else []
        values.append((_DEFAULT, defaults[name]))
        synonyms = [{"name": name, "value": text, "source": source} for source, text in values]
        configs.append(_config(name, value, values[0][0], read_only=False, synonyms=synonyms if with_synonyms else []))
    return configs


def _of_broker(broker: Broker) -> _Settings:
    said = {type(broker.config).model_fields[name].alias or name for name in broker.config.model_fields_set}
    values = broker.config.model_dump(by_alias=True, mode="json")
    del values["coordination"]  # a section, not a setting
    values |= values.pop("listener.name.*")
    return [
        _config(name, _text(value), _STATIC_BROKER if name in said else _DEFAULT, read_only=True, synonyms=[])
        for name, value in values.items()
    ]


def _config(name: str, value: str | None, source: int, *, read_only: bool, synonyms: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "value": None if is_secret(name) else value,
        "read_only": read_only,
        "config_source": source,
        "is_sensitive": is_secret(name),
        "synonyms": synonyms,
        "config_type": _type(name, value),
        "documentation": None,
    }


def _type(name: str, value: str | None) -> int:
    if name in _LISTS:
        return _LIST
    if value in ("true", "false"):
        return _BOOLEAN
    if name in _INTS:
        return _INT
    text = (value or "").lstrip("-")
    if text.isdigit() or name in _LONGS_WITHOUT_DEFAULT:
        return _LONG
    return _DOUBLE if text.replace(".", "", 1).isdigit() else _STRING


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return None if value is None else without_user_info(str(value))


DESCRIBE_CONFIGS = Api(32, "DescribeConfigs", 1, 4, _handle)
