"""Which pairs of schemas a compatibility level asks for; whether one reads the other, its type says (`kinds`). Pure."""

from collections.abc import Sequence
from typing import Final, TypeVar

from headrace.schemas.kinds import Parsed

DEFAULT_LEVEL: Final = "BACKWARD"
LEVELS: Final = ("NONE", *(name + kind for kind in ("", "_TRANSITIVE") for name in ("BACKWARD", "FORWARD", "FULL")))
LENIENT: Final = "LENIENT"
POLICIES: Final = ("STRICT", LENIENT)  # of JSON Schemas alone: whether an open content model may have held anything
T = TypeVar("T")


def compared(level: str, earlier: Sequence[T]) -> Sequence[T]:
    """Those of the earlier ones (oldest first) that a new one is held against at a level."""
    if level == "NONE":
        return ()
    return earlier if level.endswith("_TRANSITIVE") else earlier[-1:]


def problems(level: str, new: Parsed, old: Parsed, *, lenient: bool = False) -> list[str]:
    """What stands against a schema after an earlier one at a level; nothing where it is compatible.

    BACKWARD: readers with the new schema read data of the earlier one; FORWARD: readers with the earlier one read data of the
    new; FULL: both.
    """
    if level == "NONE":
        return []
    if type(old) is not type(new):
        return ["Incompatible because of different schema type"]
    found: list[str] = []
    if level.startswith(("FORWARD", "FULL")):
        found += old.unreadable(new, "old", "new", lenient=lenient)
    if level.startswith(("BACKWARD", "FULL")):
        found += new.unreadable(old, "new", "old", lenient=lenient)
    return found
