"""Every type that a schema can have, with values and what is to be read of them; by Avro, JSON Schema and Protobuf."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

import fastavro
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headrace.schemas.protobuf_compiler import compiled

Schema = Any
BIG: Final = 2**256 - 1


@dataclass(frozen=True)
class Case:
    """One field: values as Avro's wire has them (no logical types), and what lands, where that is another."""

    type: Schema
    sent: Sequence[Any]
    lands: Sequence[Any]


def same(type_: Schema, *values: Any) -> Case:
    return Case(type_, values, values)


def logical(name: str, type_: Schema, sent: Sequence[Any], lands: Sequence[Any], **more: Any) -> Case:
    return Case({**(type_ if isinstance(type_, dict) else {"type": type_}), "logicalType": name, **more}, sent, lands)


def fixed(name: str, size: int) -> Schema:
    return {"type": "fixed", "name": name, "size": size}


def record(name: str, **fields: Schema) -> Schema:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def two(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big", signed=True)


def instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)


NOW_MS: Final = 1_790_000_000_123
NOW_US: Final = 1_790_000_000_123_456
WHEN_MS, WHEN_US = instant(NOW_MS * 1000), instant(NOW_US)
TREE: Final = {"value": 1, "next": {"value": 2, "next": None}}
DECIMALS = [Decimal("-123.45"), Decimal("0.01")]

