"""The registry's state: the fold of the topic `_schemas`. Pure; every registry that replays the same log holds the same state.

Two registries may write at once; the log's order decides, and no leader is needed:
- A record is void that gives a taken id to another schema, rebinds a version, makes a deleted version live again, or deletes
  for good a version that is live. All replicas skip it; its writer sees that on reading it back, and tries again with what it
  has learnt.
- Compaction keeps the last record of a key, which must therefore not be a void one. `repair` names what to write after it: the
  version's right value, or, where the version is still free, the same schema under a free id (finishing what its writer
  began). Every registry repairs what it sees, and before it writes. So the fold of the compacted log equals the fold of the
  whole, unless all registries stop just there and stay away until the broker compacts that part of the log.
- A deletion of a subject up to one version replaces an earlier one up to a later version: the versions between are deleted each
  by a record of its own then, as a repair.
- An id, once given, is never given to another schema, nor a schema another id (in one context). Where the last version of an id
  was deleted for good, a `SpentIdKey` remembers it; it is written before the deletion, or by whoever sees it missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.schemas.associations import AssociationKey, Associations
from headrace.schemas.framing import MAX_ID
from headrace.schemas.records import (
    ConfigKey,
    ContextKey,
    DeleteSubjectKey,
    Entry,
    ModeKey,
    SchemaKey,
    SchemaValue,
    SpentIdKey,
    encode_spent,
    schema_value,
)
from headrace.schemas.schema import Schema
from headrace.schemas.settings import Settings
from headrace.schemas.subjects import DEFAULT_CONTEXT, joined, listed, split, within


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a subject."""

    subject: str
    version: int
    value: SchemaValue

    @property
    def schema(self) -> Schema:
        return self.value.schema


@dataclass(slots=True)
class _Context:
    """The ids of one context."""

    identities: dict[int, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)  # by identity; the first that was given
    versions: dict[int, dict[tuple[str, int], Version]] = field(default_factory=dict)  # by id
    spent: set[int] = field(default_factory=set)  # ids that the log remembers by a record of their own
    bare: set[int] = field(default_factory=set)  # ids of which nothing is left in the log after its compaction
    max_id: int = 0

    def give(self, schema_id: int, identity: str) -> bool:
        """Bind an id; False if it is another's."""
        if self.identities.setdefault(schema_id, identity) != identity:
            return False
        self.ids.setdefault(identity, schema_id)
        self.max_id = max(self.max_id, schema_id)
        return True

    def next_id(self) -> int:
        """The next free one; where somebody chose the greatest that there is, the smallest that is free."""
        if self.max_id < MAX_ID:
            return self.max_id + 1
        return next(number for number in range(1, MAX_ID) if number not in self.identities)


