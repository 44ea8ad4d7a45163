"""Keys by their schemas, and values by the names of their records: what is read, and what only looks as if it could be."""

import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from headrace.clock import MonotonicMs
from headrace.errors import PeerError
from headrace.schemas.client import Registered
from headrace.schemas.framing import frame
from headrace.sinks.inputs import decide_input
from headrace.sinks.registered import ABSENT_MS, GRACE_MS, Schemas
from tests.unit.sinks.messages import Message, Registry
from tests.unit.sinks.one_table import OneTable, quarantined

GUID = UUID("11111111-2222-3333-4444-555555555555")
NOW = MonotonicMs(7)


def avro(id_: int, name: str = "shop.Item", /, **fields: Any) -> Registered:
    schema = {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields.items()]}
    return Registered(id_, "AVRO", json.dumps(schema), ())


VALUE, KEY, WIDER_KEY = avro(1, v="int"), avro(2, "shop.Key", n="int"), avro(3, "shop.Key", n="long", s="string")
TEXT_KEY = Registered(4, "AVRO", '"string"', ())
JSON_KEY = Registered(5, "JSON", '{"type": "object", "title": "Buyer", "properties": {"j": {"type": "string"}}}', ())
PROTO_KEY = Registered(
    6, "PROTOBUF", 'syntax = "proto3"; package shop; message A { int32 p = 1; message B { int32 q = 1; }}', ()
)
OTHER = avro(7, "shop.Other", a="int", b="int")
AS = {
    1: ["t-value"],
    2: ["t-key"],
    3: [":.eu:t-key"],
    4: ["t-string"],
    5: ["Buyer"],
    6: ["x", "t-shop.A.B"],
    7: ["u-key", "t-value"],
}
ALL = {one.id: one for one in (VALUE, KEY, WIDER_KEY, TEXT_KEY, JSON_KEY, PROTO_KEY, OTHER)}


def registry(**more: Any) -> Registry:
    return Registry(**{"by_id": ALL, "by_guid": {GUID: KEY}, "subjects": {"t-value": VALUE}, "registered_as": AS, **more})


def keyed(offset: int, key: bytes | None, value: bytes | None = frame(1, b"\x0a"), **more: Any) -> Message:
    return Message(offset, value, own_key=key, **more)


KEYS = [
    frame(2, b"\x02"),
    frame(3, b"\x04\x02x"),
    frame(4, b"\x06abc"),
    frame(5, b'{"j": "y"}'),
    frame(6, b"\x04\x00\x00\x08\x03"),
    None,
    b"",
    b"plain",
    frame(2, b"\x02\x02"),
    frame(7, b"\x02\x02"),
    struct.pack(">q", 7),
    frame(99, b""),
]
FIELDS = [
    {"n": 1},
    {"n": 2, "s": "x"},
    {"value": "abc"},
    {"j": "y"},
    {"q": 3},
    *([None] * 7),
]


def test_keys_of_every_kind_land_by_their_schemas_and_all_else_as_bytes(tmp_path: Path) -> None:
    table = OneTable(tmp_path, registry().schemas(), keep=["key_fields", "tombstones"])
    messages = [keyed(offset, key) for offset, key in enumerate(KEYS)]
    with pytest.raises(PeerError, match="schema 99"):  # its registry may not have heard of it yet: all wait
        table.take(*messages)
    table.take(*messages, now_ms=5 + GRACE_MS)
    table.take(
        keyed(20, frame(2, b"\x08"), None),
        keyed(21, b"plain", None),
        keyed(22, b"\x0a", own_headers=[("__key_schema_id", b"\x01" + GUID.bytes)]),
        now_ms=5 + GRACE_MS,
    )
    landed = table.land()
    rows = {row[0]: row[1:] for row in table.rows(landed, "v", "_key", "_key_fields", "_tombstone")}
    full = dict.fromkeys(("n", "s", "value", "j", "_more", "q"))
    assert [rows[offset] for offset in range(len(KEYS))] == [
        (5, key, fields and full | fields, False) for key, fields in zip(KEYS, FIELDS, strict=True)
    ]
    assert rows[20] == (None, frame(2, b"\x08"), full | {"n": 4}, True)
    assert rows[21] == (None, b"plain", None, True)
    assert rows[22] == (5, b"\x0a", full | {"n": 5}, False)
    assert list(rows) == sorted(rows)
    assert landed.quarantine is None


def test_keys_land_as_bytes_where_their_fields_are_not_asked_for(tmp_path: Path) -> None:
    source = registry()
    table = OneTable(tmp_path, source.schemas(), keep=["key"])
    landed = table.land(keyed(0, frame(2, b"\x02")), keyed(1, frame(99, b"")))
    assert table.rows(landed, "_key", "_key_fields") == [(0, frame(2, b"\x02"), None), (1, frame(99, b""), None)]
    assert source.asked == [1]


@pytest.mark.parametrize("values", [[b'{"a": 1}', None], [b"\xff", b"x"]])
def test_keys_of_topics_without_schemas_of_values_have_fields_too(tmp_path: Path, values: list[bytes | None]) -> None:
    table = OneTable(tmp_path, registry(subjects={}).schemas(), keep=["key_fields"])
    landed = table.land(keyed(0, frame(2, b"\x02"), values[0]), keyed(1, b"plain", values[1]))
    texts = [value.decode() if value is not None and b"a" in value else value for value in values]
    assert table.rows(landed, "value", "_key", "_key_fields") == [
        (0, texts[0], frame(2, b"\x02"), {"n": 1}),
        (1, texts[1], b"plain", None),
    ]


