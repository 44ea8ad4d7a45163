"""A chunk's events on the wire are what an Avro library writes for the envelope, and are counted as the audit says."""

import io
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from headrace.agents.events.encoded import Tally
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import AUTO, definition
from headrace.agents.events.records import MAX_VALUE_BYTES
from headrace.agents.rows import ChunkRow, LineHead, StreamRow
from headrace.audit import event_hash, window_start_ms
from headrace.schemas.envelope import ENVELOPE

AGENT = "6d4b7f0e-7f3c-4a52-8f5c-3f4f9f6a1c11"
READ_MS = 1_795_424_400_123
_ENVELOPE = fastavro.parse_schema(dict(ENVELOPE))
STREAM = StreamRow("s-1", "logs", 3, "höst", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)


def chunk(data: bytes, *, start: int = 1000, since: int | None = None, split_bytes: int = 64, **more: Any) -> ChunkRow:
    since = start if since is None else since
    return ChunkRow("s-1", start, start + len(data), since, since, READ_MS, AUTO, split_bytes, "", **more)


def events(data: bytes, row: ChunkRow) -> list[dict[str, Any]]:
    """Decode what was encoded, and check that an Avro library would have written the very same bytes."""
    found = []
    for value in ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(STREAM, row, data).values:
        assert value[:5] == b"\0\0\0\0\7"
        event: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), _ENVELOPE, None)
        again = io.BytesIO()
        fastavro.schemaless_writer(again, _ENVELOPE, event)
        assert again.getvalue() == value[5:]
        found.append(event)
    return found


def test_every_kind_of_line_keeps_its_bytes_and_its_place() -> None:
    lines = [b"", b"plain\r", b"\xff\xfe", b"nul\0", "é".encode(), b'{"a": "\\ud800"}', b"2026-11-23 08:00:00 x"]
    data = b"\n".join(lines) + b"\n"
    found = events(data, chunk(data))
    assert [event["message"].encode(event["encoding"]) for event in found] == lines
    assert [event["encoding"] for event in found] == ["utf-8", "utf-8", "iso-8859-1", "utf-8", "utf-8", "utf-8", "utf-8"]
    position = 1000
    for event, line in zip(found, lines, strict=True):
        assert (event["position"], event["since"], event["part"]) == (position, position, 0)
        position += len(line) + 1
    assert found[5]["fields"] == {"a": r"\ud800"}
    assert [event["event_time_source"] for event in found] == ["read"] * 6 + ["line"]
    assert found[0]["host"] == "höst"
    assert found[0]["event_time"] == found[0]["read_time"]


def test_a_file_name_that_is_not_utf8_is_shown_with_escapes() -> None:
    stream = replace(STREAM, service="bad\udcff", source="/var/log/bad\udcff.log")
    (value,) = ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(stream, chunk(b"x\n"), b"x\n").values
    event: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), _ENVELOPE, None)
    assert (event["service"], event["source"]) == (r"bad\udcff", r"/var/log/bad\udcff.log")


def test_a_skipped_newline_is_in_since() -> None:
    found = events(b"a\nb\n", chunk(b"a\nb\n", since=999))
    assert [(event["position"], event["since"]) for event in found] == [(1000, 999), (1002, 1002)]


def test_a_line_over_the_limit_is_cut_between_characters() -> None:
    line = ("é" * 40 + "x").encode()
    found = events(line + b"\nnext\n", chunk(line + b"\nnext\n", split_bytes=33))
    assert [len(event["message"].encode()) for event in found] == [32, 32, 17, 4]
    assert [event["part"] for event in found] == [0, 1, 2, 0]
    assert [event["position"] for event in found] == [1000, 1032, 1064, 1082]
    assert [event["since"] for event in found] == [1000, 1032, 1064, 1082]


