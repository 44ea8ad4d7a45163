"""What the loader sees of topics, compared with what has landed; what is alarming is believed when it has been seen twice."""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.clock import Clock
from headrace.errors import PeerError
from headrace.sinks.fingerprint import fingerprint
from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.table.fold import Fold
from headrace.sinks.topics import SpotReader, Topic, Topics, Where

logger = logging.getLogger(__name__)

LOOK_INTERVAL_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """About partitions of a topic, of which `fold` says what has landed."""

    name: str
    topic: Topic
    fold: Fold
    partitions: Collection[int]


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

    def place(self, where: Where, fold: Fold, sight: Sight) -> Resume | None:
        """Where to go on reading a partition, by what is seen of it; None if that is not believed yet."""
        place = resume(fold, where[1], sight)
        return place if self._believe(where, place) else None

    def is_same(self, question: Question, incarnations: Mapping[int, int]) -> bool:
        """Whether a topic is still the one that was read: its id, and the last records that had landed before.

        Raises:
            PeerError: some partition does not answer.
        """
        name, fold = question.name, question.fold
        ids = self.topics.ids([name])
        if name not in ids:
            return True  # gone: an absent topic proves nothing about what was read
        if ids[name] != question.topic.topic_id:
            return False
        seen = self.see([question])
        if silent := sorted(set(incarnations) - {partition for _, partition in seen}):
            raise PeerError(f"kafka: topic {name}: partitions {silent} do not answer")
        return all(resume(fold, partition, seen[name, partition]).incarnation == of for partition, of in incarnations.items())

    def see(self, questions: Collection[Question]) -> dict[Where, Sight]:
        """What can be seen of the partitions that are asked about: of those that answer."""
        asked = {question.name: question for question in questions}
        bounds = self.topics.bounds((each.name, partition) for each in questions for partition in each.partitions)
        lasts: dict[Where, int] = {}
        for (name, partition), (start, end) in bounds.items():
            fold = asked[name].fold
            known = fold.ends.get((fold.incarnation(partition), partition))
            if known and known.last_offset is not None and start <= known.last_offset < end:
                lasts[name, partition] = known.last_offset
        records = self._spot.records_at(lasts)
        return {
            where: Sight(
                asked[where[0]].topic.topic_id, start, end, fingerprint(record) if (record := records.get(where)) else None
            )
            for where, (start, end) in bounds.items()
            if where in records or where not in lasts
        }

    def _believe(self, at: Where, where: Resume) -> bool:
        """Whether to act on an answer: an alarming one is asked for twice, a second apart."""
        now_ms = self._clock.monotonic_ms()
        if where.alarm is None:
            self._suspected.pop(at, None)
            return True
        first, since_ms = self._suspected.get(at, (where, now_ms))
        is_repeated = (first.incarnation, first.gap) == (where.incarnation, where.gap)
        if is_repeated and now_ms - since_ms >= LOOK_INTERVAL_MS * 0.9:
            del self._suspected[at]
            context = {"topic": at[0], "partition": at[1], "incarnation": where.incarnation, "offset": where.offset}
            logger.error("%s", where.alarm, extra=context)
            return True
        self._suspected[at] = (where, since_ms if is_repeated else now_ms)
        return False

    def close(self) -> None:
        """End the client that reads single records."""
        self._spot.close()
