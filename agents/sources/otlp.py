"""OTLP/HTTP logs: what becomes of a log record, and what its sender is told. Pure.

The line is the record's body: a string as it is, bytes as they are, anything else as JSON. Fields have OpenTelemetry's names:
`severity_text`, `severity_number`, `trace_id`, `span_id`, `event_name`, `flags`, `scope.name`, `scope.version`,
`scope.attributes.*`, `resource.*`, `attributes.*`. Records that cannot be taken in are counted in the partial success; all
others of the request are taken in.

Source: OpenTelemetry logs data model; OTLP specification 1.x, "OTLP/HTTP Response", "Partial Success".
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.otlp_protobuf import MOST_DEEP, Tree
from headrace.agents.sources.otlp_records import Found
from headrace.varints import unsigned

PATH: Final = "/v1/logs"
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_TEXTS: Final = (("severityText", "severity_text"), ("traceId", "trace_id"), ("spanId", "span_id"), ("eventName", "event_name"))
_NUMBERS: Final = (
    ("severityNumber", "severity_number"),
    ("flags", "flags"),
    ("droppedAttributesCount", "dropped_attributes_count"),
)
_MOST_KEPT: Final = 100  # characters of an attribute's name that is kept for the next record


class _WrongError(Exception):
    """A record of which something is not what it should be."""


@dataclass(slots=True)
class Taken:
    """What became of a request's records, so far."""

    records: int = 0
    rejected: int = 0
    why: str = ""


def pushed(found: Iterator[Found], received_ms: int, source: str, taken: Taken) -> Iterator[Pushed]:
    """Lines of records; those that cannot be taken in are counted."""
    shared = _Shared()
    for each in found:
        taken.records += 1
        try:
            if each.wrong:
                raise _WrongError(each.wrong)
            line = _line(each.record, shared.of(each), received_ms, source)
        except _WrongError as error:
            taken.rejected += 1
            taken.why = taken.why or f"record {taken.records}: {error}"
        else:
            yield line


class _Shared:
    """Fields, host and service of a resource and a scope, made once for all their records."""

    def __init__(self) -> None:
        self._resource: Tree | None = None
        self._scope: Tree | None = None
        self._fields: dict[str, str] = {}

    def of(self, found: Found) -> Mapping[str, str]:
        if found.resource is not self._resource or found.scope is not self._scope:
            self._fields = _attributes(found.resource, "resource.")
            self._fields |= {
                f"scope.{name}": value
                for name in ("name", "version")
                if (value := _text(found.scope.get(name), f"scope.{name}"))
            }
            self._fields |= _attributes(found.scope, "scope.attributes.")
            self._resource, self._scope = found.resource, found.scope
        return self._fields


def _line(record: Tree, shared: Mapping[str, str], received_ms: int, source: str) -> Pushed:
    fields = dict(shared)
    for name, field in _TEXTS:
        if value := _text(record.get(name), name):
            fields[field] = value
    for name, field in _NUMBERS:
        if number := _integer(record.get(name), name):
            fields[field] = str(number)
    fields |= _attributes(record, "attributes.")
    time_ns = _integer(record.get("timeUnixNano"), "timeUnixNano") or _integer(record.get("observedTimeUnixNano"), "observed…")
    return Pushed(
        _body(record.get("body")),
        received_ms,
        source,
        host=shared.get("resource.host.name") or None,
        service=shared.get("resource.service.name") or None,
        event_time_us=time_ns // 1000 if time_ns else None,
        fields=fields,
    )


def _attributes(tree: Tree, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in _pairs(tree.get("attributes"), "attributes"):
        plain = _plain(value, 0)
        if plain is not None:
            named = _name(prefix, key) if len(key) <= _MOST_KEPT else _clean(prefix + key)
            found[named] = _clean(plain if isinstance(plain, str) else _json(plain))
    return found


def _body(value: Any) -> bytes:
    if isinstance(value, dict) and "bytesValue" in value:
        return _decoded(value["bytesValue"])
    plain = _plain(value, 0)
    text = "" if plain is None else plain if isinstance(plain, str) else _json(plain)
    return _clean(text).encode()


@lru_cache(maxsize=1024)  # one text for all records that have the attribute
def _name(prefix: str, key: str) -> str:
    return _clean(prefix + key)


def _clean(text: str) -> str:
    """Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, as they are escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any, deep: int) -> Any:
    """An AnyValue as JSON has it; bytes in base64."""
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > 1:
        raise _WrongError("a value is not an AnyValue")
    if deep > MOST_DEEP:
        raise _WrongError(f"values are nested more than {MOST_DEEP} deep")
    for kind, of in value.items():
        if of is None:
            return None
        if kind == "intValue":
            return _integer(of, kind)
        if kind == "doubleValue":
            return _real(of)
        if kind == "arrayValue":
            return [_plain(each, deep + 1) for each in _members(of, kind)]
        if kind == "kvlistValue":
            return {key: _plain(each, deep + 1) for key, each in _pairs(_members(of, kind), kind)}
        if kind in ("stringValue", "bytesValue") and isinstance(of, str):
            return of
        if kind == "boolValue" and isinstance(of, bool):
            return of
        raise _WrongError(f"a value is not an AnyValue: {kind[:50]}")
    return None


def _members(value: Any, name: str) -> list[Any]:
    values = value.get("values", []) if isinstance(value, dict) else None
    if not isinstance(values, list):
        raise _WrongError(f"{name} is not a list of values")
    return values


def _pairs(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if not isinstance(value, list):
        raise _WrongError(f"{name} is not a list of keys and values")
    for each in value:
        key = each.get("key", "") if isinstance(each, dict) else None
        if not isinstance(key, str):
            raise _WrongError(f"{name} is not a list of keys and values")
        yield key, each.get("value")


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _WrongError(f"{name} is not a string")
    return _clean(value)


def _integer(value: Any, name: str) -> int:
    """An integer, which JSON has as a number or, of 64 bits, as its digits."""
    if value is None:
        return 0
    if isinstance(value, str) and value.isascii() and len(value) <= 20 and value.removeprefix("-").isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 64:
        raise _WrongError(f"{name} is not an integer of 64 bits")
    return value


def _real(value: Any) -> float | str:
    """A number; what JSON has no number for is its name, as protobuf's mapping writes it."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongError("doubleValue is not a number")
    if value != value:
        return "NaN"
    return value if abs(value) != float("inf") else "Infinity" if value > 0 else "-Infinity"


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise _WrongError("bytesValue is not base64") from error


def success(taken: Taken, content_type: str) -> bytes:
    """ExportLogsServiceResponse; its partial success only where something was rejected."""
    if content_type == JSON:
        told = {"rejectedLogRecords": str(taken.rejected), "errorMessage": taken.why}
        return json.dumps({"partialSuccess": told} if taken.rejected else {}).encode()
    if not taken.rejected:
        return b""
    return _field(1, b"\x08" + unsigned(taken.rejected) + _field(2, taken.why.encode()))


def failure(status: int, message: str, content_type: str) -> bytes:
    """google.rpc.Status, as the specification wants it of an error's answer."""
    code = {400: 3, 401: 16, 413: 11, 415: 3, 503: 14}.get(status, 2)  # google.rpc.Code
    if content_type == JSON:
        return json.dumps({"code": code, "message": message}).encode()
    return b"\x08" + unsigned(code) + _field(2, message.encode())


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return unsigned(number << 3 | 2) + unsigned(len(value)) + value
