"""Which hours of a table get a `_SUCCESS`, and which lose it, when the table has been judged again (marks.py).

Hours within the judged time are settled each time. An older one is looked at again only when its files are others than before,
which is how a line that comes weeks late is noticed; at first, when something beside its mark is newer than the mark.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.jobs.audit.marks import HOUR_MS, Hour, Marks, hour_directory, hours_of, mark_of
from headrace.jobs.audit.verdict import TopicVerdict
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.reader import TableSnapshot

Judge = Callable[[int, int], tuple[TopicVerdict, TableSnapshot | None]]
"""The verdict on all windows of [since_ms, until_ms), and the table that it is on."""


@dataclass(slots=True)
class Marking:
    """Keeps the marks of one table; `marks` says what was done."""

    root: Path | str
    topic: str
    marks: Marks = field(init=False)
    _files: dict[int, int] | None = None
    """A digest of the files of each hour, as last seen."""
    _unsettled: set[int] = field(default_factory=set)
    """Older hours that are to be judged again."""

    def __post_init__(self) -> None:
        self.marks = Marks(open_root(self.root).table(self.topic))

    def settle(self, table: TableSnapshot, judged: TopicVerdict, since_ms: int, judge: Judge, *, now_ms: int) -> bool:
        """Let the marks be what the verdict on the windows since `since_ms`, and one on older hours that changed, says.

        Returns:
            Whether it is done: what has landed and is not in place yet is not marked yet.
        Raises:
            StorageError: it is not done.
        """
        location = open_root(self.root).location
        hours = hours_of(table, {file.name: location(self.topic, file.name) for file in table.files})
        self._notice(hours, since_ms)
        mine = {hour_ms for hour_ms in hours if hour_ms >= since_ms}
        self._settle(hours, mine, table, judged, now_ms)
        if old := {hour_ms for hour_ms in self._unsettled if hour_ms in hours}:
            verdict, table_then = judge(min(old), max(old) + HOUR_MS)
            self._settle(hours, old, table_then or table, verdict, now_ms)
            self._unsettled = {hour_ms for hour_ms in old if _may_change(verdict, hour_ms)}
        return all(hour.is_in_place for hour_ms, hour in hours.items() if hour_ms in mine | old)

    def withdraw(self, since_ms: int, until_ms: int) -> None:
        """Take the marks of a time away: the table cannot be read, and nobody knows which hour lacks what."""
        for hour_ms in range(since_ms, until_ms, HOUR_MS):
            self.marks.set(hour_directory(hour_ms), None)

    def _notice(self, hours: dict[int, Hour], since_ms: int) -> None:
        files = {hour_ms: hash(hour.files) for hour_ms, hour in hours.items()}
        if self._files is None:
            there = self.marks.there()
            changed = {hour_ms for hour_ms, hour in hours.items() if there.get(hour.directory) is False}
            gone: Iterable[str] = there.keys() - {hour.directory for hour in hours.values()}
        else:
            changed = {hour_ms for hour_ms in files if self._files.get(hour_ms) != files[hour_ms]}
            gone = [hour_directory(hour_ms) for hour_ms in self._files.keys() - files.keys()]
        for directory in gone:
            self.marks.set(directory, None)
        self._unsettled |= {hour_ms for hour_ms in changed if hour_ms < since_ms}
        self._files = files

    def _settle(
        self, hours: dict[int, Hour], chosen: Iterable[int], table: TableSnapshot, judged: TopicVerdict, now_ms: int
    ) -> None:
        for hour_ms in sorted(chosen):
            hour = hours[hour_ms]
            mark = mark_of(table, judged, hour_ms, judged_ms=now_ms) if hour.is_whole and hour.is_in_place else None
            self.marks.set(hour.directory, mark)


def _may_change(verdict: TopicVerdict, hour_ms: int) -> bool:
    """Whether an hour is unknown in part, so that what agents say later decides."""
    return any(window.state == "unknown" for window in verdict.windows if hour_ms <= window.window_start_ms < hour_ms + HOUR_MS)
