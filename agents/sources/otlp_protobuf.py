"""OTLP logs in protobuf, read into the tree that their JSON form is: names in camelCase, ids in hex, bytes in base64. Pure.

By hand, from a table of the messages that are there: their runtime would add dependencies to every agent, and builds the whole
request at once, which costs a hundred times a hostile body's bytes. Here one log record is read at a time, of a bounded number
of values. Unknown fields are passed over, as protobuf wants it, and known ones of another wire type with them.

Source: opentelemetry-proto 1.x, common/v1/common.proto, logs/v1/logs.proto, collector/logs/v1/logs_service.proto; protobuf's
encoding page.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.agents.sources.scratch import Data

Tree = dict[str, Any]
Span = tuple[int, int]
"""Where a message begins, and where it ends, in the request's bytes."""

MOST_VALUES: Final = 10_000  # messages within one record, resource or scope
MOST_DEEP: Final = 32  # values within values
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5


class MalformedError(Exception):
    """Bytes that are not this message."""


class ExcessiveError(Exception):
    """A record of more values, or deeper ones, than we hold; `str(error)` says which."""


@dataclass(slots=True, eq=False)
class Message:
    """What is known of a message: by key (field number << 3 | wire type) its name, how it is read, whether it is a list."""

    fields: dict[int, tuple[str, "Message | Callable[[Any], Any]", bool]] = field(default_factory=dict)
    one_of: bool = False  # the last of its fields holds

    def add(self, number: int, name: str, kind: "Message | tuple[int, Callable[[Any], Any]]") -> "Message":
        """One more field; `*name` is a list."""
        wire, how = (_LENGTH, kind) if isinstance(kind, Message) else kind
        self.fields[number << 3 | wire] = (name.removeprefix("*"), how, name.startswith("*"))
        return self


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a string is not UTF-8") from error


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_STRING = (_LENGTH, _text)
_BYTES = (_LENGTH, lambda value: base64.b64encode(value).decode())
_ID = (_LENGTH, bytes.hex)
_BOOL = (_VARINT, bool)
_INT = (_VARINT, _signed)
_UINT = (_VARINT, lambda value: value & 0xFFFF_FFFF)
_BITS_64 = (_FIXED_64, lambda value: int.from_bytes(value, "little"))
_BITS_32 = (_FIXED_32, lambda value: int.from_bytes(value, "little"))
_DOUBLE = (_FIXED_64, lambda value: struct.unpack("<d", value)[0])

_ANY, _KEY_VALUE, _ARRAY, _KEY_VALUES = Message(one_of=True), Message(), Message(), Message()
_ANY.add(1, "stringValue", _STRING).add(2, "boolValue", _BOOL).add(3, "intValue", _INT).add(4, "doubleValue", _DOUBLE)
_ANY.add(5, "arrayValue", _ARRAY).add(6, "kvlistValue", _KEY_VALUES).add(7, "bytesValue", _BYTES)
_ARRAY.add(1, "*values", _ANY)
_KEY_VALUES.add(1, "*values", _KEY_VALUE)
_KEY_VALUE.add(1, "key", _STRING).add(2, "value", _ANY)
RESOURCE: Final = Message().add(1, "*attributes", _KEY_VALUE)
SCOPE: Final = Message().add(1, "name", _STRING).add(2, "version", _STRING).add(3, "*attributes", _KEY_VALUE)
LOG_RECORD: Final = (
    Message()
    .add(1, "timeUnixNano", _BITS_64)
    .add(2, "severityNumber", _INT)
    .add(3, "severityText", _STRING)
    .add(5, "body", _ANY)
    .add(6, "*attributes", _KEY_VALUE)
    .add(7, "droppedAttributesCount", _UINT)
    .add(8, "flags", _BITS_32)
    .add(9, "traceId", _ID)
    .add(10, "spanId", _ID)
    .add(11, "observedTimeUnixNano", _BITS_64)
    .add(12, "eventName", _STRING)
)


def read_message(data: Data, span: Span, message: Message) -> Tree:
    """A message with all that is in it.

    Raises:
        MalformedError, ExcessiveError
    """
    return _Reader(data[span[0] : span[1]]).read(0, span[1] - span[0], message, 0)


def messages(data: Data, span: Span, number: int) -> Iterator[Span]:
    """The messages in a field of a message.

    Raises:
        MalformedError
    """
    at, end = span
    wanted = number << 3 | _LENGTH
    while at < end:
        key, start, at = _field(data, at, end)
        if key == wanted:
            yield start, at


def _field(data: Data, at: int, end: int) -> tuple[int, int, int]:
    """The key of a field, where its value (of a length-delimited one what is behind the length) begins, and where it ends."""
    key, at = _varint(data, at)
    wire = key & 7
    start = at
    if wire == _LENGTH:
        size, start = _varint(data, at)
        at = start + size
    elif wire == _VARINT:
        _, at = _varint(data, at)
    elif wire in (_FIXED_64, _FIXED_32):
        at += 8 if wire == _FIXED_64 else 4
    else:
        raise MalformedError(f"wire type {wire}")
    if at > end or key < 8:
        raise MalformedError("it is cut off" if key >= 8 else "field 0")
    return key, start, at


def _varint(data: Data, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends, which may be beyond its message."""
    value = shift = 0
    try:
        while (byte := data[at]) > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift > 63:
                raise MalformedError("a number is too long")
    except IndexError:
        raise MalformedError("it is cut off") from None
    return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, at + 1


class _Reader:
    """Reads one message; it is on the way of every record, so fields whose numbers take a byte are read in place."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._values = 0

    def read(self, at: int, end: int, message: Message, deep: int) -> Tree:
        self._values += 1
        if deep > 2 * MOST_DEEP:  # a value within a value is two messages
            raise ExcessiveError(f"values are nested more than {MOST_DEEP} deep")
        if self._values > MOST_VALUES:
            raise ExcessiveError(f"more than {MOST_VALUES} values")
        data, known, tree = self._data, message.fields, Tree()
        while at < end:
            key = data[at]
            if key < 0x80 and key & 7 == _LENGTH and at + 1 < end and data[at + 1] < 0x80:
                start = at + 2
                at = start + data[at + 1]
                if at > end or key < 8:
                    raise MalformedError("it is cut off" if key >= 8 else "field 0")
            else:
                key, start, at = _field(data, at, end)
            if (found := known.get(key)) is None:
                continue
            name, how, many = found
            if isinstance(how, Message):
                value: Any = self.read(start, at, how, deep + 1)
            else:
                value = how(data[start:at] if key & 7 else _varint(data, start)[0])
            if many:
                tree.setdefault(name, []).append(value)
            elif message.one_of:
                tree = {name: value}
            else:
                tree[name] = value
        return tree
