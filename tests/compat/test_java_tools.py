"""Kafka's Java clients, through its command-line tools: topics, groups, offsets, the console pair, and the verifiable pair."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.compat.java_tools import CONFIGS, LIBS, JavaTools, Verifiable, until
from tests.processes import Part, broker

GROUPS = "consumer.group.ConsumerGroupCommand"
CONSUMER = "consumer.ConsoleConsumer"


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[JavaTools]:
    if not (LIBS.parent / "complete").exists():
        missing("kafka", "run make peers")
    with broker(tmp_path_factory.mktemp("java")) as part:
        yield JavaTools(f"127.0.0.1:{part.ports['kafka']}")


def rows(table: str) -> list[list[str]]:
    """The cells of a table that a tool has written, without its head."""
    lines = [line.split() for line in table.splitlines() if line.strip()]
    (head,) = (at for at, line in enumerate(lines) if line[0] in ("GROUP", "TOPIC"))
    return lines[head + 1 :]


def test_every_request_that_we_serve_is_usable(java: JavaTools) -> None:
    said = java.run("BrokerApiVersionsCommand")
    served = [line for line in said.splitlines() if "usable:" in line]
    for name in ("Produce(0): 0 to ", "Fetch(1): 4 to ", "JoinGroup(11): 0 to ", "CreateTopics(19): 2 to "):
        assert any(line.strip().startswith(name) for line in served)


@pytest.mark.slow
def test_topics_are_created_described_listed_and_deleted(java: JavaTools) -> None:
    settings = ("--partitions", "2", "--config", "retention.ms=123456789", "--config", "cleanup.policy=compact")
    assert "Created topic made." in java.run("TopicCommand", "--create", "--topic", "made", *settings)
    again = java.run("TopicCommand", "--create", "--topic", "made", exit_status=1)
    assert "exists" in again
    described = java.run("TopicCommand", "--describe", "--topic", "made")
    assert "PartitionCount: 2\tReplicationFactor: 1\tConfigs: cleanup.policy=compact,retention.ms=123456789" in described
    assert "Partition: 1\tLeader: 1\tReplicas: 1\tIsr: 1" in described
    assert "made" in java.run("TopicCommand", "--list").splitlines()
    java.run("TopicCommand", "--delete", "--topic", "made")
    assert "made" not in java.run("TopicCommand", "--list").splitlines()


@pytest.mark.slow
def test_the_console_pair_and_the_tools_for_groups_and_offsets(java: JavaTools) -> None:
    """One chain, because each run is a second of Java."""
    parse = ("--property", "parse.key=true", "--property", "parse.headers=true")
    lines = [f"host:web-{number}\tkey-{number}\tvalue {number}" for number in range(500)]
    java.run("ConsoleProducer", "--topic", "lines", "--compression-codec", "zstd", *parse, stdin="\n".join(lines) + "\n")
    printed = [f"--property=print.{each}=true" for each in ("headers", "key")]
    member = ("--topic", "lines", "--group", "readers", "--from-beginning", "--max-messages", "500", *printed)
    got = java.run(CONSUMER, *member)
    assert [line for line in got.splitlines() if line.startswith("host")] == lines

    described = rows(java.run(GROUPS, "--describe", "--group", "readers"))
    assert described == [["readers", "lines", "0", "500", "500", "0", "-", "-", "-"]]
    assert ["readers", "Empty"] in rows(java.run(GROUPS, "--list", "--state"))
    one = ("--group", "readers", "--topic", "lines")
    assert rows(java.run(GROUPS, "--reset-offsets", *one, "--to-earliest", "--execute")) == [["readers", "lines", "0", "0"]]
    assert rows(java.run(GROUPS, "--reset-offsets", *one, "--shift-by", "7", "--execute")) == [["readers", "lines", "0", "7"]]
    assert ["lines", "0", "Successful"] in rows(java.run(GROUPS, "--delete-offsets", *one))
    assert "was successful" in java.run(GROUPS, "--delete", "--group", "readers")
    assert "GroupIdNotFoundException" in java.run(GROUPS, "--delete", "--group", "readers", exit_status=None)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["gzip", "snappy"])
def test_the_other_codecs_go_through(java: JavaTools, codec: str) -> None:
    """The chain above writes zstd, and the performance tools lz4."""
    lines = [f"{number} of {codec}" for number in range(300)]
    java.run("ConsoleProducer", "--topic", codec, "--compression-codec", codec, stdin="\n".join(lines) + "\n")
    assert java.run(CONSUMER, "--topic", codec, "--from-beginning", "--max-messages", "300").splitlines() == lines


@pytest.mark.slow
def test_offsets_are_told_for_every_way_of_asking(java: JavaTools) -> None:
    java.run("ConsoleProducer", "--topic", "asked", stdin="a\nb\nc\n")
    told = {
        when: java.run("GetOffsetShell", "--topic-partitions", "asked:0", "--time", when).strip()
        for when in ("latest", "earliest", "max-timestamp", "earliest-local", "1")
    }
    assert told.pop("max-timestamp") in {"asked:0:0", "asked:0:1", "asked:0:2"}  # the first of those with the latest time
    assert told == {"latest": "asked:0:3", "earliest": "asked:0:0", "earliest-local": "asked:0:0", "1": "asked:0:0"}


@pytest.mark.slow
def test_the_performance_tools_finish(java: JavaTools, tmp_path: Path) -> None:
    settings = tmp_path / "producer.properties"
    settings.write_text(f"bootstrap.servers={java.bootstrap}\nacks=all\ncompression.type=lz4\n")
    amount = ("--num-records", "50000", "--record-size", "200", "--throughput", "-1")
    produced = subprocess.run(
        java.bare_command("ProducerPerformance", "--topic", "fast", *amount, "--producer.config", str(settings)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "50000 records sent" in produced.stdout, produced.stderr
    consumed = java.run("ConsumerPerformance", "--topic", "fast", "--messages", "50000", "--timeout", "20000")
    assert consumed.splitlines()[-1].split(", ")[4] == "50000"


@pytest.mark.slow
def test_a_topics_settings_are_changed_and_its_records_deleted(java: JavaTools, tmp_path: Path) -> None:
    java.run("TopicCommand", "--create", "--topic", "tuned", "--config", "segment.bytes=2000000")
    topic = ("--entity-type", "topics", "--entity-name", "tuned")
    added = "retention.ms=60000,cleanup.policy=[compact,delete]"
    assert "Completed updating config" in java.run(CONFIGS, *topic, "--alter", "--add-config", added)
    java.run(CONFIGS, *topic, "--alter", "--delete-config", "segment.bytes")
    described = java.run(CONFIGS, *topic, "--describe")
    assert "retention.ms=60000" in described
    assert "cleanup.policy=compact,delete" in described
    assert "segment.bytes" not in described
    refused = java.run(CONFIGS, *topic, "--alter", "--add-config", "retention.ms=soon", exit_status=1)
    assert "InvalidConfigurationException" in refused

    wanted = tmp_path / "offsets.json"
    wanted.write_text(json.dumps({"version": 1, "partitions": [{"topic": "tuned", "partition": 0, "offset": -1}]}))
    assert "low_watermark: 0" in java.run("DeleteRecordsCommand", "--offset-json-file", str(wanted))


def _killed_and_started_again(part: Part) -> None:
    part.kill()
    part.start()


@pytest.mark.slow
def test_verifiable_pair_with_the_broker_killed(java: JavaTools, tmp_path: Path) -> None:
    """set(acknowledged) ⊆ set(consumed), and idempotence leaves no duplicate, with kill -9 in the middle."""
    settings = tmp_path / "producer.properties"
    settings.write_text("enable.idempotence=true\nretries=2147483647\nreconnect.backoff.max.ms=200\nretry.backoff.ms=20\n")
    total = 12_000
    with broker(tmp_path / "verified", num_partitions=3) as part:
        tools = JavaTools(f"127.0.0.1:{part.ports['kafka']}")
        group = ("--topic", "verified", "--group-id", "pair", "--session-timeout", "10000", "--verbose")
        readers = [Verifiable(tools.command("VerifiableConsumer", *group), tmp_path / f"{name}.json") for name in "ab"]
        load = ("--topic", "verified", "--max-messages", str(total), "--throughput", "3000", "--repeating-keys", "16")
        command = tools.command("VerifiableProducer", *load, "--producer.config", str(settings))
        writer = Verifiable(command, tmp_path / "producer.json")
        try:
            until(lambda: len(writer.events("producer_send_success")) > total // 4, "nothing was acknowledged")
            _killed_and_started_again(part)
            assert writer.process.wait(60) == 0
            acknowledged = {event["value"] for event in writer.events("producer_send_success")}
            assert writer.events("producer_send_error") == []
            assert len(acknowledged) == total

            def consumed() -> list[dict[str, Any]]:
                return [event for reader in readers for event in reader.events("record_data")]

            until(lambda: acknowledged <= {event["value"] for event in consumed()}, "something acknowledged was lost")
            places = {(event["partition"], event["offset"]): event["value"] for event in consumed()}
            assert sorted(places.values(), key=int) == [str(number) for number in range(total)]
            shared = [{event["partition"] for event in reader.events("record_data")} for reader in readers]
            assert set.union(*shared) == {0, 1, 2}
        finally:
            for process in (writer, *readers):
                process.end()
