"""Compatibility by Avro's rules of schema resolution (Avro specification, Schema Resolution), each way round."""

import json
from typing import Any

import pytest

from headrace.schemas.avro_kind import AvroSchema, parse
from headrace.schemas.compatibility import LEVELS, compared, problems
from headrace.schemas.invalid import InvalidSchemaError


def schema(tree: Any) -> AvroSchema:
    return parse(json.dumps(tree))


def record(*fields: Any, **attributes: Any) -> Any:
    return {"type": "record", "name": "R", "fields": list(fields), **attributes}


def field(name: str, kind: Any, **attributes: Any) -> Any:
    return {"name": name, "type": kind, **attributes}


def enum(*symbols: str, **attributes: Any) -> Any:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **attributes}


def fixed(size: int, name: str = "F") -> Any:
    return {"type": "fixed", "name": name, "size": size}


LIST = record(field("next", ["null", "R"]))

READS = [  # (reader, writer): every datum of the writer can be read
    ("long", "int"),
    ("float", "long"),
    ("double", "float"),
    ("double", "int"),
    ("bytes", "string"),
    ("string", "bytes"),
    (["null", "long"], "int"),
    (["null", "long"], ["int", "null"]),
    ("long", ["int", "long"]),
    ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}),
    ({"type": "map", "values": "double"}, {"type": "map", "values": "float"}),
    (enum("A", "B", "C"), enum("A", "B")),
    (enum("A", default="A"), enum("A", "B")),
    (fixed(4), fixed(4)),
    (record(), record(field("a", "int"))),
    (record(field("a", "int", default=1)), record()),
    (record(field("a", ["null", "int"], default=None)), record()),
    (record(field("b", "int", aliases=["a"])), record(field("a", "int"))),
    (record(field("a", "long"), field("b", "int")), record(field("b", "int"), field("a", "int"))),
    (LIST, LIST),
    (record(name="n.S", aliases=["R"]), record(name="n.R")),
    (record(name="S", namespace="n", aliases=["m.R"]), record(name="R", namespace="m")),
    (record(namespace="n"), record(namespace="m")),
    (record(field("next", ["null", "R"]), field("a", "int", default=1)), LIST),
]
READS_NOT = [
    ("int", "long"),
    ("string", "int"),
    ("int", ["int", "string"]),
    (["null", "int"], "string"),
    (["null", "int"], ["null", "long"]),
    ({"type": "array", "items": "int"}, {"type": "array", "items": "string"}),
    ({"type": "array", "items": "int"}, {"type": "map", "values": "int"}),
    (enum("A"), enum("A", "B")),
    (fixed(4), fixed(5)),
    (fixed(4, "G"), fixed(4, "F")),
    (record(field("a", "int")), record()),
    (record(field("a", "int")), record(field("a", "string"))),
    (record(field("a", record(field("x", "int"), name="N"))), record(field("a", record(name="N")))),
    (record(name="S"), record()),
    (record(name="S", namespace="n", aliases=["R"]), record(name="R", namespace="m")),
    (record(field("b", "int", aliases=["a"])), record(field("a", "int"), field("b", "int"))),
    (record(field("e", enum("A", default="A"))), record()),
]
TOLD = [  # (reader, writer, type of error, path, additional information), as Confluent's registry tells it
    ("int", "string", "TYPE_MISMATCH", "/", "reader type: INT not compatible with writer type: STRING"),
    (record(field("a", {"type": "map", "values": "int"})), record(field("a", {"type": "map", "values": "long"})),
     "TYPE_MISMATCH", "/fields/0/type/values", "reader type: INT not compatible with writer type: LONG"),
    (record(field("a", ["null", "int"])), record(field("a", ["null", "long"])), "MISSING_UNION_BRANCH", "/fields/0/type/1",
     "reader union lacking writer type: LONG"),
    (record(field("a", ["null", "int"])), record(field("a", "long")), "MISSING_UNION_BRANCH", "/fields/0/type",
     "reader union lacking writer type: LONG"),
    (record(field("b", "int", default=3), field("a", "int")), record(), "READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/1", "a"),
    ({"type": "array", "items": enum("B")}, {"type": "array", "items": enum("C", "B", "A")}, "MISSING_ENUM_SYMBOLS",
     "/items/symbols", "[A, C]"),
    (fixed(4), fixed(5), "FIXED_SIZE_MISMATCH", "/size", "expected: 5, found: 4"),
    (record(name="S"), record(namespace="n"), "NAME_MISMATCH", "/name", "expected: n.R"),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "writer"), READS)
