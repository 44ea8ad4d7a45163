"""Typed schemas of known formats: the envelope with nullable columns before its map, for a topic to choose in place of it.

The first fields are the envelope's, so identity, audit and every reader of `HEAD` stay as they are. `fields` is the last one
and keeps what has no column: names that a format does not have, and values that are not of their column's type. So no event is
refused for what is in its line. The record is named as the envelope, too: so each is a compatible version of each other, and a
topic may change from one to another.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, cast

from headrace.schemas.envelope import ENVELOPE

_MICROS: Final = {"type": "long", "logicalType": "timestamp-micros"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column, its Avro type, and the names under which parsers and programs write it, the first that is there counting."""

    name: str
    type: Any
    names: tuple[str, ...]
    doc: str = ""


def _text(name: str, *others: str, doc: str = "") -> Column:
    return Column(name, "string", (name, *others), doc)


COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "access": (
        _text("client", "remote_addr", "remote_ip", "clientip", doc="Who asked: an address or a name."),
        _text("ident"),
        _text("user", "remote_user", "auth"),
        _text("method", "request_method", "verb"),
        _text("path", "request_uri", "uri", doc="With its query."),
        _text("protocol", "server_protocol"),
        _text("request", doc="The request as it is, where it is not a method, a path and a protocol."),
        Column("status", "int", ("status", "response", "status_code")),
        Column("bytes", "long", ("bytes", "size", "body_bytes_sent", "bytes_sent"), "Of the answer."),
        _text("referer", "http_referer", "referrer"),
        _text("user_agent", "http_user_agent", "agent"),
        Column("duration", "double", ("duration", "request_time"), "Seconds."),
        _text("vhost", "virtual_host", "server_name"),
    ),
    "syslog": (
        _text("facility"),
        _text("severity"),
        _text("hostname", doc="As the message names it; `host` is the agent's."),
        _text("program", "app_name", "appname"),
        Column("pid", "int", ("pid", "procid")),
        _text("msgid"),
        _text("structured_data"),
    ),
    "cri": (
        _text("stream", doc="stdout or stderr."),
        _text("tag", doc="P for a piece that the runtime cut, F for a whole line or its last piece."),
        _text("log", doc="The content, where nothing was parsed in it."),
        _text("namespace", "kubernetes.namespace"),
        _text("pod", "pod_name", "kubernetes.pod"),
        _text("pod_uid", "kubernetes.pod_uid"),
        _text("container", "container_name", "kubernetes.container"),
        _text("container_id"),
        Column("restarts", "int", ("restarts", "restart", "restart_count"), "How often the container had been started again."),
    ),
    "otlp": (
        Column("observed_time", _MICROS, ("observed_time", "observed_time_unix_nano", "observedTimeUnixNano")),
        Column("severity_number", "int", ("severity_number", "severityNumber"), "1 to 24, as OpenTelemetry counts them."),
        _text("severity_text", "severityText", "severity"),
        _text("trace_id", "traceId"),
        _text("span_id", "spanId"),
        Column("flags", "long", ("flags", "trace_flags")),
        _text("event_name", "eventName"),
        _text("scope_name", "scope.name"),
        _text("scope_version", "scope.version"),
        _text("service_name", "resource.service.name", "service.name", doc="Of the resource."),
        Column("dropped_attributes_count", "long", ("dropped_attributes_count", "droppedAttributesCount")),
    ),
}


def _schema(name: str) -> dict[str, object]:
    *fixed, rest = cast("list[dict[str, object]]", ENVELOPE["fields"])
    columns: list[dict[str, object]] = [
        {"name": column.name, "type": ["null", column.type], "default": None, "doc": column.doc or "As the line has it."}
        for column in COLUMNS[name]
    ]
    fields = [*fixed, *columns, {**rest, "doc": "What has no column."}]
    return {**ENVELOPE, "fields": fields}


TYPED: Final[dict[str, dict[str, object]]] = {name: _schema(name) for name in COLUMNS}
TYPED_JSON: Final = {name: json.dumps(schema) for name, schema in TYPED.items()}
