"""OTLP: what OpenTelemetry's own protobuf code writes is read as it is meant; any bytes end in records or an error."""

import base64
import json
import re
from typing import Any

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from headrace.agents.sources import otlp
from headrace.agents.sources.otlp_protobuf import MOST_VALUES, MalformedError
from headrace.agents.sources.otlp_records import json_records, protobuf_records

_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs, which UTF-8 cannot hold
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.builds(AnyValue, string_value=TEXTS),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
    st.builds(AnyValue, bytes_value=st.binary(max_size=8)),
    st.just(AnyValue()),
)


def lists(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    def array(members: list[AnyValue]) -> AnyValue:
        made = AnyValue()
        made.array_value.values.extend(members)
        return made

    def pairs(members: dict[str, AnyValue]) -> AnyValue:
        made = AnyValue()
        made.kvlist_value.SetInParent()
        for key, value in members.items():
            made.kvlist_value.values.add(key=key, value=value)
        return made

    return st.one_of(st.lists(values, max_size=3).map(array), st.dictionaries(NAMES, values, max_size=3).map(pairs))


VALUES = st.recursive(SCALARS, lists, max_leaves=8)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource_logs = request.resource_logs.add(schema_url=draw(TEXTS))
        for key, value in draw(ATTRIBUTES).items():
            resource_logs.resource.attributes.add(key=key, value=value)
        for _ in range(draw(st.integers(0, 2))):
            scope_logs = resource_logs.scope_logs.add()
            scope_logs.scope.name, scope_logs.scope.version = draw(TEXTS), draw(TEXTS)
            for _ in range(draw(st.integers(0, 3))):
                record = scope_logs.log_records.add(
                    time_unix_nano=draw(st.integers(0, (1 << 64) - 1)),
                    observed_time_unix_nano=draw(st.integers(0, (1 << 64) - 1)),
                    severity_number=draw(st.integers(0, 24)),  # type: ignore[arg-type]
                    severity_text=draw(TEXTS),
                    body=draw(VALUES),
                    flags=draw(st.integers(0, (1 << 32) - 1)),
                    trace_id=draw(st.binary(max_size=16)),
                    span_id=draw(st.binary(max_size=8)),
                    event_name=draw(TEXTS),
                )
                for key, value in draw(ATTRIBUTES).items():
                    record.attributes.add(key=key, value=value)
    return request


def as_json(request: ExportLogsServiceRequest) -> bytes:
    """As OTLP has it: protobuf's JSON, with ids in hex and enums as numbers."""
    tree: Any = MessageToDict(request, use_integers_for_enums=True)
    for resource_logs in tree.get("resourceLogs", []):
        for scope_logs in resource_logs.get("scopeLogs", []):
            for record in scope_logs.get("logRecords", []):
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64decode(record[name]).hex()
    return json.dumps(tree).encode()


def lines(found: Any) -> list[Any]:
    taken = otlp.Taken()
    pushed = list(otlp.pushed(found, 7, "otlp+http://192.0.2.7", taken))
    assert (taken.rejected, taken.records) == (0, len(pushed)), taken.why
    return pushed


@given(requests())
def test_protobuf_and_json_of_the_same_records_give_the_same_lines(request: ExportLogsServiceRequest) -> None:
    from_protobuf = lines(protobuf_records(request.SerializeToString()))
    assert from_protobuf == lines(json_records(as_json(request)))
    records = [record for resource in request.resource_logs for scope in resource.scope_logs for record in scope.log_records]
    assert len(from_protobuf) == len(records)
    for line, record in zip(from_protobuf, records, strict=True):
        if record.body.HasField("string_value"):
            assert line.line == record.body.string_value.encode()
        if record.body.HasField("bytes_value"):
            assert line.line == record.body.bytes_value
        assert line.fields.get("trace_id", "") == record.trace_id.hex()
        assert int(line.fields.get("severity_number", "0")) == record.severity_number
        time_ns = record.time_unix_nano or record.observed_time_unix_nano
        assert line.event_time_us == (time_ns // 1000 if time_ns else None)


@given(st.one_of(st.binary(max_size=300), requests().map(lambda request: request.SerializeToString())), st.data())
def test_any_bytes_are_records_or_malformed(body: bytes, data: st.DataObject) -> None:
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged
    try:
        pushed = list(otlp.pushed(protobuf_records(bytes(damaged)), 7, "otlp+http://192.0.2.7", otlp.Taken()))
    except MalformedError:
        return
    for line in pushed:
        assert not _HALVES.search("".join([*line.fields, *line.fields.values()]))


_NAMES = [
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "resource",
    "scope",
    "body",
    "attributes",
    "key",
    "value",
    "values",
    "stringValue",
    "kvlistValue",
    "intValue",
    "arrayValue",
    "bytesValue",
    "doubleValue",
    "traceId",
    "timeUnixNano",
]
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), below, max_size=4),
    max_leaves=20,
)


@given(_JSON, st.booleans())
def test_any_json_is_records_partly_rejected_or_malformed(tree: Any, deep: bool) -> None:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [tree]}]}]} if deep else tree
    try:
        pushed = list(otlp.pushed(json_records(json.dumps(body).encode()), 7, "otlp+http://192.0.2.7", otlp.Taken()))
    except MalformedError:
        return
    for line in pushed:
        assert not _HALVES.search("".join([*line.fields, *line.fields.values()]))


@given(st.integers(1, 1 << 40), TEXTS, st.sampled_from([otlp.JSON, otlp.PROTOBUF]))
def test_a_partial_success_is_read_by_opentelemetrys_own_code(rejected: int, why: str, kind: str) -> None:
    told = otlp.success(otlp.Taken(rejected, rejected, why), kind)
    if kind == otlp.JSON:
        assert json.loads(told) == {"partialSuccess": {"rejectedLogRecords": str(rejected), "errorMessage": why}}
    else:
        answer = ExportLogsServiceResponse.FromString(told)
        assert (answer.partial_success.rejected_log_records, answer.partial_success.error_message) == (rejected, why)


def test_records_that_are_too_much_are_rejected_alone() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(body=AnyValue(string_value="first"))
    records.add()
    for _ in range(MOST_VALUES):
        records[1].attributes.add()
    deep = AnyValue(string_value="deep")
    for _ in range(40):
        outer = AnyValue()
        outer.array_value.values.append(deep)
        deep = outer
    records.add(body=deep)
    records.add(body=AnyValue(string_value="last"))
    taken = otlp.Taken()
    pushed = otlp.pushed(protobuf_records(request.SerializeToString()), 7, "", taken)
    assert [line.line for line in pushed] == [b"first", b"last"]
    assert (taken.rejected, taken.why) == (2, f"record 2: more than {MOST_VALUES} values")
