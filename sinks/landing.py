"""The tables that are being landed: their commits, and what becomes of one of them when something fails."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any, Final

from headrace.clock import Clock
from headrace.errors import CorruptError, HeadraceError, PeerError, TableError
from headrace.sinks import metrics
from headrace.sinks.lookout import Lookout, Question
from headrace.sinks.reading import Reading
from headrace.sinks.recovery import PATIENCE_MS, STORE_REST_MS, is_of_peers, is_of_store, said
from headrace.sinks.stores.roots import Root, answers
from headrace.sinks.table.store import Verify
from headrace.sinks.table_loader import TableLoader
from headrace.sinks.tenure import Ended, Failed, Steps, StopReading, as_steps
from headrace.sinks.topics import Topic, Where

logger = logging.getLogger(__name__)

HELD_BYTES: Final = 40 << 20
"""Rows in memory, over all tables; past this the fullest table is spilled. Sorting them takes as much again."""


@dataclass(slots=True)
class LandingTable:
    """A table and what the loop knows about reading it."""

    loader: TableLoader
    topic: Topic
    misses: int = 0

    @property
    def is_open(self) -> bool:
        return self.loader.tenure.is_open

    @property
    def has_ended(self) -> bool:
        """Whether nothing more of it is to come: it is not listed any more, or was left."""
        return self.misses >= 2 or self.loader.recovery.is_left

    def may_open(self, now_ms: int) -> bool:
        """Whether it is open, or its rest is over."""
        return self.is_open or (self.loader.tenure.rest_until_ms <= now_ms and not self.loader.recovery.is_left)

    def reads(self, partition: int) -> bool:
        """Whether a partition is being read."""
        return self.is_open and partition in self.loader.tenure.partitions


@dataclass(slots=True)
class Landing:
    """All tables, by topic."""

    root: Root
    reading: Reading
    lookout: Lookout
    clock: Clock
    landed: Callable[[str], None]
    """Told of each table that is opened or has landed something."""
    once: bool
    """Whether what fails ends the loader, instead of being tried again for ever."""
    is_rewind: bool
    tables: dict[str, LandingTable] = field(default_factory=dict)
    stop: Event = field(default_factory=Event)
    """Whether the loader is to end: then a store that fails is not waited for."""
    _store_rests_until_ms: int = 0
    _has_failed_at_end: bool = False
    """Whether the store has failed since `stop`; for good, as one that does not answer takes longer to fail than any rest."""
    _left: list[tuple[str, Exception]] = field(default_factory=list)
    """With `once`: what is to be said of tables that have failed, and of partitions that could not be read."""

    def guarded(self, table: LandingTable, work: Callable[[], object]) -> None:
        """Do something for one table; what fails makes that table, and no other, begin again later (recovery.py).

        At the end, a store that has just failed is not asked for one table after the other.

        Raises:
            HeadraceError: with `once`, what concerns all tables.
        """
        self._guarded(table, as_steps(work))

    def _guarded(self, table: LandingTable, work: Steps[object]) -> None:
        if self.stop.is_set() and (self._has_failed_at_end or self.clock.monotonic_ms() < self._store_rests_until_ms):
            self._carry_out(table, table.loader.tenure.drop())
            return
        error = self._carry_out(table, table.loader.tenure.guarded(work))
        if error is not None and self.once:
            self._leave(table, error)

    def _on_failure(self, table: LandingTable, error: Exception) -> int | None:
        """For how long the table rests (ms); None: it is let go of, at the end."""
        rest_ms = table.loader.recovery.failed(error, self.clock.wall_ms())
        if is_of_store(error):
            self._store_rests_until_ms = self.clock.monotonic_ms() + STORE_REST_MS
            self._has_failed_at_end = self.stop.is_set()
        if self._has_failed_at_end:
            logger.warning("not landed before the end: %s", said(error), extra={"topic": table.loader.topic})
            return None
        self._tell(table, error, rest_ms)
        return rest_ms

    def _tell(self, table: LandingTable, error: Exception, rest_ms: int) -> None:
        context: dict[str, Any] = {"topic": table.loader.topic}
        trouble = table.loader.recovery.trouble
        if trouble is not None and not is_of_peers(error):
            unforeseen = None if isinstance(error, HeadraceError) else error
            told = {**context, "failures": trouble.failures, "again_in_ms": rest_ms}
            logger.error("does not land: %s", self._named(table, error), exc_info=unforeseen, extra=told)
        if not table.is_open:
            metrics.COMMITS.labels(table.loader.topic, "failed").inc()
            if trouble is None:
                logger.warning("the table cannot be opened: %s", said(error), extra=context)

    def _named(self, table: LandingTable, error: Exception) -> str:
        """An error with its table, and what to do."""
        todo = f"; run: headrace check {self.root}" if isinstance(error, CorruptError) else ""
        return f"table {self.root.location(table.loader.topic, '')}: {said(error)}{todo}"

    def _leave(self, table: LandingTable, error: Exception) -> None:
        """With `once`: go on without a table, unless what failed is there for all of them.

        Raises:
            PeerError, StorageError: it is.
        """
        if is_of_peers(error):
            if self.lookout.silent_ms > PATIENCE_MS:
                raise error
        elif is_of_store(error) and (self.stop.is_set() or not answers(self.root)):
            raise error
        else:
            table.loader.recovery.is_left = True
            self._left.append((self._named(table, error), error))

    def leave_partition(self, where: Where) -> None:
        """With `once`: go on without a partition that cannot be read."""
        name, partition = where
        error = PeerError(f"kafka: partition {partition} does not answer")
        self._left.append((self._named(self.tables[name], error), error))

    def start_over(self, table: LandingTable, why: str) -> None:
        """Drop the attempt; after a rest go on from a new fold."""
        self._carry_out(table, table.loader.tenure.start_over(why))

    def stop_reading(self, table: LandingTable) -> None:
        """Read no partition of a table any more."""
        self._carry_out(table, table.loader.tenure.stop_reading())

    def share(self, holds: Callable[[str, int], bool], new: Collection[Where]) -> None:
        """Other partitions are ours to read: see `Tenure.share`."""
        for table in self.tables.values():
            self._guarded(table, table.loader.tenure.share(holds, new))

    def commit(self, table: LandingTable) -> None:
        """Commit what has been read of a table, or start over."""
        self._guarded(table, table.loader.tenure.commit())

    def _carry_out(self, table: LandingTable, steps: Steps[Any]) -> Any:
        return table.loader.carry_out(steps, partial(self._answer, table))

    def _answer(self, table: LandingTable, operation: object) -> int | None:
        loader = table.loader
        match operation:
            case Verify():
                return self._is_same(table)
            case StopReading(partitions):
                self.reading.end(loader.topic, partitions)
            case Failed(error):
                return self._on_failure(table, error)
            case Ended("won"):
                loader.recovery.is_well()
                self.landed(loader.topic)
                if not self.is_rewind:
                    self.reading.tell_landed(loader.topic, dict(loader.ends()))
        return None

    def _is_same(self, table: LandingTable) -> bool:
        tenure = table.loader.tenure
        incarnations = {partition: tenure.incarnation(partition) for partition in tenure.partitions}
        return self.lookout.is_same(Question(tenure.topic, table.topic, tenure.fold, incarnations), incarnations)

    def commit_due(self) -> None:
        """Commit the tables of which something has waited long enough."""
        for table in self.tables.values():
            if table.is_open and table.loader.is_due():
                self.commit(table)

    def spill(self) -> None:
        """Keep the rows in memory bounded."""
        while sum(table.loader.attempt.held_bytes for table in self.tables.values()) > HELD_BYTES:
            fullest = max(self.tables.values(), key=lambda table: table.loader.attempt.held_bytes)
            self.guarded(fullest, fullest.loader.attempt.spill)
            if not fullest.is_open:
                return

    def finish_all(self) -> None:
        """Commit what was read; if Kafka is away it cannot be verified, and is read again at the next start.

        So it is if the store fails.
        """
        try:
            self.lookout.topics.find()
        except PeerError as error:
            for table in self.tables.values():
                self.start_over(table, str(error))
        for table in self.tables.values():
            self.finish(table)

    def tell_left(self) -> None:
        """Say at the end what was left.

        Raises:
            TableError: some were.
        """
        if self._left:
            raise TableError("not landed: " + "; ".join(words for words, _ in self._left)) from self._left[0][1]

    def finish(self, table: LandingTable) -> None:
        """Commit what was read of a table, and leave a checkpoint."""
        if table.is_open and not table.loader.attempt.is_empty:
            self.commit(table)
        if table.is_open:
            self.guarded(table, table.loader.close)
