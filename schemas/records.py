"""Keys and values of the topic `_schemas`, as Confluent Schema Registry writes them, byte for byte.

Key bytes matter: compaction works on bytes, so members come in Confluent's order, without spaces. Kinds of records that we do
not write, or cannot read, are None: a topic made by another registry is served as far as we know it. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_ID: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SchemaKey:
    """One version of a subject; its value is `SchemaValue`, or None when it was deleted for good."""

    subject: str
    version: int

    def encode(self) -> bytes:
        return _json({"keytype": "SCHEMA", "subject": self.subject, "version": self.version, "magic": 1})


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """The compatibility level of a subject, or of all (None); its value is a level, or None where it was taken back."""

    subject: str | None

    def encode(self) -> bytes:
        return _json({"keytype": "CONFIG", "subject": self.subject, "magic": 0})


@dataclass(frozen=True, slots=True)
class DeleteSubjectKey:
    """All versions of a subject up to one were deleted (softly); its value is that version."""

    subject: str

    def encode(self) -> bytes:
        return _json({"keytype": "DELETE_SUBJECT", "subject": self.subject, "magic": 0})


Key = SchemaKey | ConfigKey | DeleteSubjectKey


@dataclass(frozen=True, slots=True)
class SchemaValue:
    """What a version of a subject is; `body` is the record as it was written, with members that we do not know."""

    id: int
    schema: str
    deleted: bool
    body: Mapping[str, Any]

    @property
    def schema_type(self) -> str:
        return str(self.body.get("schemaType") or "AVRO")

    @property
    def references(self) -> list[Any]:
        return list(self.body.get("references") or ())

    def encode(self) -> bytes:
        return _json({**self.body, "id": self.id, "deleted": self.deleted})


def schema_value(subject: str, version: int, schema_id: int, schema: str) -> SchemaValue:
    """The value of a new version."""
    body = {"subject": subject, "version": version, "id": schema_id, "schema": schema, "deleted": False}
    return SchemaValue(schema_id, schema, False, body)


def encode_level(level: str) -> bytes:
    """The value under a `ConfigKey`."""
    return _json({"compatibilityLevel": level})


def encode_deletion(subject: str, up_to_version: int) -> bytes:
    """The value under a `DeleteSubjectKey`."""
    return _json({"subject": subject, "version": up_to_version})


def parse_key(key: bytes | None) -> Key | None:
    """The key of a record; None for a kind that is none of ours."""
    body = _object(key)
    subject, version = body.get("subject"), body.get("version")
    kind = body.get("keytype")
    if kind == "CONFIG" and (subject is None or isinstance(subject, str)):
        return ConfigKey(subject)
    if not isinstance(subject, str):
        return None
    if kind == "SCHEMA" and isinstance(version, int) and version > 0:
        return SchemaKey(subject, version)
    return DeleteSubjectKey(subject) if kind == "DELETE_SUBJECT" else None


def parse_schema_value(value: bytes) -> SchemaValue | None:
    """None where it is not of the format."""
    body = _object(value)
    schema_id, schema = body.get("id"), body.get("schema")
    if not isinstance(schema_id, int) or not 0 <= schema_id <= MAX_ID or not isinstance(schema, str):
        return None
    return SchemaValue(schema_id, schema, body.get("deleted") is True, body)


def parse_level(value: bytes) -> str | None:
    """The level in the value of a `ConfigKey`."""
    level = _object(value).get("compatibilityLevel")
    return level if isinstance(level, str) else None


def parse_deletion(value: bytes) -> int | None:
    """The last version that the value of a `DeleteSubjectKey` deletes."""
    version = _object(value).get("version")
    return version if isinstance(version, int) else None


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
