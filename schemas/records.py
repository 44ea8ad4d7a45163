"""Keys and values of the topic `_schemas`, as Confluent Schema Registry writes them, byte for byte.

Key bytes matter: compaction works on bytes, so members come in Confluent's order, without spaces. Kinds of records that we do
not write, or cannot read, are None: a topic made by another registry is served as far as we know it. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.schemas.associations import AssociationKey, key_of
from headrace.schemas.framing import MAX_ID
from headrace.schemas.references import Reference
from headrace.schemas.schema import Schema

MODES: Final = ("READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT", "FORWARD")
LEVEL: Final = "compatibilityLevel"
# Members of a configuration, in the order in which they are written; `validateRules` is kept for clients alone.
MEMBERS: Final[Mapping[str, type]] = {
    "alias": str, "normalize": bool, "validateFields": bool, "validateRules": bool,
    LEVEL: str, "compatibilityPolicy": str, "compatibilityGroup": str,
    "defaultMetadata": dict, "overrideMetadata": dict, "defaultRuleSet": dict, "overrideRuleSet": dict,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SchemaKey:
    """One version of a subject; its value is `SchemaValue`, or None when it was deleted for good."""

    subject: str
    version: int

    def encode(self) -> bytes:
        return _json({"keytype": "SCHEMA", "subject": self.subject, "version": self.version, "magic": 1})


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """The configuration of a subject, of a context, or of all (None); its value is None where it was taken back."""

    subject: str | None

    def encode(self) -> bytes:
        return _json({"keytype": "CONFIG", "subject": self.subject, "magic": 0})


@dataclass(frozen=True, slots=True)
class ModeKey:
    """The mode of a subject, of a context, or of all (None); its value is None where it was taken back."""

    subject: str | None

    def encode(self) -> bytes:
        return _json({"keytype": "MODE", "subject": self.subject, "magic": 0})


@dataclass(frozen=True, slots=True)
class DeleteSubjectKey:
    """All versions of a subject up to one were deleted (softly); its value is that version."""

    subject: str

    def encode(self) -> bytes:
        return _json({"keytype": "DELETE_SUBJECT", "subject": self.subject, "magic": 0})


@dataclass(frozen=True, slots=True)
class ContextKey:
    """There is such a context."""

    context: str

    def encode(self) -> bytes:
        return _json({"keytype": "CONTEXT", "tenant": "default", "context": self.context, "magic": 0})

    def value(self) -> bytes:
        return _json({"tenant": "default", "context": self.context})


@dataclass(frozen=True, slots=True)
class SpentIdKey:
    """An id of which no version is left; its value is the identity that alone may have it again.

    Ours, in the shape of a NOOP, which other registries read over (ADR 0032).
    """

    context: str
    id: int

    def encode(self) -> bytes:
        return _json({"keytype": "NOOP", "magic": 0, "context": self.context, "id": self.id})


Key = SchemaKey | ConfigKey | ModeKey | DeleteSubjectKey | ContextKey | SpentIdKey | AssociationKey


@dataclass(frozen=True, slots=True)
class SchemaValue:
    """What a version of a subject is; `body` is the record as it was written, with members that we do not know."""

    id: int
    schema: Schema
    deleted: bool
    body: Mapping[str, Any]

    def encode(self) -> bytes:
        return _json({**self.body, "id": self.id, "deleted": self.deleted})


def schema_value(subject: str, version: int, schema_id: int, schema: Schema) -> SchemaValue:
    """The value of a new version."""
    body: dict[str, Any] = {"subject": subject, "version": version, "id": schema_id}
    body |= {name: value for name, value in schema.members().items() if name != "schema"}
    return SchemaValue(schema_id, schema, False, {**body, "schema": schema.text, "deleted": False})


def encode_config(subject: str | None, config: Mapping[str, Any]) -> bytes:
    """The value under a `ConfigKey`."""
    return _json(({} if subject is None else {"subject": subject}) | {name: config[name] for name in MEMBERS if name in config})


def encode_mode(subject: str | None, mode: str) -> bytes:
    """The value under a `ModeKey`."""
    return _json(({} if subject is None else {"subject": subject}) | {"mode": mode})


def encode_deletion(subject: str, up_to_version: int) -> bytes:
    """The value under a `DeleteSubjectKey`."""
    return _json({"subject": subject, "version": up_to_version})


def encode_spent(identity: str) -> bytes:
    """The value under a `SpentIdKey`."""
    return _json({"identity": identity})


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the log as it is understood.

    Attributes:
        schema: the value under a `SchemaKey`; None where there is none, or none that is understood.
        body: the members of the value; none where it is no object.
        is_empty: there is no value: what the key names is deleted for good, or taken back.
    """

    key: Key
    schema: SchemaValue | None
    body: Mapping[str, Any]
    is_empty: bool


def read(key: bytes | None, value: bytes | None) -> Entry | None:
    """None of a record that is none of ours. Takes up to a second for a large schema, whose text it parses."""
    parsed = parse_key(key)
    if parsed is None:
        return None
    if isinstance(parsed, SchemaKey):
        return Entry(parsed, parse_schema_value(value) if value else None, {}, not value)
    return Entry(parsed, None, _object(value), not value)


def parse_key(key: bytes | None) -> Key | None:
    """The key of a record; None for a kind that is none of ours."""
    body = _object(key)
    subject, version, context, kind = (body.get(name) for name in ("subject", "version", "context", "keytype"))
    if kind in ("CONFIG", "MODE") and (subject is None or isinstance(subject, str)):
        return ConfigKey(subject) if kind == "CONFIG" else ModeKey(subject)
    if kind == "CONTEXT" and isinstance(context, str):
        return ContextKey(context)
    if kind == "ASSOC":
        return key_of(body)
    if kind == "NOOP" and isinstance(context, str) and _is_id(body.get("id")):
        return SpentIdKey(context, body["id"])
    if not isinstance(subject, str):
        return None
    if kind == "SCHEMA" and isinstance(version, int) and version > 0:
        return SchemaKey(subject, version)
    return DeleteSubjectKey(subject) if kind == "DELETE_SUBJECT" else None


def parse_schema_value(value: bytes) -> SchemaValue | None:
    """None where it is not of the format."""
    body = _object(value)
    schema_id, text, kind = body.get("id"), body.get("schema"), body.get("schemaType") or "AVRO"
    metadata, rule_set = body.get("metadata"), body.get("ruleSet")
    references = parse_references(body.get("references"))
    if not _is_id(schema_id) or not isinstance(text, str) or not isinstance(kind, str) or references is None:
        return None
    if not all(one is None or isinstance(one, dict) for one in (metadata, rule_set)):
        return None
    assert isinstance(schema_id, int)
    return SchemaValue(schema_id, Schema(kind, text, references, metadata, rule_set), body.get("deleted") is True, body)


def parse_references(found: Any) -> tuple[Reference, ...] | None:
    """None where they are not of the format."""
    if found is None:
        return ()
    if not isinstance(found, list):
        return None
    references = []
    for one in found:
        fields: list[Any] = [one.get(name) for name in ("name", "subject", "version")] if isinstance(one, dict) else []
        if [type(field) for field in fields] != [str, str, int]:
            return None
        references.append(Reference(*fields))
    return tuple(references)


def _is_id(found: Any) -> bool:
    return type(found) is int and 0 <= found <= MAX_ID


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _object(text: bytes | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
