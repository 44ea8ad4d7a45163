"""Avro to Arrow: the mapping of types, what is refused, and every way in which a payload can be wrong."""

import io
import json
from datetime import time
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.schemas.arrow import arrow_schema, decode, decode_framed
from headrace.schemas.columns import UnsupportedSchemaError
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.schemas.framing import header
from headrace.schemas.recursion import MAX_LEVELS

MANY = 200  # enough for the bulk decoder


def record(**fields: Any) -> str:
    return json.dumps(
        {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}
    )


def encode(schema: str, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema)), value)
    return out.getvalue()


@pytest.mark.parametrize(
    ("avro", "arrow"),
    [
        ("int", pa.int32()),
        ("bytes", pa.binary()),
        ({"type": "fixed", "name": "F", "size": 3}, pa.binary(3)),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, pa.string()),
        ({"type": "array", "items": "int"}, pa.list_(pa.int32())),
        ({"type": "map", "values": "string"}, pa.map_(pa.string(), pa.string())),
        ({"type": "int", "logicalType": "date"}, pa.date32()),
        ({"type": "int", "logicalType": "time-millis"}, pa.time64("us")),
        ({"type": "long", "logicalType": "time-micros"}, pa.time64("us")),
        ({"type": "long", "logicalType": "timestamp-millis"}, pa.timestamp("ms", "UTC")),
        ({"type": "long", "logicalType": "timestamp-micros"}, pa.timestamp("us", "UTC")),
        ({"type": "long", "logicalType": "timestamp-nanos"}, pa.timestamp("ns", "UTC")),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, pa.timestamp("ms")),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, pa.timestamp("us")),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, pa.decimal128(9, 2)),
        ({"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 2}, pa.string()),
        ({"type": "bytes", "logicalType": "decimal", "precision": 1001, "scale": 2}, pa.binary()),
        ({"type": "fixed", "name": "F", "size": 0}, pa.binary()),
        ({"type": "record", "name": "Q", "fields": []}, pa.string()),
        ({"type": "record", "name": "Q", "fields": [{"name": "n", "type": "null"}]}, pa.string()),
        ({"type": "map", "values": "null"}, pa.string()),
        ({"type": "string", "logicalType": "uuid"}, pa.string()),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, pa.string()),
        ({"type": "long", "logicalType": "no-such"}, pa.int64()),
        (["int", "string"], pa.string()),
    ],
)
def test_an_avro_type_lands_as_its_arrow_type(avro: Any, arrow: pa.DataType) -> None:
    assert arrow_schema(record(f=avro)) == pa.schema([pa.field("f", arrow, nullable=False)])


@pytest.mark.parametrize("avro", [["null", "long"], ["long", "null"]])
def test_a_union_with_null_is_a_nullable_column(avro: list[str]) -> None:
    assert arrow_schema(record(f=avro)) == pa.schema([pa.field("f", pa.int64())])
    table, _ = decode(record(f=avro), [encode(record(f=avro), {"f": value}) for value in (None, 5)] * MANY)
    assert table["f"].to_pylist() == [None, 5] * MANY


def test_an_optional_record_whose_fields_may_not_be_null_lands_in_parquet_where_it_is_null() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "z", "type": {"type": "array", "items": "int"}}]}
    fields = [{"name": "x", "type": "int"}, {"name": "i", "type": inner}]
    schema = record(s=["null", {"type": "record", "name": "S", "fields": fields}], m={"type": "map", "values": ["null", "S"]})
    values = [{"s": None, "m": {"a": None}}, {"s": {"x": 5, "i": {"z": [6]}}, "m": {}}]
    table, bad = decode(schema, [encode(schema, value) for value in values] * MANY)
    file = io.BytesIO()
    pq.write_table(table, file)  # refuses a null in x even below a null
    landed = [{"s": None, "m": [("a", None)]}, {"s": {"x": 5, "i": {"z": [6]}}, "m": []}]
    assert (pq.read_table(file).to_pylist(), bad) == (landed * MANY, [])


