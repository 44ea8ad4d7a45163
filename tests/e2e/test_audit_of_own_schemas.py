"""Records under a user's own schema: one lost, altered or doubled on its way or in files is found and placed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from headrace.cli import main
from headrace.sinks.table.reader import snapshot
from tests import landed_faults as faults
from tests.e2e.test_agent_schemas_land import ORDER
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

LINES, ONE = 200, 70
TOPICS = ("whole", "lost", "altered", "doubled", "named")
WIDTH = len('{"id": 100, "price": 1.5}\n')


def ship(pipeline: Pipeline) -> None:
    """Run an agent to the end: the same lines in each topic."""
    directory = pipeline.directory
    (directory / "order.avsc").write_text(json.dumps(ORDER))
    (directory / "orders.log").write_text("".join(f'{{"id": {100 + n}, "price": 1.5}}\n' for n in range(LINES)))
    config: dict[str, Any] = {
        "agent": {"state_dir": str(directory / "agent")},
        "kafka": {"bootstrap.servers": pipeline.bootstrap},
        "registry": pipeline.registry_url,
        "topics": {topic: {"schema": str(directory / "order.avsc")} for topic in TOPICS},
        "inputs": [
            {"tail": [str(directory / "orders.log")], "topic": topic, "parse": "json", "name": topic} for topic in TOPICS
        ],
    }
    agent = Part("agent", directory, config, "--once").start(wait=False)
    assert agent.wait() == 0, agent.log_tail()


def records(pipeline: Pipeline, topic: str) -> Sequence[Message]:
    consumer = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Message] = []
    while len(found) < LINES:
        found += consumer.consume(LINES - len(found), 1.0)
    consumer.close()
    return found


def again(pipeline: Pipeline, topic: str, found: Sequence[Message], **config: str) -> None:
    """The topic anew, with these records in it."""
    pipeline.delete_topic(topic)
    pipeline.create_topic(topic, **config)
    for message in found:
        headers: Any = message.headers()
        pipeline.producer.produce(topic, message.value(), partition=0, timestamp=message.timestamp()[1], headers=headers)
    assert pipeline.producer.flush(30) == 0


class Planted:
    """A record with another value, or without headers: of nobody."""

    def __init__(self, message: Message, *, foreign: bool = False) -> None:
        self.timestamp, self._message, self._foreign = message.timestamp, message, foreign

    def headers(self) -> Any:
        return None if self._foreign else self._message.headers()

    def value(self) -> bytes:
        return (self._message.value() or b"")[:-1] + b"\x41"


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("own")
    with Pipeline(directory) as pipeline:
        for topic in TOPICS:
            pipeline.create_topic(topic)
        ship(pipeline)
        of = {topic: list(records(pipeline, topic)) for topic in TOPICS[1:]}
        foreign: Any = Planted(of["lost"][0], foreign=True)
        again(pipeline, "lost", [*of["lost"][:ONE], *of["lost"][ONE + 1 :], foreign], message_timestamp_type="LogAppendTime")
        altered: Any = Planted(of["altered"][ONE])
        again(pipeline, "altered", [*of["altered"][:ONE], altered, *of["altered"][ONE + 1 :]])
        again(pipeline, "doubled", [*of["doubled"][: ONE + 1], *of["doubled"][ONE:]])
        again(pipeline, "named", of["named"])
        pipeline.load_once(topics=["whole", "lost", "altered", "doubled"])
        pipeline.load_once(topics=["named"], keep=["headers"])
    return directory / "landed"


def audit(root: Path, capsys: pytest.CaptureFixture[str], topic: str, *arguments: str) -> tuple[int, list[Any], str]:
    capsys.readouterr()
    status = main(["audit", "--root", str(root), "--topic", topic, "--format", "json", *arguments])
    said = capsys.readouterr()
    return status, [json.loads(line) for line in said.out.splitlines()], said.err


def judged(root: Path, capsys: pytest.CaptureFixture[str], topic: str) -> tuple[int, list[Any], str]:
    return audit(root, capsys, topic, "--wait", "--timeout", "0")


def sums(rows: list[Any], *names: str) -> tuple[int, ...]:
    return tuple(sum(row[name] or 0 for row in rows) for name in names)


@pytest.mark.slow
def test_what_was_sent_is_what_landed_and_counts_the_same_again(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for topic in ("whole", "named"):
        status, rows, said = judged(landed, capsys, topic)
        assert (status, sums(rows, "sent", "landed"), said) == (0, (LINES, LINES), "")
        status, rows, said = audit(landed, capsys, topic, "--recount")
        assert (status, said.count("no longer have the bytes that their records had")) == (0, 1)
        ours = [row for row in rows if row["agent"]]
        assert sums(ours, "sent", "recorded") == (LINES, LINES)
        assert sums(ours, "counted") == ((LINES,) if topic == "named" else (0,))


def test_a_lost_record_is_missing_and_placed_in_its_stream_whatever_times_the_topic_has(
    landed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows, said = judged(landed, capsys, "lost")
    (agent,) = {row["agent"] for row in rows if row["agent"]}
    assert (status, f"agent {agent}" in said, "1 are missing" in said) == (3, True, True)
    status, _, said = audit(landed, capsys, "lost", "--recount")
    place = f"positions {ONE * WIDTH - 1} to {(ONE + 1) * WIDTH}"
    assert (status, f"1 event of agent {agent} is missing: stream " in said, place in said) == (3, True, True)


def test_an_altered_record_is_found_in_its_window_and_of_its_agent(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows, said = judged(landed, capsys, "altered")
    (agent,) = {row["agent"] for row in rows if row["agent"]}
    assert (status, "not the same: their hashes differ" in said, agent in said) == (3, True, True)
    status, _, said = audit(landed, capsys, "altered", "--recount")
    assert (status, f"events of agent {agent} were altered" in said) == (3, True)


def test_a_doubled_record_lands_once_and_its_repeat_is_counted(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows, _ = judged(landed, capsys, "doubled")
    assert (status, sums(rows, "sent", "landed", "duplicates")) == (0, (LINES, LINES, 1))


@pytest.mark.parametrize("topic", ["whole", "named"])
@pytest.mark.parametrize("change", [faults.without(7), faults.with_again(7)], ids=["lost", "doubled"])
def test_a_row_lost_or_doubled_in_a_file_is_placed_in_it(
    landed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], topic: str, change: faults.Change
) -> None:
    root = faults.copied(landed, tmp_path)
    path = faults.rewrite(root, topic, change)
    status, _, said = audit(root, capsys, topic, "--recount")
    assert (status, f"{path}: it was changed after it landed" in said) == (3, True)


def test_a_row_altered_in_a_file_is_placed_in_it(landed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = faults.copied(landed, tmp_path)
    path = faults.rewrite(root, "whole", faults.with_other_number("price", 7))
    status, _, said = audit(root, capsys, "whole", "--recount")
    assert (status, f"{path}: it was changed after it landed" in said) == (3, True)


def test_rows_have_no_columns_that_nobody_asked_for(landed: Path) -> None:
    (file, *_) = snapshot(landed, "whole").files
    names = set(pq.read_schema(file.path).names)
    assert names == {"id", "price", "_incarnation", "_partition", "_offset", "_timestamp"}
