"""Which hours of a table get a `_SUCCESS`, and which lose it, when the table has been judged again (marks.py).

Hours within the judged time are settled each time. An older one is looked at again when its files are others than before, which
is how a line that comes weeks late is noticed. At first and in each review also where something beside its mark is newer than
that, and where it has none: it was unknown until it grew old, or whoever kept the marks died at it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from headrace.jobs.audit.judged import TopicVerdict
from headrace.jobs.audit.marks import HOUR_MS, Hour, Marks, hour_directory, hours_of, mark_of
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.reader import TableSnapshot

_SPAN_MS: Final = 7 * 24 * HOUR_MS
"""Hours so near to each other are judged together: what is held of them is bounded."""
Judge = Callable[[int, int], tuple[TopicVerdict, TableSnapshot | None]]
"""The verdict on all windows of [since_ms, until_ms), and the table that it is on."""


@dataclass(slots=True)
class Marking:
    """Keeps the marks of one table; `marks` says what was done."""

    root: Path | str
    topic: str
    marks: Marks = field(init=False)
    _files: dict[int, int] | None = None
    """A digest of the files of each hour, and of whether they can be read, as last seen."""
    _unsettled: set[int] = field(default_factory=set)
    """Older hours that have changed, and are to be judged until they are known."""
    _unmarked: set[int] = field(default_factory=set)
    """Older hours that lack a mark, and are to be judged once."""
    _is_review_due: bool = True

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
        self._unsettled &= hours.keys()
        self._unmarked &= hours.keys()
        old = self._unsettled | self._unmarked
        for _, group in groupby(sorted(old), key=lambda hour_ms: hour_ms // _SPAN_MS):
            some = list(group)
            verdict, table_then = judge(some[0], some[-1] + HOUR_MS)
            self._settle(hours, some, table_then or table, verdict, now_ms)
            self._unsettled -= {hour_ms for hour_ms in some if not _may_change(verdict, hour_ms)}
            self._unmarked.difference_update(some)
        return all(hour.is_in_place for hour_ms, hour in hours.items() if hour_ms in mine | old)

    def review(self) -> None:
        """Believe nothing that was read of marks: somebody else may have taken one away, or put it."""
        self.marks.forget()
        self._is_review_due = True

    def withdraw(self, since_ms: int, until_ms: int) -> None:
        """Take the marks of a time away: the table cannot be read, and nobody knows which hour lacks what."""
        for hour_ms in range(since_ms, until_ms, HOUR_MS):
            self.marks.set(hour_directory(hour_ms), None)

    def _notice(self, hours: dict[int, Hour], since_ms: int) -> None:
        """See which hours have changed and, in a review, which lack a mark; take the marks of those away that are gone."""
        files = {hour_ms: hash((hour.files, hour.is_whole)) for hour_ms, hour in hours.items()}
        known = files if self._files is None else self._files
        changed = {hour_ms for hour_ms in files if known.get(hour_ms) != files[hour_ms]}
        gone = {hour_directory(hour_ms) for hour_ms in known.keys() - files.keys()}
        if self._is_review_due:
            there = self.marks.there()
            changed |= {hour_ms for hour_ms, hour in hours.items() if there.get(hour.directory) is False}
            gone |= there.keys() - {hour.directory for hour in hours.values()}
            unmarked = {hour_ms for hour_ms, hour in hours.items() if hour.is_whole and hour.directory not in there}
            self._unmarked |= {hour_ms for hour_ms in unmarked if hour_ms < since_ms}
        for directory in gone:
            self.marks.set(directory, None)
        self._unsettled |= {hour_ms for hour_ms in changed if hour_ms < since_ms}
        self._files, self._is_review_due = files, False

    def _settle(
        self, hours: dict[int, Hour], chosen: Iterable[int], table: TableSnapshot, judged: TopicVerdict, now_ms: int
    ) -> None:
        for hour_ms in sorted(chosen):
            hour = hours[hour_ms]
            mark = mark_of(table, judged, hour_ms, judged_ms=now_ms) if hour.is_whole and hour.is_in_place else None
            self.marks.set(hour.directory, mark)


def _may_change(verdict: TopicVerdict, hour_ms: int) -> bool:
    """Whether an hour is unknown in part, so that what agents say later decides."""
    return any(window.state == "unknown" for window in verdict.windows.between(hour_ms, hour_ms + HOUR_MS))
