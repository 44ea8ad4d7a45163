"""The loader's consumer: which partitions are read from where, explicitly assigned; it knows Kafka's client, and no tables."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headrace.librdkafka import close_consumer, unrepeated
from headrace.sinks.topics import Where, learn_leaders

logger = logging.getLogger(__name__)

BATCH_RECORDS: Final = 20_000
WAIT_S: Final = 0.1
GROUP: Final = "headrace-load"


class Reading:
    """One consumer over all partitions that are being read. Its group's committed offsets are written, and never read."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._consumer = Consumer(
            {
                "group.id": GROUP,
                "queued.max.messages.kbytes": 10240,  # small messages take three times as much
                "fetch.queue.backoff.ms": 20,  # how long it rests when that is full; of itself a second
                "fetch.wait.max.ms": 100,
                **kafka,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            },
            logger=unrepeated(f"{__name__}.librdkafka"),
        )

    def batch(self) -> list[Any]:
        """Messages, and events instead of some: errors, and ends of partitions."""
        return self._consumer.consume(BATCH_RECORDS, WAIT_S)

    def begin(self, offsets: Mapping[Where, int]) -> None:
        """Read partitions, each from an offset on.

        Raises:
            PeerError: no answer about where they are; they are read all the same, a second later.
        """
        if offsets:
            self._consumer.incremental_assign([TopicPartition(*where, offset) for where, offset in offsets.items()])
            learn_leaders(self._consumer)

    def begin_again(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Read on after a pause, and be told again where the log ends."""
        again = _at(topic, offsets)
        self._consumer.incremental_unassign(again)
        self._consumer.incremental_assign(again)
        self._consumer.resume(again)  # a pause outlives the assignment

    def pause(self, topic: str, partitions: Iterable[int]) -> None:
        """Read no further for now."""
        self._consumer.pause([TopicPartition(topic, partition) for partition in partitions])

    def end(self, topic: str, partitions: Iterable[int]) -> None:
        """Read partitions no more."""
        if gone := [TopicPartition(topic, partition) for partition in partitions]:
            self._consumer.incremental_unassign(gone)

    def tell_landed(self, topic: str, ends: Mapping[int, int]) -> None:
        """Commit the group's offsets, for lag tools and for retention that waits; failing does no harm."""
        try:
            if ends:
                self._consumer.commit(offsets=_at(topic, ends), asynchronous=True)
        except KafkaException as error:
            logger.warning("the group's offsets (for lag tools) were not committed: %s", error)

    def close(self) -> None:
        """End the client, within a bounded time."""
        close_consumer(self._consumer)


def _at(topic: str, offsets: Mapping[int, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
