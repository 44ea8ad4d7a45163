"""Tells how far partitions of tables that no agent writes have come: an idle one has come as far as the others (ADR 0056).

No reader is told the broker's clock. `_audit` is: brokers stamp its messages when they append them. So the newest stamp there,
and the time that has passed here since it was there, is a time that the broker's clock has reached. All that a partition was
given before then lies below the end that it is asked for after; once the table has landed so far, it is told (`table/seen.py`).
"""

import logging
import uuid
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from headrace.audit import AUDIT_TOPIC, WINDOW_MS
from headrace.clock import Clock, MonotonicMs
from headrace.errors import HeadraceError
from headrace.sinks.landing import LandingTable
from headrace.sinks.recovery import said
from headrace.sinks.table.fold import Fold, PartitionKey
from headrace.sinks.table.seen import THERE, SeenEnd, tell_seen
from headrace.sinks.topics import Topics, Where

logger = logging.getLogger(__name__)

_ASK_INTERVAL_MS: Final = 60_000
_STEP_MS: Final = WINDOW_MS // 2
"""Ends are asked for each time the broker's clock passes a multiple of it: so the end of each window and its lateness."""
_TELL_INTERVAL_MS: Final = 60_000
_TABLES_AT_ONCE: Final = 16
"""Which are told of in one look: on a store far away each takes a while, in which nothing is read."""


@dataclass(slots=True)
class Sights:
    """What was seen of one table. Pure."""

    waiting: dict[PartitionKey, SeenEnd] = field(default_factory=dict)
    """Ends that the table has not come to yet: one of each partition, for a later one would never be reached either."""
    reached: dict[PartitionKey, SeenEnd] = field(default_factory=dict)
    """Not told yet."""
    told_ms: MonotonicMs | None = None
    _steps: dict[PartitionKey, int] = field(default_factory=dict)
    _met: set[PartitionKey] = field(default_factory=set)

    def wants(self, partitions: Collection[PartitionKey], at_ms: int) -> list[PartitionKey]:
        """Which of the partitions that are being read are to be asked for their ends; others are forgotten."""
        for known in (self.waiting, self._steps):
            for gone in known.keys() - set(partitions):
                del known[gone]
        step = at_ms // _STEP_MS
        return [key for key in partitions if key not in self.waiting and self._steps.get(key, -1) < step]

    def saw(self, key: PartitionKey, offset: int, at_ms: int) -> None:
        """All that a partition was given before `at_ms` lies below an offset.

        That there is such a partition is told at once: before anything of it has landed, nobody else could know.
        """
        if key not in self._met:
            self._met.add(key)
            self.reached[key] = THERE
        self._steps[key] = at_ms // _STEP_MS
        self.waiting[key] = SeenEnd(offset, at_ms)

    def come_to(self, fold: Fold) -> None:
        """The table has landed so far."""
        for key in [key for key, end in self.waiting.items() if fold.end(*key) >= end.offset]:
            self.reached[key] = self.waiting.pop(key)

    def is_due(self, now_ms: MonotonicMs) -> bool:
        """Whether there is something to tell, and it has been a minute."""
        return bool(self.reached) and (self.told_ms is None or now_ms - self.told_ms >= _TELL_INTERVAL_MS)


class Seeing:
    """Of all tables of a loader."""

    def __init__(self, topics: Topics, clock: Clock) -> None:
        self._topics, self._clock = topics, clock
        self._ahead_ms: int | None = None
        """At least so far the broker's clock is ahead of ours, which counts from anywhere."""
        self._asked_ms: MonotonicMs | None = None
        self._sights: dict[str, Sights] = {}

    def look(self, tables: Mapping[str, LandingTable]) -> None:
        """Once a second. What fails is logged, and done again later: nothing else depends on it."""
        now_ms = self._clock.monotonic_ms()
        at_ms = self._broker_ms(tables, now_ms)
        if at_ms is None:
            return
        foreign = {name: table for name, table in tables.items() if _is_foreign(table)}
        for gone in self._sights.keys() - foreign.keys():
            del self._sights[gone]
        asked: dict[Where, tuple[Sights, PartitionKey]] = {}
        for name, table in foreign.items():
            tenure, sights = table.loader.tenure, self._sights.setdefault(name, Sights())
            keys = [(tenure.incarnation(partition), partition) for partition in tenure.partitions]
            asked |= {(name, key[1]): (sights, key) for key in sights.wants(keys, at_ms)}
        for where, end in self._topics.ends(asked).items():
            sights, key = asked[where]
            sights.saw(key, end, at_ms)
        self._tell([each for each in self._come(foreign) if each[1].is_due(now_ms)][:_TABLES_AT_ONCE], now_ms)

    def tell_rest(self, tables: Mapping[str, LandingTable]) -> None:
        """At an end: tell what the tables have come to, however short ago something was told."""
        known = {name: table for name, table in tables.items() if name in self._sights and _is_foreign(table)}
        rest = [each for each in self._come(known) if each[1].reached]
        for first in range(0, len(rest), _TABLES_AT_ONCE):
            self._tell(rest[first : first + _TABLES_AT_ONCE], self._clock.monotonic_ms())

    def _broker_ms(self, tables: Mapping[str, LandingTable], now_ms: MonotonicMs) -> int | None:
        """A time that the broker's clock has reached; None while nothing tells."""
        audit = tables.get(AUDIT_TOPIC)
        is_due = self._asked_ms is None or self._ahead_ms is None or now_ms - self._asked_ms >= _ASK_INTERVAL_MS
        if audit is not None and is_due:
            self._asked_ms = now_ms
            newest_ms = self._topics.newest_ms((AUDIT_TOPIC, partition) for partition in audit.topic.partitions)
            if newest_ms is not None:
                ahead_ms = newest_ms - self._clock.monotonic_ms()
                self._ahead_ms = ahead_ms if self._ahead_ms is None else max(self._ahead_ms, ahead_ms)
        return None if self._ahead_ms is None else self._clock.monotonic_ms() + self._ahead_ms

    def _come(self, tables: Mapping[str, LandingTable]) -> Iterator[tuple[LandingTable, Sights]]:
        for name, table in tables.items():
            self._sights[name].come_to(table.loader.fold)
            yield table, self._sights[name]

    def _tell(self, due: Collection[tuple[LandingTable, Sights]], now_ms: MonotonicMs) -> None:
        if not due:
            return
        with ThreadPoolExecutor(min(_TABLES_AT_ONCE, len(due)), "seen") as pool:
            telling = [(each, pool.submit(each[0].loader.tell, tell_seen(each[1].reached, str(uuid.uuid4())))) for each in due]
        for (table, sights), done in telling:
            sights.told_ms = now_ms
            try:
                done.result()
            except HeadraceError as error:
                logger.warning(
                    "how far idle partitions have come is not told: %s", said(error), extra={"topic": table.loader.topic}
                )
            else:
                sights.reached.clear()


def _is_foreign(table: LandingTable) -> bool:
    return table.is_open and table.loader.topic != AUDIT_TOPIC and not table.loader.fold.audit
