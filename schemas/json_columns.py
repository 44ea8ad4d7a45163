"""How each type of JSON Schema lands as an Arrow type, and how values are checked and turned into it. Pure.

| JSON Schema | Arrow |
|---|---|
| boolean, integer, number, string | bool, int64, float64, string |
| null | no column, until a later version gives it a type |
| enum or const of texts only | string |
| object with properties | struct (the outermost: the columns); what they do not name is in `_more`, JSON text |
| object with additionalProperties that have a schema, and no properties | map<string, …> |
| array with one schema for its items | list |
| a type or null (`type: [T, null]`, `oneOf`, `anyOf` with null) | that type, nullable |
| `$ref` into the schema or to a reference | what it points to |
| all else: several types, tuples, allOf, a schema that refers to itself, anything without a type, lists and maps of null,
  objects none of whose members land, or with members that differ in case only | string: JSON text |
| a schema that is no object | one column, `value` |

A property that is not `required` is nullable. Only types are checked here: the rest was for whoever produced.
"""

import json
import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urldefrag

import pyarrow as pa

from headrace.schemas.columns import MAX_DEPTH, MAX_NODES, UnsupportedSchemaError
from headrace.schemas.unified import JSON_TEXT, are_apart

MORE: Final = "_more"
_OUTERMOST: Final = ("#", "")
Convert = Callable[[Any, str], Any]
"""From what was parsed, and where it is, to what pyarrow takes; raises ValueError where it is of another type."""
_COMBINES: Final = ("allOf", "not", "if", "oneOf", "anyOf", "$ref", "$dynamicRef", "$recursiveRef", "patternProperties")


@dataclass(frozen=True, slots=True)
class JsonType:
    """What one schema lands as."""

    kind: pa.DataType
    convert: Convert
    nullable: bool = False
    is_text: bool = False

    @property
    def is_null(self) -> bool:
        return bool(pa.types.is_null(self.kind))


def compile_schema(text: str, references: Mapping[str, str]) -> tuple[pa.StructType, Convert]:
    """The columns of a schema, and what makes a value of it a mapping of them.

    Args:
        references: texts of other schemas, by the names that it refers to them by.
    Raises:
        UnsupportedSchemaError: it is no JSON Schema, or too large.
    """
    try:
        documents = {name: json.loads(other) for name, other in references.items()}
        root = _Compiler({"": json.loads(text), **documents}).of("", "", ())
    except (ValueError, TypeError, RecursionError) as error:
        raise UnsupportedSchemaError(f"not a JSON Schema: {error}") from error
    if pa.types.is_struct(root.kind) and not root.nullable:
        return root.kind, root.convert
    return pa.struct(_fields({"value": root}, {"value"})), lambda value, where: {"value": root.convert(value, where)}


def _fields(members: Mapping[str, JsonType], needed: Container[Any]) -> list[pa.Field]:
    """Of the members that land."""
    return [_field(name, member, required=name in needed) for name, member in members.items() if not member.is_null]


def _field(name: str, one: JsonType, *, required: bool) -> pa.Field:
    return pa.field(name, one.kind, one.nullable or not required, JSON_TEXT if one.is_text else None)


class _Compiler:
    def __init__(self, documents: Mapping[str, Any]) -> None:
        self._documents = documents
        self._count = 0

    def of(self, document: str, pointer: str, within: tuple[str, ...]) -> JsonType:
        """What a place of a document lands as; JSON text if that place is being looked at already."""
        place = f"{document}#{pointer}"
        schema = _at(self._documents[document], pointer)
        return _TEXT if place in within else self._type(schema, document, (*within, place))

    def _type(self, schema: Any, document: str, within: tuple[str, ...]) -> JsonType:
        self._count += 1
        if self._count > MAX_NODES or len(within) > MAX_DEPTH:
            raise UnsupportedSchemaError(f"the schema has more than {MAX_NODES} types or {MAX_DEPTH} levels")
        if not isinstance(schema, dict):
            return _TEXT
        if isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"], document, within)
        if (branch := _unless_null(schema)) is not None:
            return _nullable(self._type(branch, document, (*within, "")))
        if any(word in schema for word in _COMBINES):
            return _TEXT
        return self._plain(schema, document, (*within, ""))

    def _referred(self, reference: str, document: str, within: tuple[str, ...]) -> JsonType:
        name, pointer = urldefrag(reference)
        target = name or document
        if target not in self._documents:
            return _TEXT
        try:
            return self.of(target, unquote(pointer), within)
        except KeyError:
            return _TEXT

    def _plain(self, schema: Mapping[str, Any], document: str, within: tuple[str, ...]) -> JsonType:
        kind = schema.get("type")
        texts = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if kind is None and isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
            kind = "string"
        if kind == "object":
            return self._object(schema, document, within)
        if kind == "array":
            items = schema.get("items")
            if not isinstance(items, dict) or "prefixItems" in schema:
                return _TEXT
            return _list(self._type(items, document, within))
        return _SCALARS.get(kind, _TEXT) if isinstance(kind, str) else _TEXT

    def _object(self, schema: Mapping[str, Any], document: str, within: tuple[str, ...]) -> JsonType:
        properties, more = schema.get("properties"), schema.get("additionalProperties", True)
        if isinstance(properties, dict) and properties:
            required = schema.get("required")
            needed = set(required) if isinstance(required, list) else set()
            members = {name: self._type(member, document, within) for name, member in properties.items()}
            landed = _struct(members, needed, is_open=more is not False)
            is_outermost = within == _OUTERMOST  # whose members are columns: what differs in case only gets another name there
            return landed if landed.kind.num_fields and (is_outermost or are_apart(members)) else _as_text(landed)
        return _map(self._type(more, document, within)) if isinstance(more, dict) and more else _TEXT


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to; KeyError where there is nothing."""
    for step in pointer.split("/")[1:] if pointer else ():
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and key in document:
            document = document[key]
        else:
            raise KeyError(pointer)
    if pointer and not pointer.startswith("/"):  # an anchor
        raise KeyError(pointer)
    return document


def _unless_null(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema without null, where it says: this, or null."""
    kinds = schema.get("type")
    if isinstance(kinds, list) and len(kinds) == 2 and "null" in kinds:
        return {**schema, "type": next((kind for kind in kinds if kind != "null"), "null")}
    if isinstance(kinds, list) and len(kinds) == 1:
        return {**schema, "type": kinds[0]}
    for word in ("oneOf", "anyOf"):
        branches = schema.get(word)
        if isinstance(branches, list) and len(branches) == 2 and {"type": "null"} in branches:
            return next((branch for branch in branches if branch != {"type": "null"}), None)
    return None


