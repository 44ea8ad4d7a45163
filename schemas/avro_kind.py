"""Avro schemas as the registry judges them: valid or not, the same or not, readable or not. Pure.

Readability is `avro.compatibility`, Apache Avro's own rules (ADR 0010).
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import avro.compatibility
import avro.errors
import avro.name
import avro.schema
import fastavro

from headrace.schemas.invalid import InvalidSchemaError

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


class _Named(Protocol):
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A valid schema.

    Attributes:
        text: as it was given, without insignificant spaces.
        meaning: equal for two texts that mean the same: the order of attributes, spaces, and how a name's namespace or a plain
            type is written do not count; docs, defaults, aliases and other attributes do.
    """

    text: str
    meaning: str
    parsed: avro.schema.Schema = field(repr=False)

    @property
    def normal_text(self) -> str:
        """What normalization would change does not count in the first place."""
        return self.text

    def unreadable(self, writer: "AvroSchema", which: str) -> list[str]:
        """See `kinds.Parsed`."""
        try:
            checker: Any = avro.compatibility.ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro has no types here
            result = checker.get_compatibility(self.parsed, writer.parsed)
        except RecursionError:
            return [f"{which}: the schemas are nested too deeply to compare"]
        if result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
            return []
        kinds = ", ".join(sorted({str(kind.value) for kind in result.incompatibilities}))
        return [f"{which}: {kinds}: {'; '.join(sorted(result.messages))} at {', '.join(sorted(result.locations))}"]


def parse(text: str, references: Sequence[_Named] = ()) -> AvroSchema:
    """Check a schema by two libraries: each lets through what the other finds (defaults here, duplicate names there).

    Raises:
        InvalidSchemaError: it is none.
    """
    try:
        names = avro.name.Names()
        named: dict[str, Any] = {}
        for one in references:
            avro.schema.make_avsc_object(json.loads(one.text), names, validate_enum_symbols=True)
            fastavro.parse_schema(json.loads(one.text), named_schemas=named)
        tree = json.loads(text)
        parsed = avro.schema.make_avsc_object(tree, names, validate_enum_symbols=True)
        canonical = _canonical(fastavro.parse_schema(tree, named_schemas=named))
        compact = json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        compact.encode()  # half of a surrogate pair is no text that others can read
    except _PARSE_ERRORS as error:
        raise InvalidSchemaError(str(error) or repr(error)) from error
    return AvroSchema(compact, json.dumps(canonical, sort_keys=True), parsed)


def identity(text: str) -> str:
    """Of a schema without references, what it means; of another text, how it is written."""
    try:
        return parse(text).meaning
    except InvalidSchemaError:
        return tree_identity(text)


def tree_identity(text: str) -> str:
    """Of JSON, all but the order of members and spaces; of another text, the text."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


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
