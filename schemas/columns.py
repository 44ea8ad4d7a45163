"""How each Avro type lands as an Arrow type. Pure: schemas and single values, no payload is decoded here.

| Avro | Arrow |
|---|---|
| boolean, int, long, float, double, string, bytes | bool, int32, int64, float32, float64, string, binary |
| null | no column, until a later version gives it a type |
| fixed(n), duration | fixed-size binary; binary where n > 256 or n = 0 |
| enum | string |
| array, map, record | list, map<string, …>, struct (the outermost record: the columns) |
| a map of null; a record without fields that land, or with fields that differ in case only | string: the value as JSON |
| date, time-millis, time-micros | date32, time64[us], time64[us] |
| timestamp-millis, -micros, -nanos | timestamp of that unit, UTC |
| local-timestamp-millis, -micros, -nanos | timestamp of that unit without zone |
| decimal, precision up to 38; up to 1,000 | decimal128; string: its digits, as many after the point as its scale says |
| uuid | string |
| union of null and one type | that type, nullable |
| any other union | string: the value as JSON (json_text.py) |
| a schema that is no record | one column, `value` |
| decimal of greater precision, unknown logical type | the type beneath it, as Avro prescribes |

A type within itself is JSON text there, nested up to recursion.MAX_LEVELS deep; what nests deeper is quarantined.

What lands as text, or in microseconds though it came in milliseconds, is what not every engine has a type for (ADR 0035).

Refused, so that its payloads are quarantined with the reason: an array whose items take no bytes (ten bytes claim 2⁶³ of them),
a schema of more than MAX_NODES nodes or MAX_DEPTH levels.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Any, Final

import fastavro
import pyarrow as pa

from headrace.schemas.json_text import json_text
from headrace.schemas.recursion import Unroller
from headrace.schemas.unified import DECIMAL_TEXT, JSON_TEXT, are_apart

MAX_NODES: Final = 10_000
MAX_DEPTH: Final = 64
MAX_FIXED_BYTES: Final = 256
"""A longer fixed lands as bytes: in fixed-size binary a null takes as much memory as a value."""
MOST_DIGITS: Final = 38
"""Of a decimal: Iceberg and Spark, polars and DuckDB have no more."""
_MOST_DIGITS_OF_TEXT: Final = 1_000
_MAX_INT: Final = 2**31 - 1
Schema = Any  # Avro schemas are JSON: names, lists, and mappings
Convert = Callable[[Any], Any]
_EXACT: Final = Context(prec=_MOST_DIGITS_OF_TEXT)

_PRIMITIVES: Final[Mapping[str, pa.DataType]] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL: Final[Mapping[tuple[str, str], pa.DataType]] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
}
_IN_MICROS: Final[Mapping[pa.DataType, pa.DataType]] = {
    pa.time32("ms"): pa.time64("us"),
}
"""What lands in microseconds though it comes in milliseconds."""


_SCHEMA_ERRORS: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    fastavro.schema.SchemaParseException,
)


class UnsupportedSchemaError(ValueError):
    """A schema whose values cannot land as columns; the message is the reason that quarantine shows."""


@dataclass(frozen=True, slots=True)
class Node:
    """One type of a schema, and all that decoding needs to know of it.

    Attributes:
        kind: the Avro type's name; "json" for what lands as JSON text.
        type: the Arrow type that it lands as.
        sent: the Arrow type that its numbers on the wire are of, where that is another.
        text: the metadata that say what is in the text, where it is none of the user's.
        nullable: whether the schema says union of null and this.
        plain: the same wire format with every name made unique, int widened to long, and no logical types.
        bulk: whether the bulk decoder is safe with it (see arrow.py).
        sized: whether each value takes at least one byte.
        convert: from what fastavro reads under `plain` to what pyarrow takes; None where they are the same.
        children: of a record its fields, by name; of an array or map its items, as "item".
        symbols: of an enum.
    """

    kind: str
    type: pa.DataType
    plain: Schema
    text: Mapping[bytes, bytes] | None = None
    sent: pa.DataType | None = None
    bulk: bool = True
    sized: bool = True
    nullable: bool = False
    convert: Convert | None = None
    children: tuple[tuple[str, "Node"], ...] = ()
    symbols: tuple[str, ...] = ()


def compile_schema(schema_json: str, references: Iterable[tuple[str, str]] = ()) -> Node:
    """The root node of a schema: always a record, made up with the one field `value` where the schema is none.

    Args:
        references: (name, text) of the schemas whose names it uses, after those that they use themselves.

    Raises:
        UnsupportedSchemaError: it is no Avro schema, or holds a type that cannot land.
    """
    named: dict[str, Schema] = {}
    try:
        for _, text in references:
            fastavro.parse_schema(json.loads(text), named)
        parsed = fastavro.parse_schema(json.loads(schema_json), named)
        root = _Compiler(named).node(parsed, ())
    except UnsupportedSchemaError:
        raise
    except _SCHEMA_ERRORS as error:
        raise UnsupportedSchemaError(f"not an Avro schema: {error!r}") from error
    if root.kind == "record" and not root.nullable:
        return root
    plain = {"type": "record", "name": "Value", "fields": [{"name": "value", "type": root.plain}]}
    children = (("value", root),)
    kind = _struct(children)
    return Node("record", kind, plain, bulk=root.bulk and kind.num_fields > 0, convert=_record(children), children=children)


def _struct(children: tuple[tuple[str, Node], ...]) -> pa.StructType:
    """Of the fields that land."""
    return pa.struct([pa.field(name, node.type, node.nullable, node.text) for name, node in children if node.kind != "null"])


def _json(plain: Schema, *, nullable: bool = False, sized: bool = True) -> Node:
    return Node("json", pa.string(), plain, JSON_TEXT, bulk=False, sized=sized, nullable=nullable, convert=json_text)


class _Compiler:
    """Builds nodes; named types are expanded where they are used, so that no name is left to resolve."""

    def __init__(self, named: Mapping[str, Schema]) -> None:
        self._named = named
        self._count = self._names = 0
        self._unroller = Unroller(named, self._name, self._spend)

    def node(self, schema: Schema, within: tuple[str, ...]) -> Node:
        self._spend()
        if len(within) > MAX_DEPTH:
            raise UnsupportedSchemaError(f"the schema has more than {MAX_DEPTH} levels")
        if isinstance(schema, list):
            return self._union(schema, within)
        if isinstance(schema, str):
            if schema in _PRIMITIVES:
                return self._primitive(schema, {})
            return self.node(self._named[schema], within)
        kind = schema["type"]
        if isinstance(kind, dict | list):
            return self.node(kind, within)
        if kind in _PRIMITIVES:
            return self._primitive(kind, schema)
        match kind:
            case "record" | "error":
                return self._record(schema, within)
            case "enum":
                return self._enum(schema)
            case "fixed":
                return self._fixed(schema)
            case "array":
                return self._array(schema, within)
            case "map":
                return self._map(schema, within)
        return self.node(kind, within)

    def _spend(self) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise UnsupportedSchemaError(f"the schema has more than {MAX_NODES} types")

    def _primitive(self, kind: str, schema: Mapping[str, Any]) -> Node:
        plain = "long" if kind == "int" else kind
        logical = schema.get("logicalType")
        if kind == "bytes":
            if logical == "decimal" and (decimal := _decimal(schema, None)):
                return Node("bytes", decimal.type, plain, decimal.text, bulk=False, convert=decimal.convert)
            return Node("bytes", pa.binary(), plain, bulk=False)
        type_ = _LOGICAL.get((kind, str(logical)), _PRIMITIVES[kind])
        if type_ in _IN_MICROS:
            return Node(kind, _IN_MICROS[type_], plain, sent=type_, convert=_micros)
        return Node(kind, type_, plain, sized=kind != "null")

    def _name(self) -> str:
        self._names += 1
        return f"T{self._names}"

    def _enum(self, schema: Mapping[str, Any]) -> Node:
        symbols = tuple(schema["symbols"])
        return Node("enum", pa.string(), {"type": "enum", "name": self._name(), "symbols": list(symbols)}, symbols=symbols)

    def _fixed(self, schema: Mapping[str, Any]) -> Node:
        size = schema["size"]
        if not isinstance(size, int) or not 0 <= size <= _MAX_INT:
            raise UnsupportedSchemaError(f"fixed {schema['name']} has size {size!r}")
        plain = {"type": "fixed", "name": self._name(), "size": size}
        logical = schema.get("logicalType")
        kind, convert = pa.binary(size if 0 < size <= MAX_FIXED_BYTES else -1), None
        if logical == "decimal" and (decimal := _decimal(schema, size)):
            return Node("fixed", decimal.type, plain, decimal.text, bulk=False, convert=decimal.convert)
        if logical == "uuid" and size == 16:
            kind, convert = pa.string(), _uuid_text
        return Node("fixed", kind, plain, bulk=False, sized=size > 0, convert=convert)

    def _array(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> Node:
        item = self.node(schema["items"], (*within, ""))
        if not item.sized:
            raise UnsupportedSchemaError("an array whose items take no bytes has no bounded length")
        convert = _each(item.convert)
        plain = {"type": "array", "items": item.plain}
        kind = pa.list_(pa.field("item", item.type, metadata=item.text))
        return Node("array", kind, plain, bulk=item.bulk, convert=convert, children=(("item", item),))

    def _map(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> Node:
        item = self.node(schema["values"], (*within, ""))
        plain = {"type": "map", "values": item.plain}
        if item.kind == "null":
            return _json(plain)
        kind = pa.map_(pa.string(), pa.field("value", item.type, metadata=item.text))
        return Node("map", kind, plain, bulk=item.bulk, convert=_pairs(item.convert), children=(("item", item),))

    def _record(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> Node:
        name = schema["name"]
        if name in within:
            return _json(self._unroller.of(name))
        own = self._name()
        children = tuple((field["name"], self.node(field["type"], (*within, name))) for field in schema["fields"])
        if len({key for key, _ in children}) < len(children):
            raise UnsupportedSchemaError(f"the record {name} has two fields of one name")
        plain = {"type": "record", "name": own, "fields": [{"name": key, "type": child.plain} for key, child in children]}
        kind, sized = _struct(children), any(child.sized for _, child in children)
        if within and not (kind.num_fields and are_apart(field.name for field in kind)):  # Parquet or Spark has no such structs
            return _json(plain, sized=sized)
        bulk = kind.num_fields > 0 and all(child.bulk for _, child in children)
        return Node("record", kind, plain, bulk=bulk, sized=sized, convert=_record(children), children=children)

    def _union(self, branches: list[Schema], within: tuple[str, ...]) -> Node:
        nodes = [self.node(branch, within or ("",)) for branch in branches]
        plain = [node.plain for node in nodes]
        values = [node for node in nodes if node.kind != "null"]
        if len(values) == 1 and len(nodes) == 2:
            (node,) = values
            return replace(node, plain=plain, sized=True, nullable=True, convert=_unless_none(node.convert))
        return _json(plain, nullable=len(values) < len(nodes))


@dataclass(frozen=True, slots=True)
class _DecimalType:
    """What a decimal lands as."""

    type: pa.DataType
    text: Mapping[bytes, bytes] | None
    convert: Convert


def _decimal(schema: Mapping[str, Any], size: int | None) -> _DecimalType | None:
    """None where it is not valid or of too many digits, and the logical type is ignored, as Avro prescribes."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision:
        return None
    if not 0 < precision <= _MOST_DIGITS_OF_TEXT or (size is not None and 10**precision - 1 >= 1 << (8 * size - 1)):
        return None

    def number(value: bytes) -> Decimal:
        return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-scale, _EXACT)

    def text(value: bytes) -> str:
        unscaled = int.from_bytes(value, "big", signed=True)
        if abs(unscaled) >= limit:
            raise ValueError(f"a decimal of more than {precision} digits")
        return f"{Decimal(unscaled).scaleb(-scale, _EXACT):f}"

    if precision <= MOST_DIGITS:
        return _DecimalType(pa.decimal128(precision, scale), None, number)
    limit = 10**precision
    return _DecimalType(pa.string(), DECIMAL_TEXT, text)


def _micros(milliseconds: int) -> int:
    return milliseconds * 1000


def _uuid_text(value: bytes) -> str:
    return str(uuid.UUID(bytes=value))


def _each(convert: Convert | None) -> Convert | None:
    return None if convert is None else lambda values: [convert(value) for value in values]


def _pairs(convert: Convert | None) -> Convert:
    if convert is None:
        return lambda values: list(values.items())
    return lambda values: [(key, convert(value)) for key, value in values.items()]


def _record(children: tuple[tuple[str, Node], ...]) -> Convert | None:
    converts = [(name, child.convert) for name, child in children if child.convert is not None]
    if not converts:
        return None

    def convert_record(value: dict[str, Any]) -> dict[str, Any]:
        for name, convert in converts:
            value[name] = convert(value[name])
        return value

    return convert_record


def _unless_none(convert: Convert | None) -> Convert | None:
    return None if convert is None else lambda value: None if value is None else convert(value)
