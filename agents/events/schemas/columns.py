"""What an event has behind the envelope's fixed fields: the map of all its fields, or a typed schema's columns and the rest."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from headrace.agents.events.schemas.binary import string, string_map
from headrace.agents.events.schemas.scalars import MisfitError, Write, time_us, write_double, write_int, write_long
from headrace.schemas.typed import COLUMNS
from headrace.varints import zigzag

Columns = Callable[[Mapping[str, str]], bytes]
_NULL, _THERE = b"\x00", b"\x02"  # the branches of a column's union


def _writer(kind: Any) -> Write:
    if isinstance(kind, dict):
        return lambda value: zigzag(time_us(value))
    return {"string": string, "int": write_int, "long": write_long, "double": write_double}[kind]


@lru_cache(maxsize=8)
def columns_of(schema: str) -> Columns:
    """The columns of `envelope`, or of one of `typed.COLUMNS`."""
    if schema == "envelope":
        return string_map
    plan = [(column.names, _writer(column.type)) for column in COLUMNS[schema]]

    def write(fields: Mapping[str, str]) -> bytes:
        rest = dict(fields)
        pieces = [_column(names, one, rest) for names, one in plan]
        pieces.append(string_map(rest))
        return b"".join(pieces)

    return write


def _column(names: tuple[str, ...], write: Write, rest: dict[str, str]) -> bytes:
    """One column; what it takes is taken out of the rest."""
    for name in names:
        if name in rest:
            try:
                encoded = write(rest[name])
            except MisfitError:
                return _NULL
            del rest[name]
            return _THERE + encoded
    return _NULL
