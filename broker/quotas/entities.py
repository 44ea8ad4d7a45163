"""Whom a quota is set for, and which quotas there are: what is valid, and how it is stored. Pure.

An entity is a set of (type, name); the name None is the default of its type: `{("user", "alice"), ("client-id", None)}` is
every client of alice that has no quota of its own. Source: KIP-546; Kafka's ClientQuotaControlManager.
"""

import ipaddress
import json
import math
from collections.abc import Mapping, Sequence

from headrace.errors import CorruptError, VersionError

USER, CLIENT_ID, IP = "user", "client-id", "ip"
PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE = "producer_byte_rate", "consumer_byte_rate"
REQUEST_PERCENTAGE, CONNECTION_CREATION_RATE = "request_percentage", "connection_creation_rate"
Entity = frozenset[tuple[str, str | None]]
Quotas = Mapping[str, float]

_CLIENT_KEYS = {PRODUCER_BYTE_RATE: (1 << 63) - 1, CONSUMER_BYTE_RATE: (1 << 63) - 1, REQUEST_PERCENTAGE: None}
_IP_KEYS: dict[str, int | None] = {CONNECTION_CREATION_RATE: (1 << 31) - 1}
_FORMAT_VERSION = 1


def entity_of(parts: Sequence[tuple[str, str | None]]) -> Entity | str:
    """The entity that a request names, or what is wrong with it."""
    types = [kind for kind, _ in parts]
    if not parts:
        return "Invalid empty client quota entity"
    if len(set(types)) != len(types):
        return "Invalid client quota entity: an entity type is named twice"
    for kind, name in parts:
        if kind not in (USER, CLIENT_ID, IP):
            return f"Unhandled client quota entity type: {kind}"
        if name == "":
            return f"Empty {kind} not supported"
    if IP not in types:
        return frozenset(parts)
    if len(types) > 1:
        return "Invalid quota entity combination, IP entity should not be combined with User or ClientId"
    (_, address) = parts[0]
    if address is None:
        return frozenset(parts)
    try:
        return frozenset({(IP, ipaddress.ip_address(address).compressed)})
    except ValueError:
        return f"{address} is not a valid IP"  # Kafka would ask DNS for a host's


def value_fault(entity: Entity, key: str, value: float) -> str | None:
    """What is wrong with a quota's value for an entity."""
    keys = _IP_KEYS if any(kind == IP for kind, _ in entity) else _CLIENT_KEYS
    if key not in keys:
        return f"Invalid configuration key {key}"
    if not math.isfinite(value) or value <= 0:
        return f"Quota {key} must be greater than 0"
    largest = keys[key]
    if largest is None:
        return None
    if value > largest:
        return f"Proposed value for {key} is too large"
    return f"{key} cannot be a fractional value." if abs(value % 1.0) > 1e-6 else None


def encode_key(entity: Entity) -> str:
    """The entity as the key of what is stored."""
    return json.dumps(sorted(entity, key=lambda part: part[0]))


def encode_quotas(quotas: Quotas) -> str:
    """Its quotas, as what is stored."""
    return json.dumps({"version": _FORMAT_VERSION, "quotas": dict(quotas)})


def decode(key: str, text: str) -> tuple[Entity, dict[str, float]]:
    """An entity and its quotas, as they were stored.

    Raises:
        VersionError: stored by a newer headrace. CorruptError: not so written.
    """
    try:
        stored = json.loads(text)
        if stored["version"] > _FORMAT_VERSION:
            raise VersionError(f"quota {key}: version {stored['version']} is newer than {_FORMAT_VERSION}")
        entity = frozenset((kind, name) for kind, name in json.loads(key))
        return entity, {name: float(value) for name, value in stored["quotas"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"quota {key}: {error!r}") from error