def _wrong(value: Any, where: str, expected: str) -> ValueError:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return ValueError(f"{where[:200]} is {names.get(type(value), 'a number')}, not {expected}")


def _boolean(value: Any, where: str) -> Any:
    if not isinstance(value, bool):
        raise _wrong(value, where, "a boolean")
    return value


def _integer(value: Any, where: str) -> Any:
    if isinstance(value, float) and value.is_integer():  # JSON Schema: 1.0 is an integer
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, where, "an integer")
    return value


def _number(value: Any, where: str) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(value, where, "a number")
    number = float(value)
    if math.isinf(number):
        raise ValueError(f"{where[:200]} is a number beyond those that a double holds")
    return number


def _string(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        raise _wrong(value, where, "a string")
    return value


def _null(value: Any, where: str) -> Any:
    if value is not None:
        raise _wrong(value, where, "null")


def _text(value: Any, where: str) -> Any:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{where[:200]} holds a number beyond those that a double holds") from error


_TEXT: Final = JsonType(pa.string(), _text, is_text=True)
_SCALARS: Final = {
    "boolean": JsonType(pa.bool_(), _boolean),
    "integer": JsonType(pa.int64(), _integer),
    "number": JsonType(pa.float64(), _number),
    "string": JsonType(pa.string(), _string),
    "null": JsonType(pa.null(), _null, nullable=True),
}


def _nullable(one: JsonType) -> JsonType:
    convert = one.convert
    return JsonType(one.kind, lambda value, where: None if value is None else convert(value, where), True, one.is_text)


def _as_text(one: JsonType) -> JsonType:
    """What no engine has a type for: checked, and landed as JSON text."""

    def convert_text(value: Any, where: str) -> Any:
        one.convert(value, where)
        return _text(value, where)

    return JsonType(pa.string(), convert_text, is_text=True)


def _list(item: JsonType) -> JsonType:
    convert = item.convert

    def convert_list(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise _wrong(value, where, "an array")
        return [convert(member, f"{where}[]") for member in value]

    landed = JsonType(pa.list_(_field("item", item, required=False)), convert_list)
    return _as_text(landed) if item.is_null else landed


def _map(item: JsonType) -> JsonType:
    convert = item.convert

    def convert_map(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, where, "an object")
        return [(key, convert(member, f"{where}.*")) for key, member in value.items()]

    landed = JsonType(pa.map_(pa.string(), _field("value", item, required=False)), convert_map)
    return _as_text(landed) if item.is_null else landed


def _struct(members: Mapping[str, JsonType], needed: set[Any], *, is_open: bool) -> JsonType:
    fields = _fields(members, needed)
    more, taken = MORE, {name.casefold() for name in members}
    while more.casefold() in taken:
        more += "_"
    if is_open:
        fields.append(pa.field(more, pa.string(), metadata=JSON_TEXT))
    plans = [(name, member.convert, name in needed) for name, member in members.items()]

    def convert_struct(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, where, "an object")
        row = {}
        for name, convert, is_needed in plans:
            if name in value:
                row[name] = convert(value[name], f"{where}.{name}")
            elif is_needed:
                raise ValueError(f"{where[:200]} has no {name!r}")
        if len(row) < len(value):
            rest = {key: member for key, member in value.items() if key not in members}
            if not is_open:
                raise ValueError(f"{where[:200]} has members that its schema does not allow: {sorted(rest)[:5]}")
            row[more] = _text(rest, where)
        return row

    return JsonType(pa.struct(fields), convert_struct)
