"""The three Python clients behind one small face, so that one test reads the same for each of them. Unmodified clients."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

import aiokafka
import confluent_kafka
import kafka
from confluent_kafka.admin import AdminClient
from kafka.admin import KafkaAdminClient


class Client(Protocol):
    """What every client can do."""

    name: str

    def produce(self, bootstrap: str, topic: str, values: Sequence[bytes], codec: str = "none") -> None:
        """Produce with acks=all to partition 0 and return when all is acknowledged."""
        ...

    def consume(self, bootstrap: str, topic: str, count: int, timeout_s: float = 30) -> list[bytes]:
        """The first `count` values of partition 0."""
        ...


class Confluent:
    """confluent-kafka: librdkafka."""

    name = "confluent-kafka"

    def produce(self, bootstrap: str, topic: str, values: Sequence[bytes], codec: str = "none") -> None:
        failed: list[Any] = []
        settings = {"bootstrap.servers": bootstrap, "compression.type": codec, "acks": "all", "linger.ms": 20}
        producer = confluent_kafka.Producer(settings)
        for value in values:
            producer.produce(topic, value, partition=0, on_delivery=lambda error, _: error and failed.append(error))
        assert producer.flush(30) == 0
        assert failed == []

    def consume(self, bootstrap: str, topic: str, count: int, timeout_s: float = 30) -> list[bytes]:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        got: list[bytes] = []
        deadline = time.monotonic() + timeout_s
        while len(got) < count and time.monotonic() < deadline:
            for message in consumer.consume(count - len(got), 0.2):
                assert message.error() is None, message.error()
                got.append(message.value())
        consumer.close()
        return got


class KafkaPython:
    """kafka-python: pure Python."""

    name = "kafka-python"

    def produce(self, bootstrap: str, topic: str, values: Sequence[bytes], codec: str = "none") -> None:
        compression = None if codec == "none" else codec
        producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, compression_type=compression, acks="all", linger_ms=20)
        futures = [producer.send(topic, value, partition=0) for value in values]
        producer.flush(30)
        for future in futures:
            future.get(10)
        producer.close()

    def consume(self, bootstrap: str, topic: str, count: int, timeout_s: float = 30) -> list[bytes]:
        consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        partition = kafka.TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        got: list[bytes] = []
        deadline = time.monotonic() + timeout_s
        while len(got) < count and time.monotonic() < deadline:
            for records in consumer.poll(200).values():
                got += [record.value for record in records]
        consumer.close()
        return got


class AioKafka:
    """aiokafka: asyncio."""

    name = "aiokafka"

    def produce(self, bootstrap: str, topic: str, values: Sequence[bytes], codec: str = "none") -> None:
        asyncio.run(self._produce(bootstrap, topic, values, None if codec == "none" else codec))

    async def _produce(self, bootstrap: str, topic: str, values: Sequence[bytes], codec: str | None) -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", linger_ms=20)
        await producer.start()
        try:
            await asyncio.gather(*[await producer.send(topic, value, partition=0) for value in values])
        finally:
            await producer.stop()

    def consume(self, bootstrap: str, topic: str, count: int, timeout_s: float = 30) -> list[bytes]:
        return asyncio.run(self._consume(bootstrap, topic, count, timeout_s))

    async def _consume(self, bootstrap: str, topic: str, count: int, timeout_s: float) -> list[bytes]:
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partition = aiokafka.TopicPartition(topic, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            got: list[bytes] = []
            deadline = time.monotonic() + timeout_s
            while len(got) < count and time.monotonic() < deadline:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    got += [record.value for record in records]
            return got
        finally:
            await consumer.stop()


CLIENTS: tuple[Client, ...] = (Confluent(), KafkaPython(), AioKafka())


def kafka_python_admin(bootstrap: str) -> KafkaAdminClient:
    """kafka-python's administration client."""
    return KafkaAdminClient(bootstrap_servers=bootstrap)


def refusal(settings: dict[str, Any]) -> set[int]:
    """The codes of what librdkafka says when all its connections have failed; empty if it is told of the brokers."""
    codes: set[int] = set()
    client = AdminClient({"log_level": 0, **settings, "error_cb": lambda error: codes.add(error.code())})
    deadline = time.monotonic() + 30
    while confluent_kafka.KafkaError._ALL_BROKERS_DOWN not in codes:
        assert time.monotonic() < deadline, "neither served nor refused"
        client.poll(0.01)
        try:
            if client.list_topics(timeout=0.2).brokers:
                return set()
        except confluent_kafka.KafkaException:
            continue
    return codes
