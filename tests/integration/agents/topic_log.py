"""What the broker's log of a topic holds: the records of its first partition."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

_WAIT_S = 30.0


def count_in(settings: Mapping[str, Any], topic: str, *, timeout_s: float = _WAIT_S) -> int:
    """How many records there are; 0 where the topic is not there yet. `settings` are librdkafka's."""
    consumer = _consumer(settings)
    try:
        return _end(consumer, topic, timeout_s)
    finally:
        consumer.close()


def records_in(settings: Mapping[str, Any], topic: str) -> list[Message]:
    """All of them, in order."""
    consumer = _consumer(settings)
    try:
        end = _end(consumer, topic, _WAIT_S)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Message] = []
        while len(found) < end:
            messages = consumer.consume(min(5000, end - len(found)), timeout=_WAIT_S)
            assert messages, f"{len(found)} of {end} records come"
            for message in messages:
                assert message.error() is None, message.error()
            found += messages
        return found
    finally:
        consumer.close()


def _consumer(settings: Mapping[str, Any]) -> Consumer:
    return Consumer({"group.id": "look", "enable.auto.commit": False, **settings})


def _end(consumer: Consumer, topic: str, timeout_s: float) -> int:
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=timeout_s)[1])
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC):
            return 0
        raise
