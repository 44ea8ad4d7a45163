"""Whole batches decoded by column are what one record after the other gives, whatever their bytes are."""

import random
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from headrace.broker.log.record import Record, build_batch
from headrace.clock import MonotonicMs
from headrace.errors import PeerError
from headrace.schemas.client import Registered
from headrace.schemas.framing import frame
from headrace.sinks.fetching.batches import UnreadableError, inflated, walk
from headrace.sinks.fetching.records import FetchedRecord, Records, Section
from headrace.sinks.registered import GRACE_MS, Input
from headrace.sinks.shape import Shape
from headrace.sinks.values import decode
from tests.unit.sinks.messages import Registry

SCHEMA = """{"type": "record", "name": "R", "fields": [
    {"name": "n", "type": "long"},
    {"name": "t", "type": "string"},
    {"name": "m", "type": ["null", {"type": "map", "values": "string"}]},
    {"name": "l", "type": {"type": "array", "items": "int"}},
    {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
    {"name": "b", "type": "boolean"}]}"""
GOOD = [
    bytes.fromhex(text)
    for text in (
        "02 02 61 00 00 00 01",
        "ff7f 00 02 00 02 02 00 02 01",
        "80808001 04 c3a4 02 02 026b 0276 00 04 04 06 00 00 00",
        "01 0661 6263 00 00 02 00",
    )
]
"""Encodings of records of the schema."""


def columns(messages: object, shape: Shape, input_: Input = "avro") -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """The rows of records, in order, and why others are none; a schema that is not there has been waited for."""
    schemas = Registry(by_id={7: Registered(7, "AVRO", SCHEMA, ())}).schemas()
    try:
        found, bad = decode("t", input_, messages, schemas, 1, 2, shape=shape, now_ms=MonotonicMs(5))  # type: ignore[arg-type]
    except PeerError:
        now_ms = MonotonicMs(5 + GRACE_MS)
        found, bad = decode("t", input_, messages, schemas, 1, 2, shape=shape, now_ms=now_ms)  # type: ignore[arg-type]
    rows = [row for one in found for row in one.rows.to_pylist()]
    return sorted(rows, key=lambda row: int(row["_offset"])), [
        (one.message.offset(), one.reason.partition(" from <")[0]) for one in bad
    ]


def sections(data: bytes) -> list[Section]:
    return [Section(batch, inflated(batch)) for batch in walk(memoryview(data), 0, -1, ()).batches]


class ByColumn(Records):
    """Records of which nobody asks for objects."""

    def listed(self) -> list[FetchedRecord]:
        raise AssertionError("they were decoded one by one")


def assert_alike(data: bytes, shape: Shape) -> None:
    """By column and one by one the same comes out, or the same error."""
    try:
        listed = Records(sections(data)).listed()
    except UnreadableError:
        with pytest.raises(UnreadableError):
            columns(Records(sections(data)), shape)
        return
    by_column = Records(sections(data))
    assert columns(by_column, shape) == columns(listed, shape)
    assert columns(Records(sections(data)), shape, "bytes") == columns(listed, shape, "bytes")
    assert [(one.offset(), one.key(), one.value(), one.timestamp()) for one in (by_column[0], by_column[-1])] == [
        (one.offset(), one.key(), one.value(), one.timestamp()) for one in (listed[0], listed[-1])
    ]


def batch(values: list[bytes | None], keys: list[bytes | None], base_offset: int = 0) -> bytes:
    times = range(1_790_000_000_000, 1_790_000_000_000 + 97 * len(values), 97)
    written = [Record(key, value, time_ms) for key, value, time_ms in zip(keys, values, times, strict=True)]
    return build_batch(written, base_offset=base_offset)


def with_right_header(changed: bytes | bytearray) -> bytes:
    """A batch whose length and CRC are those of its bytes."""
    data = bytearray(changed)
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[17:21] = crc32c(memoryview(data)[21:]).to_bytes(4, "big")
    return bytes(data)


