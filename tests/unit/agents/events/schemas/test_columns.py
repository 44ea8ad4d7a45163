"""Typed schemas: columns for who queries, the envelope for who identifies, and no event that does not fit."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest

from headrace.agents.events.encoded import Tally
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition, with_schema
from headrace.agents.events.schemas.choice import OWN, TopicSchema
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.audit import event_hash, window_start_ms
from headrace.schemas.avro_kind import parse
from headrace.schemas.envelope import ENVELOPE, ENVELOPE_JSON, HEAD
from headrace.schemas.typed import TYPED, TYPED_JSON

READ_MS = 1_795_424_400_123
STREAM = StreamRow("s-1", "logs", 3, "h", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)
ACCESS = b'10.0.0.1 - bob [23/Nov/2026:08:59:58 +0000] "GET /a?b=1 HTTP/1.1" 404 512 "-" "curl/8"'


def encode(schema: TopicSchema, line: bytes, *, parse: str = "auto", split_bytes: int = 4096) -> Any:
    pipeline = with_schema(definition(parse={"type": parse}), schema)
    data = line + b"\n"
    chunk = ChunkRow("s-1", 100, 100 + len(data), 99, 99, READ_MS, pipeline, split_bytes, "")
    return ChunkEncoder("a-1", b"\0\0\0\0\7").encode(STREAM, chunk, data)


def event(name: str, line: bytes, **more: Any) -> dict[str, Any]:
    """One line's event, checked to be what an Avro library would have written."""
    (value,) = encode(TopicSchema(name, "http://r"), line, **more).values
    found: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), dict(TYPED[name]), None)
    again = io.BytesIO()
    fastavro.schemaless_writer(again, dict(TYPED[name]), found)
    assert again.getvalue() == value[5:]
    head: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), dict(HEAD), None)
    assert all(found[name] == value for name, value in head.items())
    assert found["message"].encode() == line
    return dict(found)


def test_a_typed_schema_is_the_envelope_with_columns_before_its_map() -> None:
    fields: Any = ENVELOPE["fields"]
    for name, text in TYPED_JSON.items():
        typed = json.loads(text)["fields"]
        assert typed[: len(fields) - 1] == fields[:-1]
        assert typed[-1]["name"] == "fields"
        assert all(column["type"][0] == "null" for column in typed[len(fields) - 1 : -1]), name


def test_each_is_a_compatible_version_of_each_other() -> None:
    schemas = [parse(text) for text in (ENVELOPE_JSON, *TYPED_JSON.values())]
    for reader in schemas:
        for writer in schemas:
            assert reader.unreadable(writer, "/", "/", lenient=False) == []


def test_an_access_log_has_its_numbers_as_numbers() -> None:
    found = event("access", ACCESS)
    assert (found["client"], found["user"], found["method"], found["path"]) == ("10.0.0.1", "bob", "GET", "/a?b=1")
    assert (found["status"], found["bytes"], found["referer"], found["user_agent"]) == (404, 512, None, "curl/8")
    assert found["event_time"] == datetime(2026, 11, 23, 8, 59, 58, tzinfo=UTC)
    assert found["fields"] == {}


def test_a_json_access_log_has_the_same_columns_and_the_rest_in_the_map() -> None:
    line = b'{"remote_addr":"::1","status":200,"request_time":0.25,"body_bytes_sent":7,"cache":"HIT","request_id":null}'
    found = event("access", line, parse="json")
    assert (found["client"], found["status"], found["duration"], found["bytes"]) == ("::1", 200, 0.25, 7)
    assert found["fields"] == {"cache": "HIT"}


def test_what_is_not_of_its_column_s_type_stays_in_the_map() -> None:
    found = event("access", b'{"status":"teapot","bytes":1e99}', parse="json")
    assert (found["status"], found["bytes"]) == (None, None)
    assert found["fields"] == {"status": "teapot", "bytes": "1e+99"}


