"""A slow disk and disk errors under a real broker: one partition suffers, the others do not notice.

The disk is bad where tests/slow_disk.c, preloaded into the broker, is told to; the limit on a file's size is the kernel's own.
"""

import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from tests.integration.broker.requests import METADATA, batch, create_topic, fetch, produce, values
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

STORAGE_ERROR = 56
MIB = 1 << 20


class BadDisk:
    """What the broker's disk does wrong."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self.mend()

    def be(self, part_of_path: str, *, write_ms: int = 0, sync_ms: int = 0) -> None:
        """Slow by so much, or with -1 in error."""
        self._put(f"{part_of_path} {write_ms} {sync_ms}\n")

    def mend(self) -> None:
        self._put("")

    def _put(self, lines: str) -> None:
        new = self._control.with_suffix(".new")
        new.write_text(lines)
        new.rename(self._control)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Path:
    library = tmp_path_factory.mktemp("shim") / "slow_disk.so"
    source = Path(__file__).parents[2] / "slow_disk.c"
    if shutil.which("gcc") is None:
        missing("gcc", "install it")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.fixture
def disk(tmp_path: Path) -> BadDisk:
    return BadDisk(tmp_path / "control")


@pytest.fixture
def part(tmp_path: Path, shim: Path, disk: BadDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Part]:
    """A broker with topics `bad` and `good` of one partition, `durable` with flush.messages=1; memory for one request."""
    monkeypatch.setenv("SLOW_DISK", str(tmp_path / "control"))
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    started = broker(tmp_path, queued_max_request_bytes=1_000_000).start()
    monkeypatch.delenv("LD_PRELOAD")
    with wire(started) as client:
        for name in ("bad", "good"):
            create_topic(client, name)
        create_topic(client, "durable", flush_messages="1")
    yield started
    disk.mend()
    started.stop()


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


class Producing(threading.Thread):
    """An idempotent producer of rising numbers to one partition."""

    def __init__(self, part: Part, topic: str) -> None:
        super().__init__()
        settings = {"enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 60_000, "log_level": 0}
        bootstrap = f"127.0.0.1:{part.ports['kafka']}"
        self._producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **settings})
        self._topic = topic
        self.acknowledged: list[int] = []
        self.failed: list[object] = []
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            self._producer.produce(self._topic, b"%d" % number, partition=0, on_delivery=self._delivered)
            number += 1
            self._producer.poll(0.005)
        self._producer.flush(60)

    def _delivered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is None:
            self.acknowledged.append(int(message.value()))
        else:
            self.failed.append(error)


def latencies_ms(part: Part, seconds: float) -> list[float]:
    """Of a produce and a fetch of topic `good`, one after another, sorted."""
    taken = []
    with wire(part) as client:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            begun = time.monotonic()
            answer = produce(client, "good", batch(b"x"))
            assert answer.error_code == 0
            assert values(fetch(client, "good", answer.base_offset)) == [b"x"]
            taken.append((time.monotonic() - begun) * 1000)
            time.sleep(0.005)
    return sorted(taken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topic", "slow"), [("bad", {"write_ms": 500}), ("bad", {"write_ms": 2000}), ("durable", {"sync_ms": 1000})]
)
def test_one_slow_partition_does_not_slow_another(part: Part, disk: BadDisk, topic: str, slow: dict[str, int]) -> None:
    """The first slow write is waited for by all: it is how the broker learns of it."""
    producing = Producing(part, topic)
    producing.start()
    time.sleep(0.3)
    disk.be(f"{topic}-0/", **slow)
    taken = latencies_ms(part, 3)
    disk.mend()
    producing.stop.set()
    producing.join()
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    print(f"{topic} {slow}: {len(taken)} in 3 s, p50 {p50:.1f}, p99 {p99:.1f}, max {taken[-1]:.0f} ms")
    assert sum(each > 400 for each in taken) <= 2  # else it would be all of them
    assert p50 < 100
    assert producing.failed == []
    with wire(part) as client:
        stored: list[int] = []
        while fetched := values(fetch(client, topic, len(stored))):
            stored += [int(value or b"") for value in fetched]
    assert stored == producing.acknowledged == list(range(len(stored)))


def test_a_client_that_waits_for_a_slow_disk_is_not_taken_for_one_that_is_stuck(part: Part, disk: BadDisk) -> None:
    """Memory is short, and its request has held most of it for five seconds."""
    disk.be("bad-0/", write_ms=5000)
    with wire(part) as client:
        assert produce(client, "bad", batch(os.urandom(900_000))).error_code == 0


class Committing(threading.Thread):
    """Commits rising offsets of one partition, one at a time; and makes, joins and deletes other groups meanwhile."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self._settings = {"bootstrap.servers": f"127.0.0.1:{part.ports['kafka']}", "log_level": 0}
        self.committed = 0
        self.deleted: list[str] = []
        self.stop = threading.Event()

    def commit(self, group: str, offset: int) -> None:
        consumer = confluent_kafka.Consumer({**self._settings, "group.id": group, "enable.auto.commit": False})
        consumer.commit(offsets=[confluent_kafka.TopicPartition("good", 0, offset)], asynchronous=False)
        consumer.close()

    def run(self) -> None:
        admin = AdminClient(self._settings)
        while not self.stop.is_set():
            self.commit("kept", self.committed + 1)
            self.committed += 1
            name = f"short-lived-{self.committed}"
            self.commit(name, 1)
            admin.delete_consumer_groups([name])[name].result(20)
            self.deleted.append(name)


