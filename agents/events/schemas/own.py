"""The user's own Avro schema: the fields of a parsed line, by name, as one record of it. Pure and deterministic.

A field of the schema takes what the line has under its name, or under one of its aliases; then what the envelope has
(`event_time`, `host`, `message` …); then its default; then null, where it may be null. What has no field is left out. A union
takes the first of its branches that the value fits, an empty text being null where no branch is a string. Where nothing of a
line has a field, and the schema has no `message` either, the line would be lost in an empty record: it does not fit.

The encoding is written here and not by a library: a value is fitted and written in one go, and a repeat has the same bytes
whatever library is installed by then.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from headrace.agents.events.schemas.binary import length
from headrace.agents.events.schemas.scalars import LOGICAL, PLAIN, MisfitError, Write, decimal_bytes, fixed, misfit

ENVELOPE_NAMES: Final = frozenset(
    {
        "event_time", "event_time_source", "read_time", "agent_id", "stream_id", "position", "since", "part", "host", "service",
        "source", "message", "encoding",
    }
)  # fmt: skip
_MISSING: Final = object()
_MAX_SCHEMA_BYTES: Final = 1024 * 1024


class UnusableSchemaError(ValueError):
    """A schema that events cannot be written by; the message says why."""


class OwnSchema:
    """A compiled schema of a record.

    Raises:
        UnusableSchemaError: the text is no Avro schema, or none of a record.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_SCHEMA_BYTES:
            raise UnusableSchemaError(f"longer than {_MAX_SCHEMA_BYTES} bytes")
        try:
            schema = json.loads(text)
            if not isinstance(schema, dict) or schema.get("type") != "record":
                raise UnusableSchemaError("a topic's schema is a record")
            _check(schema)
            self._fields = _Compiler().fields(schema, "")
        except UnusableSchemaError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MisfitError) as error:
            raise UnusableSchemaError(f"no Avro schema: {error}") from error
        names = {field.name for field in self._fields}
        self._keeps_message = "message" in names
        self.asks_envelope = bool(names & ENVELOPE_NAMES)

    def payload(self, found: Mapping[str, str], envelope: Mapping[str, Any]) -> bytes:
        """One record's bytes.

        Args:
            found: what the line says.
            envelope: what the envelope says, by ENVELOPE_NAMES, where it is asked (`asks_envelope`); times are Micros.
        Raises:
            MisfitError: the line does not fit.
        """
        try:
            return self._payload(found, envelope)
        except RecursionError:
            raise MisfitError("nested too deeply") from None

    def _payload(self, found: Mapping[str, str], envelope: Mapping[str, Any]) -> bytes:
        pieces, used = [], self._keeps_message
        for field in self._fields:
            value = field.taken(found)
            if value is not _MISSING:
                used = True
            elif field.name in envelope:
                value = envelope[field.name]
            pieces.append(field.encoded(value))
        if not used:
            raise MisfitError("the line has none of the schema's fields")
        return b"".join(pieces)


class _Field:
    __slots__ = ("_default", "_names", "_write", "name")

    def __init__(self, name: str, names: tuple[str, ...], write: Write, default: bytes | None) -> None:
        self.name, self._names, self._write, self._default = name, names, write, default

    def taken(self, members: Mapping[str, Any]) -> Any:
        for name in self._names:
            if name in members:
                return members[name]
        return _MISSING

    def encoded(self, value: Any) -> bytes:
        if value is _MISSING:
            if self._default is None:
                raise MisfitError(f"field {self.name}: missing")
            return self._default
        try:
            return self._write(value)
        except MisfitError as error:
            raise MisfitError(f"field {self.name}: {str(error).removeprefix('field ')}") from error


def _check(schema: dict[str, Any]) -> None:
    """Names, references and logical types, as a library checks them."""
    import fastavro  # 3 MB that only an agent with a schema of its own needs

    try:
        fastavro.parse_schema(json.loads(json.dumps(schema)))
    except fastavro.schema.SchemaParseException as error:
        raise UnusableSchemaError(f"no Avro schema: {error}") from error
    except fastavro.schema.UnknownType as error:
        raise UnusableSchemaError(f"no Avro schema: type {error.name} is nowhere") from error


