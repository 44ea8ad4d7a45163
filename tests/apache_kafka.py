"""A real Apache Kafka as one process on free loopback ports: a combined KRaft node, from the jars that `make peers` fetches."""

import base64
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import confluent_kafka.admin

from tests.compat.java_tools import JAVA, LIBS
from tests.processes import free_port

_formatted: dict[str, bytes] = {}
"""The files of a formatted directory, by name."""
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
# As the tools' own, whose 256 MiB are too few for a server.
_FOR_TESTS = ["-Xmx512m" if argument.startswith("-Xmx") else argument for argument in JAVA]
# What bin/kafka-server-start.sh and bin/kafka-run-class.sh give it: measure with this.
AS_SHIPPED = [
    "java", "-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15", "-Djava.awt.headless=true", "-cp", f"{LIBS}/*",
]  # fmt: skip


class ApacheKafka:
    """One node with the given id; its files are under DIR/kafka, its log is DIR/kafka.log. Stopped by its process id."""

    def __init__(self, directory: Path, *, node_id: int = 1, java: Sequence[str] = _FOR_TESTS, **settings: str) -> None:
        """`settings` are server properties, with `_` for `.`; `java` is the command line up to the class."""
        self.port, controller = free_port(), free_port()
        self.log_dirs = directory / "kafka"
        self._log, self._properties = directory / "kafka.log", directory / "kafka.properties"
        own = {
            "process.roles": "broker,controller",
            "node.id": str(node_id),
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"{node_id}@127.0.0.1:{controller}",
            "log.dirs": str(self.log_dirs),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
        given = {key.replace("_", "."): value for key, value in settings.items()}
        self._java, self._node_id = java, node_id
        directory.mkdir(parents=True, exist_ok=True)
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in {**own, **given}.items()))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *, timeout_s: float = 60) -> "ApacheKafka":
        """Format the directory, if it is new, and return when the broker answers."""
        if not (self.log_dirs / "meta.properties").exists():
            self._format()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*self._java, "kafka.Kafka", str(self._properties)], stdout=log, stderr=log)
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            assert self.process.poll() is None, self._log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"Kafka does not answer after {timeout_s} s"
        return self

    def _format(self) -> None:
        """By Kafka's own tool, once in this process; another node's differs from that in who it is."""
        if not _formatted:
            arguments = ["format", "-t", CLUSTER_ID, "-c", str(self._properties)]
            done = subprocess.run(
                [*self._java, "kafka.tools.StorageTool", *arguments], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            _formatted.update({file.name: file.read_bytes() for file in self.log_dirs.iterdir()})
            return
        self.log_dirs.mkdir(parents=True, exist_ok=True)
        for name, data in _formatted.items():
            (self.log_dirs / name).write_bytes(data)
        meta = self.log_dirs / "meta.properties"
        own = {"node.id": str(self._node_id), "directory.id": base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")}
        meta.write_text("".join(f"{key}={own.get(key, value)}\n" for key, value in _settings(meta.read_text())))

    def _answers(self) -> bool:
        try:
            asked = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            return bool(asked.list_topics(timeout=0.5).brokers)
        except confluent_kafka.KafkaException:
            time.sleep(0.1)
            return False

    def stop(self) -> None:
        """SIGTERM: a clean shutdown."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "ApacheKafka":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _settings(properties: str) -> list[tuple[str, str]]:
    lines = [line.partition("=") for line in properties.splitlines() if line and line[0] != "#"]
    return [(key, value) for key, _, value in lines]


def cluster(directory: Path, nodes: int, **settings: str) -> list[ApacheKafka]:
    """Several nodes of one cluster, started; one that is killed is missed after two seconds."""
    ports, controllers = [free_port() for _ in range(nodes)], [free_port() for _ in range(nodes)]
    voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1))
    made = []
    for number, (port, controller) in enumerate(zip(ports, controllers, strict=True), 1):
        own = {
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "controller_quorum_voters": voters, "broker_session_timeout_ms": "2000",
            "broker_heartbeat_interval_ms": "500", "default_replication_factor": str(nodes),
            "min_insync_replicas": str(nodes - 1),
        }  # fmt: skip
        made.append(ApacheKafka(directory / str(number), node_id=number, **{**own, **settings}))
        made[-1].port = port
    with ThreadPoolExecutor(nodes) as starters:  # none answers before most are there
        list(starters.map(lambda node: node.start(), made))
    return made


def is_installed() -> bool:
    """Whether `make peers` has fetched it."""
    return (LIBS.parent / "complete").exists()
