"""Compaction in a real broker: topics shrink while it serves, clients read what is left, and kill -9 changes nothing."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from tests import forks
from tests.compat.clients import CLIENTS, Client
from tests.processes import Part, broker

KEYS, ROUNDS = 200, 60
KILLS = int(os.environ.get("HEADRACE_KILLS", "3"))
QUICK = {
    "log_cleaner_backoff_ms": 200,
    "log_flush_offset_checkpoint_interval_ms": 100,
    "replica_high_watermark_checkpoint_interval_ms": 100,
    "log_segment_delete_delay_ms": 100,
}
KEYED = {"cleanup.policy": "compact", "segment.bytes": "200000", "min.cleanable.dirty.ratio": "0.01"}


def address(part: Part) -> str:
    return f"127.0.0.1:{part.ports['kafka']}"


def until(what: Callable[[], object], why: str, timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def events(part: Part, message: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in part.log_file.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if message in line.values()]


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.glob("*.log"))


def make_topic(part: Part, name: str, partitions: int, **settings: str) -> None:
    admin = AdminClient({"bootstrap.servers": address(part)})
    admin.create_topics([NewTopic(name, partitions, config=settings)])[name].result(10)


def produce(part: Part, codec: str = "none", *, deleted: int = 0) -> dict[bytes, bytes]:
    """Every key in every round, and at the end the first so many deleted; returns what must be there then."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": address(part), "enable.idempotence": True, "compression.type": codec, "linger.ms": 5}
    )
    latest = {}
    for at in range(ROUNDS):
        for key in (b"%05d" % number for number in range(KEYS)):
            latest[key] = key + b" in round %d " % at + bytes(150)
            producer.produce("keyed", latest[key], key, partition=0)
        producer.poll(0)
    for key in list(latest)[:deleted]:
        producer.produce("keyed", None, key, partition=0)
        del latest[key]
    latest[b"end"] = b"end"
    producer.produce("keyed", b"end", b"end", partition=0)
    assert producer.flush(30) == 0
    return latest


def read(part: Part) -> list[confluent_kafka.Message]:
    """Everything up to the end of the log."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address(part), "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition("keyed", 0, 0)])
    messages: list[confluent_kafka.Message] = []
    _, end = consumer.get_watermark_offsets(TopicPartition("keyed", 0), 10)
    deadline = time.monotonic() + 30
    while not messages or messages[-1].offset() < end - 1:
        assert time.monotonic() < deadline
        messages += consumer.consume(1000, 0.2)
    consumer.close()
    assert all(message.error() is None for message in messages)
    return messages


def read_once_compaction_rests(part: Part) -> list[confluent_kafka.Message]:
    """Everything, which stays as it is from here on: nothing more is old enough, and what was under way has ended."""
    lag = ConfigEntry("min.compaction.lag.ms", "86400000", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ConfigResource.Type.TOPIC, "keyed", incremental_configs=[lag])
    admin = AdminClient({"bootstrap.servers": address(part)})
    admin.incremental_alter_configs([topic])[topic].result(10)
    before, messages = None, read(part)
    while before != (before := [message.offset() for message in messages]):
        messages = read(part)
    return messages


def final(messages: list[confluent_kafka.Message]) -> dict[bytes, bytes]:
    last = {message.key(): message.value() for message in messages}
    return {key: value for key, value in last.items() if value is not None}


def test_a_compacted_topic_shrinks_while_clients_read_from_it_the_last_value_of_every_key(tmp_path: Path) -> None:
    with broker(tmp_path, **QUICK) as part:
        make_topic(part, "keyed", 1, **KEYED, **{"delete.retention.ms": "0"})
        produce(part, "zstd", deleted=40)
        produce(part)
        latest = produce(part, "gzip", deleted=40)
        uncompressed = KEYS * ROUNDS * 150  # of one of the three, at least; how much there is now says nothing: it is under way
        until(lambda: size_of(tmp_path / "broker" / "keyed-0") < uncompressed / 4, "it does not shrink")
        messages = read_once_compaction_rests(part)
        assert final(messages) == latest
        offsets = [message.offset() for message in messages]
        assert offsets == sorted(set(offsets))
        assert offsets[-1] == 3 * (KEYS * ROUNDS + 1) + 80 - 1, "offsets stay what they were"
        for client in CLIENTS[1:]:
            until(partial(reads_the_same, part, client), f"{client.name} reads something else")
        part.kill()
        part.start()
        assert final(read(part)) == final(messages)
        part.stop()
        check = [*forks.PREFIX, "broker", "check", str(tmp_path / "broker"), "--deep"]
        done = forks.run(check, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def reads_the_same(part: Part, client: Client) -> bool:
    """Whether a client reads what librdkafka does; compaction may have gone on between the two."""
    messages = read_once_compaction_rests(part)
    return bool(client.consume(address(part), "keyed", len(messages)) == [message.value() for message in messages])


@pytest.mark.slow
def test_a_group_that_commits_thousands_of_times_leaves_little_behind(tmp_path: Path) -> None:
    with broker(tmp_path, **QUICK, offsets_topic_segment_bytes=50_000, offsets_topic_num_partitions=1) as part:
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": address(part), "group.id": "busy", "enable.auto.commit": False, "log_level": 0}
        )
        make_topic(part, "t", 3)
        for at in range(4000):
            consumer.commit(offsets=[TopicPartition("t", at % 3, at + 7)], asynchronous=False)
        consumer.close()
        directory = tmp_path / "broker" / "__consumer_offsets-0"
        before = size_of(directory)
        until(lambda: size_of(directory) < 110_000, f"it stays at {size_of(directory)} of {before} bytes")
        part.kill()
        part.start()
        consumer = confluent_kafka.Consumer({"bootstrap.servers": address(part), "group.id": "busy"})
        committed = consumer.committed([TopicPartition("t", partition) for partition in range(3)], 10)
        consumer.close()
        assert [each.offset for each in committed] == [3999 + 7, 3997 + 7, 3998 + 7]


def test_a_worker_that_is_killed_costs_one_attempt(tmp_path: Path) -> None:
    with broker(tmp_path, **QUICK, log_cleaner_io_max_bytes_per_second=4_000_000) as part:
        make_topic(part, "keyed", 1, **KEYED)
        latest = produce(part)
        until(lambda: list((tmp_path / "broker" / "keyed-0").glob("*.cleaned")), "compaction does not begin")
        assert part.process is not None
        os.kill(worker_of(part.process.pid), signal.SIGKILL)
        until(lambda: events(part, "compaction put off"), "nobody noticed")
        until(lambda: events(part, "log compacted"), "it is not tried again")
        assert final(read(part)) == latest


def worker_of(pid: int) -> int:
    """The process that a broker has spawned for compaction."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == pid and b"spawn_main" in command:
                return int(process.name)
    raise AssertionError("there is no worker")


