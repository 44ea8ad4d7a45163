"""OTLP logs in protobuf, read into the tree that their JSON form is: names in camelCase, ids in hex, bytes in base64. Pure.

By hand, from a table of the messages that are there: their runtime would add a dependency and its memory to every agent, and
builds the whole request at once, which costs a hundred times a hostile body's bytes. Here one log record is read at a time, of
a bounded number of values. Unknown fields are passed over, as protobuf wants it.

Source: opentelemetry-proto 1.x, common/v1/common.proto, logs/v1/logs.proto, collector/logs/v1/logs_service.proto; protobuf's
encoding page.
"""

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Tree = dict[str, Any]
MOST_VALUES: Final = 10_000  # messages within one record, resource or scope
MOST_DEEP: Final = 32  # values within values
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5


class MalformedError(Exception):
    """Bytes that are not this message."""


class ExcessiveError(Exception):
    """A record of more values, or deeper ones, than we hold; `str(error)` says which."""


def encoded_fields(view: memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field; a value is an int, or for a length-delimited field its bytes.

    Raises:
        MalformedError: it is cut off, or no message.
    """
    at, end = 0, len(view)
    while at < end:
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(view, at)
        elif wire == _LENGTH:
            size, at = _varint(view, at)
            value, at = view[at : at + size], at + size
        elif wire in (_FIXED_64, _FIXED_32):
            size = 8 if wire == _FIXED_64 else 4
            value, at = int.from_bytes(view[at : at + size], "little"), at + size
        else:
            raise MalformedError(f"wire type {wire}")
        if at > end or number == 0:
            raise MalformedError("it is cut off" if number else "field 0")
        yield number, wire, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while (byte := view[at]) > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift > 63:
                raise MalformedError("a number is too long")
    except IndexError:
        raise MalformedError("it is cut off") from None
    return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, at + 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("a string is not UTF-8") from error


def _double(value: int) -> float:
    return float(struct.unpack("<d", value.to_bytes(8, "little"))[0])


_Scalar = tuple[str, int, Callable[[Any], Any]]
_STRING = (_LENGTH, _text)
_BYTES = (_LENGTH, lambda value: base64.b64encode(value).decode())
_ID = (_LENGTH, lambda value: value.hex())
_BOOL = (_VARINT, bool)
_INT = (_VARINT, _signed)
_UINT = (_VARINT, lambda value: value & 0xFFFF_FFFF)
_BITS_64 = (_FIXED_64, int)
_DOUBLE = (_FIXED_64, _double)
_BITS_32 = (_FIXED_32, int)

# By message, by field number: (name, (wire type, how it is read)), or (name, message) where `*name` is a list.
_MESSAGES: Final[Mapping[str, Mapping[int, tuple[str, Any]]]] = {
    "AnyValue": {
        1: ("stringValue", _STRING),
        2: ("boolValue", _BOOL),
        3: ("intValue", _INT),
        4: ("doubleValue", _DOUBLE),
        5: ("arrayValue", "ArrayValue"),
        6: ("kvlistValue", "KeyValueList"),
        7: ("bytesValue", _BYTES),
    },
    "ArrayValue": {1: ("*values", "AnyValue")},
    "KeyValueList": {1: ("*values", "KeyValue")},
    "KeyValue": {1: ("key", _STRING), 2: ("value", "AnyValue")},
    "Resource": {1: ("*attributes", "KeyValue")},
    "Scope": {1: ("name", _STRING), 2: ("version", _STRING), 3: ("*attributes", "KeyValue")},
    "LogRecord": {
        1: ("timeUnixNano", _BITS_64),
        2: ("severityNumber", _INT),
        3: ("severityText", _STRING),
        5: ("body", "AnyValue"),
        6: ("*attributes", "KeyValue"),
        7: ("droppedAttributesCount", _UINT),
        8: ("flags", _BITS_32),
        9: ("traceId", _ID),
        10: ("spanId", _ID),
        11: ("observedTimeUnixNano", _BITS_64),
        12: ("eventName", _STRING),
    },
}
_ONEOF: Final = "AnyValue"  # the last of its fields holds


class _Reader:
    """Reads one message with all in it."""

    def __init__(self) -> None:
        self._values = 0

    def read(self, name: str, view: memoryview, deep: int = 0) -> Tree:
        self._values += 1
        if deep > 2 * MOST_DEEP:  # a value within a value is two messages
            raise ExcessiveError(f"values are nested more than {MOST_DEEP} deep")
        if self._values > MOST_VALUES:
            raise ExcessiveError(f"more than {MOST_VALUES} values")
        known, tree = _MESSAGES[name], Tree()
        for number, wire, value in encoded_fields(view):
            field, kind = known.get(number, ("", None))
            if kind is None:
                continue
            if name == _ONEOF:
                tree.clear()
            if isinstance(kind, str):
                if wire != _LENGTH:
                    raise MalformedError(f"{name}.{field} is no message")
                self._put(tree, field, self.read(kind, value, deep + 1))
            else:
                if wire != kind[0]:
                    raise MalformedError(f"{name}.{field} has wire type {wire}")
                tree[field] = kind[1](value)
        return tree

    @staticmethod
    def _put(tree: Tree, field: str, below: Tree) -> None:
        if field.startswith("*"):
            tree.setdefault(field[1:], []).append(below)
        else:
            tree[field] = below


def read_message(name: str, view: memoryview) -> Tree:
    """A message of the table.

    Raises:
        MalformedError, ExcessiveError
    """
    return _Reader().read(name, view)


def messages(view: memoryview, number: int) -> Iterator[memoryview]:
    """The messages in a field of a message."""
    for found, wire, value in encoded_fields(view):
        if found == number:
            if wire != _LENGTH:
                raise MalformedError(f"field {number} has wire type {wire}")
            yield value
