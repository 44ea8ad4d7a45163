"""Opening tables and beginning to read their partitions: many tables at once, with as few questions to Kafka as for one."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from headrace.clock import MonotonicMs
from headrace.sinks.landing import Landing, LandingTable
from headrace.sinks.lookout import Question
from headrace.sinks.resume import Sight
from headrace.sinks.table_loader import TableLoader
from headrace.sinks.topics import Where

TABLES_AT_ONCE: Final = 16
"""Table logs that are read side by side: on a store far away a loader waits, and computes nothing."""


class Opening:
    """Brings tables to where all partitions that are ours are being read."""

    def __init__(self, landing: Landing, holds: Callable[[str, int], bool]) -> None:
        """`holds`: whether a partition is ours."""
        self._landing, self._holds = landing, holds
        self.silent_since_ms: dict[Where, MonotonicMs] = {}
        """Partitions that were asked about and have not answered since then."""

    def go_on(self, tables: Collection[LandingTable]) -> None:
        """Open those that are not open, and read the partitions that are ours and not read, as far as Kafka answers.

        Raises:
            PeerError: Kafka does not answer at all.
        """
        now_ms = self._landing.clock.monotonic_ms()
        ours = {table.loader.topic: self._ours(table) for table in tables}
        for table in tables:
            table.loader.tell_only(ours[table.loader.topic])
            if not ours[table.loader.topic]:
                table.loader.recovery.is_well()
        wanted = [table for table in tables if ours[table.loader.topic] and table.may_open(now_ms)]
        self._open([table for table in wanted if not table.is_open])
        for table in wanted:
            if table.is_open:
                self._landing.guarded(table, table.loader.sweep)
            if table.is_open and table.loader.attempt.is_empty:
                table.loader.recovery.idles(now_ms)
        self._read([table for table in wanted if table.is_open], ours)

    def _ours(self, table: LandingTable) -> list[int]:
        return [partition for partition in table.topic.partitions if self._holds(table.loader.topic, partition)]

    def _open(self, tables: list[LandingTable]) -> None:
        if not tables:
            return
        with ThreadPoolExecutor(min(TABLES_AT_ONCE, len(tables)), "open") as pool:
            opening = [(table, pool.submit(_open, table.loader)) for table in tables]
        for table, done in opening:
            self._landing.guarded(table, done.result)
            if table.is_open:
                table.loader.recovery.opened(self._landing.clock.monotonic_ms())
                self._landing.landed(table.loader.topic)

    def _read(self, tables: list[LandingTable], ours: dict[str, list[int]]) -> None:
        questions = []
        for table in tables:
            missing = [partition for partition in ours[table.loader.topic] if partition not in table.loader.tenure.partitions]
            if missing:
                questions.append(Question(table.loader.topic, table.topic, table.loader.fold, missing))
        offsets: dict[Where, int] = {}
        sights = self._landing.lookout.see(questions)
        self._note_silent({(question.name, partition) for question in questions for partition in question.partitions}, sights)
        for where, sight in sights.items():
            table = self._landing.tables[where[0]]
            if table.is_open:
                self._landing.guarded(table, partial(self._begin, table, where, sight, offsets))
        self._landing.reading.begin({where: offset for where, offset in offsets.items() if self._is_read(where)})

    def _note_silent(self, asked: Collection[Where], answered: Collection[Where]) -> None:
        for where in asked:
            if where in answered:
                self.silent_since_ms.pop(where, None)
            else:
                self.silent_since_ms.setdefault(where, self._landing.clock.monotonic_ms())

    def _begin(self, table: LandingTable, where: Where, sight: Sight, offsets: dict[Where, int]) -> None:
        place = self._landing.lookout.place(where, table.loader.fold, sight)
        if place is not None:
            table.loader.begin(where[1], place, table.topic.topic_id)
            offsets[where] = table.loader.next_offset(where[1])

    def _is_read(self, where: Where) -> bool:
        return self._landing.tables[where[0]].reads(where[1])


def _open(loader: TableLoader) -> None:
    loader.open()
    loader.sweep()