class _Writing(threading.Thread):
    """An idempotent producer that goes round the keys, every tenth record a deletion, and knows what must be there."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0}
        self._producer = confluent_kafka.Producer({**settings, "reconnect.backoff.max.ms": 200, "message.timeout.ms": 60_000})
        self.latest: dict[bytes, bytes | None] = {}
        self.acknowledged, self.failed = 0, 0
        self.stop = threading.Event()

    def run(self) -> None:
        at = 0
        while not self.stop.is_set():
            key, value = b"%05d" % (at * 7 % KEYS), None if at % 10 == 3 else b"value %d " % at + bytes(100)
            self.latest[key] = value
            self._producer.produce("keyed", value, key, partition=0, on_delivery=self._delivered)
            self._producer.poll(0)
            at += 1
            if at % 100 == 0:
                time.sleep(0.01)
        assert self._producer.flush(60) == 0

    def _delivered(self, error: confluent_kafka.KafkaError | None, _: confluent_kafka.Message) -> None:
        self.acknowledged += error is None
        self.failed += error is not None


@pytest.mark.slow
def test_kill_9_in_the_middle_of_compaction_loses_no_key_and_brings_none_back(tmp_path: Path) -> None:
    rng, files = random.Random(8), tmp_path / "broker" / "keyed-0"
    with broker(tmp_path, **QUICK, log_cleaner_io_max_bytes_per_second=20_000_000) as part:
        make_topic(part, "keyed", 1, **KEYED, **{"delete.retention.ms": "0"})
        writing = _Writing(address(part))
        writing.start()
        caught = 0
        for _ in range(KILLS):
            deadline = time.monotonic() + 8
            while time.monotonic() < deadline and not list(files.glob("*.cleaned")):
                time.sleep(0.002)
            time.sleep(rng.choice([0, 0.002, 0.01, 0.05]))
            caught += bool([*files.glob("*.cleaned"), *files.glob("*.swap")])
            part.kill()
            part.start()
        writing.stop.set()
        writing.join()
        assert writing.failed == 0
        assert caught > 0, "no kill came in the middle"
        assert final(read(part)) == {key: value for key, value in writing.latest.items() if value is not None}
        until(lambda: events(part, "log compacted"), "compaction has stopped")
