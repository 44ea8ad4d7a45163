"""Associations: which subject holds the schemas of which topic's keys or values, so that names need not say it. Pure.

Serializers with the strategy ASSOCIATED ask for them. A resource has one subject of a type. A subject with a STRONG association
has no other; WEAK ones may share it.

Two registries may write at once, so the log's order decides here as for schemas (`store`): a record that conflicts with what
was bound before it is void, and repaired: by what its key is bound to, or a tombstone.
Source: Confluent Schema Registry 8, entity Association and its tests.
"""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.schemas.refusals import RestError

TYPES: Final = ("key", "value")
LIFECYCLES: Final = ("STRONG", "WEAK")
ANY_NAMESPACE: Final = "-"
_TEXTS: Final = ("resourceName", "resourceNamespace", "resourceType", "associationType", "subject")


@dataclass(frozen=True, slots=True)
class AssociationKey:
    """What is associated with what; its value is an `Association`, or None when it was taken back."""

    resource_name: str
    resource_namespace: str
    resource_type: str
    association_type: str
    subject: str

    @property
    def place(self) -> tuple[str, ...]:
        """What has one subject."""
        return self.resource_namespace, self.resource_name, self.resource_type, self.association_type

    def encode(self) -> bytes:
        texts = (self.resource_name, self.resource_namespace, self.resource_type, self.association_type, self.subject)
        return _json({"keytype": "ASSOC", "tenant": "default", **dict(zip(_TEXTS, texts, strict=True)), "magic": 0})


@dataclass(frozen=True, slots=True)
class Association:
    """One association.

    Attributes:
        lifecycle: STRONG, the subject goes when its resource goes; WEAK, it stays.
        frozen: the association cannot be changed, nor taken back without its subject.
    """

    key: AssociationKey
    resource_id: str
    lifecycle: str
    frozen: bool

    def members(self) -> dict[str, Any]:
        """As it is told, in Confluent's order."""
        key = self.key
        return {
            "subject": key.subject,
            "guid": str(uuid.uuid5(uuid.NAMESPACE_URL, key.encode().decode("utf-8", "replace") + self.resource_id)),
            "resourceName": key.resource_name,
            "resourceNamespace": key.resource_namespace,
            "resourceId": self.resource_id,
            "resourceType": key.resource_type,
            "associationType": key.association_type,
            "lifecycle": self.lifecycle,
            "frozen": self.frozen,
        }

    def encode(self) -> bytes:
        told = self.members()
        return _json({"subject": told["subject"], "guid": told["guid"], "tenant": "default", **told})


def key_of(body: Mapping[str, Any]) -> AssociationKey | None:
    """The key that a record's key is; None if it is none."""
    found = [body.get(name) for name in _TEXTS]
    return AssociationKey(*map(str, found)) if all(isinstance(one, str) for one in found) else None


def association_of(key: AssociationKey, body: Mapping[str, Any]) -> Association | None:
    """The association that a record's value is; None if it is none."""
    resource_id, lifecycle = body.get("resourceId"), body.get("lifecycle")
    if not isinstance(resource_id, str) or lifecycle not in LIFECYCLES:
        return None
    return Association(key, resource_id, str(lifecycle), body.get("frozen") is True)


class Associations:
    """All that there are: the fold of their records."""

    def __init__(self) -> None:
        self._bound: dict[AssociationKey, Association] = {}
        self._places: dict[tuple[str, ...], AssociationKey] = {}
        self._subjects: dict[str, set[AssociationKey]] = {}
        self._void: dict[AssociationKey, None] = {}  # in order

    def apply(self, key: AssociationKey, body: Mapping[str, Any], *, is_empty: bool) -> None:
        """Fold the next record."""
        found = None if is_empty else association_of(key, body)
        if found is None and not is_empty:
            return
        if found is not None and self.conflict(found) is not None:
            self._void[key] = None
            return
        self._void.pop(key, None)
        self._unbind(key)
        if found is not None:
            self._bound[key] = found
            self._places[key.place] = key
            self._subjects.setdefault(key.subject, set()).add(key)

    def _unbind(self, key: AssociationKey) -> None:
        if self._bound.pop(key, None) is not None:
            del self._places[key.place]
            self._subjects[key.subject].discard(key)

    def repair(self) -> tuple[bytes, bytes | None] | None:
        """A record to write before any other; see `SchemaStore.repair`."""
        for key in self._void:
            bound = self._bound.get(key)
            return key.encode(), None if bound is None else bound.encode()
        return None

    def conflict(self, new: Association) -> RestError | None:
        """What stands against binding it."""
        key = new.key
        if self._places.get(key.place, key) != key:
            what = f"An association of type '{key.association_type}' already exists for resource '{new.resource_id}'"
            return RestError(409, 40903, what)
        others = [self._bound[one] for one in self._subjects.get(key.subject, ()) if one != key]
        if others and new.lifecycle == "STRONG":
            return RestError(409, 40904, f"An association already exists for subject '{key.subject}'")
        if any(one.lifecycle == "STRONG" for one in others):
            return RestError(409, 40905, f"A strong association already exists for subject '{key.subject}'")
        return None

    def at(self, place: tuple[str, ...]) -> Association | None:
        """What is bound for a resource and a type."""
        key = self._places.get(place)
        return None if key is None else self._bound[key]

    def found(self, *, types: Collection[str] = (), lifecycle: str | None = None, **members: str) -> list[Association]:
        """Those that have these members (as they are told), of any of the `types` (none: all), by resource and type."""
        wanted = members.items()
        found = [one for one in self._bound.values() if wanted <= one.members().items()]
        found = [one for one in found if not types or one.key.association_type in types]
        return sorted((one for one in found if lifecycle in (None, one.lifecycle)), key=lambda one: one.key.place)


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
