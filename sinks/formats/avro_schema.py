"""The Avro schema of Arrow columns. Pure."""

import re
from itertools import count
from typing import Any, Final, Literal

import pyarrow as pa

from headrace.sinks.formats.plain import is_text_map, plain_type

Schema = Any
Use = Literal["header", "writing", "reading"]
_UNITS: Final = {"ms": "millis", "us": "micros", "ns": "nanos"}
_PLAIN: Final = {
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.binary(): "bytes",
    pa.string(): "string",
}


def avro_schema(schema: pa.Schema, use: Use = "header") -> Schema:
    """The Avro schema of Arrow columns; all three describe the same bytes.

    Args:
        use: `header` is for all the world. `writing` and `reading` know no logical types, whose Python values lose digits;
            `writing` calls bytes strings, because the writer knows no bytes; `reading` calls a map an array of entries,
            because a dict loses repeated keys.
    """
    return _Maker(use).record(schema, "Row")


def avro_names(fields: pa.Schema | pa.DataType) -> list[str]:
    """Names that Avro allows for some fields, each once."""
    names: list[str] = []
    for field in fields:
        name = re.sub(r"[^A-Za-z0-9_]", "_", field.name)
        name = f"_{name}" if not name or name[0].isdigit() else name
        while name in names:
            name += "_"
        names.append(name)
    return names


class _Maker:
    def __init__(self, use: Use) -> None:
        self._use = use
        self._numbers = count(1)

    def record(self, fields: pa.Schema | pa.DataType, name: str) -> Schema:
        named = zip(fields, avro_names(fields), strict=True)
        return {"type": "record", "name": name, "fields": [self._field(field, own) for field, own in named]}

    def _field(self, field: pa.Field, name: str) -> Schema:
        kind = self._optional(field, name)
        return {"name": name, "type": kind, "default": None} if isinstance(kind, list) else {"name": name, "type": kind}

    def _optional(self, field: pa.Field, name: str) -> Schema:
        kind = self._type(field.type, name)
        return ["null", kind] if field.nullable or pa.types.is_null(field.type) else kind

    def _type(self, kind: pa.DataType, name: str) -> Schema:
        if pa.types.is_struct(kind):
            return self.record(kind, self._unique(name))
        if pa.types.is_map(kind):
            return self._map(kind, name)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return {"type": "array", "items": self._optional(kind.value_field, name)}
        plain = _PLAIN[plain_type(kind)]
        if self._use == "header":
            logical = _logical(kind)
            return {"type": plain, **logical} if logical else plain
        return "string" if plain == "bytes" and self._use == "writing" else plain

    def _map(self, kind: pa.DataType, name: str) -> Schema:
        if is_text_map(kind) and self._use != "reading":
            return {"type": "map", "values": self._optional(kind.item_field, name)}
        return {"type": "array", "items": self.record(entries(kind), self._unique(name))}

    def _unique(self, name: str) -> str:
        return f"Row{next(self._numbers)}_{name}"


def entries(kind: pa.DataType) -> pa.DataType:
    """What a map is a list of."""
    return pa.struct(
        [pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type, kind.item_field.nullable)]
    )


def _logical(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_timestamp(kind) and kind.unit in _UNITS:
        return {"logicalType": f"{'' if kind.tz else 'local-'}timestamp-{_UNITS[kind.unit]}"}
    if pa.types.is_date32(kind):
        return {"logicalType": "date"}
    if kind in (pa.time32("ms"), pa.time64("us")):
        return {"logicalType": f"time-{_UNITS[kind.unit]}"}
    if kind == pa.uint64():
        return {"logicalType": "decimal", "precision": 20, "scale": 0}
    if pa.types.is_decimal(kind):
        return {"logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    return {}
