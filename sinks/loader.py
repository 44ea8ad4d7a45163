"""The loader: one consumer over its partitions of all wanted topics, one TableLoader each; one thread.

A turn: look for topics (once a second), hear which partitions are ours, read a batch, hand it to the tables, commit what is
due. Offsets are explicitly assigned from the folds; committed offsets are written for lag tools and never read.
"""

import logging
import uuid
from collections.abc import Callable
from threading import Event

from headrace.clock import Clock
from headrace.errors import PeerError
from headrace.librdkafka import checked_keys
from headrace.sinks.config import LoadConfig
from headrace.sinks.ending import Ending
from headrace.sinks.intake import Intake
from headrace.sinks.lag.standings import Standings
from headrace.sinks.lag.watch import Watch
from headrace.sinks.landing import Landing, LandingTable
from headrace.sinks.lookout import LOOK_INTERVAL_MS, Lookout
from headrace.sinks.membership import Membership, group_of
from headrace.sinks.opening import Opening
from headrace.sinks.reading import Reading
from headrace.sinks.recovery import PATIENCE_MS
from headrace.sinks.registered import Schemas
from headrace.sinks.seeing import Seeing
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table_loader import TableLoader
from headrace.sinks.topics import Topic

logger = logging.getLogger(__name__)


class Loader:
    """Lands topics until it is told to stop, or `once` up to the ends that it finds at its start."""

    def __init__(
        self,
        config: LoadConfig,
        clock: Clock,
        *,
        once: bool,
        landed: Callable[[str], None],
        rewind: tuple[str, int] | None,
    ) -> None:
        """`rewind`: (topic, generation) to load, of a rewind in progress, and nothing else."""
        self._load, self._rewind = config.load, rewind
        self._clock, self._once = clock, once
        self._schemas = Schemas(config.registry.client() if config.registry else None)
        self._looked_ms = -LOOK_INTERVAL_MS
        root = open_root(config.load.root, spool=config.load.spool)
        with checked_keys():
            self._lookout = Lookout(config.kafka, config.load.topics, clock, only=rewind[0] if rewind else None)
            self._reading = Reading(config.kafka, clock)
        self._landing = Landing(root, self._reading, self._lookout, clock, landed, once=once, is_rewind=rewind is not None)
        self._tables = self._landing.tables
        self._intake = Intake(self._landing)
        self.standings = Standings()
        self._watch = Watch(self._lookout.topics, self.standings, clock)
        self._opening = Opening(self._landing, self._holds)
        self._ending = Ending(self._landing, self._opening, self.standings)
        self._seeing = None if rewind else Seeing(self._lookout.topics, clock)
        self._membership = None if once else self._new_membership(config)

    def _new_membership(self, config: LoadConfig) -> Membership:
        with checked_keys():
            return Membership(
                config.kafka,
                config.load.group or group_of(config.load.root),
                members=self._lookout.topics.members,
                hand_over=lambda new: self._landing.share(self._holds, new),
            )

    def _holds(self, topic: str, partition: int) -> bool:
        return self._membership is None or self._membership.claims.holds(topic, partition)

    def run(self, stop: Event) -> None:
        """Until `stop`, or with `once` until all is landed; then commits what it has read, unless Kafka or the store is away.

        Raises:
            TableError: with `once`, tables have failed; the others have landed.
            StorageError, PeerError: with `once`, what concerns all tables, and would otherwise be tried again.
        """
        self._watch.start()
        self._landing.stop = stop
        try:
            while not stop.is_set() and not self._ending.is_over():
                self._turn()
            self._landing.finish_all()
            if self._once and self._seeing is not None:
                self._seeing.tell_rest(self._tables)
            self._landing.tell_left()
        finally:
            self._watch.stop()
            if self._membership is not None:
                self._membership.leave()
            self._lookout.close()
            self._reading.close()

    def why_not_ready(self) -> str | None:
        """Why not all can be landed; None if it can. Asked from another thread."""
        return self.standings.why_not_all_land() if self._lookout.has_heard else "kafka has not answered yet"

    def _turn(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._looked_ms >= LOOK_INTERVAL_MS:
            self._looked_ms = now_ms
            self._look()
        if self._membership is not None:
            self._membership.poll()
        self._intake.hand_out(self._reading.batch())
        self._intake.retry_waiting(now_ms)
        self._landing.spill()
        self._landing.commit_due()

    # Topics come, go, and come again.

    def _look(self) -> None:
        try:
            topics = self._lookout.find()
            for name, topic in topics.items():
                self._meet(name, topic)
            for name in self._tables.keys() - topics.keys():
                self._miss(name)
            if self._membership is not None:
                self._membership.want([name for name, table in self._tables.items() if table.misses < 2])
            self._opening.go_on([table for name, table in self._tables.items() if name in topics])
            if self._seeing is not None:
                self._seeing.look(self._tables)
            if self._once:
                self._ending.look(topics)
        except PeerError as error:
            if self._once and self._lookout.silent_ms > PATIENCE_MS:
                raise
            logger.warning("no answer from kafka: %s", error)

    def _meet(self, name: str, topic: Topic) -> None:
        table = self._tables.get(name)
        if table is None:
            logger.info("topic found", extra={"topic": name, "partitions": len(topic.partitions)})
            table = self._tables[name] = LandingTable(self._table_loader(name), topic)
        elif table.topic.topic_id != topic.topic_id and table.is_open:
            self._landing.start_over(table, "the topic's id has changed")
        table.topic, table.misses = topic, 0

    def _table_loader(self, name: str) -> TableLoader:
        return TableLoader(
            name,
            self._landing.root,
            self._load.output_of(name),
            self._schemas,
            self._clock,
            lambda: str(uuid.uuid4()),
            standing=self.standings.table(name),
            generation=None if self._rewind is None else self._rewind[1],
            is_stopping=lambda: self._landing.stop.is_set(),
        )

    def _miss(self, name: str) -> None:
        """A topic is not listed any more: after two looks it is gone, and what was read of it lands."""
        table = self._tables[name]
        table.misses += 1
        if table.misses == 2:
            table.loader.recovery.is_well()
        if table.misses == 2 and table.is_open:
            logger.warning("topic gone; what has been read of it lands", extra={"topic": name})
            self._landing.commit(table)
            self._landing.stop_reading(table)
            self.standings.table(name).keep(())
