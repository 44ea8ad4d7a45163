"""What the broker has beyond a fold, read as the loader reads it into files of a scratch table, without a word to anybody.

The loader's own attempt decodes, quarantines and drops repeats; its record is never put. Partitions are assigned explicitly:
no group is joined and no offset committed. Memory is bounded as the loader's is: what is too much is spilled to disk.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError

from headrace.clock import Clock
from headrace.errors import PeerError
from headrace.jobs.sql.live.asking import Span
from headrace.librdkafka import checked_keys
from headrace.sinks.attempt import Attempt
from headrace.sinks.config import LoadConfig, Output
from headrace.sinks.fetching.batches import UnreadableError
from headrace.sinks.landing import HELD_BYTES
from headrace.sinks.lookout import Lookout, Question
from headrace.sinks.reading import Read, Reading
from headrace.sinks.registered import Schemas
from headrace.sinks.resume import Sight
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.store import Store
from headrace.sinks.table_loader import WhyOf
from headrace.sinks.topics import Topic

PATIENCE_MS: Final = 15_000
"""How long the registry, or a partition of which there is more, may be silent."""
_REGISTRY_REST_S: Final = 0.5
_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)

Told = Callable[[str, int, int], None]
"""Hears of a topic how many of how many offsets have been read."""


class Broker:
    """The cluster as it is asked.

    Raises (all methods):
        PeerError: it does not answer, or the registry does not.
    """

    def __init__(self, config: LoadConfig, clock: Clock, told: Told) -> None:
        """Raises ConfigError: librdkafka does not know a key."""
        self._config, self._clock, self._told = config, clock, told
        self._schemas = Schemas(config.registry.client() if config.registry else None)
        with checked_keys():
            self._lookout = Lookout(config.kafka, config.load.topics, clock, only=None)
        self._topics: dict[str, Topic] = {}

    def close(self) -> None:
        """End its clients."""
        self._lookout.close()

    def topics(self) -> Mapping[str, Topic]:
        """Those that land, by name."""
        self._topics = self._lookout.find()
        return self._topics

    def look(self, name: str, fold: Fold) -> dict[int, Sight]:
        """All partitions of a topic as they are now; none where there is no such topic."""
        topic = self.topics().get(name)
        if topic is None:
            return {}
        seen = self._lookout.see([Question(name, topic, fold, topic.partitions)])
        if silent := set(topic.partitions) - {partition for _, partition in seen}:
            raise PeerError(f"kafka: topic {name}: partitions {sorted(silent)} do not answer")
        return {partition: sight for (_, partition), sight in seen.items()}

    def is_same(self, name: str, fold: Fold, spans: Sequence[Span]) -> bool:
        """Whether the topic is still the one that was looked at."""
        if not spans:
            return True
        topic = Topic(spans[0].topic_id, tuple(span.partition for span in spans))
        incarnations = {span.partition: span.place.incarnation for span in spans}
        return self._lookout.is_same(Question(name, topic, fold, topic.partitions), incarnations)

    def fetch(self, name: str, fold: Fold, spans: Sequence[Span], store: Store) -> CommitRecord | None:
        """The record that a loader would put of the spans, whose files are in `store`; None: some of them is not there."""
        output = self._config.load.output_of(name).model_copy(update={"format": "parquet"})
        reading = _Fetching(name, spans, self._new_attempt(name, store, fold, output), self._schemas, self._clock, self._told)
        try:
            with checked_keys(), closing(Reading(self._config.kafka, self._clock)) as source:
                if not reading.run(source, self._cause(name, source)):
                    return None
            return reading.attempt.close(self._clock.wall_ms())
        finally:
            reading.attempt.discard()

    def _cause(self, name: str, source: Reading) -> WhyOf:
        """What a loader calls holes between records that the broker still has both of."""
        if self._lookout.topics.compacts(name):
            return lambda _partition, _start, end: (end, "compacted")

        def cause(partition: int, start: int, end: int) -> tuple[int, str]:
            until, why = source.cause((name, partition), start, end)
            return until, why or "lost"

        return cause

    def _new_attempt(self, name: str, store: Store, fold: Fold, output: Output) -> Attempt:
        started_ms = self._clock.monotonic_ms()
        return Attempt(name, store, fold, output, name=f"live-{uuid.uuid4()}", started_ms=started_ms)


class _Fetching:
    """Spans of one topic on their way into an attempt."""

    def __init__(self, name: str, spans: Sequence[Span], attempt: Attempt, schemas: Schemas, clock: Clock, told: Told) -> None:
        self._name, self.attempt, self._schemas, self._clock, self._told = name, attempt, schemas, clock, told
        self._goals = {span.partition: span.end for span in spans if span.count}
        self._starts = {span.partition: span.place.offset for span in spans if span.count}
        self._total = sum(span.count for span in spans)
        self._heard_ms = clock.monotonic_ms()
        for span in spans:
            attempt.start(span.partition, span.place.incarnation, span.topic_id)
            if span.place.gap:
                attempt.skip(span.partition, span.place.offset, span.place.gap, now_ms=clock.monotonic_ms())

    def run(self, source: Reading, why: WhyOf) -> bool:
        """Read to the ends; False: some offset is not there any more, or bytes are none that can be trusted."""
        self._tell()
        source.begin({(self._name, partition): start for partition, start in self._starts.items()})
        while self._goals:
            read = source.batch()
            if any(event.error().code() in _OUT_OF_RANGE for event in read.errors):
                return False
            try:
                self._take(read, why)
            except UnreadableError:
                return False
            reached = [partition for partition, goal in self._goals.items() if self.attempt.next_offset(partition) >= goal]
            for partition in reached:
                del self._goals[partition]
            source.end(self._name, reached)
            self._bound(read)
        return True

    def _take(self, read: Read, why: WhyOf) -> None:
        for (_, partition), records in read.records:
            if partition in self._goals:
                self._decode(partition, records, why)
        for (_, partition), end in read.ends:
            if partition in self._goals:
                while (start := self.attempt.next_offset(partition)) < end:
                    self.attempt.skip(partition, *why(partition, start, end), now_ms=self._clock.monotonic_ms())

    def _decode(self, partition: int, records: Sequence[Any], why: WhyOf) -> None:
        """Take records; a registry that does not answer, or does not know a schema yet, is asked again for a while."""
        since_ms = self._clock.monotonic_ms()
        while True:
            try:
                self.attempt.take(
                    partition, records, self._schemas, why=partial(why, partition), now_ms=self._clock.monotonic_ms()
                )
                return
            except PeerError:
                if self._clock.monotonic_ms() - since_ms > PATIENCE_MS:
                    raise
                time.sleep(_REGISTRY_REST_S)

    def _bound(self, read: Read) -> None:
        """Keep memory bounded, tell how far it is, and do not wait for ever."""
        while self.attempt.held_bytes > HELD_BYTES:
            self.attempt.spill()
        self._tell()
        now_ms = self._clock.monotonic_ms()
        if read.records or read.ends:
            self._heard_ms = now_ms
        elif now_ms - self._heard_ms > PATIENCE_MS:
            raise PeerError(f"kafka: topic {self._name}: partitions {sorted(self._goals)} do not answer")

    def _tell(self) -> None:
        left = sum(max(goal - self.attempt.next_offset(partition), 0) for partition, goal in self._goals.items())
        self._told(self._name, self._total - left, self._total)
