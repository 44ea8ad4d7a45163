"""kill -9 of the broker, again and again, under verifiable clients: what was acknowledged is read once, in order; none twice.

HEADRACE_KILLS=100 kills so many times (12 by default). Kafka's own VerifiableProducer and two VerifiableConsumers of a group
work on a topic with flush.messages=1; an idempotent librdkafka producer writes to one of default durability, which a consumer
of a group reads and commits, to a compacted one, and to one of which retention deletes. Kills come at random moments, also
while the broker still recovers from the one before.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.apache_kafka import is_installed
from tests.compat.java_tools import JavaTools, Verifiable, until
from tests.processes import Part, broker

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("HEADRACE_KILLS", "12"))
TOPICS = {
    "flushed": {"flush.messages": "1"},
    "plain": {"segment.bytes": "400000"},
    "compacted": {"cleanup.policy": "compact", "segment.bytes": "40000", "min.cleanable.dirty.ratio": "0.01"},
    "retained": {"retention.bytes": "300000", "segment.bytes": "50000", "file.delete.delay.ms": "500"},
}
QUIET = {"log_level": 0, "reconnect.backoff.max.ms": 200}
ENDLESS = {"message.timeout.ms": 0, "retries": 2147483647, "retry.backoff.ms": 20, "retry.backoff.max.ms": 100}
KEYS = 20
# What Kafka's producer says of a record that it has not sent when it is told to end.
CLOSED = ("after producer has been closed", "Producer closed while send in progress")


class Producing(threading.Thread):
    """One idempotent producer of rising numbers, to three topics in turn, until it is told to stop."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__()
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, **ENDLESS, **QUIET}
        )
        self.acknowledged: dict[str, list[int]] = {"plain": [], "compacted": [], "retained": []}
        self.failed: list[object] = []
        self.stop = threading.Event()
        self.unsent = -1

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            for topic in self.acknowledged:
                key = b"%d" % (number % KEYS) if topic == "compacted" else None
                value = b"%d" % number + (b" " * 500 if topic == "retained" else b"")
                self._producer.produce(topic, value, key, partition=0, on_delivery=self._delivered)
            number += 1
            self._producer.poll(0.002)
        self.unsent = self._producer.flush(60)

    def _delivered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is None:
            self.acknowledged[message.topic()].append(int(message.value()))
        else:
            self.failed.append(error)

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))