def test_a_reader_that_can_read_the_writers_data_may_follow_it(reader: Any, writer: Any) -> None:
    assert problems("BACKWARD", schema(reader), schema(writer)) == []
    assert problems("FORWARD", schema(writer), schema(reader)) == []


@pytest.mark.parametrize(("reader", "writer"), READS_NOT)
def test_a_reader_that_cannot_is_refused_with_a_reason(reader: Any, writer: Any) -> None:
    assert all(problems("BACKWARD", schema(reader), schema(writer)))
    assert len(problems("BACKWARD", schema(reader), schema(writer))) == 1
    assert len(problems("FORWARD", schema(writer), schema(reader))) == 1
    assert problems("FULL", schema(reader), schema(writer))


@pytest.mark.parametrize(("reader", "writer", "kind", "path", "info"), TOLD)
def test_what_stands_against_a_reader_is_told_with_its_place(reader: Any, writer: Any, kind: str, path: str, info: str) -> None:
    [found] = problems("BACKWARD", schema(reader), schema(writer))
    assert found.startswith(f"{{errorType:'{kind}', description:'The ")
    assert found.endswith(f"', additionalInfo:'{info}'}}")
    assert f"path '{path}'" in found


def test_each_branch_that_cannot_be_read_is_told_by_itself_in_the_order_of_the_writer() -> None:
    told = problems("BACKWARD", schema("boolean"), schema(["string", "boolean", "bytes"]))
    assert [one.rpartition("writer type: ")[2] for one in told] == ["STRING'}", "BYTES'}"]


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_schema_again_is_compatible_at_every_level(level: str) -> None:
    envelope_like = schema(record(field("a", {"type": "map", "values": ["null", "string"]}), field("b", enum("X"))))
    assert problems(level, envelope_like, envelope_like) == []
    assert not compared(level, [])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('"int"', '{"type":"int"}', True),
        ('{"type":"record","name":"R","namespace":"n","fields":[]}', '{"fields":[],"name":"n.R","type":"record"}', True),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"int","doc":"x"}]}',
         '{"type":"record","name":"R","fields":[{"doc":"x","type":{"type":"int"},"name":"a"}]}', True),
        ('{"type":"record","name":"R","fields":[]}', '{"type":"record","name":"R","doc":"d","fields":[]}', False),
        ('{"type":"int","logicalType":"date"}', '"int"', False),
        ('["null","int"]', '["int","null"]', False),
        ('{"type":"enum","name":"E","symbols":["A","B"]}', '{"type":"enum","name":"E","symbols":["B","A"]}', False),
    ],
)  # fmt: skip
def test_two_texts_are_the_same_schema_if_they_mean_the_same(one: str, other: str, same: bool) -> None:
    assert (parse(one).meaning == parse(other).meaning) is same


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "3", "null", "[]x", '"no-such-type"', '{"type":"record","name":"R"}',
        '{"type":"record","name":"a-b","fields":[]}',
        '{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}',
        '{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}', '["int","int"]', '[["int"]]',
        '[{"type":"fixed","name":"n.F","size":1},"n.F"]',
        '{"type":"enum","name":"E","symbols":["A","A"]}', '{"type":"fixed","name":"F","size":"x"}', '{"type":"array"}',
        '{"type":"record","name":"R","doc":"\\ud800","fields":[]}', '{"type":"string","x":1e999}', '{"type":"string","x":NaN}',
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchemaError):
        parse(text)
