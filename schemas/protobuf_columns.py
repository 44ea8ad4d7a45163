"""How each Protobuf type lands as an Arrow type, and how its values are taken out of a message. Pure.

| Protobuf | Arrow |
|---|---|
| bool, string, bytes, float, double | bool, string, binary, float32, float64 |
| int32, sint32, sfixed32; uint32, fixed32; int64, sint64, sfixed64 | int32; int64; int64 |
| uint64, fixed64 | decimal128(20, 0): no engine but few has unsigned integers |
| enum | string: the name, or the number of one that the schema does not name |
| repeated, map | list; map with its keys as text |
| message | struct, null where it is not set |
| google.protobuf.Timestamp | timestamp of microseconds, UTC; what is finer is cut off |
| google.protobuf.Int32Value and the like | the type in it, nullable |
| google.protobuf.Struct, Value, ListValue; a message in itself, without fields, or with
  fields whose names differ in case only | string: JSON as Protobuf writes it |

Nullable is what has presence: `optional`, a member of a oneof, a message. All else has its default where it is not set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from headrace.schemas.columns import MAX_DEPTH, MAX_NODES, UnsupportedSchemaError
from headrace.schemas.unified import JSON_TEXT, are_apart

Convert = Callable[[Any], Any]
_MICROS: Final = pa.timestamp("us", "UTC")
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_SCALARS: Final = {
    FieldDescriptor.CPPTYPE_BOOL: pa.bool_(),
    FieldDescriptor.CPPTYPE_INT32: pa.int32(),
    FieldDescriptor.CPPTYPE_INT64: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT32: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT64: pa.decimal128(20, 0),
    FieldDescriptor.CPPTYPE_FLOAT: pa.float32(),
    FieldDescriptor.CPPTYPE_DOUBLE: pa.float64(),
}
_WRAPPERS: Final = {
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double", "String", "Bytes")
}
_AS_JSON: Final = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}


@dataclass(frozen=True, slots=True)
class Column:
    """One field: its Arrow field, and what takes its value out of a message."""

    field: pa.Field
    value_of: Convert


@dataclass(frozen=True, slots=True)
class _Type:
    kind: pa.DataType
    convert: Convert | None = None
    is_json: bool = False


def columns_of(message: Descriptor) -> list[Column]:
    """The columns of a message type, in the order of its numbers.

    Raises:
        UnsupportedSchemaError: it has too many fields, or nests too deep.
    """
    columns = _Compiler().columns(message, ())
    if not columns:
        raise UnsupportedSchemaError(f"the message {message.full_name} has no fields")
    return columns


class _Compiler:
    def __init__(self) -> None:
        self._count = 0

    def columns(self, message: Descriptor, within: tuple[str, ...]) -> list[Column]:
        inside = (*within, message.full_name)
        if len(inside) > MAX_DEPTH:
            raise UnsupportedSchemaError(f"the schema has more than {MAX_DEPTH} levels")
        return [self._column(field, inside) for field in message.fields]

    def _column(self, field: FieldDescriptor, within: tuple[str, ...]) -> Column:
        self._count += 1
        if self._count > MAX_NODES:
            raise UnsupportedSchemaError(f"the schema has more than {MAX_NODES} fields")
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return _map_column(field.name, self._type(entry.fields_by_name["value"], within))
        one = self._type(field, within)
        if field.is_repeated:
            return _list_column(field.name, one)
        return _single_column(field, one)

    def _type(self, field: FieldDescriptor, within: tuple[str, ...]) -> _Type:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            return self._message(field.message_type, within)
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return _enum(field.enum_type)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return _Type(pa.binary() if field.type == FieldDescriptor.TYPE_BYTES else pa.string())
        return _Type(_SCALARS[field.cpp_type])

    def _message(self, message: Descriptor, within: tuple[str, ...]) -> _Type:
        name = message.full_name
        if name == "google.protobuf.Timestamp":
            return _Type(_MICROS, _micros)
        if name in _WRAPPERS:
            return _Type(self._type(message.fields_by_name["value"], within).kind, lambda wrapper: wrapper.value)
        if name in _AS_JSON or name in within or not message.fields:
            return _Type(pa.string(), _json_text, is_json=True)
        columns = self.columns(message, within)
        if not are_apart(column.field.name for column in columns):
            return _Type(pa.string(), _json_text, is_json=True)
        return _Type(pa.struct([column.field for column in columns]), record_of(columns))


def record_of(columns: list[Column]) -> Convert:
    """What makes a message a mapping of its columns' values."""
    pairs = [(column.field.name, column.value_of) for column in columns]
    return lambda message: {name: value_of(message) for name, value_of in pairs}


def _metadata(one: _Type) -> dict[bytes, bytes] | None:
    return JSON_TEXT if one.is_json else None


def _single_column(field: FieldDescriptor, one: _Type) -> Column:
    name, convert = field.name, one.convert
    arrow = pa.field(name, one.kind, nullable=field.has_presence, metadata=_metadata(one))
    if field.has_presence:
        if convert is None:
            return Column(arrow, lambda message: getattr(message, name) if message.HasField(name) else None)
        return Column(arrow, lambda message: convert(getattr(message, name)) if message.HasField(name) else None)
    if convert is None:
        return Column(arrow, lambda message: getattr(message, name))
    return Column(arrow, lambda message: convert(getattr(message, name)))


def _list_column(name: str, one: _Type) -> Column:
    arrow = pa.field(name, pa.list_(pa.field("item", one.kind, metadata=_metadata(one))), nullable=False)
    convert = one.convert
    if convert is None:
        return Column(arrow, lambda message: list(getattr(message, name)))
    return Column(arrow, lambda message: [convert(item) for item in getattr(message, name)])


def _map_column(name: str, one: _Type) -> Column:
    arrow = pa.field(name, pa.map_(pa.string(), pa.field("value", one.kind, metadata=_metadata(one))), nullable=False)
    convert = one.convert or (lambda value: value)
    return Column(arrow, lambda message: [(_key(key), convert(value)) for key, value in getattr(message, name).items()])


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _enum(enum: EnumDescriptor) -> _Type:
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return _Type(pa.string(), lambda number: names.get(number) or str(number))


def _micros(moment: Any) -> int:
    if not _FIRST_SECOND <= moment.seconds <= _LAST_SECOND or not 0 <= moment.nanos < 1_000_000_000:
        raise ValueError(f"a Timestamp of {moment.seconds} s and {moment.nanos} ns, outside the years 1 to 9999")
    return int(moment.seconds * 1_000_000 + moment.nanos // 1000)


def _json_text(message: Any) -> str:
    try:
        return str(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False))
    except (json_format.Error, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from error