AVRO: Final[dict[str, Case]] = {
    "boolean": same("boolean", True, False),
    "int": same("int", -(2**31), 2**31 - 1),
    "long": same("long", -(2**63), 2**63 - 1),
    "float": same("float", 1.5, -0.25),
    "double": same("double", 1e300, -0.1),
    "nan": same("double", float("nan"), float("-inf")),
    "string": same("string", "", "grüezi \U0001f600 \u2028 \"'\\\n"),
    "bytes": same("bytes", b"", b"\xff\x00\n"),
    "fixed": same(fixed("F3", 3), b"abc", b"\xff\x00\n"),
    "fixed_of_none": same(fixed("F0", 0), b"", b""),
    "fixed_long": same(fixed("F300", 300), b"x" * 300, b"\xff" * 300),
    "enum": same({"type": "enum", "name": "E", "symbols": ["RED", "GREEN"]}, "RED", "GREEN"),
    "optional": same(["null", "long"], None, 7),
    "optional_last": same(["string", "null"], None, "x"),
    "list": same({"type": "array", "items": "int"}, [], [1, 2]),
    "list_of_optional": same({"type": "array", "items": ["null", "string"]}, [None], ["a", None]),
    "list_of_lists": same({"type": "array", "items": {"type": "array", "items": "long"}}, [[], [1]], []),
    "map": same({"type": "map", "values": "int"}, {"a": 1, "b": 2}, {"a": 3, "b": 4}),
    "map_of_maps": same({"type": "map", "values": {"type": "map", "values": "string"}}, {"a": {"b": "c"}}, {"a": {"b": "e"}}),
    "record": same(
        record("R1", a="int", b=record("R2", c=["null", "string"])), {"a": 1, "b": {"c": None}}, {"a": 2, "b": {"c": "x"}}
    ),
    "optional_record": same(["null", record("R3", a="int")], None, {"a": 5}),
    "list_of_records": same({"type": "array", "items": record("R4", a="int", b="string")}, [{"a": 1, "b": "x"}], []),
    "map_of_records": same({"type": "map", "values": record("R5", a="double")}, {"k": {"a": 1.5}}, {"k": {"a": 2.5}}),
    "date": logical("date", "int", [-1, 20_000], [date(1969, 12, 31), date(2024, 10, 4)]),
    "timestamp_millis": logical("timestamp-millis", "long", [NOW_MS, -1], [WHEN_MS, instant(-1000)]),
    "timestamp_micros": logical("timestamp-micros", "long", [NOW_US, -1], [WHEN_US, instant(-1)]),
    "uuid": same({"type": "string", "logicalType": "uuid"}, *["00010203-0405-0607-0809-0a0b0c0d0e0f"] * 2),
    "uuid_fixed": logical("uuid", fixed("U", 16), [bytes(range(16))] * 2, ["00010203-0405-0607-0809-0a0b0c0d0e0f"] * 2),
    "duration": logical("duration", fixed("D", 12), [bytes(12), b"\1" * 12], [bytes(12), b"\1" * 12]),
    "decimal_small": logical("decimal", "bytes", [two(-12345, 3), two(1, 1)], DECIMALS, precision=5, scale=2),
    "decimal_long": logical("decimal", "bytes", [two(-12345, 3), two(1, 1)], DECIMALS, precision=18, scale=2),
    "decimal_38": logical("decimal", fixed("D38", 16), [two(-12345, 16), two(1, 16)], DECIMALS, precision=38, scale=2),
    "decimal_78": logical(
        "decimal", "bytes", [two(BIG, 33), two(-5, 1)], [f"{BIG // 100}.{BIG % 100:02}", "-0.05"], precision=78, scale=2
    ),
    "decimal_invalid": logical("decimal", "bytes", [b"\1", b"\2"], [b"\1", b"\2"], precision=0),
    "unknown_logical": logical("no-such-type", "long", [1, 2], [1, 2]),
    "union": Case(["null", "long", "string", {"type": "array", "items": "int"}], [12, [1, 2]], ["12", "[1, 2]"]),
    "union_of_records": Case(
        [record("A", a="int"), record("B", b="string")], [{"a": 1}, {"b": "x"}], ['{"a": 1}', '{"b": "x"}']
    ),
    "list_of_unions": Case({"type": "array", "items": ["int", "string"]}, [[1, "x"], []], [["1", '"x"'], []]),
    "recursive": Case(
        record("T", value="int", next=["null", "T"]),
        [TREE, {"value": 3, "next": None}],
        [{"value": 1, "next": json.dumps(TREE["next"])}, {"value": 3, "next": None}],
    ),
    "empty_record": Case(record("Q"), [{}, {}], ["{}", "{}"]),
    "map_of_null": Case({"type": "map", "values": "null"}, [{"a": None}, {}], ['{"a": null}', "{}"]),
}
LOCAL: Final[dict[str, Case]] = {
    "local_millis": logical("local-timestamp-millis", "long", [NOW_MS, 0], [WHEN_MS, instant(0)]),
    "local_micros": logical("local-timestamp-micros", "long", [NOW_US, 0], [WHEN_US, instant(0)]),
}
TIMES: Final[dict[str, Case]] = {
    "time_millis": logical("time-millis", "int", [0, 86_399_999], [time(0), time(23, 59, 59, 999_000)]),
    "time_micros": logical("time-micros", "long", [1, 86_399_999_999], [time(0, 0, 0, 1), time(23, 59, 59, 999_999)]),
}
NANOS: Final[dict[str, Case]] = {
    "nanos": logical("timestamp-nanos", "long", [NOW_US * 1000, 0], [WHEN_US, instant(0)]),
    "local_nanos": logical("local-timestamp-nanos", "long", [NOW_US * 1000, 0], [WHEN_US, instant(0)]),
}
NAMES: Final[dict[str, Case]] = {
    name: same("string", f"{name} 0", f"{name} 1") for name in ("dt", "hour", "Hour", "_offset", "_PARTITION", "id", "ID", "iD")
} | {"nested": Case(record("C", a="int", A="int"), [{"a": 1, "A": 2}] * 2, ['{"a": 1, "A": 2}'] * 2)}
NAMES_LANDED: Final = {"dt": "dt_", "hour": "hour_", "Hour": "Hour__", "_offset": "_offset_", "_PARTITION": "_PARTITION_",
                       "ID": "ID__2", "iD": "iD__3"}  # fmt: skip
"""What becomes of names that are ours or the path's, or differ from others in case only."""
NULLS: Final = {"none": "null", "record_with_none": record("N", a="int", n="null")}


def avro_schema(cases: dict[str, Case], **more: Schema) -> Schema:
    return record("Row", number="int", **{name: case.type for name, case in cases.items()}, **more)


