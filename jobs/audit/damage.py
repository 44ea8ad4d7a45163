"""Landed files that are gone, or cannot be read any more, and which windows their rows may be of.

What a table's log says of a file outlives it: the first and the last event time of its very rows. Events of ours count in the
window of that time, wherever their directory is, so all other windows are judged as ever. Records under a user's own schema
count in the window of a header's time, of which the log knows nothing: rows of such a file may be of any window.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from headrace.audit import WINDOW_MS
from headrace.errors import CorruptError, StorageError
from headrace.jobs.audit.evidence import Damaged
from headrace.sinks.audit_sums import EVENT_COLUMNS, has_identity
from headrace.sinks.table.arrow_schema import decode_schema
from headrace.sinks.table.reader import LiveFile, TableSnapshot

T = TypeVar("T")


def damaged_by(table: TableSnapshot, file: LiveFile, what: str) -> Damaged:
    """What is not known without a file of a table."""
    if counts_by_event_time(table):
        return Damaged(what, file.min_event_time_ms, file.max_event_time_ms)
    return Damaged(what, -math.inf, math.inf)


def counts_by_event_time(table: TableSnapshot) -> bool:
    """Whether all that agents are said to have landed counts in the windows of its rows' event times.

    A column becomes optional as soon as rows without it land (schemas/unified.py). Where no record says the columns, an earlier
    headrace has landed all there is, which has counted nothing but events.
    """
    if table.arrow_schema is None or not (table.audit or table.settled):
        return True
    columns = decode_schema(table.arrow_schema)
    return has_identity(columns) and not any(columns.field(name).nullable for name in EVENT_COLUMNS)


@dataclass(slots=True)
class Reading:
    """The files of one table, as far as they are read for a verdict: those that cannot be are noted, and left out."""

    table: TableSnapshot
    _broken: dict[str, str] = field(default_factory=dict)
    """Why a file cannot be read, by name."""

    def __post_init__(self) -> None:
        self._broken = {file.name: file.damage for file in self.table.files if file.damage is not None}

    def of(self, file: LiveFile, read: Callable[[LiveFile], T]) -> T | None:
        """What is read of a file; None: it cannot be."""
        if file.name in self._broken:
            return None
        try:
            return read(file)
        except (CorruptError, StorageError) as error:
            self._broken[file.name] = str(error)
            return None

    def damaged(self, since_ms: float, until_ms: float) -> tuple[Damaged, ...]:
        """The files that cannot be read, and may hold rows of windows that overlap a time."""
        found = (
            damaged_by(self.table, file, self._broken[file.name]) for file in self.table.files if file.name in self._broken
        )
        return tuple(one for one in found if one.last_ms >= since_ms - WINDOW_MS and one.first_ms < until_ms + WINDOW_MS)
