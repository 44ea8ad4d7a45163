"""Events as they landed beside events as the broker has them, by identity: what differs, in words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Identity = tuple[str, str, int, int]
"""Agent, stream, position and part of an event."""
Row = Mapping[str, Any]
Events = dict[Identity, list[tuple[str, Row]]]
"""(file, row with all its columns) of each event; more than one where it is there more than once."""
Read = Mapping[tuple[int, int], range]
"""(incarnation, partition) → offsets that were read of the broker."""
_OWN: Final = ("_incarnation", "_partition", "_offset", "_timestamp")
_PLACE: Final = _OWN[:3]


def differences(landed: Events, broker: Events, read: Read) -> Iterator[str]:
    """One line for each event that is not the same in both, in order of streams and positions.

    What landed from offsets that were not read, because the broker does not have them any more, is no difference.
    """
    for identity in sorted(landed.keys() | broker.keys()):
        agent, stream, position, part = identity
        who = f"agent {agent}, stream {stream}, position {position}" + (f", part {part}" if part else "")
        yield from (f"{who}: {what}" for what in _of_event(landed.get(identity, ()), broker.get(identity, ()), read))


def _of_event(landed: Sequence[tuple[str, Row]], broker: Sequence[tuple[str, Row]], read: Read) -> Iterator[str]:
    if not broker:
        for file, row in landed:
            if row["_offset"] in read.get((row["_incarnation"], row["_partition"]), ()):
                yield f"{file} has it from {_place(row)}, and the broker has no such event"
        return
    (_, there), *_ = broker
    if not landed:
        yield f"the broker has it at {_place(there)}, and no file of its window"
    if len(landed) > 1:
        files = ", ".join(sorted({file for file, _ in landed}))
        yield f"it is there {len(landed)} times, in {files}; the broker has it at {_place(there)}"
    for file, row in landed:
        names = [name for name in sorted(row.keys() & there.keys()) if _differs(name, row, there, read)]
        if names:
            others = ", ".join(_column(name, row[name], there[name]) for name in names)
            yield f"{file} has it with another {others} than the broker at {_place(there)}"


def _place(row: Row) -> str:
    return f"partition {row['_partition']}, offset {row['_offset']}"


def _differs(name: str, row: Row, there: Row, read: Read) -> bool:
    """Values of other types are those of another file format."""
    if name in _PLACE and row["_offset"] not in read.get((row["_incarnation"], row["_partition"]), ()):
        return False  # the first of repeats: the broker has a later one
    return type(row[name]) is type(there[name]) and row[name] != there[name]


def _column(name: str, here: object, there: object) -> str:
    if not isinstance(here, str) or not isinstance(there, str):
        return name
    pairs = enumerate(zip(here, there, strict=False))
    same = next((at for at, (one, other) in pairs if one != other), min(len(here), len(there)))
    return f"{name} (from character {same} on)"
