"""One event, or one message of the audit, that is lost, doubled, altered or moved in the broker's log is found and placed.

One agent tails one file into many topics; the broker is stopped, the log of each topic has one fault planted into it, and all
goes on: the agent ships more, and a loader lands what there is.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.cli import main
from headrace.sinks.table.reader import snapshot
from tests import log_faults as faults
from tests.e2e.audited_agent import AuditedAgent
from tests.integration.sinks.pipeline import Pipeline

LINES = 480
BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)
"""Forty lines a window."""
AFTER = 40
DAY = "2026-11-20"
STRUCK = 300
WINDOW = "2026-11-20 13:10"
WINDOW_MS = int(datetime(2026, 11, 20, 13, 10, tzinfo=UTC).timestamp() * 1000)
TEXT = b"line 0300"
OTHER_STREAM = "ffffffff-0000-4000-8000-000000000000"


def line(number: int) -> str:
    return f"{(BEGAN + number * STEP).isoformat()} line {number:04d} of a service\n"


WIDTH = len(line(0))
FIRST, END = STRUCK * WIDTH, STRUCK * WIDTH + WIDTH - 1


def found(segment: Path) -> faults.Record:
    (record,) = (record for record in faults.records(segment) if TEXT in (record.value or b""))
    return record


def take_out(broker: Path, topic: str) -> None:
    faults.change(faults.log_of(broker, topic), TEXT, lambda _: ())


def alter(broker: Path, topic: str) -> None:
    to = lambda record: (replace(record, value=record.value.replace(TEXT, b"line 0~00")),)  # noqa: E731
    faults.change(faults.log_of(broker, topic), TEXT, to)


def move_in_time(broker: Path, topic: str) -> None:
    def to(record: faults.Record) -> tuple[faults.Record]:
        return (faults.with_event(record, event_time=faults.event_of(record)["event_time"] + timedelta(minutes=10)),)

    faults.change(faults.log_of(broker, topic), TEXT, to)


def produce_again(broker: Path, topic: str) -> None:
    segment = faults.log_of(broker, topic)
    faults.append(segment, found(segment))


def produce_again_as_another(broker: Path, topic: str) -> None:
    segment = faults.log_of(broker, topic)
    faults.append(segment, faults.with_event(found(segment), stream_id=OTHER_STREAM))


def move_to_another_partition(broker: Path, topic: str) -> None:
    segments = [faults.log_of(broker, topic, partition) for partition in (0, 1)]
    (segment,) = (each for each in segments if each.stat().st_size and faults.records(each))
    (empty,) = (each for each in segments if each != segment)
    faults.append(empty, faults.change(segment, TEXT, lambda _: ()))


def move_to_another_topic(broker: Path, topic: str) -> None:
    record = faults.change(faults.log_of(broker, topic), TEXT, lambda _: ())
    faults.append(faults.log_of(broker, "receiving"), record)


def lose_its_message(broker: Path, topic: str) -> None:
    rewrite_messages(broker, topic, lambda _: ())


def change_its_message(broker: Path, topic: str) -> None:
    def to(record: faults.Record) -> tuple[faults.Record]:
        said = json.loads(record.value or b"")
        return (replace(record, value=json.dumps(said | {"count": said["count"] - 1}).encode()),)

    rewrite_messages(broker, topic, to)


def rewrite_messages(broker: Path, topic: str, to: faults.Change) -> None:
    """Of `_audit`, those that tell of the topic's window."""
    segment = faults.log_of(broker, "_audit")
    key = re.compile(rf"sent/{topic}/.*/{WINDOW_MS}".encode())
    records = faults.records(segment)
    assert any(key.fullmatch(record.key or b"") for record in records)
    faults.rewrite(segment, [new for one in records for new in (to(one) if key.fullmatch(one.key or b"") else (one,))])