def test_the_limit_counts_utf_8_bytes_of_the_message() -> None:
    line = b"\xff" * 50
    found = events(line + b"\n", chunk(line + b"\n", split_bytes=64))
    assert [(len(event["message"]), event["part"]) for event in found] == [(32, 0), (18, 1)]


def test_a_part_of_a_long_line_carries_what_the_line_said() -> None:
    head = LineHead("iso-8859-1", 1_795_420_800_000_000, 3)
    (event,) = events(b"2026 abc", chunk(b"2026 abc", line=head, more=True))
    assert (event["part"], event["encoding"], event["fields"], event["event_time_source"]) == (3, "iso-8859-1", {}, "line")
    (last,) = events(b"end\n", chunk(b"end\n", line=head))
    assert last["message"] == "end"


def test_fields_are_left_out_of_an_event_that_would_be_too_long() -> None:
    line = b'{"a": "' + b"x" * 500_000 + b'"}'
    (event,) = events(line + b"\n", chunk(line + b"\n", split_bytes=600_000))
    assert event["fields"] == {}
    assert len(event["message"]) < MAX_VALUE_BYTES


def test_windows_count_events_bytes_and_hashes_of_the_original_bytes() -> None:
    data = b"2026-11-23 08:00:00 a\xff\n2026-11-23 08:09:59 b\n2026-11-23 08:10:00 c\n"
    encoded = ChunkEncoder(AGENT, b"").encode(STREAM, chunk(data), data)
    first = window_start_ms(1_795_420_800_000)
    assert sorted(encoded.windows) == [first, first + 600_000]
    tally = encoded.windows[first]
    assert (tally.count, tally.bytes_total, encoded.lines) == (2, 43, 3)
    lines = data.split(b"\n")
    expected = event_hash(AGENT, "s-1", 1000, 0, lines[0]) + event_hash(AGENT, "s-1", 1023, 0, lines[1])
    assert tally.content_hash == expected % 2**64


def test_many_lines_are_written_and_counted_as_each_alone() -> None:
    minutes = [f"2026-11-23 0{8 + number // 300}:{number // 5 % 60:02}:00.{number:03} line {number}" for number in range(600)]
    lines = [line.encode() for line in minutes]
    lines[300], lines[77] = b"no time", b'{"time": "2026-11-23 09:00:00.5", "%": "x"}'
    data = b"\n".join(lines)
    row = chunk(data, since=999, split_bytes=4096)
    found = events(data, row)
    encoded = ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(STREAM, row, data)
    assert [event["message"].encode() for event in found] == lines
    assert encoded.lines == 600
    alone: dict[int, Tally] = {}
    position = 1000
    for line, value in zip(lines, encoded.values, strict=True):
        since = 999 if position == 1000 else position
        one = chunk(line, start=position, since=since, split_bytes=4096)
        each = ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(STREAM, one, line)
        assert each.values == [value]
        ((window, tally),) = each.windows.items()
        total = alone.setdefault(window, Tally())
        total.count += tally.count
        total.bytes_total += tally.bytes_total
        total.content_hash = (total.content_hash + tally.content_hash) % 2**64
        position += len(line) + 1
    assert encoded.windows == alone
    assert len(alone) > 10


@pytest.mark.parametrize("more", [{}, {"transforms": [{"drop": ["parse_error"]}]}])
@pytest.mark.parametrize("odd", [b"odd", b"\xff"])
def test_lines_that_their_parser_does_not_understand_are_counted_though_steps_drop_the_reason(
    more: dict[str, Any], odd: bytes
) -> None:
    data = b'{"a":1}\n' + odd + b"\n[]\n"
    row = replace(chunk(data), pipeline=definition(parse={"type": "json"}, **more))
    encoded = ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(STREAM, row, data)
    assert (encoded.lines, encoded.unparsed) == (3, 2)


def test_plain_lines_are_not_called_misunderstood() -> None:
    assert ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(STREAM, chunk(b"a\nb\n"), b"a\nb\n").unparsed == 0
