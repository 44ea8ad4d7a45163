"""Arrow values as Python's, also those that hold times which Python's calendar (years 1 to 9999) lacks: these become texts.

One record from a clock that is wrong must not keep the others from being shown. Years are written as ISO 8601 writes them where
both sides have agreed on it, `+10000-01-01` and `-0001-12-31`; what DuckDB calls infinite is `infinity` and `-infinity`.
"""

import datetime as dt
import itertools
from typing import Any, Final

import pyarrow as pa

_UTC_MICROS: Final = pa.timestamp("us", "UTC")
_EPOCH: Final = dt.date(1970, 1, 1)
_MIDNIGHT: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_CYCLE_DAYS: Final = 146_097
"""Of 400 years, after which the calendar repeats itself."""
_DAY_US: Final = 86_400_000_000
_IN_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_INFINITE_DAYS, _INFINITE_US = 2**31 - 1, 2**63 - 1


def values_of(column: pa.Array) -> list[Any]:
    """The values of an array; a map is a dict, and a time of nanoseconds is cut to microseconds."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    asked = {"maps_as_pydicts": "lossy"} if pa.types.is_nested(column.type) else {}  # asked of a text it takes 15 times as long
    try:
        return _moments(column) if column.type == _UTC_MICROS else list(column.to_pylist(**asked))
    except (AttributeError, OverflowError, ValueError):  # of nanoseconds within lists and structs it is the last
        return _values_one_by_one(column)


def _moments(column: pa.Array) -> list[dt.datetime | None]:
    """Times of UTC, three times as fast; NumPy has numbers where the calendar ends, and null for the first."""
    found = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).tolist()
    if found.count(None) != column.null_count:
        raise ValueError("a time that NumPy lacks")
    return [None if at is None else at.replace(tzinfo=dt.UTC) for at in found]


def _values_one_by_one(array: pa.Array) -> list[Any]:
    kind = array.type
    if pa.types.is_struct(kind):
        rows = zip(*map(values_of, array.flatten()), strict=True)
        there: list[Any] = [dict(zip(kind.names, row, strict=True)) for row in rows]
    elif pa.types.is_map(kind):
        pairs = list(zip(values_of(array.keys), values_of(array.items), strict=True))
        there = [dict(pairs[start:end]) for start, end in _spans(array)]
    elif pa.types.is_list(kind):
        items = values_of(array.values)
        there = [items[start:end] for start, end in _spans(array)]
    elif pa.types.is_date32(kind):
        there = [_date(days) for days in array.view(pa.int32()).to_pylist()]
    elif not pa.types.is_timestamp(kind):
        raise ValueError(f"a column of type {kind} cannot be shown")
    else:
        zone = "Z" if kind.tz else ""
        there = [_moment(number, kind.unit, zone) for number in array.view(pa.int64()).to_pylist()]
    return [value if valid else None for value, valid in zip(there, array.is_valid().to_pylist(), strict=True)]


def _spans(array: pa.Array) -> list[tuple[int, int]]:
    offsets = array.offsets.to_pylist()
    return list(itertools.pairwise(offsets))


def _date(days: int | None) -> str:
    if days is None:
        return ""
    if abs(days) >= _INFINITE_DAYS:
        return "infinity" if days > 0 else "-infinity"
    cycles = days // _CYCLE_DAYS
    near = _EPOCH + dt.timedelta(days - cycles * _CYCLE_DAYS)
    year = near.year + 400 * cycles
    return f"{year:04}{near:-%m-%d}" if 0 <= year <= 9999 else f"{year:+05}{near:-%m-%d}"


def _moment(number: int | None, unit: str, zone: str) -> str:
    if number is None:
        return ""
    us = number * _IN_MICROSECONDS[unit]
    if abs(us) >= _INFINITE_US:
        return "infinity" if us > 0 else "-infinity"
    days, rest = divmod(us, _DAY_US)
    time = (_MIDNIGHT + dt.timedelta(microseconds=rest)).time()
    return f"{_date(days)}T{time.isoformat()}{zone}"
