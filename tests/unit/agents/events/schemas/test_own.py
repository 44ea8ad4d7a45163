"""A line's fields under the user's own schema: an Avro library reads what the line said, and what does not fit is told."""

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest

from headrace.agents.events.schemas.own import OwnSchema, UnusableSchemaError
from headrace.agents.events.schemas.scalars import Micros, MisfitError

ENVELOPE = {"event_time": Micros(1_795_424_400_123_456), "host": "h1", "service": "web", "message": "the line", "position": 77}


def schema(*fields: Any, **more: Any) -> str:
    return json.dumps({"type": "record", "name": "Order", "namespace": "shop", "fields": list(fields), **more})


def field(kind: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def read(text: str, found: dict[str, str]) -> Any:
    payload = OwnSchema(text).payload(found, ENVELOPE)
    stream = io.BytesIO(payload)
    value = fastavro.schemaless_reader(stream, json.loads(text), None)
    assert stream.tell() == len(payload)
    return value


LONG = {"type": "long"}
MORE = {"type": "record", "name": "More", "fields": [field("int", "n"), field(["null", "string"], "s")]}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "-7", -7),
        ("int", " 2147483647 ", 2147483647),
        ("long", "-9223372036854775808", -(2**63)),
        ("double", "1.5e3", 1500.0),
        ("double", "-0.25", -0.25),
        ("float", "0.5", 0.5),
        ("boolean", "True", True),
        ("string", "7", "7"),
        ("string", '{"a":1}', '{"a":1}'),
        ("bytes", "é", "é".encode()),
        (["null", "int"], "5", 5),
        (["null", "int"], "", None),
        (["null", "string"], "", ""),
        (["int", "string"], "5x", "5x"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        ({"type": "fixed", "name": "F", "size": 3}, "abc", b"abc"),
        ({"type": "array", "items": "int"}, "[1,2,3]", [1, 2, 3]),
        ({"type": "array", "items": "int"}, "[]", []),
        ({"type": "map", "values": "double"}, '{"x":1.5,"y":2}', {"x": 1.5, "y": 2.0}),
        (MORE, '{"n":4,"other":true}', {"n": 4, "s": None}),
        (["null", MORE], '{"n":4,"s":"t"}', {"n": 4, "s": "t"}),
        ({"type": "array", "items": ["null", "string"]}, '["x",null,{"y":1}]', ["x", None, '{"y":1}']),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "-12.34", Decimal("-12.34")),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "1e3", Decimal("1000.00")),
        ({"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}, "0.50", Decimal("0.5")),
        (
            {"type": "fixed", "name": "D", "size": 5, "logicalType": "decimal", "precision": 9, "scale": 2},
            "128.5",
            Decimal("128.50"),
        ),
        ({"type": "int", "logicalType": "date"}, "2026-11-26", date(2026, 11, 26)),
        ({"type": "int", "logicalType": "time-millis"}, "13:05:09.25", time(13, 5, 9, 250_000)),
        ({"type": "long", "logicalType": "time-micros"}, "13:05", time(13, 5)),
        ({"type": "string", "logicalType": "uuid"}, str(UUID(int=5)), UUID(int=5)),
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            "2026-11-26T18:00:00.125+01:00",
            datetime(2026, 11, 26, 17, 0, 0, 125_000, UTC),
        ),
        ({"type": "long", "logicalType": "timestamp-micros"}, "1795424400", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, "1795424400123", datetime(2026, 11, 23, 9, 0, 0, 123_000)),  # noqa: DTZ001
    ],
)
def test_a_text_that_fits_is_a_value_of_its_type(kind: Any, text: str, value: Any) -> None:
    assert read(schema(field(kind)), {"a": text}) == {"a": value}


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("int", "2147483648", "'2147483648' is no int"),
        ("int", "4.5", "'4.5' is no int"),
        ("long", "1_000", "is no long"),
        ("long", "٣", "is no long"),
        ("double", "0x1p3", "is no double"),
        ("float", "1e300", "is no float"),
        ("boolean", "1", "is no boolean"),
        (["null", "int"], "x", "'x' is no int"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "C", "'C' is no one of A, B"),
        ({"type": "fixed", "name": "F", "size": 3}, "abcd", "is no text of 3 bytes"),
        ({"type": "array", "items": "int"}, "[1,", "is no JSON list"),
        ({"type": "array", "items": "int"}, '{"a":1}', "is no JSON list"),
        ({"type": "array", "items": "int"}, "[" * 100_000, "is no JSON list"),
        (MORE, '{"s":"t"}', "field a: n: missing"),
        (MORE, '{"n":true}', "field a: n: True is no int"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "1.234", "is no decimal"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "100", "is no decimal"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "1e9999", "is no decimal"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "1e-9999", "is no decimal"),
        ({"type": "int", "logicalType": "date"}, "2026-02-30", "is no date"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "yesterday", "is no time"),
        ({"type": "string", "logicalType": "uuid"}, "5", "is no uuid"),
    ],
)
def test_a_text_that_does_not_fit_is_told_with_its_field(kind: Any, text: str, reason: str) -> None:
    with pytest.raises(MisfitError, match="field a") as error:
        read(schema(field(kind)), {"a": text})
    assert reason in str(error.value)
    assert len(str(error.value)) < 200


