"""The loader: one consumer over the partitions of all wanted topics, one TableLoader each; one thread.

A turn: look for topics (once a second), read a batch, hand it to the tables, commit what is due. Offsets are explicitly
assigned from the folds; the group's committed offsets are written for lag tools and never read.
"""

import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from threading import Event
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.clock import Clock
from headrace.errors import CorruptError, PeerError, StorageError, VersionError
from headrace.librdkafka import checked_keys, close_consumer
from headrace.sinks import metrics
from headrace.sinks.config import LoadConfig
from headrace.sinks.fingerprint import fingerprint
from headrace.sinks.registered import Schemas
from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table_loader import TableLoader
from headrace.sinks.topics import SpotReader, Topic, Topics, Where, learn_leaders

logger = logging.getLogger(__name__)

LOOK_INTERVAL_MS: Final = 1000
RETRY_INTERVAL_MS: Final = 1000
STORAGE_RETRY_MS: Final = 5000
PATIENCE_MS: Final = 30_000
"""How long `--once` waits for a cluster or a registry that does not answer."""
BATCH_RECORDS: Final = 20_000
HELD_BYTES: Final = 40 << 20
"""Rows in memory, over all tables; past this the fullest table is spilled. Sorting them takes as much again."""
GROUP: Final = "headrace-load"