RECORD_BYTES = 19
"""Of each record of `alike`: length, attributes, two deltas of a byte each, key length, value length, value, header count."""


def alike(count: int, base_offset: int = 0) -> bytearray:
    """A batch of equal values, times and keys."""
    return bytearray(build_batch([Record(None, frame(7, GOOD[0]), 1_790_000_000_000)] * count, base_offset=base_offset))


@pytest.mark.parametrize("at", [3, 39])
def test_a_value_that_is_longer_than_its_encoding_is_quarantined_wherever_it_stands(at: int) -> None:
    values: list[bytes | None] = [frame(7, GOOD[0])] * 40
    values[at] = frame(7, GOOD[0] + b"\0\0")
    data = batch(values, [None] * 40)
    assert_alike(data, Shape())
    assert columns(Records(sections(data)), Shape())[1] == [(at, "2 bytes are left after the value")]


def test_an_empty_key_is_not_none() -> None:
    data = batch([frame(7, GOOD[0])] * 40, [None, *[b""] * 39])
    assert [row["_key"] for row in columns(Records(sections(data)), Shape(key=True))[0]] == [None, *[b""] * 39]


def test_bytes_after_the_records_or_at_the_end_of_one_and_headers_that_are_not_there_are_no_records() -> None:
    after, within, headers = alike(40), alike(40), alike(40)
    assert len(after) == 61 + 40 * RECORD_BYTES
    after += b"\0"
    within[-RECORD_BYTES] += 2
    within += b"\0"
    headers[-1] = 2
    for changed in (after, within, headers):
        with pytest.raises(UnreadableError):
            columns(Records(sections(with_right_header(changed) + alike(40, base_offset=40))), Shape())


@pytest.mark.parametrize(("record", "delta"), [(5, 3), (0, -1), (39, 40)])
def test_offsets_that_are_not_their_batchs_or_do_not_ascend_are_no_records(record: int, delta: int) -> None:
    changed = alike(40)
    place = 61 + record * RECORD_BYTES + 3
    assert changed[place] == 2 * record
    changed[place] = 2 * delta if delta >= 0 else -2 * delta - 1
    with pytest.raises(UnreadableError):
        columns(Records(sections(with_right_header(changed))), Shape())


@given(st.lists(st.sampled_from(GOOD), min_size=40, max_size=60), st.booleans(), st.booleans())
def test_ordinary_batches(payloads: list[bytes], keyed: bool, with_key: bool) -> None:
    values: list[bytes | None] = [frame(7, payload) for payload in payloads]
    keys: list[bytes | None] = [b"\xff%d" % at if keyed else None for at in range(len(values))]
    data = batch(values[:35], keys[:35]) + batch(values[35:], keys[35:], base_offset=50)
    assert_alike(data, Shape(key=with_key))
    for input_ in ("avro", "bytes"):
        assert len(columns(ByColumn(sections(data)), Shape(key=with_key), input_)[0]) == len(values)


@given(st.integers(0, 2**32))
def test_batches_in_which_bytes_are_changed_or_moved_across_the_ends_of_values(seed: int) -> None:
    rng = random.Random(seed)
    values: list[bytes | None] = [frame(rng.choice([7] * 9 + [8]), rng.choice(GOOD)) for _ in range(36)]
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(values))
        value = values[at] or b""
        cut = rng.randrange(len(value) + 1)
        other = rng.randrange(len(values))
        values[at], values[other] = rng.choice(
            [
                (value[:cut], (values[other] or b"") + value[cut:]),
                (value + bytes(rng.randrange(3)), values[other]),
                (None, value),
            ]
        )
    keys = [rng.choice([None, b"k"]) if seed % 5 == 0 else None for _ in values]
    assert_alike(batch(values, keys), Shape())


@given(st.integers(0, 2**32))
def test_batches_whose_bytes_are_changed_anywhere_under_a_right_crc(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(batch([frame(7, rng.choice(GOOD)) for _ in range(36)], [None] * 36))
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(61, len(data))] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    assert_alike(with_right_header(data), Shape())
