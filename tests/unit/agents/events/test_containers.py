"""Containers' logs: which lines are one event, what its fields are, and that the loader takes each event once."""

import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.agents.events.containers import ContainerRule, piece_of, stderr_stream_id
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.multiline import Rule
from headrace.agents.events.pipeline import definition
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.sinks.repeats import Repeats
from tests.envelopes import event_of

READ_MS = 1_795_424_400_123
STREAM = StreamRow("s-1", "logs", 3, "h", "web", "/p/web/0.log", "/p/web/0.log", 7, 99, 5)
JAVA = Rule(("java",))
T = "2026-11-23T08:00:00.000000001Z"


def pipeline(*, traces: bool = False) -> str:
    multiline = {"traces": ["java"], "timeout_ms": 1000, "max_lines": 100, "max_bytes": 4096} if traces else None
    return definition(
        parse={"type": "auto"},
        container={"fields": {"pod": "web-0"}, "timeout_ms": 1000, "max_bytes": 4096},
        multiline=multiline,
    )


def cri(*lines: str) -> bytes:
    return b"".join(f"{T} {line}\n".encode() for line in lines)


def docker(log: str, stream: str = "stdout", **more: Any) -> bytes:
    return json.dumps({"log": log, "stream": stream, "time": T, **more}).encode() + b"\n"


def logs(rule: ContainerRule, data: bytes) -> list[tuple[int, list[int]]]:
    return [(event.stream, event.lines) for event in rule.events(data.split(b"\n")[:-1])]


def encoded(data: bytes, definition: str, *, split_bytes: int = 4096, **more: Any) -> tuple[list[dict[str, Any]], Any]:
    row = ChunkRow("s-1", 0, len(data), 0, 0, READ_MS, definition, split_bytes, "", **more)
    found = ChunkEncoder("agent", b"\0\0\0\0\1").encode(STREAM, row, data)
    return [event_of(value) for value in found.values], found  # type: ignore[misc]


def test_lines_of_cri_and_docker_are_read() -> None:
    assert str(piece_of(f"{T} stdout F text of  it")) == str(piece_of(docker("text of  it\n").decode().strip()))
    piece = piece_of(f"{T} stderr P:x ")
    assert piece is not None
    assert (piece.stream, piece.text, piece.ends) == (1, "", False)
    assert piece_of(f"{T} stdout F") is not None
    for line in (
        "",
        "text",
        f"{T} stdin F x",
        f"{T} stdout X x",
        "{",
        "[]",
        '{"log": 1, "stream": "stdout", "time": ""}',
        "{}",
    ):
        assert piece_of(line) is None


def test_texts_that_go_on_are_joined_in_each_stream() -> None:
    data = cri("stdout P a", "stderr P x", "stdout F b", "stdout F c", "stderr F y")
    assert logs(ContainerRule(), data) == [(0, [0, 2]), (1, [1, 4]), (0, [3])]
    events, _ = encoded(data, pipeline())
    assert [(each["fields"]["stream"], each["fields"]["log"]) for each in events] == [
        ("stdout", "ab"),
        ("stderr", "xy"),
        ("stdout", "c"),
    ]
    lines = data.decode().split("\n")
    assert [each["message"] for each in events] == ["\n".join(lines[i] for i in at) for at in ([0, 2], [1, 4], [3])]
    assert [each["stream_id"] for each in events] == ["s-1", stderr_stream_id("s-1"), "s-1"]
    assert {each["event_time"].isoformat() for each in events} == {"2026-11-23T08:00:00+00:00"}
    assert {each["event_time_source"] for each in events} == {"line"}
    assert {each["fields"]["pod"] for each in events} == {"web-0"}


def test_docker_s_texts_go_on_until_their_newline() -> None:
    data = docker("a") + docker("x\n", "stderr") + docker("b\n", attrs={"tag": "t"}) + docker("\n")
    assert logs(ContainerRule(), data) == [(0, [0, 2]), (1, [1]), (0, [3])]
    events, _ = encoded(data, pipeline())
    assert [each["fields"]["log"] for each in events] == ["ab", "x", ""]


def test_json_that_the_program_writes_is_fields() -> None:
    events, _ = encoded(cri('stdout F {"level": "info", "stream": "hidden"}'), pipeline())
    assert events[0]["fields"] == {
        "level": "info", "stream": "stdout", "pod": "web-0", "log": '{"level": "info", "stream": "hidden"}',
    }  # fmt: skip


def test_traces_of_both_streams_written_side_by_side_are_kept_apart() -> None:
    data = cri(
        "stderr F E: x", "stdout F E: y", "stderr F \tat a", "stdout F \tat b", "stdout F c", "stderr P \tat c", "stderr F d"
    )
    assert logs(ContainerRule(JAVA), data) == [(1, [0, 2, 5, 6]), (0, [1, 3]), (0, [4])]
    events, _ = encoded(data, pipeline(traces=True))
    assert [each["fields"]["log"] for each in events] == ["E: x\n\tat a\n\tat cd", "E: y\n\tat b", "c"]