def test_another_union_is_text_of_json() -> None:
    schema = record(f=["null", "long", "string", "bytes", {"type": "map", "values": {"type": "array", "items": "double"}}])
    values = [None, 12, "12", b"\xff", {"a": [0.5, float("nan"), float("-inf")]}]
    table, bad = decode(schema, [encode(schema, {"f": value}) for value in values])
    assert (table["f"].to_pylist(), bad) == (
        [None, "12", '"12"', '"ÿ"', '{"a": [0.5, "NaN", "-Infinity"]}'],
        [],
    )


def test_a_field_that_is_always_null_is_no_column_until_it_has_a_type() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "n", "type": "null"}, {"name": "x", "type": "int"}]}
    schema = record(n="null", k="long", i=["null", inner])
    assert arrow_schema(schema).names == ["k", "i"]
    values = [{"n": None, "k": 1, "i": {"n": None, "x": 5}}, {"n": None, "k": 2, "i": None}]
    for times in (1, MANY):
        table, bad = decode(schema, [encode(schema, value) for value in values] * times)
        assert (table.to_pylist(), bad) == ([{"k": 1, "i": {"x": 5}}, {"k": 2, "i": None}] * times, [])


def test_a_time_of_day_in_milliseconds_lands_in_microseconds_and_no_day_is_longer_than_a_day() -> None:
    schema = record(t=["null", {"type": "int", "logicalType": "time-millis"}])
    plain = record(t=["null", "int"])
    for times in (1, MANY):
        payloads = [encode(plain, {"t": value}) for value in (86_399_999, None, 86_400_000, -1)] * times
        table, bad = decode(schema, payloads)
        assert table["t"].to_pylist() == [time(23, 59, 59, 999_000), None] * times
        assert [index % 4 for index, _ in bad] == [2, 3] * times


def test_a_decimal_of_more_digits_than_engines_have_is_its_digits_as_text() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 78, "scale": 3}
    plain = record(f="bytes")
    unscaled = [2**256 - 1, -5, 10**78, 0]
    payloads = [encode(plain, {"f": number.to_bytes(40, "big", signed=True)}) for number in unscaled]
    table, bad = decode(record(f=decimal), payloads)
    digits = str(2**256 - 1)
    assert table["f"].to_pylist() == [f"{digits[:-3]}.{digits[-3:]}", "-0.005", "0.000"]
    assert [(index, "more than 78 digits" in why) for index, why in bad] == [(2, True)]


def test_a_record_of_which_nothing_lands_is_text_of_json_within_another_and_no_column_outside() -> None:
    empty = {"type": "record", "name": "Q", "fields": []}
    schema = record(f=empty, g=["null", {"type": "record", "name": "P", "fields": [{"name": "n", "type": "null"}]}])
    table, bad = decode(schema, [encode(schema, {"f": {}, "g": {"n": None}}), encode(schema, {"f": {}, "g": None})])
    assert (table.to_pylist(), bad) == ([{"f": "{}", "g": '{"n": null}'}, {"f": "{}", "g": None}], [])
    assert arrow_schema(json.dumps(["null", empty])) == pa.schema([pa.field("value", pa.string())])
    for outside in (json.dumps(empty), '"null"', record(n="null")):
        assert arrow_schema(outside) == pa.schema([])
        assert decode(outside, [b""] * MANY)[1] == []


