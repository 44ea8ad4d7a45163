"""OTLP/HTTP logs by OpenTelemetry's own SDK and exporter, and what its specification says of answers."""

import asyncio
import json
import logging
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from headrace.agents.sources.intake import Pushed
from tests.integration.agents.sources.collecting import NOW_MS, Kept
from tests.integration.agents.sources.test_http import Client, with_source


def by_sdk(port: int, compression: Compression, headers: dict[str, str]) -> None:
    """What a service does with its logs."""
    resource = Resource.create({"service.name": "shop", "host.name": "web-7", "service.version": "1.2"})
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"http://127.0.0.1:{port}/v1/logs", compression=compression, headers=headers, timeout=30)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.Logger("shop.cart")
    logger.addHandler(LoggingHandler(logger_provider=provider))
    logger.warning("basket %d is empty", 7, extra={"basket": 7, "tags": ["a", "b"]})
    for number in range(1000):
        logger.info("sold %d", number)
    provider.get_logger("direct", "9.9").emit(
        severity_number=SeverityNumber.ERROR,
        body={"code": 500, "raw": b"\x00\xff", "list": [1, None, 2.5]},
        event_name="failed",
    )
    assert provider.force_flush()
    provider.shutdown()


@pytest.mark.filterwarnings("ignore:`LoggingHandler`:DeprecationWarning")
@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_sdks_exporter_is_taken_in(compression: Compression) -> None:
    async def check(post: Client, kept: Kept) -> None:
        await asyncio.to_thread(by_sdk, post.port, compression, {"authorization": "Bearer its-own-token"})

    taken = with_source(check, **{"bearer.token": "its-own-token"}).pushed
    assert [each.line for each in taken[1:-1]] == [b"sold %d" % number for number in range(1000)]
    first, last = taken[0], taken[-1]
    assert (first.line, first.host, first.service, first.received_ms) == (b"basket 7 is empty", "web-7", "shop", NOW_MS)
    assert first.source == "otlp+http://127.0.0.1"
    assert first.event_time_us is not None
    assert first.fields["severity_text"] in ("WARN", "WARNING")
    expected = {
        "severity_number": "13",
        "scope.name": "shop.cart",
        "resource.service.name": "shop",
        "resource.service.version": "1.2",
        "attributes.basket": "7",
        "attributes.tags": '["a","b"]',
    }
    assert {name: first.fields[name] for name in expected} == expected
    assert json.loads(last.line) == {"code": 500, "raw": "AP8=", "list": [1, None, 2.5]}
    assert (last.fields["event_name"], last.fields["scope.version"]) == ("failed", "9.9")


def request(*records: Any) -> str:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]})


def test_records_that_are_wrong_are_told_in_the_partial_success_and_the_others_are_taken_in() -> None:
    async def check(post: Client, kept: Kept) -> None:
        body = request(
            {"body": {"stringValue": "good"}, "timeUnixNano": "1795680000123456789", "severityNumber": 9},
            {"body": {"stringValue": 5}},
            {"body": {"stringValue": "bad time"}, "timeUnixNano": "yesterday"},
            {"body": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "5"}}, {"key": "\ud800", "value": {}}]}}},
            {"attributes": [{"key": "half\ud800", "value": {"stringValue": "\udfff"}}]},
        )
        status, text, headers = await post(body, "application/json", "/v1/logs")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        told = json.loads(text)["partialSuccess"]
        assert told["rejectedLogRecords"] == "2"
        assert told["errorMessage"] == "record 2: a value is not an AnyValue: stringValue"

    assert with_source(check).pushed == [
        Pushed(b"good", NOW_MS, "otlp+http://127.0.0.1", event_time_us=1795680000123456, fields={"severity_number": "9"}),
        Pushed(b'{"a":5,"\\ud800":null}', NOW_MS, "otlp+http://127.0.0.1"),
        Pushed(b"", NOW_MS, "otlp+http://127.0.0.1", fields={"attributes.half\\ud800": "\\udfff"}),
    ]


def test_all_taken_in_is_an_empty_answer_and_errors_are_a_status_in_the_requests_own_form() -> None:
    protobuf = "application/x-protobuf"

    async def check(post: Client, kept: Kept) -> None:
        status, text, headers = await post(b"", protobuf, "/v1/logs")
        assert (status, headers["Content-Type"]) == (200, protobuf)
        assert ExportLogsServiceResponse.FromString(text.encode()) == ExportLogsServiceResponse()
        assert (await post(request(), "application/json", "/v1/logs"))[:2] == (200, "{}")
        status, text, _ = await post(b"\x0a\xff", protobuf, "/v1/logs")
        told = Status.FromString(text.encode())
        assert (status, told.code, "it is cut off" in told.message) == (400, 3, True)
        status, text, _ = await post("{", "application/json", "/v1/logs")
        assert (status, json.loads(text)["code"]) == (400, 3)
        assert (await post(b"", "text/plain", "/v1/logs"))[0] == 415
        kept.room.clear()
        status, text, headers = await post(request(), "application/json", "/v1/logs")
        assert (status, json.loads(text)["code"], headers["Retry-After"]) == (503, 14, "5")

    assert with_source(check).lines == []
