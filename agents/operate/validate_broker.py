"""What can be asked of the broker and the registry before an agent runs: are they there, are the topics, may we write to them.

Nothing is made and nothing is sent. What a broker does not tell (rights, on one without KIP-430) is not found fault with.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there, and documented
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from headrace.agents.operate.findings import Finding
from headrace.agents.producer import connection_of
from headrace.audit import AUDIT_TOPIC
from headrace.errors import HeadraceError
from headrace.librdkafka import checked_keys, reason
from headrace.schemas.registry_keys import RegistryKeys

_TIMEOUT_S: Final = 5.0
_silent = logging.getLogger(f"{__name__}.librdkafka")


def broker_findings(kafka: Mapping[str, Any], topics: Sequence[str], making: Sequence[str]) -> Iterator[Finding]:
    """Ask the broker.

    Args:
        topics: where events go, and dead letters.
        making: those of them that the agent makes itself where the broker makes none.
    """
    _silent.addHandler(logging.NullHandler())
    _silent.propagate = False
    said: list[str] = []
    keys: dict[str, Any] = {"error_cb": lambda error: said.append(error.str()), "logger": _silent}
    with checked_keys():
        admin = AdminClient({**connection_of(kafka), **keys})
    try:
        there = admin.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        why = said[0] if said else reason(error)
        yield Finding("error", "kafka", f"no broker answers: {why}", "is bootstrap.servers right, and who may log in?")
        return
    known = [topic for topic in (*topics, AUDIT_TOPIC) if topic in there]
    yield from _rights(admin, known)
    for topic in (*topics, AUDIT_TOPIC):
        if topic not in there:
            yield from _missing(admin, topic, made_by_agent=topic in (*making, AUDIT_TOPIC))


def _rights(admin: AdminClient, topics: Sequence[str]) -> Iterator[Finding]:
    if not topics:
        return
    asked = admin.describe_topics(TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=_TIMEOUT_S)
    for topic in topics:
        try:
            operations = asked[topic].result(_TIMEOUT_S).authorized_operations
        except (KafkaException, TimeoutError) as error:
            yield Finding("error", f"topic {topic}", reason(error), "give the agent's user DESCRIBE and WRITE on it")
            continue
        if operations and "WRITE" not in {operation.name for operation in operations}:
            what = "the agent's user may not write to it"
            yield Finding(
                "error", f"topic {topic}", what, "give it WRITE there (kafka-acls, or headrace's broker: docs/guide.md)"
            )


def _missing(admin: AdminClient, topic: str, *, made_by_agent: bool) -> Iterator[Finding]:
    if not made_by_agent and not _makes_topics(admin):
        yield Finding(
            "error",
            f"topic {topic}",
            "it is not there, and the broker makes none by itself",
            "make it: its files wait until then",
        )
        return
    asked = admin.create_topics([NewTopic(topic, 1)], validate_only=True, request_timeout=_TIMEOUT_S)[topic]
    try:
        asked.result(_TIMEOUT_S)
    except (KafkaException, TimeoutError) as error:
        what = f"it is not there and cannot be made: {reason(error)}"
        yield Finding("error", f"topic {topic}", what, "make it, or give the agent's user CREATE")
        return
    yield Finding("note", f"topic {topic}", "it is not there yet, and is made with the first line", "nothing")


def _makes_topics(admin: AdminClient) -> bool:
    """Whether the broker makes topics that are asked for; true where it does not tell."""
    node = str(next(iter(admin.list_topics(timeout=_TIMEOUT_S).brokers), 0))
    resource = ConfigResource(ResourceType.BROKER, node)
    try:
        entry = admin.describe_configs([resource], request_timeout=_TIMEOUT_S)[resource].result(_TIMEOUT_S)
    except (KafkaException, TimeoutError):
        return True
    key = entry.get("auto.create.topics.enable")
    return key is None or key.value != "false"


def registry_findings(registry: RegistryKeys) -> Iterator[Finding]:
    """Ask the registry."""
    try:
        registry.client(timeout_s=_TIMEOUT_S).subjects()
    except HeadraceError as error:
        what = f"{error} (an agent that has shipped to these topics before goes on without it)"
        yield Finding("error", "registry", what, "is its URL right, and does it run?")