def test_syslog_has_columns() -> None:
    found = event("syslog", b'<34>1 2026-11-23T08:59:58Z mymachine su 123 ID47 [x@1 a="b"] failed')
    assert (found["facility"], found["severity"], found["hostname"], found["program"]) == ("auth", "crit", "mymachine", "su")
    assert (found["pid"], found["msgid"], found["structured_data"]) == (123, "ID47", '[x@1 a="b"]')


def test_otlp_s_time_is_a_time() -> None:
    found = event("otlp", b'{"observedTimeUnixNano":"1795424400123456789","severityNumber":17,"traceId":"ab"}', parse="json")
    assert found["observed_time"] == datetime(2026, 11, 23, 9, 0, 0, 123_456, UTC)
    assert (found["severity_number"], found["trace_id"]) == (17, "ab")


def test_a_container_s_line_has_its_stream_and_content() -> None:
    found = event("cri", b"2026-11-23T08:59:58.5Z stderr F it failed", parse="cri")
    assert (found["stream"], found["tag"], found["log"], found["pod"]) == ("stderr", "F", "it failed", None)
    assert found["fields"] == {}


@pytest.mark.parametrize("name", ["access", "syslog", "cri", "otlp"])
def test_any_line_fits_every_typed_schema(name: str) -> None:
    for line in (b"", b"plain", b"nul\0", "é".encode(), b"{}", b'{"status":{"a":[1]},"pid":"","flags":true}'):
        event(name, line)


def test_parts_of_a_long_line_have_the_columns_empty() -> None:
    encoded = encode(TopicSchema("access", "http://r"), b"x" * 100, split_bytes=64)
    found: list[Any] = [
        fastavro.schemaless_reader(io.BytesIO(value[5:]), dict(TYPED["access"]), None) for value in encoded.values
    ]
    assert [(each["part"], each["status"]) for each in found] == [(0, None), (1, None)]
    assert not encoded.misfits


ORDER = json.dumps(
    {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}, {"name": "host", "type": "string"}]}
)
OWN_ORDER = TopicSchema(OWN, "http://r", ORDER)


def test_an_own_schema_s_record_has_its_identity_in_headers_and_counts_where_and_with_what_a_loader_sees() -> None:
    encoded = encode(OWN_ORDER, b'{"id":7,"extra":true}')
    assert encoded.values == [b"\0\0\0\0\7" + b"\x0e" + b"\x02h"]
    assert encoded.headers == [
        [
            ("agent_id", "a-1"), ("stream_id", "s-1"), ("position", "100"), ("since", "99"), ("part", "0"), ("end", "121"),
            ("timestamp", str(READ_MS)),
        ]
    ]  # fmt: skip
    counted = Tally(1, 8, event_hash("a-1", "s-1", 100, 0, encoded.values[0]))
    assert (encoded.windows, encoded.lines) == ({window_start_ms(READ_MS): counted}, 1)


def test_a_line_that_does_not_fit_is_a_misfit_with_its_bytes_and_reason() -> None:
    encoded = encode(OWN_ORDER, b'{"id":"x"}')
    assert encoded.values == []
    (misfit,) = encoded.misfits
    assert (misfit.identity, misfit.line, misfit.reason) == (
        ("s-1", 100, 99, 0, 110),
        b'{"id":"x"}',
        "field id: 'x' is no long",
    )
    assert misfit.window_start_ms == window_start_ms(READ_MS)


def test_parts_of_a_long_line_do_not_fit_an_own_schema() -> None:
    encoded = encode(OWN_ORDER, b'{"id":7,"extra":"' + b"x" * 100 + b'"}', split_bytes=64)
    assert [misfit.identity for misfit in encoded.misfits] == [("s-1", 100, 99, 0, 164), ("s-1", 164, 164, 1, 219)]
    assert b"".join(misfit.line for misfit in encoded.misfits) == b'{"id":7,"extra":"' + b"x" * 100 + b'"}'
    assert encoded.lines == 1
