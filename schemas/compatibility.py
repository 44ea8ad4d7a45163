"""Which pairs of schemas a compatibility level asks for; whether one reads the other, its type says (`kinds`). Pure."""

from collections.abc import Sequence
from typing import Final, TypeVar

from headrace.schemas.kinds import Parsed

DEFAULT_LEVEL: Final = "BACKWARD"
LEVELS: Final = ("NONE", *(name + kind for name in ("BACKWARD", "FORWARD", "FULL") for kind in ("", "_TRANSITIVE")))
T = TypeVar("T")


def compared(level: str, earlier: Sequence[T]) -> Sequence[T]:
    """Those of the earlier ones (oldest first) that a new one is held against at a level."""
    if level == "NONE":
        return ()
    return earlier if level.endswith("_TRANSITIVE") else earlier[-1:]


def problems(level: str, schema: Parsed, earlier: Sequence[Parsed]) -> list[str]:
    """What stands against `schema` after `earlier` (oldest first) at a level; nothing where it is compatible.

    BACKWARD: readers with the new schema read data of the last; FORWARD: readers with the last read data of the new;
    FULL: both; _TRANSITIVE: not only the last, but all.
    """
    found: list[str] = []
    for other in compared(level, earlier):
        if type(other) is not type(schema):
            return ["the schema is of another type than the earlier one"]
        if level.startswith(("BACKWARD", "FULL")):
            found += schema.unreadable(other, "new reader, old data")
        if level.startswith(("FORWARD", "FULL")):
            found += other.unreadable(schema, "old reader, new data")
    return found
