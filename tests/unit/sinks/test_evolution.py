"""Versions of a schema land in one table and one file: in a batch, over batches, over attempts; what cannot is quarantined."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.clock import MonotonicMs
from headrace.errors import PeerError
from headrace.schemas.client import Registered
from headrace.schemas.framing import frame
from headrace.schemas.references import Reference
from headrace.sinks.registered import GRACE_INTERVAL_MS, GRACE_MS, Schemas
from headrace.sinks.table import names
from tests.unit.sinks.messages import Message, Registry
from tests.unit.sinks.one_table import OneTable, quarantined

GUID = UUID("11111111-2222-3333-4444-555555555555")
HEADER = ("__value_schema_id", b"\x01" + GUID.bytes)


def avro(**fields: Any) -> Registered:
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}
    return Registered(0, "AVRO", json.dumps(schema), ())


VERSIONS = {
    1: avro(a="int"),
    2: avro(a="long", b="string"),
    3: avro(b=["null", "string"]),
    4: avro(a="string", c="long"),
}


def registry(**more: Any) -> Schemas:
    versions = {number: replace(version, id=number) for number, version in VERSIONS.items()}
    return Registry(by_id=versions, by_guid={GUID: VERSIONS[1]}, subjects={"t-value": VERSIONS[1]}, **more).schemas()


def encoded(schema: int, **values: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(VERSIONS[schema].text)), values)
    return out.getvalue()


def record(offset: int, schema: int, *, key: bytes | None = None, **values: Any) -> Message:
    return Message(offset, frame(schema, encoded(schema, **values)), own_key=key)


class Table(OneTable):
    """One whose registry has the versions above."""

    def __init__(self, directory: Path, **output: Any) -> None:
        super().__init__(directory, registry(), **output)


def test_versions_that_flip_and_flop_share_one_file_in_offset_order(tmp_path: Path) -> None:
    table = Table(tmp_path)
    for start in range(0, 60, 6):
        table.take(
            record(start, 1, a=start),
            record(start + 1, 2, a=start, b="x"),
            record(start + 2, 3, b=None),
            record(start + 3, 1, a=start),
            record(start + 4, 2, a=2**40, b="y"),
            record(start + 5, 3, b="z"),
        )
    landed = table.land()
    (file,) = landed.add
    assert file.schema_ids == (1, 2, 3)
    rows = table.rows(landed, "a", "b")
    assert [row[0] for row in rows] == list(range(60))
    assert rows[54:] == [(54, 54, None), (55, 54, "x"), (56, None, None), (57, 54, None), (58, 2**40, "y"), (59, None, "z")]


def test_the_log_remembers_the_columns_so_that_older_versions_change_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path)
    changes = [table.land(record(0, 1, a=1)), table.land(record(1, 2, a=2**40, b="x")), table.land(record(2, 1, a=3))]
    assert [bool(one.arrow_schema) for one in changes] == [True, True, False]
    schemas = [pq.read_schema(tmp_path / names.staged(file.path)) for one in changes for file in one.add]
    assert schemas[1] == schemas[2]
    assert schemas[2].field("a").type == pa.int64()
    assert table.rows(changes[2], "a", "b") == [(2, 3, None)]


def test_rows_spilled_before_a_new_column_stay_in_their_file_and_all_others_share_one(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.take(record(0, 1, a=1))
    table.attempt.spill()
    table.take(record(1, 1, a=2))
    table.take(record(2, 2, a=3, b="x"), record(3, 1, a=4))
    landed = table.land()
    assert sorted(file.rows for file in landed.add) == [1, 3]
    assert sorted(table.rows(landed, "a", "b")) == [(0, 1, None), (1, 2, None), (2, 3, "x"), (3, 4, None)]


def test_what_does_not_go_with_the_table_is_quarantined_with_the_column_and_the_types(tmp_path: Path) -> None:
    table = Table(tmp_path)
    landed = table.land(record(0, 1, a=1), record(1, 4, a="text", c=1), record(2, 1, a=2))
    assert [(one.rows, one.quarantined) for one in landed.ranges] == [(2, 1)]
    assert table.rows(landed, "a") == [(0, 1), (2, 2)]
    (entry,) = quarantined(table, landed)
    assert (entry["offset"], entry["reason"]) == (1, "column a: string does not go with the int32 of the table")
    again = table.land(record(3, 4, a="text", c=1))
    assert [(one.rows, one.quarantined) for one in again.ranges] == [(0, 1)]


def test_where_the_user_allows_it_what_does_not_go_gets_a_column_of_its_own(tmp_path: Path) -> None:
    table = Table(tmp_path, incompatible="columns")
    landed = table.land(record(0, 1, a=1), record(1, 4, a="text", c=1), record(2, 2, a=2, b="x"))
    assert table.rows(landed, "a", "a__2", "c") == [(0, 1, None, None), (1, None, "text", 1), (2, 2, None, None)]
    assert len(landed.add) == 1
    assert table.rows(table.land(record(3, 4, a="later", c=2)), "a", "a__2") == [(3, None, "later")]


def test_keys_headers_and_tombstones_are_kept_when_asked(tmp_path: Path) -> None:
    table = Table(tmp_path, keep=["key", "headers", "tombstones"])
    full = record(0, 1, a=1, key=b"k")
    full.own_headers = [("trace", b"\xff"), ("trace", None)]
    landed = table.land(full, Message(1, None, own_key=b"k"), record(2, 1, a=2))
    assert [(one.rows, one.quarantined) for one in landed.ranges] == [(3, 0)]
    trace = [{"name": "trace", "value": b"\xff"}, {"name": "trace", "value": None}]
    assert table.rows(landed, "a", "_key", "_headers", "_tombstone") == [
        (0, 1, b"k", trace, False),
        (1, None, b"k", [], True),
        (2, 2, None, [], False),
    ]


def test_a_tombstone_that_nobody_asked_to_keep_is_quarantined(tmp_path: Path) -> None:
    table = Table(tmp_path)
    landed = table.land(record(0, 1, a=1), Message(1, None, own_key=b"k"))
    assert [entry["reason"] for entry in quarantined(table, landed)] == ["no value (a tombstone)"]


def test_a_schema_may_be_named_by_guid_or_id_in_a_header_and_the_header_wins(tmp_path: Path) -> None:
    table = Table(tmp_path)
    landed = table.land(
        Message(0, encoded(1, a=7), own_headers=[("other", b"x"), HEADER]),
        Message(1, encoded(2, a=8, b="x"), own_headers=[("__value_schema_id", b"\0\0\0\0\2")]),
        Message(2, encoded(1, a=9), own_headers=[("__value_schema_id", b"\0\0\0\0\2"), HEADER]),
        Message(3, frame(1, encoded(1, a=10)), own_headers=[("__value_schema_id", b"neither")]),
        Message(4, frame(1, encoded(1, a=11)), own_headers=[("__key_schema_id", HEADER[1])]),
    )
    assert table.rows(landed, "a") == [(0, 7), (1, 8), (2, 9), (3, 10), (4, 11)]


def test_a_topic_without_subject_whose_records_name_schemas_in_headers_is_read_by_them(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.schemas = Registry(by_guid={GUID: VERSIONS[1]}).schemas()
    landed = table.land(Message(0, encoded(1, a=7), own_headers=[HEADER]))
    assert (landed.input, table.rows(landed, "a")) == ("avro", [(0, 7)])


class UnreadableHeaders(Message):
    """As the client gives a record with a header whose name is not UTF-8: what comes at a second look would end the process."""

    looks = 0

    def headers(self) -> Any:
        self.looks += 1
        if self.own_headers is None:
            raise SystemError("returned a result with an exception set")
        return self.own_headers


def test_headers_that_the_client_cannot_read_cost_no_row_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    table = Table(tmp_path / "plain")
    assert table.rows(table.land(UnreadableHeaders(0, frame(1, encoded(1, a=1)))), "a") == [(0, 1)]
    kept = Table(tmp_path / "kept", keep=["headers"])
    (entry,) = quarantined(kept, kept.land(UnreadableHeaders(0, frame(1, encoded(1, a=1))), record(1, 1, a=2)))
    assert (entry["reason"], entry["headers"]) == ("a header's name is not UTF-8", None)


def test_a_schema_is_read_with_all_that_it_refers_to(tmp_path: Path) -> None:
    inner = Registered(5, "AVRO", '{"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "int"}]}', ())
    middle = Registered(
        6,
        "AVRO",
        '{"type": "record", "name": "Middle", "fields": [{"name": "inner", "type": "Inner"}]}',
        (Reference("Inner", "inner", 1),),
    )
    outer = Registered(
        7,
        "AVRO",
        '{"type": "record", "name": "Outer", "fields": [{"name": "m", "type": "Middle"}, {"name": "i", "type": "Inner"}]}',
        (Reference("Middle", "middle", 2), Reference("Inner", "inner", 1)),
    )
    versions = {("inner", 1): inner, ("middle", 2): middle}
    table = Table(tmp_path)
    table.schemas = Registry(by_id={7: outer}, versions=versions, subjects={"t-value": outer}).schemas()
    landed = table.land(Message(0, frame(7, b"\x02\x04")))
    assert table.rows(landed, "m", "i") == [(0, {"inner": {"x": 1}}, {"x": 2})]
    table.schemas = Registry(by_id={7: outer}, subjects={"t-value": outer}).schemas()
    (entry,) = quarantined(table, table.land(Message(1, frame(7, b"\x02\x04"))))
    assert "gone" in entry["reason"]


def test_json_and_protobuf_with_schemas_land_in_columns_and_versions_unify(tmp_path: Path) -> None:
    old = Registered(1, "JSON", '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}', ())
    new = Registered(2, "JSON", '{"type": "object", "properties": {"b": {"type": "string"}}}', ())
    table = Table(tmp_path / "json")
    table.schemas = Registry(by_id={1: old, 2: new}, subjects={"t-value": old}).schemas()
    landed = table.land(
        Message(0, frame(1, b'{"a": 1}')), Message(1, frame(2, b'{"b": "x", "c": 2}')), Message(2, frame(1, b"{}"))
    )
    assert (landed.input, [(one.rows, one.quarantined) for one in landed.ranges]) == ("json_schema", [(2, 1)])
    assert table.rows(landed, "a", "b", "_more") == [(0, 1, None, None), (1, None, "x", '{"c": 2}')]

    proto = 'syntax = "proto3"; import "b.proto"; message A { int32 x = 1; B b = 2; } message C { string y = 1; }'
    inner = Registered(3, "PROTOBUF", 'syntax = "proto3"; message B { int64 z = 1; }', ())
    outer = Registered(4, "PROTOBUF", proto, (Reference("b.proto", "b", 1),))
    table = Table(tmp_path / "protobuf")
    table.schemas = Registry(
        by_id={4: outer}, by_guid={GUID: outer}, versions={("b", 1): inner}, subjects={"t-value": outer}
    ).schemas()
    landed = table.land(
        Message(0, frame(4, b"\x00\x08\x05\x12\x02\x08\x07")),
        Message(1, b"\x0a\x01y", own_headers=[("__value_schema_id", HEADER[1] + b"\x02\x02")]),  # message indexes in the header
        Message(2, frame(4, b"\x00\x08\x06")),
    )
    assert landed.input == "protobuf"
    assert table.rows(landed, "x", "b", "y") == [(0, 5, {"z": 7}, None), (1, None, None, "y"), (2, 6, None, None)]


def test_an_unknown_schema_is_waited_for_once_in_a_while_and_others_are_not() -> None:
    source = Registry()
    schemas = source.schemas()

    def find(name: int, now_ms: int) -> Any:
        return schemas.find(name, MonotonicMs(now_ms))

    for now_ms in (0, GRACE_MS - 1):
        with pytest.raises(PeerError, match="schema 7"):
            find(7, now_ms)
    assert find(7, GRACE_MS) is None
    assert find(8, GRACE_MS) is None  # one wait is over: a flood of made-up ids is not one of waits
    asked = len(source.asked)
    assert find(7, GRACE_MS + 50) is None
    assert len(source.asked) == asked
    with pytest.raises(PeerError):
        find(9, GRACE_INTERVAL_MS)
    source.by_id = {9: VERSIONS[1]}
    assert find(9, GRACE_INTERVAL_MS + 1) is not None
