"""What a topic may be called and configured as. Pure; states Kafka's rules and nothing else."""

import re

MAX_NAME_LENGTH = 249  # a directory is <topic>-<partition>, and file names end at 255
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
INTERNAL_TOPICS = frozenset({OFFSETS_TOPIC, TRANSACTIONS_TOPIC, "__share_group_state"})  # the last: of Apache Kafka's files
CLUSTER_METADATA_TOPIC = "__cluster_metadata"  # no topic here: Apache Kafka keeps its controller's log under this name
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")


def name_fault(name: str | None) -> str | None:
    """Why a topic cannot be called so, or None if it can."""
    if not name:
        return "a topic's name is not empty"
    if name in (".", "..", CLUSTER_METADATA_TOPIC):
        return f"{name!r} is no topic's name"
    if len(name) > MAX_NAME_LENGTH:
        return f"a topic's name has at most {MAX_NAME_LENGTH} characters, this one {len(name)}"
    if not _LEGAL.fullmatch(name):
        return f"{name!r} has characters other than ASCII letters, digits, '.', '_' and '-'"
    return None


def colliding_name(name: str, others: "list[str] | set[str]") -> str | None:
    """The topic that differs from `name` in '.' against '_' alone: their metric names would be the same, so Kafka refuses."""
    flat = name.replace(".", "_")
    return next((other for other in others if other != name and other.replace(".", "_") == flat), None)


def may_be_landed(name: str) -> bool:
    """Whether the loader may land a topic: those whose names begin with `_` are internal, and of these only `_audit` is."""
    return not name.startswith("_") or name == "_audit"
