"""Clients of a partition that is offline: they are told that it has no leader, wait, give up in their time, and come back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.compat.java_tools import LIBS, JavaTools, Verifiable, until
from tests.processes import Part, broker

pytestmark = pytest.mark.slow

LEADER_NOT_AVAILABLE = 5


class Away:
    """A broker whose partition 1 of topic `t` is in a log directory that can be taken away and put back."""

    def __init__(self, part: Part, directory: Path) -> None:
        self._part, self._directory, self._away = part, directory, directory.with_name("away")
        self.bootstrap = f"127.0.0.1:{part.ports['kafka']}"
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic("t", 2, 1)])["t"].result(20)

    def take(self) -> None:
        self._part.stop()
        self._directory.rename(self._away)
        self._directory.write_text("not a directory")
        self._part.start()

    def put_back(self) -> None:
        self._part.stop()
        self._directory.unlink()
        self._away.rename(self._directory)
        self._part.start()


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Away]:
    with broker(tmp_path, log_dirs=f"{tmp_path / 'first'},{tmp_path / 'second'}") as part:
        yield Away(part, tmp_path / "second")


def test_librdkafka_waits_gives_up_in_its_time_and_comes_back_with_the_partition(away: Away) -> None:
    quick = {"bootstrap.servers": away.bootstrap, "log_level": 0, "topic.metadata.refresh.fast.interval.ms": 50}
    patient = confluent_kafka.Producer(quick)
    hasty = confluent_kafka.Producer({**quick, "message.timeout.ms": 1000})
    told: list[tuple[bytes, object]] = []

    def produce(producer: confluent_kafka.Producer, partition: int, value: bytes) -> None:
        producer.produce(
            "t", value, partition=partition, on_delivery=lambda error, message: told.append((message.value(), error))
        )

    for partition in (0, 1):
        produce(patient, partition, b"before")
    assert patient.flush(20) == 0
    away.take()
    partitions = patient.list_topics("t", timeout=20).topics["t"].partitions
    assert [(each.leader, each.error and each.error.code()) for each in partitions.values()] == [
        (1, None),
        (-1, LEADER_NOT_AVAILABLE),
    ]
    produce(patient, 0, b"beside")
    produce(patient, 1, b"patient")
    produce(hasty, 1, b"hasty")
    assert hasty.flush(20) == 0
    assert patient.flush(1) == 1, "the one of the partition that is offline is kept"
    assert {(value, error and error.name()) for value, error in told[2:]} == {(b"beside", None), (b"hasty", "_MSG_TIMED_OUT")}
    away.put_back()
    assert patient.flush(20) == 0
    assert told[-1] == (b"patient", None)


def test_java_waits_gives_up_in_its_time_and_comes_back_with_the_partition(
    away: Away, tmp_path: Path, missing: Callable[[str, str], NoReturn]
) -> None:
    if not (LIBS.parent / "complete").exists():
        missing("kafka", "run make peers")
    java = JavaTools(away.bootstrap)
    away.take()
    described = java.run("TopicCommand", "--describe", "--topic", "t")
    assert "Partition: 0\tLeader: 1\t" in described
    assert "Partition: 1\tLeader: none\tReplicas: 1\tIsr: 1" in described

    settings = tmp_path / "producer.properties"
    settings.write_text("request.timeout.ms=1000\ndelivery.timeout.ms=1500\nlinger.ms=0\n")
    load = ("--topic", "t", "--max-messages", "500", "--repeating-keys", "16")
    hasty = Verifiable(java.command("VerifiableProducer", *load, "--producer.config", str(settings)), tmp_path / "hasty.json")
    patient = Verifiable(java.command("VerifiableProducer", *load), tmp_path / "patient.json")
    try:
        assert hasty.process.wait(60) == 0
        assert {event["partition"] for event in hasty.events("producer_send_success")} == {0}
        failed = hasty.events("producer_send_error")
        assert len(failed) == 500 - len(hasty.events("producer_send_success"))
        assert {event["exception"].rpartition(".")[2] for event in failed} == {"TimeoutException"}
        until(lambda: len(patient.events("producer_send_success")) > 100, "nothing was acknowledged")
        assert {event["partition"] for event in patient.events("producer_send_success")} == {0}
        away.put_back()
        assert patient.process.wait(60) == 0
        assert len(patient.events("producer_send_success")) == 500
        assert patient.events("producer_send_error") == []
    finally:
        for process in (hasty, patient):
            process.end()