class _Compiler:
    """Types → writers; named types are found by their full names, also from within themselves."""

    def __init__(self) -> None:
        self._named: dict[str, Write] = {}

    def fields(self, schema: Mapping[str, Any], namespace: str) -> list[_Field]:
        _, inner = _full_name(schema, namespace)
        fields = [self._field(each, inner) for each in schema["fields"]]
        if len({field.name for field in fields}) < len(fields):
            raise UnusableSchemaError(f"two fields of {schema['name']} have the same name")
        return fields

    def _field(self, field: Mapping[str, Any], namespace: str) -> _Field:
        write = self.writer(field["type"], namespace)
        default = None
        if "default" in field:
            default = self._default(field["type"], namespace, field["default"], write)
        elif _is_nullable(field["type"]):
            default = write(None)
        return _Field(field["name"], (field["name"], *field.get("aliases", ())), write, default)

    def _default(self, schema: Any, namespace: str, value: Any, write: Write) -> bytes:
        """A default as JSON says it; of bytes and fixed the characters are the bytes (Avro 1.12, Complex Types)."""
        if isinstance(schema, list):
            try:
                return length(0) + self._default(schema[0], namespace, value, self.writer(schema[0], namespace))
            except MisfitError:
                return write(value)
        kind = schema.get("type") if isinstance(schema, dict) else schema
        if kind in ("bytes", "fixed") and isinstance(value, str):
            data = value.encode("latin-1")
            return data if kind == "fixed" else length(len(data)) + data
        if isinstance(schema, dict) and "logicalType" in schema and kind in ("int", "long"):
            return self.writer(kind, namespace)(value)  # in its own unit
        return write(value)

    def writer(self, schema: Any, namespace: str) -> Write:
        """What writes values of a type."""
        if isinstance(schema, list):
            return self._union(schema, namespace)
        if isinstance(schema, str):
            return self._by_name(schema, namespace)
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.writer(kind, namespace)
        if kind in ("record", "error", "enum", "fixed"):
            return self._define(schema, namespace)
        if kind == "array":
            return _array(self.writer(schema["items"], namespace))
        if kind == "map":
            return _map(self.writer(schema["values"], namespace))
        logical = schema.get("logicalType")
        if kind == "bytes" and logical == "decimal":
            return decimal_bytes(int(schema["precision"]), int(schema.get("scale", 0)))
        return LOGICAL.get((kind, str(logical))) or self._by_name(kind, namespace)

    def _by_name(self, name: str, namespace: str) -> Write:
        if name == "null":
            return _null
        if name in PLAIN:
            return PLAIN[name]
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named:
            raise UnusableSchemaError(f"type {name} is nowhere")
        return lambda value: self._named[full](value)

    def _define(self, schema: Mapping[str, Any], namespace: str) -> Write:
        full, _ = _full_name(schema, namespace)
        self._named[full] = _null  # until it is whole; from within itself it is asked for late
        if schema["type"] == "enum":
            self._named[full] = _enum(schema["symbols"])
        elif schema["type"] == "fixed":
            precision, scale = int(schema.get("precision", 0)), int(schema.get("scale", 0))
            self._named[full] = fixed(int(schema["size"]), schema.get("logicalType"), precision, scale)
        else:
            self._named[full] = _record(self.fields(schema, namespace))
        return self._named[full]

    def _union(self, branches: list[Any], namespace: str) -> Write:
        writers = [(length(index), self.writer(branch, namespace)) for index, branch in enumerate(branches)]
        null = length(branches.index("null")) if "null" in branches else None
        empty_is_null = null is not None and not any(_is_text(branch) for branch in branches)

        def write(value: Any) -> bytes:
            if null is not None and (value is None or (value == "" and empty_is_null)):
                return null
            error: MisfitError | None = None
            for index, one in writers:
                if index != null:
                    try:
                        return index + one(value)
                    except MisfitError as reason:
                        error = error or reason
            raise error or misfit(value, "null")

        return write


def _full_name(schema: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """A named type's full name, and the namespace of what lies in it."""
    name = schema["name"]
    space = name.rpartition(".")[0] if "." in name else schema.get("namespace", namespace)
    name = name.rpartition(".")[2]
    return (f"{space}.{name}" if space else name), space


def _is_nullable(schema: Any) -> bool:
    return schema == "null" or (isinstance(schema, list) and "null" in schema)


def _is_text(branch: Any) -> bool:
    kind = branch.get("type") if isinstance(branch, dict) else branch
    return kind in ("string", "bytes") and not (isinstance(branch, dict) and "logicalType" in branch)


def _null(value: Any) -> bytes:
    if value is not None:
        raise misfit(value, "null")
    return b""


def _enum(symbols: list[str]) -> Write:
    known = {symbol: length(index) for index, symbol in enumerate(symbols)}

    def write(value: Any) -> bytes:
        if not isinstance(value, str) or value not in known:
            raise misfit(value, f"one of {', '.join(symbols[:10])}{' …' if len(symbols) > 10 else ''}")
        return known[value]

    return write


def _json_of(value: Any, kind: type, what: str) -> Any:
    """A JSON object or list, which a line's field has as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise misfit(value, what) from error
    if not isinstance(value, kind):
        raise misfit(value, what)
    return value


def _record(fields: list[_Field]) -> Write:
    def write(value: Any) -> bytes:
        members = _json_of(value, dict, "JSON object")
        return b"".join([field.encoded(field.taken(members)) for field in fields])

    return write


def _array(item: Write) -> Write:
    def write(value: Any) -> bytes:
        items = _json_of(value, list, "JSON list")
        return (length(len(items)) + b"".join(map(item, items)) if items else b"") + b"\x00"

    return write


def _map(write_value: Write) -> Write:
    def write(value: Any) -> bytes:
        members = _json_of(value, dict, "JSON object")
        pieces = [PLAIN["string"](name) + write_value(each) for name, each in members.items()]
        return (length(len(pieces)) + b"".join(pieces) if pieces else b"") + b"\x00"

    return write


@lru_cache(maxsize=64)
def own_schema(text: str) -> OwnSchema:
    """A schema by its text, compiled once; see OwnSchema for what is raised."""
    return OwnSchema(text)
