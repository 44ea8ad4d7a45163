"""The tables that are being landed: their commits, and what becomes of one of them when something fails."""

import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from headrace.clock import Clock
from headrace.errors import CorruptError, HeadraceError, PeerError, TableError
from headrace.sinks import metrics
from headrace.sinks.lookout import Lookout, Question
from headrace.sinks.reading import Reading
from headrace.sinks.recovery import STORE_REST_MS, is_of_peers, is_of_store, said
from headrace.sinks.stores.roots import Root, answers
from headrace.sinks.table_loader import TableLoader
from headrace.sinks.topics import Topic, Where

logger = logging.getLogger(__name__)

PATIENCE_MS: Final = 30_000
"""How long `--once` waits for a cluster or a registry that does not answer."""
HELD_BYTES: Final = 40 << 20
"""Rows in memory, over all tables; past this the fullest table is spilled. Sorting them takes as much again."""


@dataclass(slots=True)
class LandingTable:
    """A table and what the loop knows about reading it."""

    loader: TableLoader
    topic: Topic
    rest_until_ms: int = 0
    is_open: bool = False
    misses: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more of it is to come: it is not listed any more, or was left."""
        return self.misses >= 2 or self.loader.recovery.is_left

    def may_open(self, now_ms: int) -> bool:
        """Whether it is open, or its rest is over."""
        return self.is_open or (self.rest_until_ms <= now_ms and not self.loader.recovery.is_left)

    def reads(self, partition: int) -> bool:
        """Whether a partition is being read."""
        return self.is_open and partition in self.loader.partitions


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
    """With `once`: tables that have failed, by what is to be said of them."""

    def guarded(self, table: LandingTable, work: Callable[[], object]) -> None:
        """Do something for one table; what fails makes that table, and no other, begin again later (recovery.py).

        At the end, a store that has just failed is not asked for one table after the other.

        Raises:
            HeadraceError: with `once`, what concerns all tables.
        """
        if self.stop.is_set() and (self._has_failed_at_end or self.clock.monotonic_ms() < self._store_rests_until_ms):
            self._drop(table)
            return
        try:
            work()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the supervisor of tables
            self._on_failure(table, error)

    def _on_failure(self, table: LandingTable, error: Exception) -> None:
        rest_ms = table.loader.recovery.failed(error, self.clock.wall_ms())
        if is_of_store(error):
            self._store_rests_until_ms = self.clock.monotonic_ms() + STORE_REST_MS
            self._has_failed_at_end = self.stop.is_set()
        if self._has_failed_at_end:
            logger.warning("not landed before the end: %s", said(error), extra={"topic": table.loader.topic})
            self._drop(table)
        else:
            self._tell(table, error, rest_ms)
            self.start_over(table, said(error), rest_ms=rest_ms)
        if self.once:
            self._leave(table, error)

    def _tell(self, table: LandingTable, error: Exception, rest_ms: int) -> None:
        trouble = table.loader.recovery.trouble
        if trouble is not None and not is_of_peers(error):
            context = {"topic": table.loader.topic, "failures": trouble.failures, "again_in_ms": rest_ms}
            unforeseen = None if isinstance(error, HeadraceError) else error
            logger.error("does not land: %s", self._named(table, error), exc_info=unforeseen, extra=context)

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

    def start_over(self, table: LandingTable, why: str, *, rest_ms: int | None = None) -> None:
        """Drop the attempt; after a rest (random, so that racing loaders do not meet again) go on from a new fold."""
        self.stop_reading(table)
        if table.is_open:
            table.is_open = False
            if why:
                table.loader.give_up(why)
        elif why:
            metrics.COMMITS.labels(table.loader.topic, "failed").inc()
            if table.loader.recovery.trouble is None:  # else it has been told
                logger.warning("the table cannot be opened: %s", why, extra={"topic": table.loader.topic})
        pause_ms = random.randrange(100, 1500) if rest_ms is None else rest_ms
        table.rest_until_ms = self.clock.monotonic_ms() + pause_ms

    def _drop(self, table: LandingTable) -> None:
        """Give up what has been read and not committed, without a word to the store: the next start reads it again."""
        self.stop_reading(table)
        if table.is_open:
            table.is_open = False
            table.loader.drop()

    def stop_reading(self, table: LandingTable) -> None:
        """Read no partition of a table any more."""
        partitions = list(table.loader.partitions)
        self.reading.end(table.loader.topic, partitions)
        for partition in partitions:
            table.loader.end(partition)

    def share(self, holds: Callable[[str, int], bool], new: Collection[Where]) -> None:
        """Other partitions are ours to read: of each table concerned, commit or drop what is open, and fold afresh.

        Args:
            holds: whether a partition is ours.
            new: partitions that have become ours.
        """
        for name, table in self.tables.items():
            read = set(table.loader.partitions)
            gains = any(topic == name and partition not in read for topic, partition in new)
            if table.is_open and (gains or not all(holds(name, partition) for partition in read)):
                self.commit(table)
                if table.is_open:
                    self.start_over(table, "", rest_ms=0)

    def commit(self, table: LandingTable) -> None:
        """Commit what has been read of a table, or start over."""
        self.guarded(table, lambda: self._commit(table))

    def commit_due(self) -> None:
        """Commit the tables of which something has waited long enough."""
        for table in self.tables.values():
            if table.is_open and table.loader.is_due():
                self.commit(table)

    def _commit(self, table: LandingTable) -> None:
        loader = table.loader
        if not loader.commit(lambda: self._is_same(table), self.stop.is_set):
            self.start_over(table, "")
            return
        loader.recovery.is_well()
        self.landed(loader.topic)
        if not self.is_rewind:
            self.reading.tell_landed(loader.topic, dict(loader.ends()))

    def _is_same(self, table: LandingTable) -> bool:
        loader = table.loader
        incarnations = {partition: loader.incarnation(partition) for partition in loader.partitions}
        return self.lookout.is_same(Question(loader.topic, table.topic, loader.fold, incarnations), incarnations)

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
        """Say at the end which tables were left.

        Raises:
            TableError: some were.
        """
        if self._left:
            names = "; ".join(words for words, _ in self._left)
            all_but = f"{len(self._left)} of {len(self.tables)} tables did not land: " if len(self.tables) > 1 else ""
            raise TableError(all_but + names) from self._left[0][1]

    def finish(self, table: LandingTable) -> None:
        """Commit what was read of a table, and leave a checkpoint."""
        if table.is_open and not table.loader.attempt.is_empty:
            self.commit(table)
        if table.is_open:
            self.guarded(table, table.loader.close)