def test_a_line_that_no_runtime_wrote_is_shipped_with_the_reason() -> None:
    events, _ = encoded(cri("stdout P a") + b"no \xe9 such\n" + cri("stdout F b"), pipeline())
    assert [each["fields"].get("parse_error") for each in events] == [None, "not a line of a container runtime", None]
    assert events[1]["message"].encode(events[1]["encoding"]) == b"no \xe9 such"
    assert [each["fields"].get("log") for each in events] == ["a", None, "b"]


def test_a_chunk_ends_where_no_event_of_either_stream_goes_on() -> None:
    rule = ContainerRule()
    whole = cri("stdout P a", "stderr F x", "stdout F b")
    assert rule.whole_bytes(whole + cri("stderr P y", "stdout F c"), 100) == len(whole)
    assert rule.whole_bytes(whole + cri("stdout F c", "stdout F d"), 4) == len(whole + cri("stdout F c"))
    assert rule.whole_bytes(whole + cri("stdout F c"), 1) == len(whole)
    assert rule.whole_bytes(cri("stdout P a", "stdout P b"), 100) == 0
    assert rule.forced_bytes(cri("stdout F a", "stdout P b")) == len(cri("stdout F a"))
    assert rule.forced_bytes(cri("stdout P a", "stdout P b")) == len(cri("stdout P a", "stdout P b"))


def test_an_event_that_may_go_on_is_over_by_the_time_of_later_lines() -> None:
    rule = ContainerRule(JAVA)
    early = cri("stderr F E: x", "stdout F a")
    later = cri("stdout F b", "stdout F c").replace(b"08:00:00", b"08:00:05")
    assert rule.whole_bytes(early + cri("stdout F b"), 100) == 0
    assert rule.whole_bytes(early + later, 100) == len(early + later[: len(later) // 2])


@pytest.mark.parametrize("seed", range(12))
def test_from_whichever_bound_it_begins_the_grouping_is_the_same(seed: int) -> None:
    rng = random.Random(seed)
    texts = ["E: x", "\tat a", "plain", ""]
    data = b"".join(
        cri(f"{rng.choice(('stdout', 'stderr'))} {rng.choice('FFFP')} {rng.choice(texts)}")
        if rng.random() < 0.95
        else b"none\n"
        for _ in range(120)
    )
    rule = ContainerRule(rng.choice((None, JAVA)), max_bytes=rng.choice((150, 4096)))
    events, at = logs(rule, data), 0
    for _ in range(20):
        size = rule.whole_bytes(data[at:], 1)
        if not size:
            break
        at += size
        line = data[:at].count(b"\n")
        rest = [(stream, [line + index for index in lines]) for stream, lines in logs(rule, data[at:])]
        assert rest == [event for event in events if event[1][0] >= line]


@pytest.mark.parametrize("seed", range(30))
def test_the_loader_takes_each_event_once_and_sees_no_hole(seed: int) -> None:
    rng = random.Random(seed)
    traces, at, data = rng.random() < 0.5, 0, b""
    for number in range(150):
        text = rng.choice((f"E: {number}", "\tat a", f"plain {number} é", ""))
        line = f"{rng.choice(('stdout', 'stderr'))} {rng.choice('FFP')} {text}"
        data += cri(line) if rng.random() < 0.95 else b"none \xff\n"
    rule = ContainerRule(JAVA if traces else None, max_bytes=rng.choice((150, 4096)))
    records: list[dict[str, Any]] = []
    shipped_to = stderr_to = 0
    while at < len(data):
        size = rule.whole_bytes(data[at:], rng.randint(1, 20)) or rule.forced_bytes(data[at:])
        row = ChunkRow("s-1", at, at + size, at, shipped_to, READ_MS, pipeline(traces=traces), 4096, "", stderr_to=stderr_to)
        found = ChunkEncoder("agent", b"\0\0\0\0\1").encode(STREAM, row, data[at : at + size])
        records += [event_of(value) for value in found.values]  # type: ignore[misc]
        shipped_to, stderr_to = found.shipped.shipped_to, found.shipped.stderr_to
        at += size
    repeats = Repeats({})
    types = {"position": pa.int64(), "since": pa.int64(), "part": pa.int32()}
    names = ("agent_id", "stream_id", *types, "message", "encoding")
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    rows = pa.Table.from_pylist([{name: each[name] for name in names} for each in records], schema)
    assert repeats.keep(3, rows, np.zeros(len(rows), np.int64)).all(), "taken for a repeat"
    assert not repeats.keep(3, rows, np.zeros(len(rows), np.int64)).any(), "a repeat is taken for new"
    assert [len(each.landed) for each in repeats.streams()] == [1, 1], "a hole is left"
    assert sorted(line for each in records for line in each["message"].encode(each["encoding"]).split(b"\n")) == sorted(
        data.split(b"\n")[:-1]
    )
