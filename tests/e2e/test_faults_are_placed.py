"""Broker, agent and loader that are killed leave all of it complete; a fault at any tier is found and placed."""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of parts that were killed in turn, brought to the end, and stopped."""
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
    return directory


def audit(root: Path, capsys: pytest.CaptureFixture[str], topic: str, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["audit", "--root", str(root), "--topic", topic, "--format", "json", *arguments])
    return status, capsys.readouterr().err


def test_what_was_killed_in_turn_is_complete_and_counts_the_same_again(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for topic in TOPICS:
        assert audit(shipped / "landed", capsys, topic, "--wait", "--timeout", "0") == (0, "")
        assert audit(shipped / "landed", capsys, topic, "--recount") == (0, "")


# In what landed.


@pytest.fixture
def landed(shipped: Path, tmp_path: Path) -> Path:
    shutil.copytree(shipped / "landed", tmp_path / "landed")
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


def test_changed_sums_of_a_record_are_found_and_the_record_is_named(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, record, _ = faults.largest_file(landed, "whole")
    record["audit"][0]["count"] -= 1
    path.write_text(json.dumps(record))
    assert audit(landed, capsys, "whole", "--wait", "--timeout", "0")[0] == 3
    status, err = audit(landed, capsys, "whole", "--recount")
    assert (status, f"record {record['seq']} says that" in err) == (3, True)


def test_a_lost_message_of_the_audit_is_found_and_its_window_named(landed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_ms = int(datetime(2026, 11, 20, 13, 10, tzinfo=UTC).timestamp() * 1000)
    assert faults.lose_messages(landed, f"sent/whole/.*/{start_ms}")
    status, err = audit(landed, capsys, "whole", "--wait", "--timeout", "0")
    assert (status, WINDOW in err) == (3, True)