def test_a_slow_disk_under_the_offsets_of_groups_slows_nobody_else(part: Part, disk: BadDisk) -> None:
    committing = Committing(part)
    committing.commit("kept", 1)  # which makes the topic
    disk.be("__consumer_offsets-", write_ms=500)
    committing.start()
    taken = latencies_ms(part, 5)
    committing.stop.set()
    committing.join()
    disk.mend()
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    print(f"{committing.committed} commits, {len(taken)} in 5 s, p50 {p50:.1f}, p99 {p99:.1f}, max {taken[-1]:.0f} ms")
    assert sum(each > 400 for each in taken) <= 2
    assert p50 < 100
    assert committing.committed > 1
    part.kill()
    part.start()
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{part.ports['kafka']}"})
    groups = {each.group_id for each in admin.list_consumer_groups().result(20).valid}
    assert groups == {"kept"}
    asked = confluent_kafka.ConsumerGroupTopicPartitions("kept")
    (offset,) = admin.list_consumer_group_offsets([asked])["kept"].result(20).topic_partitions
    assert offset.offset == committing.committed


def test_an_error_of_a_write_fences_that_partition_only_until_the_next_start(part: Part, disk: BadDisk) -> None:
    with wire(part) as client:
        assert produce(client, "bad", batch(b"before")).error_code == 0
        assert leaders(client) == {"bad": 1, "durable": 1, "good": 1}
        disk.be("bad-0/", write_ms=-1)
        assert produce(client, "bad", batch(b"lost")).error_code == STORAGE_ERROR
        disk.mend()
        assert produce(client, "bad", batch(b"fenced")).error_code == STORAGE_ERROR
        assert fetch(client, "bad", 0).error_code == STORAGE_ERROR
        assert produce(client, "good", batch(b"x")).error_code == 0
        assert leaders(client) == {"bad": -1, "durable": 1, "good": 1}
    part.kill()
    part.start()
    with wire(part) as client:
        assert leaders(client) == {"bad": 1, "durable": 1, "good": 1}
        assert values(fetch(client, "bad", 0)) == [b"before"]
        assert produce(client, "bad", batch(b"after")).base_offset == 1


def leaders(client: WireClient) -> dict[str, int]:
    """The leader of partition 0 of every topic."""
    everything = {"include_cluster_authorized_operations": False, "include_topic_authorized_operations": False}
    topics = client.call(METADATA, 12, {"topics": None, "allow_auto_topic_creation": False, **everything}).topics
    return {topic.name: topic.partitions[0].leader_id for topic in topics}


@pytest.mark.parametrize("acks", [1, -1])
def test_an_error_of_an_fsync_is_told_and_fences_that_partition_only(part: Part, disk: BadDisk, acks: int) -> None:
    with wire(part) as client:
        assert produce(client, "durable", batch(b"before"), acks=acks).error_code == 0
        disk.be("durable-0/", sync_ms=-1)
        assert produce(client, "durable", batch(b"not on disk"), acks=acks).error_code == STORAGE_ERROR
        disk.mend()
        assert produce(client, "durable", batch(b"fenced"), acks=acks).error_code == STORAGE_ERROR
        assert produce(client, "good", batch(b"x")).error_code == 0
    part.kill()
    part.start()
    with wire(part) as client:
        assert values(fetch(client, "durable", 0))[0] == b"before"


def test_an_error_of_the_kernels_own_fences_that_partition_only(part: Part) -> None:
    """No file may grow beyond 1 MiB: EFBIG, as a real error of a real write."""
    assert part.process is not None
    with wire(part) as client:
        for _ in range(12):
            assert produce(client, "bad", batch(bytes(100_000))).error_code == 0
        resource.prlimit(part.process.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
        assert produce(client, "bad", batch(bytes(100_000))).error_code == STORAGE_ERROR
        assert produce(client, "bad", batch(b"fenced")).error_code == STORAGE_ERROR
        for _ in range(20):
            assert produce(client, "good", batch(b"x")).error_code == 0
    assert part.process.poll() is None
