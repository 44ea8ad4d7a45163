"""A full disk, a real one (a small tmpfs): producers wait and lose nothing, everything else goes on, and it ends by itself."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from tests.processes import Part, broker

MIB = 1 << 20
SIZE, FLOOR = 48 * MIB, 12 * MIB
QUIET = {"log_level": 0, "reconnect.backoff.max.ms": 200}
VALUE = 4000


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Iterator[Path]:
    """A file system of 48 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "headrace-test", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing("mount", "run as root, where file systems may be mounted")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


class Producing(threading.Thread):
    """An idempotent producer of rising numbers that never gives up; its own queue is small, so that it waits with the disk."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__()
        endless = {"enable.idempotence": True, "message.timeout.ms": 0, "retry.backoff.ms": 20, "retry.backoff.max.ms": 200}
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 2, "queue.buffering.max.messages": 200, **endless, **QUIET}
        )
        self.acknowledged: list[int] = []
        self.failed: list[object] = []
        self.stop, self.slow = threading.Event(), threading.Event()
        self.unsent = -1

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            try:
                self._producer.produce("t", b"%d" % number + bytes(VALUE), partition=0, on_delivery=self._delivered)
                number += 1
            except BufferError:
                self._producer.poll(0.05)
            self._producer.poll(0.01 if self.slow.is_set() else 0)
        self.unsent = self._producer.flush(60)

    def _delivered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is None:
            self.acknowledged.append(int(message.value()[:-VALUE]))
        else:
            self.failed.append(error)

    def goes_on(self, timeout_s: float = 20) -> bool:
        """Whether more is acknowledged soon."""
        before, deadline = len(self.acknowledged), time.monotonic() + timeout_s
        while len(self.acknowledged) < before + 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(self.acknowledged) >= before + 20

    def wait_until_it_stands(self, timeout_s: float = 30) -> None:
        """Return when for a second nothing has been acknowledged."""
        deadline, seen, since = time.monotonic() + timeout_s, -1, time.monotonic()
        while time.monotonic() - since < 1:
            if len(self.acknowledged) != seen:
                seen, since = len(self.acknowledged), time.monotonic()
            assert time.monotonic() < deadline, "the disk is full, and producing goes on"
            time.sleep(0.05)


def read(bootstrap: str) -> list[int]:
    settings = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, **QUIET}
    consumer = confluent_kafka.Consumer({**settings, "enable.partition.eof": True})
    consumer.assign([confluent_kafka.TopicPartition("t", 0, confluent_kafka.OFFSET_BEGINNING)])
    values = []
    while (message := consumer.poll(20)) is not None and message.error() is None:
        values.append(int(message.value()[:-VALUE]))
    assert message is not None, "the partition does not end"
    consumer.close()
    return values


def commit(bootstrap: str, offset: int) -> int:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "g", **QUIET})
    place = confluent_kafka.TopicPartition("t", 0, offset)
    consumer.commit(offsets=[place], asynchronous=False)
    (committed,) = consumer.committed([place], timeout=10)
    consumer.close()
    return int(committed.offset)


def started(tmp_path: Path, disk: Path, **settings: object) -> tuple[Part, str, AdminClient]:
    part = broker(tmp_path, log_dirs=str(disk), log_retention_check_interval_ms=300, **settings).start()
    bootstrap = f"127.0.0.1:{part.ports['kafka']}"
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    configs = {"segment.bytes": str(2 * MIB), "file.delete.delay.ms": "100"}
    for future in admin.create_topics([NewTopic(name, 1, 1, config=configs) for name in ("t", "filler", "old")]).values():
        future.result(20)
    for name, size in (("filler", 10 * MIB), ("old", 6 * MIB)):
        producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **QUIET})
        for _ in range(size // 100_000):
            producer.produce(name, bytes(100_000))
        assert producer.flush(20) == 0
    assert commit(bootstrap, 1) == 1  # so that its topic is there
    return part, bootstrap, admin


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file, which leaves so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        while (room := free_bytes(disk) - leave) > 0:
            try:
                file.write(bytes(min(room, MIB)))
                file.flush()
            except OSError:
                break
    return ballast


def set_retention(admin: AdminClient, topic: str, size_bytes: int) -> None:
    entry = ConfigEntry("retention.bytes", str(size_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(20)


def grows(disk: Path, above: int, timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while free_bytes(disk) <= above and time.monotonic() < deadline:
        time.sleep(0.05)
    return free_bytes(disk) > above


def test_below_the_floor_producers_wait_all_else_goes_on_and_it_ends_by_itself(tmp_path: Path, small_disk: Path) -> None:
    part, bootstrap, admin = started(tmp_path, small_disk, log_dirs_free_bytes_min=FLOOR)
    producing = Producing(bootstrap)
    try:
        producing.start()
        assert producing.goes_on()
        ballast = fill(small_disk, leave=FLOOR // 2)
        producing.wait_until_it_stands()
        stood_at = len(producing.acknowledged)
        assert read(bootstrap)[:stood_at] == producing.acknowledged[:stood_at]
        assert commit(bootstrap, 5) == 5
        before = free_bytes(small_disk)
        set_retention(admin, "old", 2 * MIB)
        assert grows(small_disk, before + 2 * MIB), "retention"
        before = free_bytes(small_disk)
        admin.delete_records([confluent_kafka.TopicPartition("filler", 0, 60)])[
            confluent_kafka.TopicPartition("filler", 0, 60)
        ].result(20)
        assert grows(small_disk, before + 2 * MIB), "DeleteRecords"
        assert len(producing.acknowledged) == stood_at or free_bytes(small_disk) > FLOOR
        ballast.unlink()
        assert producing.goes_on(), "there is room again, and producing does not go on"
        part_survives(part, producing, bootstrap)
    finally:
        producing.stop.set()
        part.stop()


def test_a_disk_that_is_truly_full_stops_only_producers_and_a_deleted_topic_lets_them_go_on(
    tmp_path: Path, small_disk: Path
) -> None:
    part, bootstrap, admin = started(tmp_path, small_disk, log_dirs_free_bytes_min=0)
    producing = Producing(bootstrap)
    try:
        producing.start()
        assert producing.goes_on()
        fill(small_disk, leave=8 * MIB)  # the producer takes the rest
        producing.wait_until_it_stands()
        assert free_bytes(small_disk) < MIB
        stood_at = len(producing.acknowledged)
        assert read(bootstrap)[:stood_at] == producing.acknowledged[:stood_at]
        producing.slow.set()
        for future in admin.delete_topics(["filler"]).values():
            future.result(20)
        assert producing.goes_on(), "there is room again, and producing does not go on"
        part_survives(part, producing, bootstrap)
    finally:
        producing.stop.set()
        part.stop()


def part_survives(part: Part, producing: Producing, bootstrap: str) -> None:
    """The same process is there, and has every acknowledged record once, in order; also after it is killed."""
    assert part.process is not None
    assert part.process.poll() is None
    producing.stop.set()
    producing.join()
    assert (producing.unsent, producing.failed) == (0, [])
    assert read(bootstrap) == producing.acknowledged == list(range(len(producing.acknowledged)))
    part.kill()
    part.start()
    assert read(bootstrap) == producing.acknowledged
