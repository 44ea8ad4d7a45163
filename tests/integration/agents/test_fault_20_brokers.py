"""Fault 20 of twenty: leaders that change, one of three brokers lost, a broker that is slow, half open or gives no answers, and
one that moves to another address. What is written is in the log once, in order: nothing lost, nothing twice from retries.
"""

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, PartitionMetadata  # type: ignore[attr-defined]  # they are there, and documented

from tests.apache_kafka import ApacheKafka, cluster, is_installed
from tests.envelopes import event_of
from tests.integration.agents.test_agent_ships import until
from tests.integration.agents.topic_log import count_in, records_in
from tests.processes import Part, free_port, registry
from tests.relay import Relay

pytestmark = pytest.mark.slow

Missing = Callable[[str, str], NoReturn]


class Writer:
    """Writes numbered lines until it is told to stop; what was written is counted."""

    def __init__(self, file: Path, *, lines_per_s: int = 5000) -> None:
        self._file, self._at_a_time = file, lines_per_s // 50
        self.count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with self._file.open("ab", buffering=0) as out:
            while not self._stop.is_set():
                out.write(numbered(self.count, self.count + self._at_a_time))
                self.count += self._at_a_time
                self._stop.wait(0.02)


class Shipping:
    """An agent on one log, and what the brokers hold in the end.

    Args:
        bootstrap: the agent's way to them; `direct`: ours.
    """

    def __init__(self, directory: Path, bootstrap: str, schemas: Part, direct: str, **kafka: Any) -> None:
        self._direct = {"bootstrap.servers": direct, "group.id": "look", "log_level": 0}
        self.file = directory / "to-ship" / "a.log"
        self.file.parent.mkdir()
        self.file.touch()
        self.agent = Part(
            "agent",
            directory,
            {
                "agent": {"state_dir": str(directory / "agent"), "grace_ms": 5000},
                "kafka": {"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 500, **kafka},
                "registry": f"http://127.0.0.1:{schemas.ports['http']}",
                "inputs": [{"tail": [str(self.file)], "topic": "logs"}],
            },
        )

    def write(self, first: int, end: int) -> None:
        with self.file.open("ab") as out:
            out.write(numbered(first, end))

    def count(self) -> int:
        """How many records the topic holds; 0 while nobody says."""
        try:
            return count_in(self._direct, "logs", timeout_s=5)
        except KafkaException:
            return 0

    def wait_for(self, count: int) -> None:
        until(lambda: self.count() >= count, timeout_s=60)

    def check(self, count: int) -> None:
        """The log holds lines 0 to `count`, each once, in order, and the agent stops in order."""
        assert self.agent.stop() == 0, self.agent.log_tail()
        events = [event_of(message.value() or b"") for message in records_in(self._direct, "logs")]
        assert [int(event["message"].rsplit(" ", 1)[1]) for event in events] == list(range(count))


def numbered(first: int, end: int) -> bytes:
    return b"".join(b"2026-11-23 08:00:00 INFO line %d\n" % number for number in range(first, end))


@contextlib.contextmanager
def shipping(directory: Path, bootstrap: str, schemas: Part, direct: str, **kafka: Any) -> Iterator[Shipping]:
    made = Shipping(directory, bootstrap, schemas, direct, **kafka)
    try:
        yield made
    finally:
        made.agent.kill()


# ---- three brokers


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, missing: Missing) -> Iterator[list[ApacheKafka]]:
    if not is_installed():
        missing("kafka", "run make peers")
    started = cluster(tmp_path_factory.mktemp("cluster"), 3)
    yield started
    for node in started:
        node.kill()


def test_fault_20_a_lost_leader_and_one_that_comes_back_cost_nothing_and_repeat_nothing(
    tmp_path: Path, nodes: list[ApacheKafka]
) -> None:
    bootstrap = ",".join(node.bootstrap for node in nodes)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic("logs", 1), NewTopic("_audit", 1)]).values():
        made.result()

    def partition() -> PartitionMetadata | None:
        return admin.list_topics("logs", timeout=10).topics["logs"].partitions.get(0)  # not every node knows it at once

    def leader() -> int:
        found = partition()
        return -1 if found is None else int(found.leader)

    def replicas_in_sync() -> int:
        found = partition()
        return 0 if found is None else len(found.isrs)

    until(lambda: leader() > 0 and replicas_in_sync() == 3, timeout_s=30)
    first = leader()
    with registry(tmp_path, bootstrap) as schemas, shipping(tmp_path, bootstrap, schemas, bootstrap) as ours:
        ours.agent.start()
        with Writer(ours.file) as writer:
            ours.wait_for(2000)
            nodes[first - 1].kill()
            until(lambda: leader() not in (first, -1), timeout_s=30)
            ours.wait_for(ours.count() + 2000)
            nodes[first - 1].start()
            until(lambda: replicas_in_sync() == 3, timeout_s=60)
            for elected in admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition("logs", 0)]).result().values():
                assert elected is None, elected
            until(lambda: leader() == first, timeout_s=30)
            ours.wait_for(ours.count() + 2000)
        ours.wait_for(writer.count)
        ours.check(writer.count)


