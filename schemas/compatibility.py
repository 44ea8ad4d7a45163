"""Avro schemas as the registry judges them: valid or not, the same or not, compatible or not. Pure.

Compatibility itself is `avro.compatibility` (Apache Avro's own rules, ADR); what is ours is which pairs a level asks for.
"""

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import avro.compatibility
import avro.errors
import avro.schema
import fastavro

DEFAULT_LEVEL: Final = "BACKWARD"
LEVELS: Final = ("NONE", *(name + kind for name in ("BACKWARD", "FORWARD", "FULL") for kind in ("", "_TRANSITIVE")))
# Avro says that an unknown logical type is ignored; the library says so on stderr, each time.
warnings.filterwarnings("ignore", category=avro.errors.IgnoredLogicalType)
_PARSE_ERRORS: Final = (
    avro.errors.AvroException,
    fastavro.schema.SchemaParseException,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)


class InvalidSchemaError(ValueError):
    """The text is no Avro schema; the message says why."""


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A valid schema.

    Attributes:
        text: as it was given, without insignificant spaces.
        identity: equal for two texts that mean the same: the order of attributes, spaces, and how a name's namespace or a plain
            type is written do not count; docs, defaults, aliases and other attributes do.
    """

    text: str
    identity: str
    parsed: avro.schema.Schema


def parse(text: str) -> AvroSchema:
    """Check a schema by two libraries: each lets through what the other finds (defaults here, duplicate names there).

    Raises:
        InvalidSchemaError: it is none.
    """
    try:
        tree = json.loads(text)
        parsed = avro.schema.make_avsc_object(tree, validate_enum_symbols=True)
        canonical = _canonical(fastavro.parse_schema(tree))
        compact = json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        compact.encode()  # half of a surrogate pair is no text that others can read
    except _PARSE_ERRORS as error:
        raise InvalidSchemaError(str(error) or repr(error)) from error
    return AvroSchema(compact, json.dumps(canonical, sort_keys=True), parsed)


def _canonical(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_canonical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.keys() == {"type"}:
        return _canonical(schema["type"])
    return {
        key: [{**field, "type": _canonical(field["type"])} for field in value]
        if key == "fields"
        else _canonical(value)
        if key in ("type", "items", "values")
        else value
        for key, value in schema.items()
        if not key.startswith("__")
    }


def is_compatible(level: str, schema: AvroSchema, earlier: Iterable[AvroSchema]) -> list[str]:
    """What stands against `schema` after `earlier` (oldest first) at a level; nothing where it is compatible.

    BACKWARD: readers with the new schema read data of the last; FORWARD: readers with the last read data of the new;
    FULL: both; _TRANSITIVE: not only the last, but all.
    """
    if level == "NONE":
        return []
    against = list(earlier)
    if not level.endswith("_TRANSITIVE"):
        against = against[-1:]
    problems: list[str] = []
    for other in against:
        if level.startswith(("BACKWARD", "FULL")):
            problems += _differences(schema, other, "new reader, old data")
        if level.startswith(("FORWARD", "FULL")):
            problems += _differences(other, schema, "old reader, new data")
    return problems


def _differences(reader: AvroSchema, writer: AvroSchema, which: str) -> list[str]:
    try:
        checker: Any = avro.compatibility.ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro has no types here
        result = checker.get_compatibility(reader.parsed, writer.parsed)
    except RecursionError:
        return [f"{which}: the schemas are nested too deeply to compare"]
    if result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
        return []
    kinds = ", ".join(sorted({str(kind.value) for kind in result.incompatibilities}))
    return [f"{which}: {kinds}: {'; '.join(sorted(result.messages))} at {', '.join(sorted(result.locations))}"]
