"""What has been read on its way to the tables."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError

from headrace.clock import MonotonicMs
from headrace.sinks.fetching.batches import UnreadableError
from headrace.sinks.landing import Landing, LandingTable
from headrace.sinks.reading import Read
from headrace.sinks.recovery import PATIENCE_MS, PEER_REST_MS
from headrace.sinks.table_loader import WhyOf

logger = logging.getLogger(__name__)


class Intake:
    """Hands batches out."""

    def __init__(self, landing: Landing) -> None:
        self._landing, self._reading, self._lookout = landing, landing.reading, landing.lookout
        self._retried_ms = MonotonicMs(0)

    def hand_out(self, read: Read) -> None:
        """Give records, in offset order within each partition, to their tables; then act on ends and errors."""
        for (name, partition), records in read.records:
            table = self._landing.tables[name]
            if table.reads(partition):
                self._landing.guarded(table, partial(self._take, table, partition, records))
        for (name, partition), offset in read.ends:
            if (ended := self._landing.tables.get(name)) is not None and ended.reads(partition):
                self._landing.guarded(ended, partial(self._skip, ended, partition, offset))
        for event in read.errors:
            self._on_error(event)

    def _skip(self, table: LandingTable, partition: int, offset: int) -> None:
        table.loader.skip_to(partition, offset, self._cause(table))

    def _take(self, table: LandingTable, partition: int, messages: Sequence[Any]) -> None:
        try:
            is_taken = table.loader.take(partition, messages, self._cause(table))
        except UnreadableError as error:
            self._reading.distrust((table.loader.topic, partition))
            self._landing.start_over(table, f"fetched bytes are no records: {error}")
            return
        if not is_taken:
            self._landing.start_over(table, "another loader has landed since")
        elif table.loader.is_blocked:
            self._reading.end(table.loader.topic, table.loader.tenure.partitions)

    def _cause(self, table: LandingTable) -> WhyOf:
        """What to call holes between records that the broker still has both of: what no batch explains is lost."""
        topic = table.loader.topic
        if self._lookout.topics.compacts(topic):
            return lambda _partition, _start, end: (end, "compacted")

        def cause(partition: int, start: int, end: int) -> tuple[int, str]:
            until, why = self._reading.cause((topic, partition), start, end)
            return until, why or "lost"

        return cause

    def _on_error(self, message: Any) -> None:
        error, name, partition = message.error(), message.topic(), message.partition()
        table = self._landing.tables.get(name) if name else None
        if table is None or not table.reads(partition):
            if error.code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                logger.warning("kafka: %s", error.str())
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
            logger.warning("kafka: %s; looking again", error.str(), extra={"topic": name, "partition": partition})
            self._on_out_of_range(table, partition)
        else:
            logger.warning("kafka: %s", error.str(), extra={"topic": name, "partition": partition})

    def _on_out_of_range(self, table: LandingTable, partition: int) -> None:
        """Land what has been read, and look at the partition afresh."""
        self._landing.commit(table)
        if table.reads(partition):
            self._reading.end(table.loader.topic, [partition])
            table.loader.tenure.end(partition)

    def retry_waiting(self, now_ms: MonotonicMs) -> None:
        """Ask the registry again for what records wait for, once a second.

        Raises:
            PeerError: with `once`, it has been away for too long.
        """
        if now_ms - self._retried_ms < PEER_REST_MS:
            return
        self._retried_ms = now_ms
        landing = self._landing
        for table in landing.tables.values():
            if table.is_open and table.loader.is_blocked:
                landing.guarded(table, partial(self._take_waiting, table))
            if landing.once and (blocked := table.loader.blocked):
                error, since_ms = blocked
                if now_ms - since_ms > PATIENCE_MS:
                    for each in landing.tables.values():
                        landing.finish(each)
                    raise error

    def _take_waiting(self, table: LandingTable) -> None:
        loader = table.loader
        loader.take_waiting(self._cause(table))
        if not loader.is_blocked:
            self._reading.begin_again(
                loader.topic, {partition: loader.next_offset(partition) for partition in loader.tenure.partitions}
            )
