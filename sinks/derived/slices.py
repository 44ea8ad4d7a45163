"""Slices of derived tables, and what a run says that it has read for one. Pure."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headrace.audit import HASH_MODULUS
from headrace.errors import UsageError
from headrace.sinks.path_template import zone
from headrace.sinks.table.reader import LiveFile, TableSnapshot
from headrace.sinks.table.record import JobInput

_DIRECTORY: Final = re.compile(r"[a-z][a-z0-9_]*=[A-Za-z0-9.:+@-]+(/[a-z][a-z0-9_]*=[A-Za-z0-9.:+@-]+)*")


@dataclass(frozen=True, slots=True)
class Slice:
    """A directory of a derived table, as `dt=2026-11-26`, and the time [start_ms, end_ms) that its rows are about.

    Raises:
        UsageError: the directory is no path of `key=value`.
    """

    directory: str
    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if not _DIRECTORY.fullmatch(self.directory) or self.end_ms <= self.start_ms:
            raise UsageError(f"{self.directory!r} is no slice of a table: it is a directory as dt=2026-11-26, and a time")

    @property
    def keys(self) -> list[str]:
        """The columns that the directory says."""
        return [part.partition("=")[0] for part in self.directory.split("/")]

    def files(self, table: TableSnapshot) -> Iterator[LiveFile]:
        """The files of a table that may have rows of this time."""
        return (f for f in table.files if f.max_event_time_ms >= self.start_ms and f.min_event_time_ms < self.end_ms)


def day(date: dt.date | str, time_zone: str = "UTC") -> Slice:
    """The slice of one day, as people of a time zone count days: 23 or 25 hours where their clocks are put.

    Raises:
        UsageError: no date like 2026-11-26, or no such zone.
    """
    try:
        first = dt.date.fromisoformat(date) if isinstance(date, str) else date
        where = zone(time_zone)
        begins, ends = (dt.datetime(on.year, on.month, on.day, tzinfo=where) for on in (first, first + dt.timedelta(days=1)))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{error}; write a day like 2026-11-26, and a zone like Europe/Zurich") from error
    return Slice(f"dt={first.isoformat()}", int(begins.timestamp() * 1000), int(ends.timestamp() * 1000))


def input_of(table: TableSnapshot, of: Slice) -> JobInput:
    """What a run for a slice reads of a snapshot, as its record says it."""
    files = list(of.files(table))
    content_hash = sum(int(file.content_hash, 16) for file in files) % HASH_MODULUS
    rows = sum(file.rows for file in files)
    return JobInput(table.topic, table.generation, table.seq, table.attempt, rows, f"{content_hash:016x}")
