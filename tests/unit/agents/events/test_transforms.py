"""Transforms: what each step changes or leaves out, that a repeat says the same, and that nothing is left out unseen."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.agents.effects import Shipped
from headrace.agents.events.encoded import Encoded
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition
from headrace.agents.events.rate import Bucket, RateLimit
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.audit import event_hash
from tests.envelopes import event_of

AGENT = "6d4b7f0e-7f3c-4a52-8f5c-3f4f9f6a1c11"
STREAM = StreamRow("s-1", "logs", 3, "h", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)


def chunk(data: bytes, *transforms: dict[str, Any], parse: str = "json", start: int = 1000, **more: Any) -> ChunkRow:
    pipeline = definition(parse={"type": parse}, transforms=list(transforms))
    row = ChunkRow("s-1", start, start + len(data), start, start, 1_795_424_400_123, pipeline, 1000, "")
    return replace(row, **more)


def encoded(data: bytes, row: ChunkRow) -> tuple[Encoded, list[dict[str, Any]]]:
    result = ChunkEncoder(AGENT, b"").encode(STREAM, row, data)
    assert ChunkEncoder(AGENT, b"").encode(STREAM, row, data) == result
    return result, [event_of(value, header_bytes=0) for value in result.values]


def fields_of(line: bytes, *transforms: dict[str, Any]) -> dict[str, str]:
    ((event,)) = encoded(line + b"\n", chunk(line + b"\n", *transforms))[1]
    assert event["message"].encode() == line
    return dict(event["fields"])


def messages(lines: list[bytes], *transforms: dict[str, Any], **more: Any) -> list[str]:
    data = b"".join(line + b"\n" for line in lines)
    return [event["message"] for event in encoded(data, chunk(data, *transforms, **more))[1]]


def test_fields_are_added_renamed_and_dropped_in_order() -> None:
    line = b'{"lvl": "info", "level": "old", "password": "x", "n": 7}'
    steps: list[dict[str, Any]] = [
        {"add": {"env": "prod", "n": "8"}},
        {"rename": {"lvl": "level", "gone": "n"}},
        {"drop": ["password", "gone"]},
    ]
    assert fields_of(line, *steps) == {"env": "prod", "n": "8", "level": "info"}
    assert fields_of(line, *reversed(steps)) == {"level": "info", "n": "8", "env": "prod"}


def test_names_change_places() -> None:
    assert fields_of(b'{"a": "1", "b": "2"}', {"rename": {"a": "b", "b": "a"}}) == {"a": "2", "b": "1"}


def test_a_filter_leaves_lines_out_by_message_and_field() -> None:
    lines = [
        b'{"level": "debug"}',
        b'{"level": "info"}',
        b'{"level": "error"}',
        b"no level",
        "größe \udcff".encode("utf-8", "replace"),
    ]
    texts = [line.decode() for line in lines]
    assert messages(lines, {"filter": {"exclude": {"field": "level", "equals": ["debug", "info"]}}}) == texts[2:]
    assert messages(lines, {"filter": {"include": {"field": "level", "pattern": "^(info|err)"}}}) == texts[1:3]
    assert messages(lines, {"filter": {"include": {"pattern": "ö"}}}) == texts[4:]
    assert messages(lines, {"filter": {"include": {"pattern": "e"}, "exclude": {"pattern": "bug"}}}) == texts[1:]


def test_what_is_left_out_is_counted_and_lies_before_the_next_record_s_since() -> None:
    lines = [b"keep 1", b"drop 22", b"drop 3", b"keep 4", b"drop 5"]
    data = b"".join(line + b"\n" for line in lines)
    row = chunk(data, {"filter": {"exclude": {"pattern": "^drop"}}}, shipped_to=990)
    result, events = encoded(data, row)
    assert [(event["position"], event["since"]) for event in events] == [(1000, 990), (1022, 1007)]
    assert (result.left_out, result.lines, result.shipped) == ({"filter": 3}, 2, Shipped(1029))
    (tally,) = result.windows.values()
    assert (tally.count, tally.bytes_total) == (2, 12)
    assert (
        tally.content_hash
        == (event_hash(AGENT, "s-1", 1000, 0, lines[0]) + event_hash(AGENT, "s-1", 1022, 0, lines[3])) % 2**64
    )


def test_a_chunk_of_which_nothing_is_sent_has_no_window() -> None:
    result, events = encoded(b"x\ny\n", chunk(b"x\ny\n", {"filter": {"include": {"pattern": "z"}}}, shipped_to=7))
    assert (events, result.windows, result.shipped, result.left_out) == ([], {}, Shipped(7), {"filter": 2})


def test_a_line_that_is_sent_in_parts_is_sent_whatever_the_steps_say() -> None:
    data = b"x" * 25 + b"\n"
    result, events = encoded(data, chunk(data, {"filter": {"exclude": {"pattern": "x"}}}, split_bytes=10))
    assert [event["part"] for event in events] == [0, 1, 2]
    assert (result.left_out, result.shipped) == ({}, Shipped(1026))


def test_a_sample_keeps_about_its_share_and_always_the_same() -> None:
    lines = [b'{"trace": "t%d"}' % (n // 10) for n in range(1000)]
    each = messages(lines, {"sample": {"keep": 0.2}})
    assert 120 < len(each) < 280
    traces = messages(lines, {"sample": {"keep": 0.2, "by": "trace"}})
    assert 80 < len(traces) < 400
    assert all(traces.count(line) == 10 for line in traces)
    moved = messages(lines, {"sample": {"keep": 0.2, "by": "trace"}}, start=5)
    assert moved == traces
    assert messages(lines, {"sample": {"keep": 0.2}}, start=5) != each


def test_a_rate_limit_lets_pass_what_the_row_allows_of_what_is_left() -> None:
    lines = [b"drop", b"1", b"drop", b"2", b"3"]
    data = b"\n".join(lines) + b"\n"
    steps = ({"filter": {"exclude": {"pattern": "drop"}}}, {"rate_limit": {"lines_per_second": 9.0, "burst": 9}})
    result, events = encoded(data, chunk(data, *steps, allowance=2))
    assert [event["message"] for event in events] == ["1", "2"]
    assert (result.left_out, result.shipped) == ({"filter": 2, "rate_limit": 1}, Shipped(1014, allowed=2))


def test_a_bucket_fills_with_time_up_to_a_burst() -> None:
    bucket, limit = Bucket(), RateLimit(lines_per_second=10, burst=20)
    assert bucket.allowance(limit, 5_000) == 20
    bucket.use(20)
    assert bucket.allowance(limit, 5_050) == 0
    assert bucket.allowance(limit, 5_150) == 1
    bucket.use(1)
    assert bucket.allowance(limit, 5_250) == 1
    assert bucket.allowance(limit, 60_000) == 20


@pytest.mark.parametrize("parse", ["auto", "json", "plain", "syslog", "access"])
def test_steps_that_change_nothing_give_the_same_bytes_as_none(parse: str) -> None:
    data = b'{"a": "1"}\nplain\n\xff\xfe\n\nNov 14 15:16:01 combo sshd[1]: x\n'
    without = ChunkEncoder(AGENT, b"").encode(STREAM, chunk(data, parse=parse), data)
    with_step = ChunkEncoder(AGENT, b"").encode(STREAM, chunk(data, {"drop": ["nothing"]}, parse=parse), data)
    assert with_step == without