def test_decimals_uuids_and_records_within_land_as_values() -> None:
    schema = record(
        price={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        who={"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"},
        where={"type": "record", "name": "W", "fields": [{"name": "x", "type": ["null", "float"]}]},
    )
    plain = record(price="bytes", who={"type": "fixed", "name": "U", "size": 16}, where=json.loads(schema)["fields"][2]["type"])
    payload = encode(plain, {"price": (-12345).to_bytes(3, "big", signed=True), "who": bytes(range(16)), "where": {"x": 1.5}})
    table, bad = decode(schema, [payload])
    assert bad == []
    assert table.to_pylist() == [
        {"price": Decimal("-123.45"), "who": "00010203-0405-0607-0809-0a0b0c0d0e0f", "where": {"x": 1.5}}
    ]


@pytest.mark.parametrize(
    ("schema", "value"), [('"long"', 7), ('["null","string"]', "a"), ('{"type":"map","values":"int"}', {"a": 1})]
)
def test_a_schema_that_is_no_record_lands_as_one_column(schema: str, value: Any) -> None:
    table, bad = decode(schema, [encode(schema, value)] * MANY)
    assert (table.column_names, table.num_rows, bad) == (["value"], MANY, [])
    assert table.schema == arrow_schema(schema)


def test_a_named_type_may_be_used_again() -> None:
    point = {"type": "record", "name": "P", "namespace": "geo", "fields": [{"name": "x", "type": "int"}]}
    schema = json.dumps(
        {"type": "record", "name": "geo.Line", "fields": [{"name": "a", "type": point}, {"name": "b", "type": "P"}]}
    )
    table, bad = decode(schema, [encode(schema, {"a": {"x": 1}, "b": {"x": 2}})] * MANY)
    assert (table.slice(0, 1).to_pylist(), bad) == ([{"a": {"x": 1}, "b": {"x": 2}}], [])


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (record(f={"type": "array", "items": "null"}), "no bytes"),
        (
            record(f={"type": "array", "items": {"type": "record", "name": "Q", "fields": [{"name": "n", "type": "null"}]}}),
            "no bytes",
        ),
        ("{", "not an Avro schema"),
        ('{"type":"recor"}', "not an Avro schema"),
        ("3", "not an Avro schema"),
        ("[" * 100_000, "not an Avro schema"),
    ],
)
def test_a_schema_that_cannot_land_makes_every_payload_bad_with_the_reason(schema: str, says: str) -> None:
    table, bad = decode(schema, [b"", b"\x02" * 1_000_000])
    assert table.num_rows == 0
    assert [index for index, _ in bad] == [0, 1]
    assert all(says in reason for _, reason in bad)
    with pytest.raises(UnsupportedSchemaError, match=says):
        arrow_schema(schema)


def test_a_type_within_itself_is_json_text_there() -> None:
    tree = {
        "type": "record",
        "name": "a.Node",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["X", "Y"]}},
            {"name": "left", "type": ["null", "Node"]},
            {"name": "children", "type": {"type": "array", "items": "Node"}},
            {"name": "by_name", "type": {"type": "map", "values": ["null", "Node", "string"]}},
        ],
    }

    def node(at: int, **more: Any) -> dict[str, Any]:
        return {"at": at, "kind": "Y", "left": None, "children": [], "by_name": {}, **more}

    value = node(1, left=node(2, left=node(3)), children=[node(4)], by_name={"a": node(5), "b": "text", "c": None})
    schema = json.dumps(tree)
    table, bad = decode(schema, [encode(schema, value)] * MANY)
    assert not bad
    row = table.slice(MANY - 1).to_pylist()[0]
    assert json.loads(row["left"]) == value["left"]
    assert [json.loads(child) for child in row["children"]] == value["children"]
    assert {key: text and json.loads(text) for key, text in row["by_name"]} == value["by_name"]
    assert table.schema.field("left").metadata == {b"headrace.text": b"json"}


@pytest.mark.parametrize("levels", [MAX_LEVELS - 1, MAX_LEVELS + 2, 10_000, 500_000])
def test_what_nests_deeper_than_the_bound_is_bad_and_costs_no_other(levels: int) -> None:
    table, bad = decode(record(next=["null", "R"]), [b"\x00", b"\x02" * levels + b"\x00", b"\x02\x00"])
    fits = levels < MAX_LEVELS
    assert [index for index, _ in bad] == ([] if fits else [1])
    assert table.num_rows == 3 - len(bad)


def test_a_recursive_schema_of_very_many_fields_is_refused() -> None:
    schema = record(**{f"f{number}": ["null", "R"] for number in range(5000)})
    assert "more than" in decode(schema, [b""])[1][0][1]


def test_a_schema_that_grows_when_its_names_are_expanded_is_refused() -> None:
    kind: Any = "int"
    for depth in range(20):
        kind = {
            "type": "record",
            "name": f"N{depth}",
            "fields": [{"name": "a", "type": kind}, {"name": "b", "type": f"N{depth - 1}"}],
        }
        if depth == 0:
            kind["fields"][1]["type"] = "int"
    with pytest.raises(UnsupportedSchemaError, match="more than"):
        arrow_schema(json.dumps(kind))


