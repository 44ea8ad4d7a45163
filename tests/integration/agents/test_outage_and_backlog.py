"""A broker that is away or stands still, a backlog of ten windows: memory stays flat, files held open are few, all comes.

Fault 3 of the twenty, scaled: what an agent holds depends on its window and not on how long it waits, so that seconds show what
six minutes and two hours would (librdkafka's time-out, which would drop after five minutes, is off: agents/producer.py).
"""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.agents.tail.reading import Limits
from headrace.agents.tail.stream import RECORD_COST_BYTES
from tests.integration.agents.rig import TOPIC, Rig, rig, servers
from tests.processes import AFRESH, Part
from tests.waiting import until

LINE_BYTES = 200
WINDOW_LINES = Limits().total_cost_bytes // (LINE_BYTES + RECORD_COST_BYTES)
BACKLOG_LINES = 10 * WINDOW_LINES
MOST_RESIDENT_BYTES = 58_000_000  # the goal is 60 MB; measured 52 to 54
MOST_GROWTH_BYTES = 6_000_000
ROTATIONS = 10
NUMBER = re.compile(rb"seq=(\d{9})")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("outage")
    with servers(folder) as started, rig(folder, started) as ours:
        yield ours


class Writer:
    """Writes numbered lines of 200 bytes, and rotates by renaming."""

    def __init__(self, file: Path) -> None:
        self.file, self.count, self.rotated = file, 0, 0

    def write(self, lines: int) -> None:
        with self.file.open("ab") as out:
            for number in range(self.count, self.count + lines):
                out.write((b"2026-11-23T08:00:00Z INFO seq=%09d " % number).ljust(LINE_BYTES - 1, b"x") + b"\n")
        self.count += lines

    def rotate(self) -> None:
        self.rotated += 1
        self.file.rename(self.file.with_name(f"{self.file.name}.{self.rotated}"))


def resident_bytes(agent: Part, key: str = "VmRSS") -> int:
    status = Path(f"/proc/{agent.pid}/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) * 1024


def files_open(agent: Part) -> int:
    return len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))


def numbers(parts: Rig) -> list[int]:
    return [int(found[1]) for _, value, _ in parts.records(TOPIC) if (found := NUMBER.search(value))]


@pytest.mark.slow
def test_fault_03_while_the_broker_is_away_or_stands_still_memory_is_flat_and_afterwards_all_comes(parts: Rig) -> None:
    writer = Writer(parts.logs / "app.log")
    writer.write(WINDOW_LINES)
    agent = parts.agent()
    agent.start(under=AFRESH)
    until(lambda: parts.count() >= writer.count)
    before_bytes, before_files = resident_bytes(agent), files_open(agent)

    parts.broker.kill()
    for _ in range(ROTATIONS):
        writer.write(BACKLOG_LINES // ROTATIONS)
        writer.rotate()
        writer.write(1)
        time.sleep(0.5)  # so that the agent sees each
    away_bytes, away_files = resident_bytes(agent), files_open(agent)
    parts.broker.start()
    until(lambda: parts.count() >= writer.count // 4)
    parts.broker.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]  # it has just been started
    writer.write(WINDOW_LINES)
    time.sleep(3)
    still_bytes = resident_bytes(agent)
    parts.broker.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]

    until(lambda: parts.count() >= writer.count)
    assert agent.stop() == 0
    shipped = numbers(parts)
    assert sorted(set(shipped)) == list(range(writer.count))
    assert max(away_bytes, still_bytes) - before_bytes < MOST_GROWTH_BYTES
    assert away_files - before_files <= ROTATIONS


@pytest.mark.slow
def test_fault_03_a_backlog_of_ten_windows_is_shipped_in_memory_that_is_bounded(parts: Rig, tmp_path: Path) -> None:
    parts.delete_topics()
    for file in parts.logs.iterdir():
        file.unlink()
    writer = Writer(parts.logs / "backlog.log")
    writer.write(BACKLOG_LINES)
    agent = parts.agent(agent={"state_dir": str(tmp_path / "state")})
    agent.start(under=AFRESH)
    until(lambda: parts.count() >= writer.count)
    peak_bytes = resident_bytes(agent, "VmHWM")
    assert agent.stop() == 0
    assert numbers(parts) == list(range(writer.count))
    assert peak_bytes < MOST_RESIDENT_BYTES
