"""Log records of an OTLP request, each with its resource and scope, from protobuf or JSON. Pure.

Source: OpenTelemetry protocol 1.x, OTLP/HTTP; its JSON mapping (ids in hex, 64-bit integers as decimal strings or numbers).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.agents.sources.otlp_protobuf import ExcessiveError, MalformedError, Tree, messages, read_message


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
    for resource_logs in messages(memoryview(body), 1):
        resource, wrong_resource = _only(resource_logs, 1, "Resource")
        for scope_logs in messages(resource_logs, 2):
            scope, wrong_scope = _only(scope_logs, 1, "Scope")
            for encoded in messages(scope_logs, 2):
                record, wrong_record = _read(encoded, "LogRecord")
                yield Found(resource, scope, record, wrong_resource or wrong_scope or wrong_record)


def _only(view: memoryview, number: int, name: str) -> tuple[Tree, str]:
    """The one message in a field (the last, if there are more), wherever it stands."""
    read: tuple[Tree, str] = {}, ""
    for message in messages(view, number):
        read = _read(message, name)
    return read


def _read(view: memoryview, name: str) -> tuple[Tree, str]:
    try:
        return read_message(name, view), ""
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
