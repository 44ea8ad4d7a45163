"""What has landed of `_audit`, in the order of its log: file by file, and of a file that was read before nothing again.

Rows of one partition may lie in several files, and a file may hold several partitions. A row is handed on when every file that
may hold one before it has been read, so memory holds those files whose offsets overlap, and no more.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from headrace.audit import parse_message
from headrace.errors import CorruptError
from headrace.jobs.audit.announced import Agent, Announcement, Hearings
from headrace.jobs.landed_rows import RawMessage
from headrace.sinks.table.reader import LiveFile, TableSnapshot

At = tuple[float, float]
"""(incarnation, offset) in a partition: the order of its log."""
_FIRST: Final[At] = (0, 0)
_END: Final[At] = (math.inf, 0)


class Hearing:
    """Folds the messages of one table, which may grow; what of it is not there any more has been heard all the same."""

    def __init__(self, read: Callable[[LiveFile], Iterable[RawMessage]], *, lateness_ms: int, is_whole: bool) -> None:
        """`read`: all rows of a file of the table, in any order."""
        self.is_whole = is_whole
        self.unreadable: list[str] = []
        """Records that are no message of ours; they have no say."""
        self._read_file = read
        self._hearings = Hearings(lateness_ms=lateness_ms, is_whole=is_whole)
        self._read: set[str] = set()
        self._next: dict[int, At] = {}
        """By partition: what was heard last, and one more."""
        self._holes: dict[int, int] = {}

    @property
    def agents(self) -> Mapping[str, Agent]:
        """Everything announced, by agent id."""
        return self._hearings.agents()

    def hear(self, table: TableSnapshot) -> None:
        """Go on with what the table has more than before.

        Raises:
            StorageError, CorruptError: a file cannot be read; what was heard until then is.
        """
        self._hearings.hear(self._announcements(table))
        self._read = {file.name for file in table.files}

    def _announcements(self, table: TableSnapshot) -> Iterator[Announcement]:
        for raw in self._new(table):
            incarnation, partition, offset = raw.place
            expected = self._next.get(partition, _FIRST)
            if offset > (expected[1] if expected[0] == incarnation else 0):
                self._holes[partition] = self._holes.get(partition, 0) + 1
            self._next[partition] = (incarnation, offset + 1)
            if raw.key is None or raw.value is None:
                continue
            try:
                message = parse_message(raw.key, raw.value)
            except CorruptError as error:
                self.unreadable.append(str(error))
                continue
            if message is not None:
                yield Announcement(raw.appended_ms, message, self._holes.get(partition, 0))

    def _new(self, table: TableSnapshot) -> Iterator[RawMessage]:
        """Rows that were not heard yet, of each partition in the order of its log."""
        partitions = {partition for _, partition in table.ends}
        spans = {file.name: _spans(file, partitions) for file in table.files if file.name not in self._read}
        new = (file for file in table.files if self._is_new(spans.get(file.name, {})))
        files = sorted(new, key=lambda file: min(spans[file.name].values()))
        unread: dict[int, list[At]] = defaultdict(list)
        for file in files:
            for partition, (start, _) in spans[file.name].items():
                unread[partition].append(start)
        waiting: dict[int, list[RawMessage]] = defaultdict(list)
        for file in files:
            for raw in self._read_file(file):
                if _at(raw) >= self._next.get(raw.place[1], _FIRST):
                    waiting[raw.place[1]].append(raw)
            for partition, (start, _) in spans[file.name].items():
                unread[partition].remove(start)
                limit, here = min(unread[partition], default=_END), waiting[partition]
                waiting[partition] = [raw for raw in here if _at(raw) >= limit]
                yield from sorted((raw for raw in here if _at(raw) < limit), key=_at)

    def _is_new(self, spans: Mapping[int, tuple[At, At]]) -> bool:
        return any(end > self._next.get(partition, _FIRST) for partition, (_, end) in spans.items())


def _at(raw: RawMessage) -> At:
    return raw.place[0], raw.place[2]


def _spans(file: LiveFile, partitions: set[int]) -> dict[int, tuple[At, At]]:
    """Of each partition that a file holds, from where to where; all of each, where the log does not say."""
    if not file.ranges:
        return dict.fromkeys(partitions, (_FIRST, _END))
    found: dict[int, tuple[At, At]] = {}
    for one in file.ranges:
        start, end = (one.incarnation, one.start), (one.incarnation, one.end)
        known = found.get(one.partition, (start, end))
        found[one.partition] = (min(known[0], start), max(known[1], end))
    return found