# ---- one broker behind a relay


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


class TwoWays:
    """A broker that agents reach one way, and others (`direct`) beside it; and a registry."""

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        self.direct = f"127.0.0.1:{self._port}"
        self.broker = Part("broker", directory, {})
        self.registry = registry(directory, self.direct)

    def listen(self, bound: str, told: str) -> None:
        """Before a start: where agents' connections come in, and what agents are told."""
        own = {
            "listeners": f"PLAINTEXT://{self.direct},OTHER://{bound}",
            "advertised.listeners": f"PLAINTEXT://{self.direct},OTHER://{told}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT",
            "log.dirs": str(self.broker.directory / "broker"),
        }
        self.broker.config_file.write_text(yaml.safe_dump(own))


@pytest.fixture
def two_ways(tmp_path: Path) -> Iterator[TwoWays]:
    made = TwoWays(tmp_path)
    yield made
    made.registry.kill()
    made.broker.kill()


@pytest.fixture
def relayed(tmp_path: Path, relay: Relay, two_ways: TwoWays) -> Iterator[Shipping]:
    """An agent, not started, whose broker is behind the relay."""
    relay.target_port = free_port()
    two_ways.listen(f"127.0.0.1:{relay.target_port}", f"127.0.0.1:{relay.port}")
    two_ways.broker.start()
    two_ways.registry.start()
    bootstrap = f"127.0.0.1:{relay.port}"
    with shipping(tmp_path, bootstrap, two_ways.registry, two_ways.direct, **{"socket.timeout.ms": 1000}) as ours:
        yield ours


def test_fault_20_a_slow_broker_gets_all_once_and_in_order(relay: Relay, relayed: Shipping) -> None:
    relayed.agent.start()
    relayed.write(0, 1)
    relayed.wait_for(1)
    relay.bytes_per_s = 150_000
    relayed.write(1, 40_000)
    relayed.wait_for(1000)
    assert relayed.count() < 40_000, "it is slow"
    relay.bytes_per_s = None
    relayed.wait_for(40_000)
    relayed.check(40_000)


def test_fault_20_answers_that_are_lost_repeat_nothing(relay: Relay, relayed: Shipping) -> None:
    relayed.agent.start()
    with Writer(relayed.file) as writer:
        for _ in range(4):
            relayed.wait_for(relayed.count() + 500)
            relay.swallow_answers()
            until(lambda: relay.swallowed_bytes > 0)
            relay.cut()
    relayed.wait_for(writer.count)
    relayed.check(writer.count)


def test_fault_20_connections_that_are_half_open_are_given_up_and_all_goes_on_over_others(
    relay: Relay, relayed: Shipping
) -> None:
    relayed.agent.start()
    with Writer(relayed.file) as writer:
        relayed.wait_for(500)
        relay.kill_connections()
        relayed.wait_for(relayed.count() + 4000)
    relayed.wait_for(writer.count)
    relayed.check(writer.count)


# ---- another address


def test_fault_20_a_broker_whose_name_leads_elsewhere_is_found_there(
    tmp_path: Path, two_ways: TwoWays, missing: Missing
) -> None:
    """In a mount namespace, where /etc/hosts is a file of ours, because the system's resolver is what is asked."""
    hosts, port = tmp_path / "hosts", free_port()
    hosts.write_text("127.0.0.1 broker.test\n")
    under = ["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    if subprocess.run([*under, "true"], capture_output=True, check=False).returncode:
        missing("mount", "run as root, where file systems may be mounted")
    two_ways.listen(f"127.0.0.1:{port}", f"broker.test:{port}")
    two_ways.broker.start()
    two_ways.registry.start()
    with shipping(tmp_path, f"broker.test:{port}", two_ways.registry, two_ways.direct) as ours:
        ours.agent.start(under=under)
        ours.write(0, 1000)
        ours.wait_for(1000)
        two_ways.broker.stop()
        ours.write(1000, 2000)
        hosts.write_text("127.0.0.2 broker.test\n")
        two_ways.listen(f"127.0.0.2:{port}", f"broker.test:{port}")
        two_ways.broker.start()
        ours.wait_for(2000)
        ours.check(2000)
