"""Log records of an OTLP request, each with its resource and scope, from protobuf or JSON. Pure.

Source: OpenTelemetry protocol 1.x, OTLP/HTTP; its JSON mapping (ids in hex, 64-bit integers as decimal strings or numbers).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.agents.sources.json_values import JsonError, Values
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
from headrace.agents.sources.scratch import Data


@dataclass(frozen=True, slots=True)
class Found:
    """One log record, or why it cannot be taken in: it is `wrong`."""

    resource: Tree
    scope: Tree
    record: Tree
    wrong: str = ""


def protobuf_records(body: Data) -> Iterator[Found]:
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


def _only(body: Data, span: Span, number: int, kind: Message) -> tuple[Tree, str]:
    """The one message in a field (the last, if there are more), wherever it stands."""
    read: tuple[Tree, str] = {}, ""
    for found in messages(body, span, number):
        read = _read(body, found, kind)
    return read


def _read(body: Data, span: Span, kind: Message) -> tuple[Tree, str]:
    try:
        return read_message(body, span, kind), ""
    except ExcessiveError as error:
        return {}, str(error)


def json_records(body: Data) -> Iterator[Found]:
    """The same of the JSON form; a resource or scope that stands behind its records is looked for before they are read.

    Raises:
        MalformedError: it is none.
    """
    values = Values(body, lenient=True)
    try:
        _object(values, "the request")
        for name in values.members():
            if name == "resourceLogs":
                yield from _resource_logs(values)
            else:
                values.skip(3)
        if values.next():
            raise MalformedError("not JSON: there is more behind its value")
    except JsonError as error:
        raise MalformedError(f"not JSON: {error}") from error


def _resource_logs(values: Values) -> Iterator[Found]:
    for resource in _lists(values, "resourceLogs", "resource", "scopeLogs", 3):
        for scope in _lists(values, "scopeLogs", "scope", "logRecords", 1):
            if not _is_null(values):
                for _ in _list(values, "logRecords"):
                    _object(values, "a member of logRecords")
                    yield Found(resource, scope, values.value())


def _lists(values: Values, name: str, shared: str, inner: str, deep: int) -> Iterator[Tree]:
    """Of each object in the list `name`, which is next, what its records share; the list `inner` of it is next then."""
    if _is_null(values):
        return
    for _ in _list(values, name):
        _object(values, f"a member of {name}")
        tree: Tree = {}
        found, later = False, []
        for member in values.members():
            if member == shared:
                tree, found = ({} if _is_null(values) else _member(values, shared)), True
            elif member == inner and found:
                yield tree
            elif member == inner:
                values.next()
                later.append(values.at)
                values.skip(deep)
            else:
                values.skip(deep)
        end = values.at
        for at in later:
            values.at = at
            yield tree
        values.at = end


def _member(values: Values, name: str) -> Tree:
    _object(values, name)
    tree: Tree = values.value()
    return tree


def _is_null(values: Values) -> bool:
    """Whether null is next, which is the same as nothing; it is passed over then."""
    return values.next() == b"n" and values.value() is None


def _list(values: Values, name: str) -> Iterator[None]:
    if values.next() != b"[":
        values.skip(1)
        raise MalformedError(f"{name} is not a list")
    return values.elements()


def _object(values: Values, name: str) -> None:
    if values.next() != b"{":
        values.skip(1)
        raise MalformedError(f"{name} is not an object")