PLANTED: dict[str, Callable[[Path, str], None]] = {
    "taken_out": take_out,
    "altered": alter,
    "moved_in_time": move_in_time,
    "again": produce_again,
    "again_as_another": produce_again_as_another,
    "moved_to_partition": move_to_another_partition,
    "moved_to_topic": move_to_another_topic,
    "unsaid": lose_its_message,
    "said_otherwise": change_its_message,
}
TOPICS = (*PLANTED, "sound", "receiving")


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root, once all has landed that the broker has."""
    directory = tmp_path_factory.mktemp("planted")
    with Pipeline(directory) as pipeline:
        for topic in (*TOPICS, "beside"):
            pipeline.create_topic(topic, 2 if topic == "moved_to_partition" else 1)
        agent = AuditedAgent(pipeline, TOPICS)
        agent.write([line(number) for number in range(LINES)])
        agent.wait_until_claimed(LINES)
        assert pipeline.broker.stop() == 0
        for topic, plant in PLANTED.items():
            plant(directory / "broker", topic)
        pipeline.broker.start()
        agent.write([line(number) for number in range(LINES, LINES + AFTER)])
        agent.wait_until_claimed(LINES + AFTER)
        assert agent.part.stop() == 0
        pipeline.load_once()
    return pipeline.root


def audit(root: Path, capsys: pytest.CaptureFixture[str], topic: str, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["audit", "--root", str(root), "--topic", topic, "--day", DAY, "--format", "json", *arguments])
    return status, capsys.readouterr().err


def shipped(root: Path, topic: str) -> dict[str, str]:
    """The agent and the stream of a topic's events."""
    (found,) = {key[1:] for key in snapshot(root, topic).streams if key[2] != OTHER_STREAM}
    return {"agent": found[0], "stream": found[1]}


@dataclass(frozen=True)
class Outcome:
    """Exit status and words of the verdict, and words of the recount; `{stream}` and `{files}` stand for those of the event."""

    status: int
    verdict: tuple[str, ...] = ()
    recount: tuple[str, ...] = ()
    windows: tuple[str, ...] = (WINDOW,)


MISSING = "sent 40, and 39 have landed: 1 are missing"
TOO_MANY = "sent 40, and 41 have landed: 1 too many, 0 of the 41 rows are repeats"
HOLE = f"1 event of agent {{agent}} is missing: stream {{stream}}, positions {FIRST - 1} to {END + 1}; beside it in "
OUTCOMES = {
    "sound": Outcome(0),
    "taken_out": Outcome(3, (MISSING,), (HOLE,)),
    "altered": Outcome(3, ("not the same: their hashes differ",), ("events of agent {agent} were altered: stream {stream}, ",)),
    "moved_in_time": Outcome(
        3,
        (MISSING, TOO_MANY),
        (
            "is in the window of 2026-11-20 13:20:00Z of moved_in_time instead: "
            f"stream {{stream}}, positions {FIRST} to {END}; in ",
        ),
        (WINDOW, "2026-11-20 13:20"),
    ),
    "again": Outcome(0),  # it landed once, and the repeat is counted
    "again_as_another": Outcome(3, (TOO_MANY,), (f"is too many: stream {OTHER_STREAM}, positions {FIRST} to {END}; in ",)),
    "moved_to_partition": Outcome(0),  # it is there, as it was sent; what is not there is told of the time at which it was read
    "moved_to_topic": Outcome(3, (MISSING,), (HOLE,)),
    "receiving": Outcome(3, (TOO_MANY,), (f"is too many: stream {{stream}}, positions {FIRST} to {END}; in ",)),
    "unsaid": Outcome(4, ("40 more have landed than is known of agent",)),
    "said_otherwise": Outcome(4, ("1 more have landed than is known of agent",)),
}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_fault_in_the_log_is_found_and_placed(landed: Path, capsys: pytest.CaptureFixture[str], topic: str) -> None:
    names = shipped(landed, "moved_to_topic" if topic == "receiving" else topic)
    expected = OUTCOMES[topic]
    status, said = audit(landed, capsys, topic, "--wait", "--timeout", "0")
    assert status == expected.status, said
    assert all(words in said for words in (*expected.verdict, *(expected.windows if status else ())))
    status, said = audit(landed, capsys, topic, "--recount")
    assert status == expected.status, said
    assert all(words.format(**names) in said for words in expected.recount), said