def avro_values(cases: dict[str, Case], **more: Sequence[Any]) -> list[bytes]:
    """The payloads, one for each value that a case has."""
    wire = fastavro.parse_schema(_plain(avro_schema(cases, **{name: NULLS[name] for name in more})))
    payloads = []
    for number in range(2):
        out = io.BytesIO()
        row = {name: case.sent[number] for name, case in cases.items()} | {
            name: values[number] for name, values in more.items()
        }
        fastavro.schemaless_writer(out, wire, {"number": number, **row})
        payloads.append(out.getvalue())
    return payloads


def landed(cases: dict[str, Case]) -> list[dict[str, Any]]:
    return [{"number": number, **{name: case.lands[number] for name, case in cases.items()}} for number in range(2)]


def _plain(schema: Schema) -> Schema:
    """The same wire format without logical types, so that fastavro writes numbers and bytes as they are."""
    if isinstance(schema, list):
        return [_plain(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _plain(value) if key in ("type", "items", "values", "fields") else value
        for key, value in schema.items()
        if key != "logicalType"
    }


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


JSON: Final[dict[str, tuple[Schema, Any, Any]]] = {
    "boolean": ({"type": "boolean"}, True, True),
    "integer": ({"type": "integer", "maximum": 2**63 - 1}, 2**63 - 1, 2**63 - 1),
    "integral": ({"type": "integer"}, 7.0, 7),
    "double": ({"type": "number"}, 2**80, float(2**80)),
    "string": ({"type": "string"}, "grüezi", "grüezi"),
    "date_time": ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    "enum": ({"enum": ["a", "b"]}, "b", "b"),
    "nullable": ({"type": ["integer", "null"]}, None, None),
    "list": ({"type": "array", "items": {"type": "string"}}, ["x"], ["x"]),
    "list_of_null": ({"type": "array", "items": {"type": "null"}}, [None], "[null]"),
    "map": ({"type": "object", "additionalProperties": {"type": "number"}}, {"k": 1}, {"k": 1.0}),
    "closed": (_object(x={"type": "integer"}), {"x": 1}, {"x": 1}),
    "open": (
        {**_object(x={"type": "integer"}), "additionalProperties": True},
        {"x": 1, "y": [2]},
        {"x": 1, "_more": '{"y": [2]}'},
    ),
    "only_null": (_object(n={"type": "null"}), {"n": None}, '{"n": null}'),
    "one_of": ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, 12, "12"),
    "all_of": ({"allOf": [{"type": "object"}]}, {"a": 1}, '{"a": 1}'),
    "anything": ({}, [1, "x"], '[1, "x"]'),
    "a.b": ({"type": "integer"}, 1, 1),
    "a b,;{}()=`'\"": ({"type": "integer"}, 2, 2),
    "größe": ({"type": "integer"}, 3, 3),
    "1st": ({"type": "integer"}, 4, 4),
}
JSON_SCHEMA: Final = {
    "title": "Row",
    "type": "object",
    "properties": {"number": {"type": "integer"}, "none": {"type": "null"}, **{name: case[0] for name, case in JSON.items()}},
    "additionalProperties": False,
}
JSON_VALUE: Final = json.dumps({"number": 0, "none": None, **{name: case[1] for name, case in JSON.items()}}).encode()
JSON_LANDED: Final = {"number": 0, **{name: case[2] for name, case in JSON.items()}}

