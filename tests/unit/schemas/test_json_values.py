"""JSON with a schema: what maps to columns does, all else is text, and nothing is lost."""

import json
from typing import Any

import pyarrow as pa
import pytest

from headrace.schemas.json_values import decode


def rows(schema: Any, *values: Any, references: dict[str, Any] | None = None) -> tuple[list[Any], list[tuple[int, str]]]:
    payloads = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    others = tuple((name, json.dumps(other)) for name, other in (references or {}).items())
    parts, bad = decode(json.dumps(schema), payloads, others)
    for table, where in parts:
        table.validate(full=True)
        assert where is not None
        assert len(where) == table.num_rows
    return [row for table, _ in parts for row in table.to_pylist()], bad


def member(schema: Any, *values: Any) -> list[Any]:
    """Values of one property, as they land."""
    found, bad = rows(
        {"type": "object", "properties": {"a": schema}, "additionalProperties": False}, *({"a": v} for v in values)
    )
    assert not bad
    return [row["a"] for row in found]


@pytest.mark.parametrize(
    ("schema", "value", "lands"),
    [
        ({"type": "integer"}, 7, 7),
        ({"type": "integer"}, 7.0, 7),
        ({"type": "number"}, 7, 7.0),
        ({"type": "boolean"}, True, True),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ({"enum": ["a", "b"]}, "b", "b"),
        ({"const": "c"}, "c", "c"),
        ({"type": ["integer", "null"]}, None, None),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, "x", "x"),
        ({"type": "array", "items": {"type": ["integer", "null"]}}, [1, None], [1, None]),
        ({"type": "object", "additionalProperties": {"type": "number"}}, {"k": 1}, [("k", 1.0)]),
        ({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}, {"x": 1}, {"x": 1, "_more": None}),
        ({}, [1, {"b": "grüezi"}], '[1, {"b": "grüezi"}]'),
        (True, 1, "1"),
        ({"type": ["string", "integer"]}, 1, "1"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "s", '"s"'),
        ({"type": "array", "items": [{"type": "integer"}]}, [1, "x"], '[1, "x"]'),
        ({"type": "object"}, {"b": 1}, '{"b": 1}'),
        ({"allOf": [{"type": "object"}]}, {}, "{}"),
        ({"$ref": "elsewhere.json"}, 5, "5"),
        ({"type": "array", "items": {"type": "null"}}, [None, None], "[null, null]"),
        ({"type": "object", "additionalProperties": {"type": "null"}}, {"k": None}, '{"k": null}'),
        ({"type": "object", "properties": {"n": {"type": "null"}}, "additionalProperties": False}, {"n": None}, '{"n": null}'),
    ],
    ids=str,
)
def test_each_kind_of_schema_lands_as_the_mapping_says(schema: Any, value: Any, lands: Any) -> None:
    assert member(schema, value) == [lands]


def test_a_member_that_is_always_null_is_checked_and_no_column() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "null"}, "k": {"type": "integer"}}, "additionalProperties": False}
    found, bad = rows(schema, {"n": None, "k": 1}, {"n": 2, "k": 2}, {"k": 3})
    assert found == [{"k": 1}, {"k": 3}]
    assert [index for index, _ in bad] == [1]
    assert decode(json.dumps({"type": "null"}), [b"null"])[1] == []


def test_what_the_properties_do_not_name_is_kept_as_text_where_it_is_allowed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "_more": {"type": "string"}}}
    found, bad = rows(schema, {"a": 1, "b": [2], "c": None}, {"a": 1, "_more": "own"}, {})
    assert not bad
    assert found == [
        {"a": 1, "_more": None, "_more_": '{"b": [2], "c": null}'},
        {"a": 1, "_more": "own", "_more_": None},
        {"a": None, "_more": None, "_more_": None},
    ]