def test_no_payloads_make_an_empty_table_of_the_same_schema() -> None:
    table, bad = decode(ENVELOPE_JSON, [])
    assert (table.num_rows, table.schema, bad) == (0, arrow_schema(ENVELOPE_JSON), [])


WRONG = [
    ("string", b"\x06ab", "EOFError"),
    ("string", b"\x04\xff\xff", "utf-8"),
    ("string", b"\x02a\x00", "1 bytes are left"),
    ("string", b"\x01", "Expected -1 bytes"),
    ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "Expected"),
    ("int", b"\xfe\xff\xff\xff\x1f", "does not fit"),
    ("int", b"\x80\x80\x80\x80\x80\x01", "does not fit"),
    ({"type": "int", "logicalType": "time-millis"}, b"\xfe\xff\xff\xff\x0f", "does not fit"),
    ({"type": "map", "values": "string"}, b"\x02\x02\xff\x02a\x00", "utf-8"),
    ({"type": "map", "values": "string"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "EOFError"),
    ({"type": "array", "items": "long"}, b"\x02", "EOFError"),
    (["null", "string"], b"\x04", "IndexError"),
    ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "IndexError"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 0}, b"\x04\x7f\x7f", "does not fit"),
]


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize(("kind", "payload", "says"), WRONG)
def test_a_wrong_payload_is_named_with_the_reason_and_costs_no_other(kind: Any, payload: bytes, says: str, count: int) -> None:
    right = {
        "string": b"\x04ab",
        "int": b"\x02",
        "map": b"\x02\x02k\x02v\x00",
        "array": b"\x02\x06\x00",
        "enum": b"\x00",
        "bytes": b"\x02\x01",
    }.get(kind if isinstance(kind, str) else kind["type"] if isinstance(kind, dict) else "", b"\x02\x02a")
    table, bad = decode(record(f=kind), [right] * count + [payload] + [right] * (count + 1))
    assert [index for index, _ in bad] == [count]
    assert says in bad[0][1]
    assert table.num_rows == 2 * count + 1
    table.validate(full=True)
    framed = [header(7) + one for one in [right] * count + [payload] + [right] * (count + 1)]
    assert decode_framed(record(f=kind), framed, header(7)) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [("string", "a"), ("int", -70_000), ({"type": "map", "values": "string"}, {"k": "v"}), (["null", "long"], None)],
)
def test_values_in_their_framing_decode_as_without_it(kind: Any, value: Any) -> None:
    schema = record(f=kind, _="string")
    payloads = [encode(schema, {"f": value, "_": str(n)}) for n in range(MANY)]
    for schema_id in (1, 2**31 - 1, 0x7FC00001, 0x00_00_A0_7F):  # read as floats: some are no numbers
        table = decode_framed(schema, [header(schema_id) + payload for payload in payloads], header(schema_id))
        assert table == decode(schema, payloads)[0]


@pytest.mark.parametrize("other", [header(8), b"\x01" + header(7)[1:], b"\x00\x00\x00", b"", b"\x02" + header(7)[1:]])
def test_a_value_in_another_framing_is_never_decoded_with_the_others(other: bytes) -> None:
    schema = record(f="long")
    assert decode_framed(schema, [header(7) + b"\x02"] * MANY + [other + b"\x02"], header(7)) is None


def test_encodings_that_are_valid_but_not_the_shortest_land_too() -> None:
    schema = record(f={"type": "array", "items": "long"}, n="long")
    blocks = b"\x02\x02" + b"\x03\x04\x04\x06" + b"\x00" + b"\x80\x01"  # a block of 1, one of 2 with its size, the end; 64
    padded = b"\x02\x02\x00" + b"\x82\x00"  # 1 in two bytes
    table, bad = decode(schema, [blocks, padded] * MANY)
    assert bad == []
    assert table.to_pylist() == [{"f": [1, 2, 3], "n": 64}, {"f": [1], "n": 1}] * MANY