PROTOBUF_SCHEMA: Final = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/any.proto";
message Row {
  int32 number = 1; int32 i32 = 2; int64 i64 = 3; uint32 u32 = 4; uint64 u64 = 5; sint32 s32 = 6; sint64 s64 = 7;
  fixed32 f32 = 8; fixed64 f64 = 9; sfixed32 sf32 = 10; sfixed64 sf64 = 11; float real = 12; double ratio = 13; bool paid = 14;
  string text = 15; bytes blob = 16; Color color = 17; Color unknown = 18; optional int32 unset = 19; optional int32 zero = 20;
  oneof way { int32 card = 21; string cash = 22; }
  repeated int32 numbers = 23; repeated Point points = 24; map<string, Point> by_name = 25; map<int32, string> by_number = 26;
  Point point = 27; Point no_point = 28; Tree tree = 29; Nothing nothing = 30;
  google.protobuf.Timestamp at = 31; google.protobuf.Duration lasted = 32; google.protobuf.Int64Value wrapped = 33;
  google.protobuf.BytesValue unwrapped = 34; google.protobuf.Struct free = 35; google.protobuf.Value any_value = 36;
  google.protobuf.ListValue items = 37; google.protobuf.Empty empty = 38; google.protobuf.Any any = 39;
  google.protobuf.NullValue none = 40; google.protobuf.UInt64Value wrapped_u64 = 41;
}
enum Color { RED = 0; GREEN = 1; }
message Point { int32 x = 1; optional double y = 2; }
message Tree { int32 value = 1; Tree next = 2; }
message Nothing {}
"""
PROTOBUF_LANDED: Final = {
    "number": 0, "i32": -(2**31), "i64": -(2**63), "u32": 2**32 - 1, "u64": Decimal(2**64 - 1), "s32": -5, "s64": -6,
    "f32": 2**32 - 1, "f64": Decimal(2**64 - 1), "sf32": -7, "sf64": -8, "real": 1.5, "ratio": 0.1, "paid": True,
    "text": "grüezi", "blob": b"\xff\x00", "color": "GREEN", "unknown": "7", "unset": None, "zero": 0,
    "card": None, "cash": "x", "numbers": [1, 2], "points": [{"x": 1, "y": None}], "by_name": {"p": {"x": 2, "y": 0.5}},
    "by_number": {"-1": "minus"}, "point": {"x": 3, "y": None}, "no_point": None,
    "tree": {"value": 1, "next": '{"value": 2}'}, "nothing": "{}", "at": WHEN_US, "lasted": {"seconds": 5, "nanos": 7},
    "wrapped": 9, "unwrapped": b"w", "free": '{"a": [1.0, null]}', "any_value": '"v"', "items": "[true]", "empty": "{}",
    "any": {"type_url": "x/y", "value": b"\1"}, "none": "NULL_VALUE", "wrapped_u64": Decimal(2**64 - 1),
}  # fmt: skip


def protobuf_value() -> bytes:
    """The message, after the indexes of its type: the first of the file."""
    pool = DescriptorPool()
    for file in compiled(PROTOBUF_SCHEMA):
        pool.Add(file)
    row: Any = GetMessageClass(pool.FindMessageTypeByName("shop.Row"))()
    most = 2**64 - 1
    for name, value in (
        ("i32", -(2**31)), ("i64", -(2**63)), ("u32", 2**32 - 1), ("u64", most), ("s32", -5), ("s64", -6), ("f32", 2**32 - 1),
        ("f64", most), ("sf32", -7), ("sf64", -8), ("real", 1.5), ("ratio", 0.1), ("paid", True), ("text", "grüezi"),
        ("blob", b"\xff\x00"), ("color", 1), ("unknown", 7), ("zero", 0), ("cash", "x"),
    ):  # fmt: skip
        setattr(row, name, value)
    row.numbers.extend([1, 2])
    row.points.add(x=1)
    row.by_name["p"].x, row.by_name["p"].y = 2, 0.5
    row.by_number[-1] = "minus"
    row.point.x = 3
    row.tree.value, row.tree.next.value = 1, 2
    for empty in (row.nothing, row.empty):
        empty.SetInParent()
    row.at.seconds, row.at.nanos = NOW_US // 1_000_000, NOW_US % 1_000_000 * 1000
    row.lasted.seconds, row.lasted.nanos = 5, 7
    row.wrapped.value, row.unwrapped.value, row.wrapped_u64.value = 9, b"w", most
    row.free["a"] = [1, None]
    row.any_value.string_value = "v"
    row.items.values.add().bool_value = True
    row.any.type_url, row.any.value = "x/y", b"\1"
    return b"\0" + bytes(row.SerializeToString())
