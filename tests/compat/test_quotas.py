"""Client quotas with other people's clients: Kafka's own tool sets and describes them, librdkafka is throttled by them."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import confluent_kafka
import pytest

from tests.compat.java_tools import JAVA, LIBS
from tests.integration.broker.test_quotas import alter, alteration, describe, told
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    with broker(tmp_path, quota_window_num=2) as running:
        yield running


def bootstrap(part: Part) -> str:
    return f"127.0.0.1:{part.ports['kafka']}"


def configure(part: Part, *arguments: str) -> str:
    """Kafka's `kafka-configs.sh`."""
    command = [*JAVA, "kafka.admin.ConfigCommand", "--bootstrap-server", bootstrap(part), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def set_quota(part: Part, entity: dict[str, str | None], **quotas: float) -> None:
    with WireClient(part.ports["kafka"]) as client:
        assert alter(client, alteration(entity, **quotas)) == [0]


def test_a_producer_goes_at_its_rate_and_is_told_so(part: Part) -> None:
    set_quota(part, {"client-id": "shipper"}, producer_byte_rate=200_000)
    told: list[Any] = []
    settings = {
        "bootstrap.servers": bootstrap(part),
        "client.id": "shipper",
        "linger.ms": 5,
        "batch.size": 20_000,
        "throttle_cb": told.append,
    }
    producer = confluent_kafka.Producer(settings)
    began = time.monotonic()
    for _ in range(1_000):
        producer.produce("t", b"x" * 1_000)
        producer.poll(0)
    assert producer.flush(30) == 0
    took_s = time.monotonic() - began
    assert 1_000_000 / took_s == pytest.approx(200_000, rel=0.35)  # a first burst of one second's worth passes
    assert any(event.throttle_time > 0 and event.broker_id == 1 for event in told)


def test_a_consumer_goes_at_its_rate_and_gets_everything(part: Part) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap(part), "batch.size": 20_000})
    for number in range(1_000):
        producer.produce("t", b"%d" % number + b"x" * 1_000)
    assert producer.flush(30) == 0
    set_quota(part, {"user": "ANONYMOUS"}, consumer_byte_rate=250_000)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap(part), "group.id": "g", "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition("t", 0, 0)])
    began = time.monotonic()
    got = 0
    while got < 1_000 and time.monotonic() - began < 30:
        got += len(consumer.consume(500, 0.2))
    took_s = time.monotonic() - began
    consumer.close()
    assert got == 1_000
    assert 1_000_000 / took_s == pytest.approx(250_000, rel=0.4)


@pytest.mark.slow
def test_kafka_configs_sets_describes_and_deletes_quotas(part: Part, missing: Callable[[str, str], NoReturn]) -> None:
    if not (LIBS.parent / "complete").exists():
        missing("kafka", "run make peers")
    user_and_client = ("--entity-type", "users", "--entity-name", "alice", "--entity-type", "clients", "--entity-default")
    configure(part, "--alter", "--add-config", "producer_byte_rate=1024,request_percentage=12.5", *user_and_client)
    configure(part, "--alter", "--add-config", "consumer_byte_rate=2048", "--entity-type", "clients", "--entity-name", "app")
    configure(part, "--alter", "--add-config", "connection_creation_rate=700", "--entity-type", "ips", "--entity-default")
    with WireClient(part.ports["kafka"]) as client:
        assert told(describe(client)) == [
            ({"client-id": "app"}, {"consumer_byte_rate": 2048}),
            ({"client-id": None, "user": "alice"}, {"producer_byte_rate": 1024, "request_percentage": 12.5}),
            ({"ip": None}, {"connection_creation_rate": 700}),
        ]
    said = configure(part, "--describe", "--entity-type", "clients", "--entity-name", "app")
    assert "Quota configs for client-id 'app' are consumer_byte_rate=2048.0" in said
    assert "connection_creation_rate=700.0" in configure(part, "--describe", "--entity-type", "ips", "--entity-default")
    configure(part, "--alter", "--delete-config", "consumer_byte_rate", "--entity-type", "clients", "--entity-name", "app")
    with WireClient(part.ports["kafka"]) as client:
        assert told(describe(client, ("client-id", 0, "app"), strict=True)) == []
