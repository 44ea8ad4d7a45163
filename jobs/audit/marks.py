"""`_SUCCESS` in an hour's directory: there while the audit calls the hour complete, and not otherwise (docs/audit.md).

Hadoop's committers put an empty file of that name into a finished directory, and those for S3 one with JSON in it: readers ask
whether it is there, and pass over names that begin with `_`. Ours holds JSON. It may lag behind the verdict by as long as
nobody judges; which record of the table's log it is of stands in it.

A directory gets one only if it is an hour of event time: its live files hold that hour's rows and no others, no other file
holds any of them, and all are in place. No store replaces a file in one step for us, so what changes is taken away first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.judged import TopicVerdict, WindowVerdict, sums_of
from headrace.jobs.audit.wording import when
from headrace.sinks.table.names import SUCCESS
from headrace.sinks.table.reader import LiveFile, TableSnapshot
from headrace.sinks.table.store import Put, Store

HOUR_MS: Final = 3_600_000
VERSION: Final = 1
_WINDOWS: Final = HOUR_MS // WINDOW_MS
_SUMMED: Final = ("sent", "rejected", "landed", "late", "quarantined", "duplicates")
_AS_OF: Final = ("judged", "table")
"""What may differ in a mark that is left as it is."""


def hour_directory(hour_ms: int) -> str:
    """The directory of an hour in the layout that has marks, relative to its table."""
    return f"{datetime.fromtimestamp(hour_ms / 1000, UTC):dt=%Y-%m-%d/hour=%H}"


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour's directory, and the live files with rows of that hour.

    `is_whole`: all of them belong into the directory, have rows of no other hour, and can be read, as far as that is known.
    `is_in_place`: they lie there already.
    """

    directory: str
    files: frozenset[str]
    is_whole: bool
    is_in_place: bool


def hours_of(table: TableSnapshot, place: Mapping[str, str]) -> dict[int, Hour]:
    """The hours (start, ms) of which a table has rows.

    Args:
        place: where each file is when it is in place, by name.
    """
    files: dict[int, list[LiveFile]] = {}
    for file in table.files:
        for hour_ms in range(file.min_event_time_ms // HOUR_MS * HOUR_MS, file.max_event_time_ms + 1, HOUR_MS):
            files.setdefault(hour_ms, []).append(file)
    return {hour_ms: _hour(hour_ms, of_hour, place) for hour_ms, of_hour in files.items()}


def _hour(hour_ms: int, files: Sequence[LiveFile], place: Mapping[str, str]) -> Hour:
    directory = hour_directory(hour_ms)
    is_whole = all(
        file.damage is None
        and file.name.rpartition("/")[0] == directory
        and hour_ms <= file.min_event_time_ms <= file.max_event_time_ms < hour_ms + HOUR_MS
        for file in files
    )
    is_in_place = all(file.path == place[file.name] for file in files)
    return Hour(directory, frozenset(file.name for file in files), is_whole, is_in_place)


def mark_of(table: TableSnapshot, verdict: TopicVerdict, hour_ms: int, *, judged_ms: int) -> dict[str, Any] | None:
    """What the hour's mark says; None: it is to have none, because not each of its windows is complete.

    Args:
        verdict: of all windows of the hour, those too of which nothing has landed.
    """
    windows = verdict.windows.between(hour_ms, hour_ms + HOUR_MS)
    if len(windows) < _WINDOWS or any(window.state != "complete" for window in windows):
        return None
    return {
        "version": VERSION,
        "topic": table.topic,
        "hour": _time(hour_ms),
        "until": _time(hour_ms + HOUR_MS),
        "state": "complete",
        "agents": len({row.agent for window in windows for row in window.rows if row.agent is not None}),
        **_sums(windows),
        **({"assumed": list(verdict.assumed)} if verdict.assumed else {}),
        "judged": _time(judged_ms),
        "table": {"generation": table.generation, "seq": table.seq, "attempt": table.attempt},
    }


def _sums(windows: Sequence[WindowVerdict]) -> dict[str, int]:
    sums = sums_of(windows)
    return {name: sums[name] for name in _SUMMED}


def _time(at_ms: int) -> str:
    return when(at_ms).replace(" ", "T")


@dataclass(slots=True)
class Marks:
    """The marks of one table, by directory, as far as they were read or written; one owner."""

    store: Store
    written: int = 0
    taken: int = 0
    _known: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def there(self) -> dict[str, bool]:
        """The directories that have a mark: whether nothing beside it is newer. One look at the whole table."""
        marks: dict[str, int] = {}
        newest: dict[str, int] = {}
        for entry in self.store.list("", after="", recursive=True):
            directory, _, name = entry.name.rpartition("/")
            times = marks if name == SUCCESS else newest
            times[directory] = max(entry.changed_ms, times.get(directory, entry.changed_ms))
        return {directory: newest.get(directory, at_ms) <= at_ms for directory, at_ms in marks.items()}

    def forget(self) -> None:
        """Read each mark again before it is left as it is: somebody else may have changed it."""
        self._known.clear()

    def set(self, directory: str, mark: Mapping[str, Any] | None) -> None:
        """Let a directory's mark be this, or none. Raises StorageError: it is not known what is there now."""
        held = self._known.pop(directory) if directory in self._known else self._read(directory)
        if held is not None and (mark is None or _facts(held) != _facts(mark)):
            self.store.delete(f"{directory}/{SUCCESS}")
            self.taken += mark is None
            held = None
        if held is None and mark is not None:
            if self.store.put_if_absent(f"{directory}/{SUCCESS}", _encoded(mark)) is not Put.CREATED:
                return  # not known: read before it is believed
            self.written += 1
            held = dict(mark)
        self._known[directory] = held

    def _read(self, directory: str) -> dict[str, Any] | None:
        (data,) = self.store.get((f"{directory}/{SUCCESS}",))
        if data is None:
            return None
        try:
            held = json.loads(data)
        except ValueError:
            held = None
        return held if isinstance(held, dict) else {}  # not ours: it is replaced


def _facts(mark: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mark.items() if key not in _AS_OF}


def _encoded(mark: Mapping[str, Any]) -> bytes:
    return (json.dumps(mark, indent=1) + "\n").encode()
