"""Broker, agent and loader that are killed leave all of it complete; a fault at any tier is found and placed."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from tests import landed_faults as faults
from tests.e2e.audited_agent import AuditedAgent
from tests.integration.sinks.pipeline import Pipeline

LINES = 480
BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP_MS = 15_000
"""Forty lines a window, twelve windows."""
TOPICS = ("whole",)
LINE = 300
"""Whom the fault befalls: of the window of 13:10, of the stream's positions from 300 times the length of a line on."""
WINDOW = "2026-11-20 13:10:00Z"


def line(number: int) -> str:
    return f"{(BEGAN + number * timedelta(milliseconds=STEP_MS)).isoformat()} line {number:04d} of a service\n"


def lines(first: int, end: int) -> list[str]:
    return [line(number) for number in range(first, end)]


def width() -> int:
    return len(line(0))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Parts that were killed in turn, brought to the end, and stopped, but for the broker and the registry."""
    directory = tmp_path_factory.mktemp("shipped")
    with Pipeline(directory) as pipeline:
        for topic in (*TOPICS, "beside"):
            pipeline.create_topic(topic)
        agent, loader = AuditedAgent(pipeline, TOPICS), pipeline.loader(rotate={"age": "200ms"})
        agent.write(lines(0, LINES // 3))
        loader.start()
        pipeline.wait_for_rows("whole", LINES // 3 - 1)
        agent.write(lines(LINES // 3, 2 * LINES // 3))
        time.sleep(0.05)  # somewhere on the way
        agent.part.kill()
        loader.kill()
        agent.part.start(wait=False)
        loader.start()
        pipeline.broker.kill()
        agent.write(lines(2 * LINES // 3, LINES))
        pipeline.broker.start()
        pipeline.wait_for_rows("whole", LINES - 1)
        agent.wait_until_claimed(LINES)
        assert agent.part.stop() == 0
        loader.kill()
        pipeline.load_once()
        yield pipeline


def audit(root: Path, capsys: pytest.CaptureFixture[str], topic: str, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["audit", "--root", str(root), "--topic", topic, "--format", "json", *arguments])
    return status, capsys.readouterr().err


@pytest.mark.slow
def test_what_was_killed_in_turn_is_complete_and_counts_the_same_again(
    shipped: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    for topic in TOPICS:
        assert audit(shipped.root, capsys, topic, "--wait", "--timeout", "0") == (0, "")
        assert audit(shipped.root, capsys, topic, "--recount") == (0, "")


# In what landed.


@pytest.fixture
def landed(shipped: Pipeline, tmp_path: Path) -> Path:
    shutil.copytree(shipped.root, tmp_path / "landed")
    return tmp_path / "landed"


CHANGES: dict[str, tuple[faults.Change, str]] = {
    "removed": (faults.without(7), "1 event of agent {agent} is missing: stream {stream}, positions {before} to {next}"),
    "doubled": (faults.with_again(7), "1 event of agent {agent} is there twice: stream {stream}, positions {first} to {end}"),
    "altered": (faults.with_other_bytes(7), "events of agent {agent} were altered: stream {stream}, positions "),
    "moved": (faults.in_another_window(7), "of whole instead: stream {stream}, positions {first} to {end}"),
}


@pytest.mark.parametrize("mend", [(), ("file",), ("file", "sums")], ids=["nothing", "file", "all"])
@pytest.mark.parametrize("fault", CHANGES)
def test_a_changed_row_of_a_landed_file_is_placed_whatever_was_mended(
    landed: Path, capsys: pytest.CaptureFixture[str], fault: str, mend: tuple[str, ...]
) -> None:
    row = faults.row_of_largest(landed, "whole", 7)
    change, said = CHANGES[fault]
    path = faults.rewrite(landed, "whole", change, mend)
    status, err = audit(landed, capsys, "whole", "--recount")
    assert status == 3
    first = row["position"]
    places = {"before": first - 1, "first": first, "end": first + width() - 1, "next": first + width()}
    assert said.format(agent=row["agent_id"], stream=row["stream_id"], **places) in err
    assert str(path) in err
    assert (audit(landed, capsys, "whole", "--wait", "--timeout", "0")[0] == 0) is ("sums" not in mend)


def test_a_file_whose_bytes_changed_is_named_also_where_agents_do_not_hash_them(
    landed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = faults.rewrite(landed, "whole", faults.with_another_host(7))
    status, err = audit(landed, capsys, "whole", "--recount")
    assert (status, f"{path}: its bytes are not those that landed" in err) == (3, True)


def test_a_row_in_the_file_of_another_hour_is_found_whatever_was_mended(
    landed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = faults.move_to_another_hour(landed, "whole", 7)
    status, err = audit(landed, capsys, "whole", "--recount")
    assert (status, f"{path}: it has rows of the window of 2026-11-20 13:" in err) == (3, True)


RECORDS: dict[str, tuple[Callable[[dict[str, Any]], None], int, str]] = {
    "count": (lambda record: record["audit"][0].update(count=record["audit"][0]["count"] - 1), 3, "says that"),
    "hash": (lambda record: record["audit"][0].update(hash="0123456789abcdef"), 3, "says that"),
    "left out": (lambda record: record["audit"].pop(), 3, "says that 0 events"),
    "rows": (lambda record: record["ranges"][0].update(rows=1, duplicates=record["ranges"][0]["rows"] - 1), 0, ": rows of its"),
}


@pytest.mark.parametrize("changed", RECORDS)
def test_a_changed_record_is_found_and_named(landed: Path, capsys: pytest.CaptureFixture[str], changed: str) -> None:
    change, status, said = RECORDS[changed]
    seq = faults.change_record(landed, "whole", change)
    assert audit(landed, capsys, "whole", "--wait", "--timeout", "0")[0] == status
    status, err = audit(landed, capsys, "whole", "--recount")
    assert (status, f"record {seq}" in err, said in err) == (3, True, True), err


def test_a_changed_file_of_the_audit_is_named(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = faults.rewrite(landed, "_audit", faults.without(1))
    status, err = audit(landed, capsys, "whole", "--wait", "--timeout", "0")
    assert (status, str(path) in err) == (1, True)


def test_a_lost_message_of_the_audit_is_found_and_its_window_named(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_ms = int(datetime(2026, 11, 20, 13, 10, tzinfo=UTC).timestamp() * 1000)
    assert faults.lose_messages(landed, f"sent/whole/.*/{start_ms}")
    status, err = audit(landed, capsys, "whole", "--wait", "--timeout", "0")
    assert (status, WINDOW in err) == (4, True)  # the hole may be a compaction's, so that a later message tells of it


# Beside what the broker has.

LAST = width() - 2
"""The last character of a line, which is the one that is altered."""
NAMED: dict[str, tuple[faults.Change, str]] = {
    "removed": (faults.without(7), "the broker has it at partition 0, offset {offset}, and no file of its window"),
    "doubled": (faults.with_again(7), "it is there 2 times, in {path}; the broker has it at partition 0, offset {offset}"),
    "altered": (faults.with_other_bytes(7), f"{{path}} has it with another message (from character {LAST} on) than the broker"),
    "moved": (
        faults.in_another_window(7),
        "{path} has it with another event_time than the broker at partition 0, offset ",
    ),
    "beside": (
        faults.with_another_host(7),
        "{path} has it with another host (from character 0 on) than the broker at ",
    ),
}


@pytest.mark.parametrize("fault", NAMED)
def test_the_very_event_is_named_by_what_the_broker_still_has(
    shipped: Pipeline, landed: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    row = faults.row_of_largest(landed, "whole", 7)
    change, said = NAMED[fault]
    path = faults.rewrite(landed, "whole", change, () if fault == "beside" else ("file", "sums"))
    broker = ("--bootstrap", shipped.bootstrap, "--registry", shipped.registry_url)
    status, err = audit(landed, capsys, "whole", "--recount", *broker)
    who = f"agent {row['agent_id']}, stream {row['stream_id']}, position {row['position']}: "
    assert (status, who + said.format(path=path, offset=row["_offset"]) in err) == (3, True), err


def test_what_differs_in_a_record_alone_is_said_to_be_in_the_broker_as_it_landed(
    shipped: Pipeline, landed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults.change_record(landed, "whole", RECORDS["hash"][0])
    broker = ("--bootstrap", shipped.bootstrap, "--registry", shipped.registry_url)
    status, err = audit(landed, capsys, "whole", "--recount", *broker)
    assert (status, "the broker has what has landed (offsets " in err) == (3, True), err
