"""Steps that change fields: add, rename, drop. A field that is not there is not renamed or dropped."""

from collections.abc import Mapping, Sequence

from headrace.agents.events.transforms.record import Record, Step


def add(values: Mapping[str, str]) -> Step:
    """Set fields, also those that a parser found."""

    def step(record: Record) -> None:
        record.fields.update(values)

    return step


def rename(names: Mapping[str, str]) -> Step:
    """Old name → new name, all at once; what had the new name is gone."""

    def step(record: Record) -> None:
        moved = {new: record.fields.pop(old) for old, new in names.items() if old in record.fields}
        record.fields.update(moved)

    return step


def drop(names: Sequence[str]) -> Step:
    def step(record: Record) -> None:
        for name in names:
            record.fields.pop(name, None)

    return step
