"""Protobuf payloads: every type, every presence, and whatever bytes come."""

import datetime
import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headrace.errors import PeerError
from headrace.schemas.protobuf_compiler import compiled
from headrace.schemas.protobuf_values import decode

ALL = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "common/money.proto";

message Unused { int32 x = 1; message Deep { string name = 1; } message Deeper { string other = 1; } }
enum Color { RED = 0; GREEN = 1; }
message Empty {}
message Node { int32 value = 1; Node next = 2; repeated Node children = 3; }
message Order {
  string id = 1;
  google.protobuf.Timestamp event_time = 2;
  optional string note = 3;
  uint32 u32 = 4;
  uint64 u64 = 5;
  sint64 s64 = 6;
  repeated int32 numbers = 7;
  map<int32, Money> prices = 8;
  map<bool, string> flags = 9;
  Color color = 10;
  bytes blob = 11;
  oneof payment { int32 card = 12; string cash = 13; }
  Money total = 14;
  google.protobuf.Int32Value wrapped = 15;
  google.protobuf.Struct free = 16;
  Empty empty = 17;
  Node tree = 18;
  double ratio = 19;
  bool paid = 20;
}
"""
MONEY = 'syntax = "proto3"; package shop; message Money { string currency = 1; int64 cents = 2; }'
IMPORTS = (("common/money.proto", MONEY),)
DEEPER, EMPTY, NODE, ORDER = b"\x04\x00\x02", b"\x02\x02", b"\x02\x04", b"\x02\x06"  # [0, 1], [1], [2], [3]


@pytest.fixture(scope="module")
def types() -> Any:
    pool = DescriptorPool()
    for file in compiled(ALL, IMPORTS):
        pool.Add(file)
    return lambda name: GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}"))


def rows(*payloads: bytes, text: str = ALL) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    parts, bad = decode(text, payloads, IMPORTS)
    indexed = [(index, row) for table, where in parts for index, row in zip(where or (), table.to_pylist(), strict=True)]
    for table, _ in parts:
        table.validate(full=True)
    return [row for _, row in sorted(indexed, key=lambda pair: pair[0])], bad


def test_a_message_of_defaults_has_null_only_for_what_has_presence(types: Any) -> None:
    ((row,), bad) = rows(ORDER + types("Order")().SerializeToString())
    assert not bad
    assert {name for name, value in row.items() if value is None} == {
        "event_time", "note", "card", "cash", "total", "wrapped", "free", "empty", "tree",
    }  # fmt: skip
    assert (row["id"], row["u64"], row["numbers"], row["prices"], row["color"], row["blob"]) == ("", 0, [], [], "RED", b"")


def test_every_type_lands_as_the_mapping_says(types: Any) -> None:
    order = types("Order")(
        id="grüezi", note="", u32=2**32 - 1, u64=2**64 - 1, s64=-(2**63), numbers=[1, -1], flags={True: "yes"}, blob=b"\xff",
        cash="", color=1, ratio=1.5, paid=True,
    )  # fmt: skip
    order.event_time.FromNanoseconds(1_790_000_000_123_456_789)
    order.prices[-3].cents = 5
    order.total.currency = "CHF"
    order.wrapped.value = 0
    order.free.update({"a": [1, None]})
    order.empty.SetInParent()
    order.tree.value = 1
    order.tree.next.value = 2
    order.tree.children.add(value=3)
    ((row,), bad) = rows(ORDER + order.SerializeToString())
    assert not bad
    assert json.loads(row.pop("free")) == {"a": [1.0, None]}
    tree = row.pop("tree")
    assert (tree["value"], json.loads(tree["next"]), [json.loads(one) for one in tree["children"]]) == (
        1,
        {"value": 2},
        [{"value": 3}],
    )
    assert row == {
        "id": "grüezi", "event_time": datetime.datetime(2026, 9, 21, 14, 13, 20, 123456, datetime.UTC), "note": "",
        "u32": 2**32 - 1, "u64": Decimal(2**64 - 1), "s64": -(2**63), "numbers": [1, -1],
        "prices": [("-3", {"currency": "", "cents": 5})], "flags": [("true", "yes")], "color": "GREEN", "blob": b"\xff",
        "card": None, "cash": "", "total": {"currency": "CHF", "cents": 0}, "wrapped": 0, "empty": "{}", "ratio": 1.5,
        "paid": True,
    }  # fmt: skip


def test_message_indexes_lead_to_the_type_and_each_type_has_its_own_part(types: Any) -> None:
    first, deeper = types("Unused")(x=7).SerializeToString(), types("Unused.Deeper")(other="o").SerializeToString()
    found, bad = rows(b"\x00" + first, DEEPER + deeper, b"\x02\x00" + first)
    assert not bad
    assert found == [{"x": 7}, {"other": "o"}, {"x": 7}]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80",
        b"\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x7e",
        b"\x02\x01",
        b"\x04\x00\x08",
        ORDER + b"\xff\xff\xff",
        ORDER + b"\x0a\x02\xff\xfe",  # not UTF-8
        ORDER + b"\x0a\xff\xff\xff\xff\x07",
        ORDER + b"\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a time beyond all years
        ORDER + b"\x12\x06\x10\xff\xff\xff\xff\x07",
        EMPTY,  # a message without fields has no columns
    ],
    ids=lambda payload: payload.hex() or "nothing",
)
def test_what_cannot_be_read_is_said_and_costs_no_other_record(payload: bytes, types: Any) -> None:
    good = ORDER + types("Order")(id="a").SerializeToString()
    found, bad = rows(good, payload, good)
    assert [row["id"] for row in found] == ["a", "a"]
    assert [index for index, _ in bad] == [1]
    assert bad[0][1]


def test_a_message_nested_without_end_is_refused(types: Any) -> None:
    payload = b""
    for _ in range(3000):
        size, length = len(payload), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        payload = b"\x12" + length + bytes([size]) + payload
    found, bad = rows(NODE + payload, NODE + b"\x08\x02")
    assert (found, [index for index, _ in bad]) == ([{"value": 2, "next": None, "children": []}], [0])


def test_an_enum_value_that_the_schema_does_not_name_is_its_number(types: Any) -> None:
    ((row,), _) = rows(ORDER + b"\x50\x63")
    assert row["color"] == "99"


@pytest.mark.parametrize(
    ("text", "imports", "says"),
    [
        ("message {", (), "1:9"),
        ('syntax = "proto3"; import "gone.proto";', (), "gone.proto"),
        (ALL, (("../../etc/passwd.proto", ""),), "no name of a file"),
        (ALL, (("/tmp/x.proto", ""),), "no name of a file"),
        ('syntax = "proto3"; message M { M2 m = 1; }', (), "M2"),
        ("\ud800", (), "cannot be written"),
    ],
)
def test_a_schema_that_does_not_compile_is_a_reason(text: str, imports: tuple[tuple[str, str], ...], says: str) -> None:
    parts, bad = decode(text, [b"\0"], imports)
    assert not parts
    assert says in bad[0][1]


def test_a_disk_without_room_for_the_compiler_says_nothing_of_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'syntax = "proto3"; message OnlyHere { int32 x = 1; }'
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(PeerError, match="TMPDIR"):
        decode(text, [b"\x00\x08\x01"])
    monkeypatch.undo()
    ((rows, _),), bad = decode(text, [b"\x00\x08\x01"])
    assert (rows.to_pylist(), bad) == ([{"x": 1}], [])