def test_versions_of_keys_share_one_column_over_attempts_and_a_misfit_is_quarantined(tmp_path: Path) -> None:
    misfit = avro(8, "shop.Key", n="string")
    schemas = registry(by_id={**ALL, 8: misfit}, registered_as={**AS, 8: ["t-key"]}).schemas()
    table = OneTable(tmp_path, schemas, keep=["key_fields"])
    table.land(keyed(0, b"plain"))
    first = table.land(keyed(1, frame(2, b"\x02")))
    landed = table.land(keyed(2, frame(3, b"\x04\x02x")), keyed(3, frame(8, b"\x02y")), keyed(4, frame(2, b"\x06")))
    assert table.rows(first, "_key_fields") == [(1, {"n": 1})]
    assert table.rows(landed, "_key_fields") == [(2, {"n": 2, "s": "x"}), (4, {"n": 3, "s": None})]
    (entry,) = quarantined(table, landed)
    assert (entry["offset"], "_key_fields.n" in entry["reason"]) == (3, True)


def test_a_column_of_a_value_with_the_name_of_ours_lands_under_a_longer_one(tmp_path: Path) -> None:
    schemas = registry(by_id={**ALL, 1: avro(1, _key_fields="int")}).schemas()
    table = OneTable(tmp_path, schemas, keep=["key_fields"])
    landed = table.land(keyed(0, frame(2, b"\x02")))
    assert table.rows(landed, "_key_fields_", "_key_fields") == [(0, 5, {"n": 1})]


def test_numbers_that_look_like_framed_keys_ask_the_registry_once_and_get_no_fields(tmp_path: Path) -> None:
    source = registry()
    table = OneTable(tmp_path, source.schemas(), keep=["key_fields"])
    numbers = [struct.pack(">q", (7 << 24) + number) for number in range(50)]  # each is id 7 and three bytes
    landed = table.land(*(keyed(offset, number) for offset, number in enumerate(numbers)))
    assert table.rows(landed, "_key", "_key_fields") == [(offset, number, None) for offset, number in enumerate(numbers)]
    assert sorted(map(str, source.asked)) == ["1", "7", "subjects of 7"]


def decided(source: Registry, *values: bytes | None, known: str | None = None) -> str:
    messages = [Message(offset, value) for offset, value in enumerate(values)]
    return decide_input("t", known, messages, source.schemas(), NOW)


@pytest.mark.parametrize(
    ("schema", "subject", "payload", "kind"),
    [
        (KEY, "t-shop.Key", b"\x02", "avro"),
        (KEY, "shop.Key", b"\x02", "avro"),
        (TEXT_KEY, "string", b"\x02x", "avro"),
        (JSON_KEY, "t-Buyer", b"{}", "json_schema"),
        (JSON_KEY, "Buyer", b"{}", "json_schema"),
        (PROTO_KEY, "shop.A", b"\x00\x08\x01", "protobuf"),
        (PROTO_KEY, ":.eu:t-shop.A.B", b"\x00\x08\x01", "protobuf"),
    ],
)
def test_values_have_schemas_where_these_are_registered_under_the_names_of_their_records(
    schema: Registered, subject: str, payload: bytes, kind: str
) -> None:
    source = registry(subjects={}, registered_as={schema.id: ["other-value", subject]})
    value = frame(schema.id, payload)
    assert decided(source, value) == kind
    assert decided(source, None, b"poison", value, value) == kind
    assert decided(source, value, known="bytes") == kind
    assert decided(source, b"poison", b'{"json": 1}', value) == "bytes"
    other = registry(subjects={}, registered_as={schema.id: ["other-value", f"u-{schema.type}"]})
    assert decided(other, value) == "bytes"


def test_values_that_only_look_framed_stay_bytes() -> None:
    source = registry(subjects={}, registered_as={7: ["shop.Other"]})
    assert decided(source, *(struct.pack(">q", (7 << 24) + number) for number in range(100))) == "bytes"
    assert decided(source, struct.pack(">q", 5)) == "bytes"
    assert 0 not in source.asked
    asked = list(source.asked)
    assert decided(source, frame(99, b"random"), b"bytes") == "bytes"
    assert source.asked == asked  # nor is an unknown schema waited for
    source.away = PeerError("no answer")
    with pytest.raises(PeerError):
        decided(source, frame(7, b"\x02\x02"))
    assert decided(source, frame(7, b"\x02\x02"), known="bytes") == "bytes"
    assert decided(source, b'{"a": 1}') == "json"


def test_a_use_that_is_registered_later_is_found_after_a_while() -> None:
    source = registry(registered_as={2: ["u-key"]})
    schemas = source.schemas()
    assert schemas.find_used("t", "key", 2, NOW) is None
    source.registered_as = {2: ["u-key", "t-key"]}
    assert schemas.find_used("t", "key", 2, NOW) is None
    assert schemas.find_used("t", "key", 2, MonotonicMs(NOW + ABSENT_MS)) is not None
    source.registered_as = {}
    assert schemas.find_used("t", "key", 2, MonotonicMs(NOW + 9 * ABSENT_MS)) is not None


def test_without_a_registry_what_looks_framed_is_bytes_and_nobody_waits(tmp_path: Path) -> None:
    table = OneTable(tmp_path, Schemas(None), keep=["key_fields"])
    number = struct.pack(">q", 7 << 24)
    landed = table.land(keyed(0, number, number))
    assert (landed.input, table.rows(landed, "_key", "value", "_key_fields")) == ("bytes", [(0, number, number, None)])
