"""What the loader sees of topics, compared with what has landed; what is alarming is believed when it has been seen twice."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headrace.clock import Clock
from headrace.sinks.fingerprint import fingerprint
from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.table.fold import Fold
from headrace.sinks.topics import SpotReader, Topic, Topics, Where

logger = logging.getLogger(__name__)

LOOK_INTERVAL_MS: Final = 1000


class Lookout:
    """Asks Kafka about topics. What fails is a PeerError, to be tried again."""

    def __init__(self, kafka: Mapping[str, Any], patterns: Iterable[str], clock: Clock, *, only: str | None) -> None:
        """`only`: the one topic that is wanted, whatever the patterns say."""
        self.topics = Topics(kafka, patterns)
        self._spot = SpotReader(kafka)
        self._clock, self._only = clock, only
        self._heard_ms = clock.monotonic_ms()
        self._suspected: dict[Where, tuple[Resume, int]] = {}
        self.has_heard = False

    def find(self) -> dict[str, Topic]:
        """All wanted topics, by name."""
        found = self.topics.find(self._only)
        self._heard_ms = self._clock.monotonic_ms()
        self.has_heard = True
        return found

    @property
    def silent_ms(self) -> int:
        """How long ago Kafka has last said which topics there are."""
        return self._clock.monotonic_ms() - self._heard_ms

    def cause(self, topic: str, start: int, end: int) -> str:  # noqa: ARG002 - why there is nothing in [start, end)
        """What to call a hole between two records that the broker still has both of.

        Where a topic compacts, compaction. Elsewhere the client delivers every record but transactions' markers and what was
        aborted; it does not say which of the two a hole is.
        """
        return "compacted" if self.topics.compacts(topic) else "control"

    def places(self, name: str, topic: Topic, fold: Fold, partitions: Iterable[int]) -> dict[int, Resume]:
        """Where to go on reading those partitions that can be seen, and whose sight is believed."""
        found = self._see(name, topic, fold, partitions)
        places = {partition: resume(fold, partition, sight) for partition, sight in found.items()}
        return {partition: where for partition, where in places.items() if self._believe(name, partition, where)}

    def is_same(self, name: str, topic: Topic, fold: Fold, incarnations: Mapping[int, int]) -> bool:
        """Whether a topic is still the one that was read: its id, and the last records that had landed before."""
        ids = self.topics.ids([name])
        if name not in ids:
            return True  # gone: an absent topic proves nothing about what was read
        if ids[name] != topic.topic_id:
            return False
        seen = self._see(name, topic, fold, incarnations)
        return all(resume(fold, partition, sight).incarnation == incarnations[partition] for partition, sight in seen.items())

    def _see(self, name: str, topic: Topic, fold: Fold, partitions: Iterable[int]) -> dict[int, Sight]:
        bounds = self.topics.bounds((name, partition) for partition in partitions)
        lasts: dict[Where, int] = {}
        for where, (start, end) in bounds.items():
            known = fold.ends.get((fold.incarnation(where[1]), where[1]))
            if known and known.last_offset is not None and start <= known.last_offset < end:
                lasts[where] = known.last_offset
        records = self._spot.records_at(lasts)
        return {
            where[1]: Sight(topic.topic_id, start, end, fingerprint(record) if (record := records.get(where)) else None)
            for where, (start, end) in bounds.items()
        }

    def _believe(self, name: str, partition: int, where: Resume) -> bool:
        """Whether to act on an answer: an alarming one is asked for twice, a second apart."""
        at, now_ms = (name, partition), self._clock.monotonic_ms()
        if where.alarm is None:
            self._suspected.pop(at, None)
            return True
        first, since_ms = self._suspected.get(at, (where, now_ms))
        is_repeated = (first.incarnation, first.gap) == (where.incarnation, where.gap)
        if is_repeated and now_ms - since_ms >= LOOK_INTERVAL_MS * 0.9:
            del self._suspected[at]
            context = {"topic": name, "partition": partition, "incarnation": where.incarnation, "offset": where.offset}
            logger.error("%s", where.alarm, extra=context)
            return True
        self._suspected[at] = (where, since_ms if is_repeated else now_ms)
        return False

    def close(self) -> None:
        """End the client that reads single records."""
        self._spot.close()