class SchemaStore:
    """Subjects, versions, ids, configurations and modes."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.associations = Associations()
        self._versions: dict[str, dict[int, Version]] = {}
        self._contexts: dict[str, _Context] = {}
        self._named_contexts: set[str] = set()
        self._guids: dict[str, dict[tuple[str, int], Version]] = {}
        self._referrers: dict[tuple[str, int], dict[tuple[str, int], Version]] = {}
        self._void: dict[SchemaKey, SchemaValue | None] = {}  # keys whose last record is void, or says too little
        self._by_subject: dict[str, set[int]] = {}  # versions whose own record is live, deleted with their subject

    def apply(self, entry: Entry | None) -> None:
        """Fold the next record of the log (`records.read`); one that is not understood changes nothing."""
        if entry is None:
            return
        match entry.key:
            case SchemaKey():
                self._apply_schema(entry.key, entry)
            case ConfigKey(subject):
                self.settings.set_config(subject, entry.body)
            case ModeKey(subject):
                self.settings.set_mode(subject, entry.body.get("mode"))
            case ContextKey(context):
                (self._named_contexts.discard if entry.is_empty else self._named_contexts.add)(context)
            case SpentIdKey(context, schema_id):
                self._apply_spent(context, schema_id, entry.body)
            case AssociationKey():
                self.associations.apply(entry.key, entry.body, is_empty=entry.is_empty)
            case DeleteSubjectKey(subject):
                last = entry.body.get("version")
                if isinstance(last, int):
                    self._apply_deletion(subject, last)

    def _apply_schema(self, key: SchemaKey, entry: Entry) -> None:
        bound, value = self.version(key.subject, key.version, deleted=True), entry.schema
        if entry.is_empty:
            if bound is not None and not bound.value.deleted:
                self._void[key] = None
                return
            self._void.pop(key, None)
            self._by_subject.get(key.subject, set()).discard(key.version)
            if bound is not None:
                self._unbind(bound)
            return
        if value is None:
            return
        identity = value.schema.identity
        taken = self._context_of(key.subject).identities.get(value.id, identity) != identity
        rebound = bound is not None and (bound.schema.identity, bound.value.id) != (identity, value.id)
        revived = bound is not None and bound.value.deleted and not value.deleted
        if taken or rebound or revived:
            self._void[key] = value
            return
        self._void.pop(key, None)
        self._by_subject.get(key.subject, set()).discard(key.version)
        self._context_of(key.subject).give(value.id, identity)
        self._bind(Version(key.subject, key.version, value))

    def _apply_deletion(self, subject: str, last: int) -> None:
        before = self._by_subject.setdefault(subject, set())
        for number in before:
            if number > last:
                self._void[SchemaKey(subject, number)] = None
            else:
                self._void.pop(SchemaKey(subject, number), None)
        for version in self.versions(subject):
            if version.version <= last:
                self._bind(_deleted(version))
                before.add(version.version)

    def _apply_spent(self, context: str, schema_id: int, body: Mapping[str, Any]) -> None:
        identity = body.get("identity")
        ids = self._contexts.setdefault(context, _Context())
        if isinstance(identity, str) and ids.give(schema_id, identity):
            ids.spent.add(schema_id)
            ids.bare.discard(schema_id)

    def _bind(self, version: Version) -> None:
        place, ids = (version.subject, version.version), self._context_of(version.subject)
        self._versions.setdefault(version.subject, {})[version.version] = version
        self._guids.setdefault(version.schema.guid, {})[place] = version
        ids.versions.setdefault(version.value.id, {})[place] = version
        ids.bare.discard(version.value.id)
        for target in _targets(version):
            self._referrers.setdefault(target, {})[place] = version

    def _unbind(self, version: Version) -> None:
        place, ids = (version.subject, version.version), self._context_of(version.subject)
        del self._versions[version.subject][version.version]
        del self._guids[version.schema.guid][place]
        del ids.versions[version.value.id][place]
        for target in _targets(version):
            self._referrers[target].pop(place, None)
        if not ids.versions[version.value.id] and version.value.id not in ids.spent:
            ids.bare.add(version.value.id)

    def _context_of(self, subject: str) -> _Context:
        return self._contexts.setdefault(split(subject)[0], _Context())

    def repair(self) -> tuple[bytes, bytes | None] | None:
        """A record to write before any other: the last one of its key is void, or an id would be forgotten; None if none is."""
        for key, void in self._void.items():
            bound = self.version(key.subject, key.version, deleted=True)
            if bound is not None:
                return key.encode(), bound.value.encode()
            assert void is not None
            return key.encode(), replace(void, id=self.id_for(key.subject, void.schema)).encode()
        for context, ids in self._contexts.items():
            for schema_id in ids.bare:
                return self.spending(context, schema_id)
        return self.associations.repair()

    def spending(self, context: str, schema_id: int) -> tuple[bytes, bytes]:
        """The record that remembers an id when nothing else does."""
        return SpentIdKey(context, schema_id).encode(), encode_spent(self._contexts[context].identities[schema_id])

    def last_of_its_id(self, version: Version) -> bool:
        """Whether nothing would be left of a version's id without it."""
        ids = self._context_of(version.subject)
        return version.value.id not in ids.spent and len(ids.versions[version.value.id]) == 1

    def next_version(self, subject: str) -> int:
        """The number that the next version of a subject gets."""
        return max(self._versions.get(subject, ()), default=0) + 1

    def new_version(self, subject: str, schema: Schema) -> tuple[SchemaKey, SchemaValue]:
        """The record that registers a schema under a subject."""
        version, schema_id = self.next_version(subject), self.id_for(subject, schema)
        same = next((one.schema for one in self.with_id(schema_id, split(subject)[0])), schema)  # written as it was before
        return SchemaKey(subject, version), schema_value(subject, version, schema_id, same)

    def id_for(self, subject: str, schema: Schema) -> int:
        """The id of a schema in a subject's context: the one that it has, or the next free one."""
        ids = self._contexts.get(split(subject)[0], _Context())
        known = ids.ids.get(schema.identity)
        return ids.next_id() if known is None else known

    def identity_of(self, subject: str, schema_id: int) -> str | None:
        """The identity that has an id in a subject's context; None if the id is free."""
        return self._contexts.get(split(subject)[0], _Context()).identities.get(schema_id)

    def has_id(self, subject: str, schema: Schema) -> bool:
        """Whether a schema has an id in a subject's context."""
        return schema.identity in self._contexts.get(split(subject)[0], _Context()).ids

    def version(self, subject: str, version: int, *, deleted: bool = False) -> Version | None:
        """One version; a deleted one only if asked for."""
        found = self._versions.get(subject, {}).get(version)
        return found if found is not None and (deleted or not found.value.deleted) else None

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """A subject's versions, ascending."""
        found = self._versions.get(subject, {})
        return [found[number] for number in sorted(found) if deleted or not found[number].value.deleted]

    def find(self, subject: str, schema: Schema, *, deleted: bool = False) -> Version | None:
        """The newest version of a subject that is this schema, or else that it stands for."""
        versions = self.versions(subject, deleted=deleted)[::-1]
        found = next((one for one in versions if one.schema.identity == schema.identity), None)
        return found or next((one for one in versions if schema.stands_for(one.schema, one.version)), None)

    def elsewhere(self, subject: str, number: int | None = None, *, deleted: bool = False) -> list[Version]:
        """What other contexts have under a name that says none: a version of each, by default the newest."""
        if subject.startswith(":."):
            return []
        found = []
        for context in self.contexts():
            there = self.versions(joined(context, subject), deleted=deleted) if context != DEFAULT_CONTEXT else []
            found += [one for one in there if one.version == number] if number is not None else there[-1:]
        return found

    def subjects(self, *, deleted: bool = False, prefix: str = ":*:") -> list[str]:
        """All subjects with a version, sorted."""
        found = (subject for subject in self._versions if listed(subject, prefix))
        return sorted(subject for subject in found if self.versions(subject, deleted=deleted))

    def contexts(self) -> list[str]:
        """All contexts that there are, sorted: those that have a record or a subject, and the default one."""
        in_use = {context for context, ids in self._contexts.items() if any(ids.versions.values())}
        return sorted(self._named_contexts | in_use | {DEFAULT_CONTEXT})

    def with_id(self, schema_id: int, context: str = DEFAULT_CONTEXT) -> list[Version]:
        """All versions of an id, deleted ones too: data written with them is still there."""
        found = self._contexts.get(context, _Context()).versions.get(schema_id, {})
        return [found[place] for place in sorted(found)]

    def with_guid(self, guid: str) -> list[Version]:
        """All versions of all contexts that have a GUID."""
        found = self._guids.get(guid, {})
        return [found[place] for place in sorted(found)]

    def referrers(self, version: Version) -> list[Version]:
        """The versions that refer to one, deleted ones too."""
        found = self._referrers.get((version.subject, version.version), {})
        return [found[place] for place in sorted(found)]

    def max_id(self, context: str = DEFAULT_CONTEXT) -> int:
        """The greatest id that was given; 0 at first."""
        return self._contexts.get(context, _Context()).max_id


def _targets(version: Version) -> list[tuple[str, int]]:
    context = split(version.subject)[0]
    return [(within(one.subject, context), one.version) for one in version.schema.references]


def _deleted(version: Version) -> Version:
    body = {**version.value.body, "deleted": True}
    return replace(version, value=replace(version.value, deleted=True, body=body))
