"""Apache Kafka's own clients and tools (Java) against the broker: topics, verifiable producer and consumer, offsets, groups."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.processes import Part, broker

LIBS = Path(__file__).parents[2] / ".peers" / "kafka" / "libs"
Tool = Callable[..., str]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("java"), group_initial_rebalance_delay_ms=0) as running:
        yield running


@pytest.fixture(scope="module")
def tool(part: Part, missing: Callable[[str, str], NoReturn]) -> Tool:
    """`tool("TopicCommand", "--list")`: what one of Kafka's tools writes; an exit status other than 0 fails."""
    if shutil.which("java") is None or not any(LIBS.glob("kafka-tools-*.jar")):
        missing("kafka", "run make peers")

    def run(name: str, *arguments: str, fails: bool = False) -> str:
        address = f"127.0.0.1:{part.ports['kafka']}"
        command = ["java", "-Xmx256m", "-cp", f"{LIBS}/*", f"org.apache.kafka.tools.{name}", "--bootstrap-server", address]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=90)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    return run


def events(output: str, name: str) -> list[dict[str, Any]]:
    """The JSON lines of a verifiable client that have this name."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [line for line in lines if line["name"] == name]


def test_topics_are_made_described_and_deleted(tool: Tool) -> None:
    tool("TopicCommand", "--create", "--topic", "made", "--partitions", "3", "--config", "retention.ms=60000")
    described = tool("TopicCommand", "--describe", "--topic", "made")
    assert "PartitionCount: 3" in described
    assert "retention.ms=60000" in described
    assert "made" in tool("TopicCommand", "--list").splitlines()
    assert "already exists" in tool("TopicCommand", "--create", "--topic", "made", fails=True)
    tool("TopicCommand", "--delete", "--topic", "made")
    assert "made" not in tool("TopicCommand", "--list").splitlines()


def test_what_the_verifiable_producer_had_acknowledged_the_verifiable_consumer_gets(tool: Tool) -> None:
    tool("TopicCommand", "--create", "--topic", "verified", "--partitions", "2")
    produced = tool("VerifiableProducer", "--topic", "verified", "--max-messages", "2000", "--acks", "-1")
    acknowledged = {event["value"] for event in events(produced, "producer_send_success")}
    consumed = tool("VerifiableConsumer", "--topic", "verified", "--group-id", "v", "--max-messages", "2000", "--verbose")
    got = [event["value"] for event in events(consumed, "record_data")]
    assert len(acknowledged) == 2000
    assert sorted(got) == sorted(acknowledged)
    assert all(event["success"] for event in events(consumed, "offsets_committed"))
    offsets = tool("GetOffsetShell", "--topic", "verified").split()
    assert sum(int(line.rsplit(":", 1)[1]) for line in offsets) == 2000
    described = tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "v")
    lags = [line.split()[5] for line in described.splitlines() if line.startswith("v ")]
    assert set(lags) == {"0"}


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_each_codec_goes_through(tool: Tool, tmp_path: Path, codec: str) -> None:
    settings = tmp_path / "producer.properties"
    settings.write_text(f"compression.type={codec}\nlinger.ms=50\n")
    arguments = ("--topic", codec, "--max-messages", "500", "--producer.config", str(settings))
    assert len(events(tool("VerifiableProducer", *arguments), "producer_send_success")) == 500
    consumed = tool("VerifiableConsumer", "--topic", codec, "--group-id", codec, "--max-messages", "500", "--verbose")
    assert len(events(consumed, "record_data")) == 500


def test_the_brokers_versions_are_understood(tool: Tool) -> None:
    assert "Produce(0): 0 to 11" in tool("BrokerApiVersionsCommand")
