"""Fault 17 of twenty, with real processes: thousands of files, and fewer descriptors than files.

HEADRACE_FILES says how many lie there (10,000 in the fault's name). What is decided without processes: tests/sim/tailer.
"""

import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.agents.rig import Rig
from tests.processes import Part

FILES = int(os.environ.get("HEADRACE_FILES", "2000"))
FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")  # soft and hard
MOST_OPEN = 128  # the files of an agent that has them


class Written:
    """Files of numbered lines, and all that was ever written to them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.files = [folder / f"{number:05}.log" for number in range(count)]
        self.lines: list[bytes] = []
        for file in self.files:
            self.append(file)

    def append(self, file: Path, lines: int = 1) -> None:
        """Write so many lines more."""
        new = [b"%s line %d" % (file.name.encode(), len(self.lines) + number) for number in range(lines)]
        with file.open("ab") as out:
            out.write(b"".join(line + b"\n" for line in new))
        self.lines += new

    def rotate(self, file: Path) -> None:
        """Write a line, rename the file, and begin it anew."""
        self.append(file)
        file.rename(file.with_name(f"{file.name}.1"))
        self.append(file)


def check_exactly(parts: Rig, written: Written) -> None:
    """All that was written was shipped, and each line once."""
    assert parts.lines() == sorted(written.lines)
    parts.check_audit()


def gauge(agent: Part, name: str) -> float:
    """What an agent tells of its only input."""
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{agent.ports['http']}/metrics").read().decode()
    (line,) = [line for line in metrics.splitlines() if line.startswith(f'headrace_agent_{name}{{component_id="tail-logs"')]
    return float(line.rpartition(" ")[2])


def until(holds: Callable[[], bool], agent: Part) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, agent.log_tail()
        time.sleep(0.05)


def wait_until_saved(parts: Rig, *, timeout_s: float = 30) -> None:
    """Until the running agent's state names no chunk on its way: what is acknowledged waits a moment to be durable."""
    deadline = time.monotonic() + timeout_s
    with closing(sqlite3.connect(parts.directory / "agent" / "agent.db")) as db:
        while on_their_way := db.execute("SELECT count(*) FROM chunks").fetchone()[0]:
            assert time.monotonic() < deadline, f"{on_their_way} chunks are on their way"
            time.sleep(0.05)


@pytest.mark.slow
def test_fault_17_one_busy_file_among_thousands_of_idle_ones(parts: Rig) -> None:
    written = Written(parts.logs, FILES)
    busy, rotated, removed = written.files[FILES // 2], written.files[17], written.files[18]
    agent = parts.agent().start()
    parts.wait_for(FILES, timeout_s=120)
    for _ in range(20):
        written.append(busy, 100)
    parts.wait_for(FILES + 2000)
    written.rotate(rotated)
    written.append(removed)
    removed.unlink()  # whoever has it open reads on
    parts.wait_for(FILES + 2003)
    wait_until_saved(parts)  # of a line that is repeated the file has to be there
    agent.kill()
    written.rotate(written.files[19])
    parts.ship()
    check_exactly(parts, written)


@pytest.mark.slow
def test_fault_17_many_more_files_than_256_descriptors(parts: Rig) -> None:
    written = Written(parts.logs, 600)
    agent = parts.agent().start(under=FEW_DESCRIPTORS)
    parts.wait_for(600, timeout_s=60)
    for file in written.files:
        written.append(file)
    for file in written.files[::100]:
        written.rotate(file)
    parts.wait_for(1212, timeout_s=60)
    assert agent.stop() == 0
    for file in written.files[1::100]:
        written.rotate(file)
    agent.start(under=FEW_DESCRIPTORS)
    parts.wait_for(1224, timeout_s=60)
    assert agent.stop() == 0
    check_exactly(parts, written)
    assert agent.log_file.read_text().count("LimitNOFILE") == 2, "said once by each run"


@pytest.mark.slow
def test_fault_17_files_that_wait_for_descriptors_are_told_as_behind_until_they_are_shipped(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"one\n")
    agent = parts.agent(agent={"state_dir": str(parts.directory / "agent"), "http": "127.0.0.1:0"}).start(under=FEW_DESCRIPTORS)
    parts.wait_for(1)
    assert parts.broker.process is not None
    parts.broker.process.send_signal(signal.SIGSTOP)
    try:
        written = Written(parts.logs, 600)
        size = sum(file.stat().st_size for file in written.files)
        until(lambda: gauge(agent, "behind_bytes") == size and gauge(agent, "unopened_files") == 600 - MOST_OPEN, agent)
        assert gauge(agent, "open_files") == MOST_OPEN
        assert gauge(agent, "oldest_unacknowledged_seconds") > 0
    finally:
        parts.broker.process.send_signal(signal.SIGCONT)
    parts.wait_for(601, timeout_s=60)
    until(lambda: gauge(agent, "behind_bytes") == 0 and gauge(agent, "unopened_files") == 0, agent)
    assert agent.stop() == 0
    written.lines.append(b"one")
    check_exactly(parts, written)
