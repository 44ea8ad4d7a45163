"""Texts of log lines → values of Avro's scalar types: what fits is said, what does not is a misfit. Pure.

A parsed line's fields are texts; a member of a JSON object within one may be a number or a boolean. Numbers are those of JSON,
times what `timestamps` reads (a time without a zone is UTC; an epoch's unit is told by its size).
"""

import math
import re
import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from headrace.agents.events import timestamps
from headrace.agents.events.patterns import utf8
from headrace.agents.events.schemas.binary import length
from headrace.varints import zigzag

Write = Callable[[Any], bytes]

_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SHOWN = 80


class MisfitError(ValueError):
    """A value that its place in the schema cannot hold; the message says which place."""


class Micros(int):
    """A time in µs since the epoch, as the envelope has it."""


def misfit(value: Any, what: str) -> MisfitError:
    shown = repr(value)
    return MisfitError(f"{shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''} is no {what}")


def whole(value: Any, bits: int, what: str) -> int:
    """An integer of so many bits."""
    number: int | None = None
    if isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            number = int(text)
    elif not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        number = int(value)
    if number is None or not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise misfit(value, what)
    return number


def write_int(value: Any) -> bytes:
    return zigzag(whole(value, 32, "int"))


def write_long(value: Any) -> bytes:
    return zigzag(whole(value, 64, "long"))


def _real(value: Any, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 1 << 1023 or value != value else math.inf * (1 if value > 0 else -1)
    text = value.strip() if isinstance(value, str) else ""
    if _NUMBER.fullmatch(text) or text in _NOT_FINITE:
        return float(text)
    raise misfit(value, what)


def write_double(value: Any) -> bytes:
    return struct.pack("<d", _real(value, "double"))


def write_float(value: Any) -> bytes:
    try:
        return struct.pack("<f", _real(value, "float"))
    except OverflowError as error:
        raise misfit(value, "float") from error


def write_boolean(value: Any) -> bytes:
    known = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(known, bool):
        raise misfit(value, "boolean")
    return b"\x01" if known else b"\x00"


def _days(value: Any) -> int:
    if isinstance(value, Micros):
        return value // timestamps.DAY_US
    if isinstance(value, str) and _DATE.fullmatch(value.strip()):
        try:
            return date.fromisoformat(value.strip()).toordinal() - _EPOCH_DAY
        except ValueError as error:
            raise misfit(value, "date") from error
    return whole(value, 32, "date")


def _clock_us(value: Any) -> int:
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise misfit(value, "time of day")
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    if hour > 23 or minute > 59 or second > 59:
        raise misfit(value, "time of day")
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + int((match[4] or "0").ljust(9, "0")[:9]) // 1000


def time_us(value: Any) -> int:
    """A moment, µs since the epoch."""
    found: int | None = None
    if isinstance(value, Micros):
        return value
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            found = timestamps.number(int(text) if text.isdigit() and len(text) < 20 else float(text))
        else:
            found = timestamps.iso(text)
            found = timestamps.common_log(text) if found is None else found
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e20:
        found = timestamps.number(value)
    if found is None:
        raise misfit(value, "time")
    return found


def unscaled(value: Any, precision: int, scale: int) -> int:
    """A decimal as an integer of its last digits; one with more digits than there is room for does not fit."""
    text = value.strip() if isinstance(value, str) else str(value)
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise misfit(value, "decimal")
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation as error:
        raise misfit(value, "decimal") from error
    assert isinstance(exponent, int)
    number: int = int("".join(map(str, digits)))
    shift = exponent + scale
    if number and (shift > precision or shift < -len(digits)):
        raise misfit(value, f"decimal({precision}, {scale})")
    lost = 0
    if number:
        number, lost = (number * 10**shift, 0) if shift >= 0 else divmod(number, 10**-shift)
    if lost or number >= 10**precision:
        raise misfit(value, f"decimal({precision}, {scale})")
    return -number if sign else number


def text_of(value: Any) -> bytes:
    """A string's bytes; what is no text is written as JSON."""
    if isinstance(value, str):
        return utf8(value)
    import json

    return utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def write_string(value: Any) -> bytes:
    data = text_of(value)
    return length(len(data)) + data


def write_uuid(value: Any) -> bytes:
    return write_string(str(_uuid(value)))


def _uuid(value: Any) -> UUID:
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError as error:
        raise misfit(value, "uuid") from error


PLAIN: Final[dict[str, Write]] = {
    "boolean": write_boolean, "int": write_int, "long": write_long, "float": write_float, "double": write_double,
    "string": write_string, "bytes": write_string,
}  # fmt: skip
LOGICAL: Final[dict[tuple[str, str], Write]] = {
    ("int", "date"): lambda value: zigzag(_days(value)),
    ("int", "time-millis"): lambda value: zigzag(_clock_us(value) // 1000),
    ("long", "time-micros"): lambda value: zigzag(_clock_us(value)),
    ("string", "uuid"): write_uuid,
    **{
        ("long", f"{prefix}timestamp-{unit}"): write
        for prefix in ("", "local-")
        for unit, write in (
            ("millis", lambda value: zigzag(time_us(value) // 1000)),
            ("micros", lambda value: zigzag(time_us(value))),
            ("nanos", lambda value: zigzag(whole(time_us(value) * 1000, 64, "time"))),
        )
    },
}


def decimal_bytes(precision: int, scale: int) -> Write:
    """Writes a decimal as bytes: two's complement, big-endian, the shortest."""

    def write(value: Any) -> bytes:
        number = unscaled(value, precision, scale)
        size = (number if number >= 0 else ~number).bit_length() // 8 + 1
        return length(size) + number.to_bytes(size, "big", signed=True)

    return write


def fixed(size: int, logical: str | None, precision: int, scale: int) -> Write:
    """Writes so many bytes: a decimal's, a UUID's, or a text's own."""

    def write(value: Any) -> bytes:
        if logical == "decimal":
            try:
                return unscaled(value, precision, scale).to_bytes(size, "big", signed=True)
            except OverflowError as error:
                raise misfit(value, f"decimal of {size} bytes") from error
        data = _uuid(value).bytes if logical == "uuid" and size == 16 else text_of(value)
        if len(data) != size:
            raise misfit(value, f"text of {size} bytes")
        return data

    return write