def test_what_the_line_lacks_is_the_envelope_s_then_the_default_then_null() -> None:
    text = schema(
        field("string", "host"),
        field({"type": "long", "logicalType": "timestamp-millis"}, "event_time"),
        field(["null", "int"], "b", default=None),
        field("int", "c", default=9),
        field(["null", "string"], "d"),
        field("bytes", "e", default="\xff"),
        field({"type": "long", "logicalType": "timestamp-millis"}, "f", default=0),
        field("string", "service"),
        field(["int", "null"], "g", default=3),
    )
    assert read(text, {"service": "of the line"}) == {
        "host": "h1", "event_time": datetime(2026, 11, 23, 9, 0, 0, 123_000, UTC), "b": None, "c": 9, "d": None, "e": b"\xff",
        "f": datetime(1970, 1, 1, tzinfo=UTC), "service": "of the line", "g": 3,
    }  # fmt: skip


def test_a_field_without_any_of_these_is_missing() -> None:
    with pytest.raises(MisfitError, match="field b: missing"):
        read(schema(field("int"), field("int", "b")), {"a": "1"})


def test_an_alias_is_another_name_of_what_the_line_has() -> None:
    assert read(schema(field("int", aliases=["x", "y"])), {"y": "3", "z": "4"}) == {"a": 3}


def test_a_line_of_which_nothing_has_a_field_is_not_lost_in_an_empty_record() -> None:
    nullable = field(["null", "string"])
    with pytest.raises(MisfitError, match="none of the schema's fields"):
        read(schema(nullable), {"other": "x"})
    assert read(schema(nullable, field("string", "message")), {}) == {"a": None, "message": "the line"}


def test_a_type_is_found_by_its_name_also_from_within_itself() -> None:
    node = {"type": "record", "name": "Node", "fields": [field("int", "n"), field(["null", "Node"], "next")]}
    text = schema(field(node), field(["null", "shop.Node"], "b"))
    value = read(text, {"a": '{"n":1,"next":{"n":2,"next":null}}', "b": '{"n":3}'})
    assert value == {"a": {"n": 1, "next": {"n": 2, "next": None}}, "b": {"n": 3, "next": None}}
    deep = '{"n":1,"next":' * 900 + "null" + "}" * 900
    try:
        read(text, {"a": deep})
    except MisfitError as error:
        assert "deep" in str(error) or "JSON" in str(error)  # noqa: PT017 - it may also fit, as the interpreter's depth has it


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no Avro schema"),
        ('"string"', "is a record"),
        (schema(field("nothing")), "nothing"),
        (schema(field("int"), field("int")), "two fields of Order"),
        ('{"type": "record", "name": "A"}', "no Avro schema"),
        (schema(field("int", default="x")), "no Avro schema"),
        (" " * 2_000_000, "longer than"),
    ],
)
def test_a_text_that_is_no_schema_of_a_record_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnusableSchemaError, match=reason):
        OwnSchema(text)