@pytest.mark.parametrize("kind", [{"type": "number"}, {}, {"type": "object"}])
def test_a_number_that_no_double_holds_is_not_taken_for_infinite(kind: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": kind}}
    found, bad = rows(schema, b'{"a": {"b": 1e999}}' if kind == {"type": "object"} else b'{"a": 1e999}', b'{"c": -1e999}', {})
    assert (len(found), [index for index, _ in bad]) == (1, [0, 1])
    assert all("beyond those that a double holds" in reason for _, reason in bad)


def test_references_are_followed_into_the_schema_and_to_others_and_what_refers_to_itself_is_text() -> None:
    schema = {
        "type": "object",
        "properties": {
            "inside": {"$ref": "#/definitions/id%2Fname"},
            "other": {"$ref": "money.json#/$defs/cents"},
            "whole": {"$ref": "money.json"},
            "tree": {"$ref": "#/definitions/node"},
        },
        "additionalProperties": False,
        "definitions": {
            "id/name": {"type": "string"},
            "node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/definitions/node"}}},
        },
    }
    schema["properties"]["inside"] = {"$ref": "#/definitions/id~1name"}  # type: ignore[index]  # a mapping
    money = {"$defs": {"cents": {"type": "integer"}}, "type": "object", "properties": {"c": {"$ref": "#/$defs/cents"}}}
    value = {"inside": "i", "other": 5, "whole": {"c": 6}, "tree": {"v": 1, "next": {"v": 2}}}
    found, bad = rows(schema, value, references={"money.json": money})
    assert not bad
    assert found == [
        {"inside": "i", "other": 5, "whole": {"c": 6, "_more": None}, "tree": {"v": 1, "next": '{"v": 2}', "_more": None}}
    ]


def test_a_schema_that_is_no_object_lands_in_one_column() -> None:
    assert rows({"type": "array", "items": {"type": "integer"}}, [1, 2])[0] == [{"value": [1, 2]}]
    assert rows(True, {"a": 1})[0] == [{"value": '{"a": 1}'}]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "Expecting value"),
        (b"\xff", "utf-8"),
        (b'{"a": "x"}', "$.a is a string, not an integer"),
        (b'{"a": true}', "$.a is a boolean"),
        (b'{"a": 1.5}', "$.a is a number, not an integer"),
        (b'{"a": 1, "a": 2}', "two members of one name"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": 1e999}', "$.a is a number"),
        (b'{"a": 99999999999999999999}', "does not fit"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"{}", "has no 'a'"),
        (b'{"a": 1, "b": 2}', "does not allow"),
        (b"[1]", "$ is an array, not an object"),
        (b"[" * 100_000, "recursion"),
        (b'{"a": 1} x', "Extra data"),
    ],
    ids=lambda case: str(case[:20]),
)
def test_what_cannot_be_read_is_said_and_costs_no_other_record(payload: bytes, says: str) -> None:
    found, bad = rows(SCHEMA, {"a": 1}, payload, {"a": 2})
    assert found == [{"a": 1}, {"a": 2}]
    assert [index for index, _ in bad] == [1]
    assert says in bad[0][1]


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    found, bad = rows({"type": "object", "properties": {"a": {"type": "string"}}}, b'{"a": "\\ud800"}', b'{"b": "\\ud800"}', {})
    assert (len(found), [index for index, _ in bad]) == (1, [0, 1])


@pytest.mark.parametrize(
    "schema",
    ["{", '{"type": "object", "properties": {"\\ud800": {"type": "string"}}}', "[" * 100_000, '{"$ref": "#"}'],
    ids=["no JSON", "no text", "deep", "itself"],
)
def test_no_schema_ends_the_process(schema: str) -> None:
    parts, bad = decode(schema, [b"1"])
    assert len(bad) + sum(table.num_rows for table, _ in parts) == 1


def test_a_wide_or_deep_schema_is_refused() -> None:
    deep: Any = {"type": "integer"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    wide = {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(11_000)}}
    for schema in (deep, wide):
        assert "more than" in rows(schema, {})[1][0][1]


def test_columns_say_what_is_json_text_and_what_may_be_null() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}
    ((table, _),) = decode(json.dumps(schema), [b'{"a": 1}'])[0]
    assert table.schema.field("a") == pa.field("a", pa.int64(), nullable=False)
    assert table.schema.field("b").metadata == {b"headrace.text": b"json"}