@dataclass(slots=True)
class _Table:
    """A table and what the loop knows about reading it."""

    loader: TableLoader
    topic: Topic
    rest_until_ms: int = 0
    is_open: bool = False
    misses: int = 0
    suspected: dict[int, tuple[Resume, int]] = field(default_factory=dict)
    """Partition → an alarming answer and when it was first given (ms); acted on when it is given again later."""


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
        self._root = open_root(config.load.root, spool=config.load.spool)
        self._clock = clock
        self._once, self._landed = once, landed
        self._schemas = Schemas(config.registry.client() if config.registry else None)
        self._tables: dict[str, _Table] = {}
        self._goals: dict[Where, int] | None = None
        self._looked_ms = -LOOK_INTERVAL_MS
        self._retried_ms = 0
        self._heard_ms = clock.monotonic_ms()
        self._has_heard = False
        with checked_keys():
            self._topics = Topics(config.kafka, config.load.topics)
            self._spot = SpotReader(config.kafka)
            self._consumer = Consumer(
                {
                    "group.id": GROUP,
                    "queued.max.messages.kbytes": 24576,  # small messages take three times as much
                    "fetch.wait.max.ms": 100,
                    **config.kafka,
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                },
                logger=logger,
            )

    def run(self, stop: Event) -> None:
        """Until `stop`, or with `once` until all is landed; then commits what it has read, unless Kafka is away.

        Raises:
            CorruptError: a table's log is damaged.
            StorageError, PeerError: with `once`, what would otherwise be tried again.
        """
        try:
            while not stop.is_set() and not self._is_done():
                self._turn()
            self._finish_all()
        finally:
            self._spot.close()
            close_consumer(self._consumer)

    def why_not_ready(self) -> str | None:
        """Why nothing can be landed yet; None if something can. Asked from another thread."""
        return None if self._has_heard else "kafka has not answered yet"

    def _turn(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._looked_ms >= LOOK_INTERVAL_MS:
            self._looked_ms = now_ms
            self._look()
        messages = self._consumer.consume(BATCH_RECORDS, 0.1)
        self._hand_out(messages)
        if now_ms - self._retried_ms >= RETRY_INTERVAL_MS:
            self._retried_ms = now_ms
            self._retry_waiting()
        self._spill()
        for table in self._tables.values():
            if table.is_open and table.loader.is_due():
                self._commit(table)

    # Topics come, go, and come again.

    def _look(self) -> None:
        try:
            topics = self._topics.find(None if self._rewind is None else self._rewind[0])
            self._heard_ms = self._clock.monotonic_ms()
            self._has_heard = True
            for name, topic in topics.items():
                self._meet(name, topic)
            for name in self._tables.keys() - topics.keys():
                self._miss(name)
            for name, table in self._tables.items():
                if name in topics:
                    self._guarded(table, partial(self._reconcile, table))
            if self._once and self._goals is None:
                every = [(name, partition) for name, topic in topics.items() for partition in topic.partitions]
                bounds = self._topics.bounds(every)
                if len(bounds) == len(every):
                    self._goals = {where: end for where, (_, end) in bounds.items()}
        except PeerError as error:
            silent_ms = self._clock.monotonic_ms() - self._heard_ms
            if self._once and silent_ms > PATIENCE_MS:
                raise
            logger.warning("no answer from kafka: %s", error)

    def _meet(self, name: str, topic: Topic) -> None:
        table = self._tables.get(name)
        if table is None:
            logger.info("topic found", extra={"topic": name, "partitions": len(topic.partitions)})
            loader = TableLoader(
                name,
                self._root,
                self._load.output_of(name),
                self._schemas,
                self._clock,
                lambda: str(uuid.uuid4()),
                generation=None if self._rewind is None else self._rewind[1],
            )
            table = self._tables[name] = _Table(loader, topic)
        elif table.topic.topic_id != topic.topic_id and table.is_open:
            self._start_over(table, "the topic's id has changed")
        table.topic, table.misses = topic, 0

    def _miss(self, name: str) -> None:
        """A topic is not listed any more: after two looks it is gone, and what was read of it lands."""
        table = self._tables[name]
        table.misses += 1
        if table.misses == 2 and table.is_open:
            logger.warning("topic gone; what has been read of it lands", extra={"topic": name})
            self._commit(table)
            self._unassign(table)

    def _reconcile(self, table: _Table) -> None:
        """Open a table that is not open, and read the partitions that are not read."""
        now_ms = self._clock.monotonic_ms()
        if table.rest_until_ms > now_ms:
            return
        if not table.is_open:
            table.loader.open()
            table.is_open = True
            self._landed(table.loader.topic)
        table.loader.sweep()
        missing = [partition for partition in table.topic.partitions if partition not in table.loader.partitions]
        if not missing:
            return
        assigned = []
        for partition, sight in self._see(table, missing).items():
            where = resume(table.loader.fold, partition, sight)
            if self._believe(table, partition, where, now_ms):
                table.loader.begin(partition, where, sight.topic_id)
                assigned.append(TopicPartition(table.loader.topic, partition, table.loader.next_offset(partition)))
        if assigned:
            learn_leaders(self._consumer, [table.loader.topic])
            self._consumer.incremental_assign(assigned)

    def _see(self, table: _Table, partitions: list[int]) -> dict[int, Sight]:
        name, fold = table.loader.topic, table.loader.fold
        bounds = self._topics.bounds((name, partition) for partition in partitions)
        lasts: dict[Where, int] = {}
        for _, partition in bounds:
            known = fold.ends.get((fold.incarnation(partition), partition))
            start, end = bounds[name, partition]
            if known and known.last_offset is not None and start <= known.last_offset < end:
                lasts[name, partition] = known.last_offset
        records = self._spot.records_at(lasts)
        return {
            partition: Sight(table.topic.topic_id, start, end, fingerprint(record) if (record := records.get(where)) else None)
            for where, (start, end) in bounds.items()
            for _, partition in [where]
        }

    def _believe(self, table: _Table, partition: int, where: Resume, now_ms: int) -> bool:
        """Whether to act on an answer: an alarming one is asked for twice, a second apart."""
        if where.alarm is None:
            table.suspected.pop(partition, None)
            return True
        first, since_ms = table.suspected.get(partition, (where, now_ms))
        if (first.incarnation, first.gap) == (where.incarnation, where.gap) and now_ms - since_ms >= LOOK_INTERVAL_MS * 0.9:
            del table.suspected[partition]
            context = {
                "topic": table.loader.topic,
                "partition": partition,
                "incarnation": where.incarnation,
                "offset": where.offset,
            }
            logger.error("%s", where.alarm, extra=context)
            return True
        if (first.incarnation, first.gap) != (where.incarnation, where.gap):
            since_ms = now_ms
        table.suspected[partition] = (where, since_ms)
        return False

    # Records.

    def _hand_out(self, messages: list[Any]) -> None:
        events = [message for message in messages if message.error() is not None]
        good = [message for message in messages if message.error() is None] if events else messages
        by_partition: dict[Where, list[Any]] = {}
        for where, group in groupby(good, key=_where):
            by_partition.setdefault(where, []).extend(group)
        for (name, partition), records in by_partition.items():
            table = self._tables[name]
            if table.is_open and partition in table.loader.partitions:
                self._guarded(table, partial(self._take, table, partition, records))
        for event in events:
            self._on_event(event)

    def _take(self, table: _Table, partition: int, messages: list[Any]) -> None:
        if not table.loader.take(partition, messages, self._cause(table)):
            self._start_over(table, "another loader has landed since")
        elif table.loader.is_blocked:
            self._consumer.pause([TopicPartition(table.loader.topic, each) for each in table.loader.partitions])

    def _cause(self, table: _Table) -> Any:
        """What to call a hole between two records that the broker still has both of.

        Where a topic compacts, compaction. Elsewhere the client delivers every record but transactions' markers and what was
        aborted; it does not say which of the two a hole is.
        """
        return lambda start, end: "compacted" if self._topics.compacts(table.loader.topic) else "control"  # noqa: ARG005

    def _on_event(self, message: Any) -> None:
        error, name, partition = message.error(), message.topic(), message.partition()
        table = self._tables.get(name) if name else None
        if table is None or not table.is_open or partition not in table.loader.partitions:
            if error.code() not in (KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                logger.warning("kafka: %s", error.str())
            return
        if error.code() == KafkaError._PARTITION_EOF:
            table.loader.skip(partition, message.offset(), self._cause(table)(0, 0))
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
            logger.warning("kafka: %s; looking again", error.str(), extra={"topic": name, "partition": partition})
            self._on_out_of_range(table, partition)
        else:
            logger.warning("kafka: %s", error.str(), extra={"topic": name, "partition": partition})

    def _on_out_of_range(self, table: _Table, partition: int) -> None:
        """Land what has been read, and look at the partition afresh."""
        self._commit(table)
        if table.is_open and partition in table.loader.partitions:
            self._consumer.incremental_unassign([TopicPartition(table.loader.topic, partition)])
            table.loader.end(partition)

    def _retry_waiting(self) -> None:
        for table in self._tables.values():
            if table.is_open and table.loader.is_blocked:
                self._guarded(table, partial(self._take_waiting, table))
            if self._once and (blocked := table.loader.blocked):
                error, since_ms = blocked
                if self._clock.monotonic_ms() - since_ms > PATIENCE_MS:
                    for each in self._tables.values():
                        self._finish(each)
                    raise error

    def _take_waiting(self, table: _Table) -> None:
        table.loader.take_waiting(self._cause(table))
        if not table.loader.is_blocked:  # read on, and be told again where the log ends
            again = [
                TopicPartition(table.loader.topic, partition, table.loader.next_offset(partition))
                for partition in table.loader.partitions
            ]
            self._consumer.incremental_unassign(again)
            self._consumer.incremental_assign(again)
            self._consumer.resume(again)  # a pause outlives the assignment

    def _spill(self) -> None:
        while sum(table.loader.attempt.held_bytes for table in self._tables.values()) > HELD_BYTES:
            fullest = max(self._tables.values(), key=lambda table: table.loader.attempt.held_bytes)
            self._guarded(fullest, fullest.loader.attempt.spill)
            if not fullest.is_open:
                return

    # Commits.

    def _commit(self, table: _Table) -> None:
        self._guarded(table, lambda: self._commit_now(table))

    def _commit_now(self, table: _Table) -> None:
        if not table.loader.commit(lambda: self._verify(table)):
            self._start_over(table, "")
            return
        self._landed(table.loader.topic)
        ends = [TopicPartition(table.loader.topic, partition, offset) for partition, offset in table.loader.ends()]
        try:
            if ends and self._rewind is None:
                self._consumer.commit(offsets=ends, asynchronous=True)
        except KafkaException as error:
            logger.warning("the group's offsets (for lag tools) were not committed: %s", error)
        self._show_lag(table)

    def _show_lag(self, table: _Table) -> None:
        for partition in table.loader.partitions:
            at = TopicPartition(table.loader.topic, partition)
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
            if high >= 0:
                metrics.LAG.labels(table.loader.topic, str(partition)).set(max(0, high - table.loader.next_offset(partition)))

    def _verify(self, table: _Table) -> bool:
        """Whether the topic is still the one that was read: its id, and the last records that had landed before."""
        name, fold = table.loader.topic, table.loader.fold
        ids = self._topics.ids([name])
        if name not in ids:
            return True  # gone: an absent topic proves nothing about what was read
        if ids[name] != table.topic.topic_id:
            return False
        for partition, sight in self._see(table, list(table.loader.partitions)).items():
            if resume(fold, partition, sight).incarnation != table.loader.incarnation(partition):
                return False
        return True

    def _guarded(self, table: _Table, work: Any) -> None:
        """Do something for one table; what fails and may heal makes that table start over, later."""
        try:
            work()
        except CorruptError as error:
            name = table.loader.topic
            raise CorruptError(f"table {self._root.location(name, '')}: {error}; run: headrace check {self._root}") from error
        except VersionError as error:
            raise VersionError(f"table {self._root.location(table.loader.topic, '')}: {error}") from error
        except PeerError as error:
            self._start_over(table, str(error), rest_ms=RETRY_INTERVAL_MS)
            if self._once and self._clock.monotonic_ms() - self._heard_ms > PATIENCE_MS:
                raise
        except StorageError as error:
            self._start_over(table, str(error), rest_ms=STORAGE_RETRY_MS)
            if self._once:
                raise

    def _start_over(self, table: _Table, why: str, *, rest_ms: int | None = None) -> None:
        """Drop the attempt; after a rest (random, so that racing loaders do not meet again) go on from a new fold."""
        self._unassign(table)
        if table.is_open:
            table.is_open = False
            if why:
                table.loader.give_up(why)
        pause_ms = random.randrange(100, 1500) if rest_ms is None else rest_ms
        table.rest_until_ms = self._clock.monotonic_ms() + pause_ms

    def _unassign(self, table: _Table) -> None:
        partitions = list(table.loader.partitions)
        if partitions:
            self._consumer.incremental_unassign([TopicPartition(table.loader.topic, partition) for partition in partitions])
        for partition in partitions:
            table.loader.end(partition)

    # The end.

    def _is_done(self) -> bool:
        """With `once`: whether everything up to the goals has landed, or is read and about to be."""
        if self._goals is None:
            return False
        for (name, partition), goal in self._goals.items():
            table = self._tables.get(name)
            if table is None or table.misses >= 2:
                continue
            if not table.is_open or partition not in table.loader.partitions or table.loader.next_offset(partition) < goal:
                return False
        for table in self._tables.values():
            self._finish(table)
        return all(table.is_open or table.misses >= 2 for table in self._tables.values())

    def _finish_all(self) -> None:
        """Commit what was read; if Kafka is away it cannot be verified, and is read again at the next start."""
        try:
            self._topics.find()
        except PeerError as error:
            for table in self._tables.values():
                self._start_over(table, str(error))
        for table in self._tables.values():
            self._finish(table)

    def _finish(self, table: _Table) -> None:
        if table.is_open and not table.loader.attempt.is_empty:
            self._commit(table)
        if table.is_open:
            table.loader.close()


def _where(message: Any) -> Where:
    return message.topic(), message.partition()
