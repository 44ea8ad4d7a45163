"""Avro schemas as the registry judges them: valid or not, the same or not, readable or not. Pure."""

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import avro.errors
import avro.name
import avro.schema
import fastavro

from headrace.schemas.avro_compatibility import differences
from headrace.schemas.avro_text import definitions, written
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.references import Resolved

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


_MOST_FIELDS: Final = 10_000  # of a record: the library's work grows with the square
_MOST_BRANCHES: Final = 500  # of a union: each is compared with each
_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_NAMED: Final = ("record", "error", "enum", "fixed")


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A valid schema.

    Attributes:
        text: as Java writes it (`avro_text`): what is stored.
        resolved: the same with what it refers to written out.
        meaning: equal for two texts that mean the same: the order of attributes, spaces, and how a name's namespace or a plain
            type is written do not count; docs, defaults, aliases and other attributes do.
    """

    text: str
    resolved: str
    meaning: str
    parsed: avro.schema.Schema = field(repr=False)

    @property
    def normal_text(self) -> str:
        """What normalization would change does not count in the first place."""
        return self.text

    def fields(self) -> set[str]:
        """See `kinds.Parsed`."""
        return {str(one.name) for one in self.parsed.fields} if isinstance(self.parsed, avro.schema.RecordSchema) else set()

    def unreadable(self, writer: "AvroSchema", mine: str, others: str, *, lenient: bool) -> list[str]:  # noqa: ARG002  # of JSON alone
        """See `kinds.Parsed`."""
        try:
            return differences(self.parsed, writer.parsed, mine, others)
        except RecursionError:
            return ["the schemas are nested too deeply to compare"]


def parse(text: str, references: Sequence[Resolved] = ()) -> AvroSchema:
    """Check a schema by two libraries: each lets through what the other finds (defaults here, duplicate names there).

    Names are checked as Java checks them: those of types and fields, and nothing of a namespace, which may have hyphens.

    Raises:
        InvalidSchemaError: it is none.
    """
    try:
        names = avro.name.Names(validate_names=False)
        named: dict[str, Any] = {}
        referred: dict[str, Any] = {}
        for one in references:
            other = json.loads(one.text)
            avro.schema.make_avsc_object(other, names, validate_enum_symbols=True, validate_names=False)
            fastavro.parse_schema(other, named_schemas=named)
            referred |= definitions(other)
        tree = json.loads(text)
        _check_tree(tree)
        parsed = avro.schema.make_avsc_object(tree, names, validate_enum_symbols=True, validate_names=False)
        _check_unions(parsed)
        canonical = _canonical(fastavro.parse_schema(tree, named_schemas=named))
        texts = [_compact(written(tree)), _compact(written(tree, referred))]
    except _PARSE_ERRORS as error:
        raise InvalidSchemaError(str(error) or repr(error)) from error
    return AvroSchema(texts[0], texts[1], json.dumps(canonical, sort_keys=True), parsed)


def _check_tree(tree: Any) -> None:
    """Sizes and names, which the libraries do not check, or otherwise."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            if len(one) > _MOST_BRANCHES:
                raise ValueError(f"a union of {len(one)} schemas: {_MOST_BRANCHES} are the most")
            waiting += one
        elif isinstance(one, dict):
            if one.get("type") in _NAMED:
                _check_name(one.get("name"), "type")
            fields = one.get("fields")
            if isinstance(fields, list):
                if len(fields) > _MOST_FIELDS:
                    raise ValueError(f"a record of {len(fields)} fields: {_MOST_FIELDS} are the most")
                for each in fields:
                    if isinstance(each, dict):
                        _check_name(each.get("name"), "field")
                        waiting.append(each.get("type"))
            waiting += [one.get(name) for name in ("type", "items", "values")]


def _check_unions(parsed: Any) -> None:
    """A named type comes once in a union, also where it is defined in one branch and named in another."""
    waiting, seen = [parsed], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        branches = getattr(one, "schemas", [])
        names = [each.fullname for each in branches if isinstance(each, avro.schema.NamedSchema)]
        if len(set(names)) < len(names):
            raise ValueError("a type comes twice in a union")
        waiting += [*branches, *(each.type for each in getattr(one, "fields", ()))]
        waiting += [getattr(one, name) for name in ("items", "values") if hasattr(one, name)]


def _check_name(name: Any, what: str) -> None:
    own = name.rpartition(".")[2] if isinstance(name, str) and what == "type" else name
    if isinstance(own, str) and not _NAME.fullmatch(own):
        raise ValueError(f"{name[:100]!r} is no name of a {what}: a letter or `_`, then letters, digits and `_`")


def _compact(tree: Any) -> str:
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text.encode()  # half of a surrogate pair is no text that others can read
    return text


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