class Consuming(threading.Thread):
    """One consumer of a group: reads `plain` and commits what it has read; goes on where it committed."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__()
        settings = {"group.id": "committing", "auto.offset.reset": "earliest", "enable.auto.commit": False, **QUIET}
        self._consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, **settings})
        self.values: dict[int, int] = {}  # by offset
        self.contradictions: list[tuple[int, int, int]] = []
        self.commits = 0
        self.stop = threading.Event()

    def run(self) -> None:
        self._consumer.subscribe(["plain"])
        while not self.stop.is_set():
            for message in self._consumer.consume(200, 0.2):
                if message.error() is None:
                    offset, value = message.offset(), int(message.value())
                    if self.values.setdefault(offset, value) != value:
                        self.contradictions.append((offset, self.values[offset], value))
            try:
                self._consumer.commit(asynchronous=False)
                self.commits += 1
            except confluent_kafka.KafkaException:
                continue  # nothing to commit, or the broker is dead just now
        self._consumer.close()


def make_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    new = [NewTopic(name, 3 if name == "flushed" else 1, 1, config=configs) for name, configs in TOPICS.items()]
    for future in admin.create_topics(new).values():
        future.result(20)


def kill_again_and_again(part: Part, progress: Callable[[], int]) -> None:
    """Kill `part` KILLS times, most often after clients have gone on, now and then while it still starts."""
    rng = random.Random(22)
    for _ in range(KILLS):
        if rng.random() < 0.85:
            before = progress()
            until(lambda before=before: progress() > before + 200, "the clients do not go on after a kill")  # type: ignore[misc]  # a lambda with a default
            time.sleep(rng.random() * 0.3)
        part.kill()
        part.start(wait=False)
        if rng.random() < 0.2:
            time.sleep(rng.random() * 1.2)  # anywhere in its start
            part.kill()
            part.start(wait=False)
    part.kill()
    part.start()


def read(bootstrap: str, topic: str, partition: int) -> list[tuple[int, bytes | None, bytes]]:
    """(offset, key, value) of every record there is, as the log has them."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest", **QUIET}
    consumer = confluent_kafka.Consumer({**settings, "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)])
    found = []
    while (message := consumer.poll(20)) is not None and message.error() is None:
        found.append((message.offset(), message.key(), message.value()))
    assert message is not None, f"{topic}-{partition} does not end"
    consumer.close()
    return found


@pytest.mark.timeout(180 + 10 * KILLS)
def test_acknowledged_records_are_there_once_and_in_order_after_many_kills(
    tmp_path: Path, missing: Callable[[str, str], NoReturn]
) -> None:
    if not is_installed():
        missing("kafka", "run make peers")
    often = {"log_retention_check_interval_ms": 300, "log_cleaner_backoff_ms": 300}
    often["log_flush_offset_checkpoint_interval_ms"] = 300  # only what is known to be durable is compacted
    often["replica_high_watermark_checkpoint_interval_ms"] = 300
    part = broker(tmp_path, group_initial_rebalance_delay_ms=0, **often).start()
    bootstrap = f"127.0.0.1:{part.ports['kafka']}"
    make_topics(bootstrap)
    producing, consuming = Producing(bootstrap), Consuming(bootstrap)
    writer, readers = verifiable_clients(JavaTools(bootstrap), tmp_path)
    try:
        producing.start()
        consuming.start()
        until(lambda: len(writer.events("producer_send_success")) > 0, "Kafka's producer does not begin")
        kill_again_and_again(part, lambda: producing.count)
        producing.stop.set()
        producing.join()
        assert (producing.unsent, producing.failed) == (0, [])
        writer.end()
        errors = [error["message"] for error in writer.events("producer_send_error")]
        assert [error for error in errors if not any(said in error for said in CLOSED)] == []
        acknowledged = [int(event["value"]) for event in writer.events("producer_send_success")]
        check_what_kafkas_consumers_read(readers, acknowledged)
        until(lambda: len(consuming.values) >= len(producing.acknowledged["plain"]), "the group does not come to the end")
        check_what_lies_in_the_log(bootstrap, producing, acknowledged)
    finally:
        producing.stop.set()
        consuming.stop.set()
        for process in (writer, *readers):
            process.end()
        consuming.join()
        part.stop()
    assert consuming.contradictions == []
    assert consuming.commits > 0
    assert [consuming.values[at] for at in sorted(consuming.values)] == producing.acknowledged["plain"]
    command = [sys.executable, "-m", "headrace", "broker", "check", str(tmp_path / "broker"), "--deep"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout
    print(f"{KILLS} kills: {producing.count} and {len(acknowledged)} acknowledged, {consuming.commits} commits")


def verifiable_clients(tools: JavaTools, directory: Path) -> tuple[Verifiable, list[Verifiable]]:
    settings = directory / "producer.properties"
    settings.write_text(
        "enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=2147483647\n"
        "reconnect.backoff.max.ms=200\nretry.backoff.ms=20\nretry.backoff.max.ms=100\n"
    )
    load = ("--topic", "flushed", "--throughput", "500", "--repeating-keys", "16", "--producer.config", str(settings))
    group = ("--topic", "flushed", "--group-id", "pair", "--session-timeout", "10000", "--verbose")
    readers = [Verifiable(tools.command("VerifiableConsumer", *group), directory / f"{name}.json") for name in "ab"]
    return Verifiable(tools.command("VerifiableProducer", *load), directory / "producer.json"), readers


def check_what_kafkas_consumers_read(readers: list[Verifiable], acknowledged: list[int]) -> None:
    """Everything acknowledged has been read, and no two places hold the same value, nor one place two."""

    def places() -> dict[tuple[int, int], set[str]]:
        read: dict[tuple[int, int], set[str]] = {}
        for event in (event for reader in readers for event in reader.events("record_data")):
            read.setdefault((event["partition"], event["offset"]), set()).add(event["value"])
        return read

    def missing_values() -> set[int]:
        return set(acknowledged) - {int(value) for values in places().values() for value in values}

    until(lambda: not missing_values(), "something acknowledged was not read", timeout_s=60)
    read = places()
    assert all(len(values) == 1 for values in read.values())
    assert len({next(iter(values)) for values in read.values()}) == len(read), "a value is there twice"


def check_what_lies_in_the_log(bootstrap: str, producing: Producing, acknowledged: list[int]) -> None:
    flushed = [[int(value) for _, _, value in read(bootstrap, "flushed", partition)] for partition in range(3)]
    assert all(values == sorted(set(values)) for values in flushed), "out of order, or twice"
    assert set(acknowledged) <= set().union(*flushed)
    plain = read(bootstrap, "plain", 0)
    assert [int(value) for _, _, value in plain] == producing.acknowledged["plain"]
    assert [offset for offset, _, _ in plain] == list(range(len(plain)))
    retained = read(bootstrap, "retained", 0)
    assert retained[0][0] > 0, "retention has deleted nothing"
    assert [int(value) for _, _, value in retained] == producing.acknowledged["retained"][-len(retained) :]
    compacted = read(bootstrap, "compacted", 0)
    last = {key: int(value) for _, key, value in compacted}
    assert last == {b"%d" % (number % KEYS): number for number in producing.acknowledged["compacted"]}
    assert len({int(value) for _, _, value in compacted}) == len(compacted), "a value is there twice"
    assert len(compacted) < len(producing.acknowledged["compacted"]), "compaction has taken nothing"
