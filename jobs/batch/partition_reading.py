"""A worker's reading of topics: what records there are in a range of offsets, by the loader's own ways of fetching."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError

from headrace.clock import Clock, MonotonicMs
from headrace.errors import PeerError, StorageError
from headrace.sinks.fetching.records import Records
from headrace.sinks.reading import Reading
from headrace.sinks.topics import Topics

_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)
_PATIENCE_MS: Final = 60_000
"""Without a record, before a range is given up: what is in it was there when the pipeline was built."""


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
        self._end = -1
        """Up to where records have come, as far as that is known: where the log was seen to end, or a batch did."""

    def begin(self, partition: int, start: int, stop: int, topic_id: str | None) -> None:
        """Read a range of a partition; `topic_id`: of the topic that it was planned for."""
        now = self._topics.ids([self._topic]).get(self._topic)
        if now != topic_id:
            raise PeerError(f"topic {self._topic} was created again since the pipeline was built; build it again")
        self._partition, self._asked, self._waiting, self._end = partition, (start, stop), [], -1
        self._reading.begin_again(self._topic, {partition: start})

    def fetch(self, position: int, stop: int) -> Fetched | None:
        """The next records in [position, stop), which is where reading stands; None: there are none."""
        until_ms = MonotonicMs(self._clock.monotonic_ms() + _PATIENCE_MS)
        while self._clock.monotonic_ms() < until_ms:
            while self._waiting:
                found = self._waiting.pop(0).since(position)
                if found is None:
                    continue
                if found.last_offset < stop:
                    return found
                self._end = found.last_offset + 1
                return found.before(stop)
            if self._end >= stop:
                return None
            self._take()
        low, high = self._bounds()
        raise PeerError(f"{self._said} are not all to be had: the log from {low} to {high} ends there, or nobody answers")

    def _take(self) -> None:
        read = self._reading.batch()
        here = (self._topic, self._partition)
        self._waiting += [Fetched(messages) for where, messages in read.records if where == here and len(messages)]
        self._end = max([self._end, *(offset for where, offset in read.ends if where == here)])
        for event in read.errors:
            error = event.error()
            if error.code() in _OUT_OF_RANGE:
                low, high = self._bounds()
                raise StorageError(f"{self._said} were asked for, and {low} to {high} are there; retention has taken others")
            if not error.retriable() and error.code() != KafkaError._TRANSPORT and error.code() != KafkaError._ALL_BROKERS_DOWN:
                raise PeerError(f"{self._said}: {error.str()}")

    @property
    def _said(self) -> str:
        start, stop = self._asked
        return f"topic {self._topic} partition {self._partition}: offsets {start} to {stop}"

    def _bounds(self) -> tuple[Any, Any]:
        return self._topics.bounds([(self._topic, self._partition)]).get((self._topic, self._partition), ("?", "?"))

    def end(self) -> None:
        """Read the range no more."""
        self._reading.end(self._topic, [self._partition])
        self._waiting = []

    def close(self) -> None:
        """End the clients."""
        self._reading.close()
