"""The registry's state: the fold of the topic `_schemas`. Pure; every registry that replays the same log holds the same state.

Two registries may write at once; the log's order decides, and no leader is needed:
- A record that gives a taken id to another schema, or rebinds a version, is void: all replicas skip it, its writer sees that on
  reading it back, and tries again with what it has learnt.
- Compaction keeps the last record of a key, which must therefore not be a void one. `repair` names what to write after it: the
  version's right value, or, where the version is still free, the same schema under a free id (finishing what its writer
  began). Every registry repairs what it sees, and before it writes. So the fold of the compacted log equals the fold of the
  whole, unless all registries stop just there and stay away until the broker compacts that part of the log.
- An id, once given, is never given to another schema: nothing here deletes a version for good.
"""

import json
from dataclasses import dataclass

from headrace.schemas.compatibility import DEFAULT_LEVEL, LEVELS, InvalidSchemaError, parse
from headrace.schemas.records import (
    ConfigKey,
    DeleteSubjectKey,
    SchemaKey,
    SchemaValue,
    parse_deletion,
    parse_key,
    parse_level,
    parse_schema_value,
    schema_value,
)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a subject."""

    subject: str
    version: int
    value: SchemaValue
    identity: str


class SchemaStore:
    """Subjects, versions, ids and levels."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Version]] = {}
        self._identities: dict[int, str] = {}  # by id; the inverse may have several ids for one schema
        self._ids: dict[str, int] = {}  # by identity; the first that was given
        self._max_id = 0
        self._levels: dict[str | None, str] = {}
        self._void: dict[SchemaKey, SchemaValue] = {}  # keys whose last record is void

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Fold the next record of the log; one that is not understood changes nothing."""
        match parse_key(key):
            case SchemaKey() as schema_key:
                self._apply_schema(schema_key, value)
            case ConfigKey(subject):
                level = parse_level(value) if value else None
                if level in LEVELS:
                    self._levels[subject] = level
                else:
                    self._levels.pop(subject, None)
            case DeleteSubjectKey(subject) if value and (last := parse_deletion(value)) is not None:
                for number in [number for number in self._versions.get(subject, ()) if number <= last]:
                    self._delete(self._versions[subject][number])

    def _apply_schema(self, key: SchemaKey, raw: bytes | None) -> None:
        bound = self.version(key.subject, key.version, deleted=True)
        if not raw:  # another registry deleted it for good
            self._void.pop(key, None)
            if bound is not None:
                del self._versions[key.subject][key.version]
            return
        value = parse_schema_value(raw)
        if value is None:
            return
        identity = identity_of(value)
        taken = self._identities.get(value.id, identity) != identity
        rebound = bound is not None and (bound.identity, bound.value.id) != (identity, value.id)
        if taken or rebound:
            self._void[key] = value
            return
        self._void.pop(key, None)
        self._identities[value.id] = identity
        self._ids.setdefault(identity, value.id)
        self._max_id = max(self._max_id, value.id)
        self._versions.setdefault(key.subject, {})[key.version] = Version(key.subject, key.version, value, identity)

    def _delete(self, version: Version) -> None:
        value = SchemaValue(version.value.id, version.value.schema, True, version.value.body)
        self._versions[version.subject][version.version] = Version(version.subject, version.version, value, version.identity)

    def repair(self) -> tuple[SchemaKey, SchemaValue] | None:
        """A record to write before any other, because the last one of its key is void; None when there is none such."""
        for key, void in self._void.items():
            bound = self.version(key.subject, key.version, deleted=True)
            if bound is not None:
                return key, bound.value
            schema_id = self.id_for(identity_of(void))
            return key, SchemaValue(schema_id, void.schema, void.deleted, void.body)
        return None

    def new_version(self, subject: str, schema: str, identity: str) -> tuple[SchemaKey, SchemaValue]:
        """The record that registers a schema under a subject."""
        version = max(self._versions.get(subject, ()), default=0) + 1
        return SchemaKey(subject, version), schema_value(subject, version, self.id_for(identity), schema)

    def id_for(self, identity: str) -> int:
        """The id of a schema: the one that it has under any subject, or the next free one."""
        return self._ids.get(identity, self._max_id + 1)

    def version(self, subject: str, version: int, *, deleted: bool = False) -> Version | None:
        """One version; a deleted one only if asked for."""
        found = self._versions.get(subject, {}).get(version)
        return found if found is not None and (deleted or not found.value.deleted) else None

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """A subject's versions, ascending."""
        found = self._versions.get(subject, {})
        return [found[number] for number in sorted(found) if deleted or not found[number].value.deleted]

    def find(self, subject: str, identity: str, *, deleted: bool = False) -> Version | None:
        """The newest version of a subject that is this schema."""
        return next((one for one in reversed(self.versions(subject, deleted=deleted)) if one.identity == identity), None)

    def subjects(self, *, deleted: bool = False) -> list[str]:
        """All subjects with a version, sorted."""
        return sorted(subject for subject in self._versions if self.versions(subject, deleted=deleted))

    def with_id(self, schema_id: int) -> list[Version]:
        """All versions of an id, deleted ones too: data written with them is still there."""
        if schema_id not in self._identities:
            return []
        return [
            one
            for subject in sorted(self._versions)
            for one in self.versions(subject, deleted=True)
            if one.value.id == schema_id
        ]

    @property
    def max_id(self) -> int:
        """The greatest id that was given; 0 at first."""
        return self._max_id

    def level(self, subject: str | None) -> str | None:
        """The level that was set for a subject, or for all (None)."""
        return self._levels.get(subject)

    def effective_level(self, subject: str) -> str:
        """The level that a new version of a subject is held to."""
        return self._levels.get(subject) or self._levels.get(None) or DEFAULT_LEVEL


def identity_of(value: SchemaValue) -> str:
    """What makes a stored schema the same as another; of one that we cannot read (another type, references), its text."""
    if value.schema_type == "AVRO" and not value.references:
        try:
            return parse(value.schema).identity
        except InvalidSchemaError:
            pass
    return json.dumps([value.schema_type, value.schema, value.references])
