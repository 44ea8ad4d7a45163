"""A worker's reading of topics: what records there are in a range of offsets, by the loader's own ways of fetching."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError

from headrace.clock import Clock
from headrace.errors import PeerError, StorageError
from headrace.sinks.fetching.records import Records
from headrace.sinks.reading import Reading
from headrace.sinks.topics import Topics

_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)
_PATIENCE_MS: Final = 60_000
"""Without anything, before it is asked whether the range is still there: it was when the pipeline was built."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition in offset order, at least one."""

    messages: Sequence[Any]

    @property
    def last_offset(self) -> int:
        messages = self.messages
        return messages.last_offset if isinstance(messages, Records) else int(messages[-1].offset())

    def records(self) -> Sequence[Any]:
        return self.messages

    def before(self, end: int) -> "Fetched | None":
        kept = [message for message in self.messages if message.offset() < end]
        return Fetched(kept) if kept else None

    def since(self, start: int) -> "Fetched | None":
        """Those from an offset on; brokers answer from the beginning of the batch that it lies in."""
        if self.messages[0].offset() >= start:
            return self
        kept = [message for message in self.messages if message.offset() >= start]
        return Fetched(kept) if kept else None


class PartitionReader:
    """Reads one range after another.

    Raises (all methods):
        PeerError: nobody answers, or the topic is another one now. StorageError: what is asked for is not there.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, clock: Clock) -> None:
        self._topic, self._clock = topic, clock
        self._reading = Reading(kafka, clock)
        self._topics = Topics(kafka, ())
        self._partition = -1
        self._asked = (0, 0)
        self._waiting: list[Fetched] = []
        self.passed = -1
        """Up to where all has come, as far as that is known; in a range without records for us, too."""

    def begin(self, partition: int, start: int, stop: int, topic_id: str | None) -> None:
        """Read a range of a partition; `topic_id`: of the topic that it was planned for."""
        now = self._topics.ids([self._topic]).get(self._topic)
        if now != topic_id:
            raise PeerError(f"topic {self._topic} was created again since the pipeline was built; build it again")
        self._partition, self._asked, self._waiting, self.passed = partition, (start, stop), [], -1
        self._reading.begin_again(self._topic, {partition: start})

    def fetch(self, position: int, stop: int) -> Fetched | None:
        """The next records in [position, stop), which is where reading stands; None: there are none.

        Waits as long as the cluster says that the range is there.
        """
        until_ms = self._clock.monotonic_ms() + _PATIENCE_MS
        while True:
            while self._waiting:
                found = self._waiting.pop(0).since(position)
                if found is None:
                    continue
                if found.last_offset < stop:
                    return found
                self.passed = found.last_offset + 1
                return found.before(stop)
            if self.passed >= stop:
                return None
            before = self.passed
            has_ended = self._take()
            if self._waiting or self.passed > before:
                until_ms = self._clock.monotonic_ms() + _PATIENCE_MS
            is_late = self._clock.monotonic_ms() >= until_ms
            if (has_ended and self.passed < stop and not self._waiting) or is_late:
                self._see_that_it_is_there(position, stop, is_late=is_late)
                until_ms = self._clock.monotonic_ms() + _PATIENCE_MS

    def _take(self) -> bool:
        """Read on; whether the log was seen to end."""
        read = self._reading.batch()
        here = (self._topic, self._partition)
        self._waiting += [Fetched(messages) for where, messages in read.records if where == here and len(messages)]
        self.passed = max([self.passed, *(offset for where, offset in (*read.ends, *read.passed) if where == here)])
        for event in read.errors:
            error = event.error()
            if error.code() in _OUT_OF_RANGE:
                raise self._gone(*self._bounds())
            if not error.retriable() and error.code() != KafkaError._TRANSPORT and error.code() != KafkaError._ALL_BROKERS_DOWN:
                raise PeerError(f"{self._said}: {error.str()}")
        return any(where == here for where, _ in read.ends)

    def _see_that_it_is_there(self, position: int, stop: int, *, is_late: bool) -> None:
        """A broker that is just becoming the leader says neither: KIP-207."""
        low, high = self._bounds()
        if low is not None and high is not None:
            if not low <= position <= stop <= high:
                raise self._gone(low, high)
        elif is_late:
            raise PeerError(f"{self._said}: nobody answers; see whether the brokers are there, then run the job again")

    def _gone(self, low: int | None, high: int | None) -> StorageError:
        return StorageError(
            f"{self._said} were asked for, and {low} to {high} are there; others were taken since, by retention?"
        )

    @property
    def _said(self) -> str:
        start, stop = self._asked
        return f"topic {self._topic} partition {self._partition}: offsets {start} to {stop}"

    def _bounds(self) -> tuple[int | None, int | None]:
        here = (self._topic, self._partition)
        return self._topics.bounds([here]).get(here, (None, None))

    def end(self) -> None:
        """Read the range no more."""
        self._reading.end(self._topic, [self._partition])
        self._waiting = []

    def close(self) -> None:
        """End the clients."""
        self._reading.close()
