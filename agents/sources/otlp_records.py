"""Log records of an OTLP request, each with its resource and scope, from protobuf or JSON. Pure.

Source: OpenTelemetry protocol 1.x, OTLP/HTTP; its JSON mapping (ids in hex, 64-bit integers as decimal strings or numbers).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.agents.sources.otlp_protobuf import (
    LOG_RECORD,
    RESOURCE,
    SCOPE,
    ExcessiveError,
    MalformedError,
    Message,
    Span,
    Tree,
    messages,
    read_message,
)


@dataclass(frozen=True, slots=True)
class Found:
    """One log record, or why it cannot be taken in: it is `wrong`."""

    resource: Tree
    scope: Tree
    record: Tree
    wrong: str = ""


def protobuf_records(body: bytes) -> Iterator[Found]:
    """ExportLogsServiceRequest → ResourceLogs (1) → ScopeLogs (2) → LogRecord (2).

    Raises:
        MalformedError: it is none.
    """
    for resource_logs in messages(body, (0, len(body)), 1):
        resource, wrong_resource = _only(body, resource_logs, 1, RESOURCE)
        for scope_logs in messages(body, resource_logs, 2):
            scope, wrong_scope = _only(body, scope_logs, 1, SCOPE)
            for encoded in messages(body, scope_logs, 2):
                record, wrong_record = _read(body, encoded, LOG_RECORD)
                yield Found(resource, scope, record, wrong_resource or wrong_scope or wrong_record)


def _only(body: bytes, span: Span, number: int, kind: Message) -> tuple[Tree, str]:
    """The one message in a field (the last, if there are more), wherever it stands."""
    read: tuple[Tree, str] = {}, ""
    for found in messages(body, span, number):
        read = _read(body, found, kind)
    return read


def _read(body: bytes, span: Span, kind: Message) -> tuple[Tree, str]:
    try:
        return read_message(body, span, kind), ""
    except ExcessiveError as error:
        return {}, str(error)


def json_records(body: bytes) -> Iterator[Found]:
    """The same of the JSON form.

    Raises:
        MalformedError: it is none.
    """
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {getattr(error, 'msg', None) or error}") from error
    for resource_logs in _list(_object(request, "the request"), "resourceLogs"):
        resource = _member(resource_logs, "resource")
        for scope_logs in _list(resource_logs, "scopeLogs"):
            scope = _member(scope_logs, "scope")
            for record in _list(scope_logs, "logRecords"):
                yield Found(resource, scope, record)


def _list(tree: Tree, name: str) -> list[Tree]:
    """The objects of a list that may be missing; null is missing."""
    value = tree.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(f"{name} is not a list")
    return [_object(each, f"a member of {name}") for each in value]


def _member(tree: Tree, name: str) -> Tree:
    value = tree.get(name)
    return {} if value is None else _object(value, name)


def _object(value: Any, name: str) -> Tree:
    if not isinstance(value, dict):
        raise MalformedError(f"{name} is not an object")
    return value
