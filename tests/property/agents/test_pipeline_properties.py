"""Any bytes, through any pipeline: nothing raises, what is encoded is what an Avro library writes, and no time matters."""

import io
import json
from dataclasses import replace
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import compiled, definition
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.audit import event_hash
from headrace.schemas.envelope import ENVELOPE

AGENT = "6d4b7f0e-7f3c-4a52-8f5c-3f4f9f6a1c11"
STREAM = StreamRow("s-1", "logs", 3, "h", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)
_ENVELOPE = fastavro.parse_schema(dict(ENVELOPE))

PIECES = [
    b"{", b"}", b'"', b":", b",", b"[", b"]", b"\\", b"\\u00e9", b"\\ud800", b"=", b" ", b"\t", b"\r", b"\0", b"<34>",
    b"<165>1 ", b"-", b"1795424400", b"2026-11-23T08:00:00.123Z", b"2026-11-23 08:00:00,5", b"[23/Nov/2026:08:55:36 +0000]",
    b"Nov 14 15:16:01 ",    b" stdout F ", b"level", b"ts", b"msg", b"NaN", b"1e999", b"9" * 30,
    b"\xc3\xa9", b"\xff", b"\xed\xa0\x80", b"GET / HTTP/1.1",
    b"a@example.com", b"\n",
]  # fmt: skip
LINES = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=60).map(b"".join)
PARSERS = st.sampled_from(
    [
        {"type": "auto"}, {"type": "json"}, {"type": "logfmt"}, {"type": "access"}, {"type": "syslog"}, {"type": "plain"},
        {"type": "cri"}, {"type": "cri", "content": "json"}, {"type": "regex", "pattern": r"(?P<a>\w+)=?(?P<b>.*)"},
        {"type": "json", "time": {"field": "ts", "formats": ["epoch", "%Y-%m-%d"], "timezone": "Europe/Zurich"}},
        {"type": "auto", "time": {"timezone": "America/St_Johns"}}, {"type": "plain", "time": {"formats": ["%b %d %H:%M:%S"]}},
    ]
)  # fmt: skip
TRANSFORMS = st.lists(
    st.sampled_from(
        [
            {"add": {"env": "é"}}, {"rename": {"level": "msg", "a": "level"}}, {"drop": ["ts", "parse_error"]},
            {"filter": {"exclude": {"pattern": "level"}}}, {"filter": {"include": {"field": "msg", "equals": ["", "1"]}}},
            {"sample": {"keep": 0.5}}, {"sample": {"keep": 0.5, "by": "msg"}},
        ]
    ),
    max_size=4,
)  # fmt: skip


@given(data=LINES, parse=PARSERS, transforms=TRANSFORMS, split_bytes=st.sampled_from([16, 64, 4096]))
def test_any_bytes_through_any_pipeline(
    data: bytes, parse: dict[str, Any], transforms: list[dict[str, Any]], split_bytes: int
) -> None:
    pipeline = definition(parse=parse, transforms=transforms)
    row = ChunkRow("s-1", 10, 10 + len(data), 10, 10, 1_795_424_400_123, pipeline, split_bytes, "")
    encoded = ChunkEncoder(AGENT, b"").encode(STREAM, row, data)
    assert ChunkEncoder(AGENT, b"").encode(STREAM, replace(row), data) == encoded
    total, ended = 0, (10, 10)
    for value in encoded.values:
        event: Any = fastavro.schemaless_reader(io.BytesIO(value), _ENVELOPE, None)
        again = io.BytesIO()
        fastavro.schemaless_writer(again, _ENVELOPE, event)
        assert again.getvalue() == value
        line = event["message"].encode(event["encoding"])
        at = event["position"] - 10
        assert data[at : at + len(line)] == line
        assert event["since"] in ended
        ended = (event["position"] + len(line), event["position"] + len(line) + 1)
        total += event_hash(AGENT, "s-1", event["position"], event["part"], line)
    assert sum(tally.count for tally in encoded.windows.values()) == len(encoded.values)
    assert sum(tally.content_hash for tally in encoded.windows.values()) % 2**64 == total % 2**64
    lines = data.removesuffix(b"\n").count(b"\n") + 1
    assert encoded.lines + sum(encoded.left_out.values()) == lines


@given(line=LINES, parse=PARSERS)
def test_a_line_s_time_does_not_depend_on_what_was_read_before(line: bytes, parse: dict[str, Any]) -> None:
    pipeline, text = compiled(definition(parse=parse)), line.decode("iso-8859-1")
    found = pipeline.parse(text, 1_795_424_400_123_000)
    pipeline.parse("2020-02-29 00:00:00 " + text, 1_600_000_000_000_000)
    assert pipeline.parse(text, 1_795_424_400_123_000) == found


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(), JSON_VALUES, max_size=8), ascii_only=st.booleans())
def test_members_are_what_the_standard_library_reads(value: dict[str, Any], ascii_only: bool) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only)
    texts = {
        name: member if isinstance(member, str) else json.dumps(member, ensure_ascii=False, separators=(",", ":"))
        for name, member in json.loads(line).items()
        if member is not None
    }
    assert compiled(definition(parse={"type": "json"})).parse(line, 1_795_424_400_123_000)[1] == texts


@given(line=LINES.map(lambda pieces: b"{" + pieces + b"}"))
def test_what_is_an_object_to_the_standard_library_is_one(line: bytes) -> None:
    text = line.decode("iso-8859-1")
    try:
        expected = isinstance(json.loads(text), dict)
    except ValueError:
        expected = False
    fields = compiled(definition(parse={"type": "json"})).parse(text, 1_795_424_400_123_000)[1]
    assert (fields == {"parse_error": "not a JSON object"}) == (not expected)
