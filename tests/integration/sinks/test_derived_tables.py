"""Tables that jobs write, among landed ones: with real processes that are killed, and with every command that reads a root."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog

from headrace.cli import main
from headrace.clock import SystemClock
from headrace.errors import OvertakenError
from headrace.sinks.check import check_root, check_table
from headrace.sinks.derived.slices import day
from headrace.sinks.derived.table import DerivedTable, Run
from headrace.sinks.table import names
from headrace.sinks.table.reader import open_live, snapshot
from headrace.sinks.table.record import DataFile, Job
from tests.integration.sinks.pipeline import Pipeline, lines

KILLS = 16
FILES = 6
SCHEMA = pa.schema([("run", pa.string()), ("number", pa.int64())])
_FORKING = """
import json, os, signal, sys, time
import pyarrow as pa
from headrace.clock import SystemClock
from headrace.errors import OvertakenError
from headrace.sinks.derived.slices import day
from headrace.sinks.derived.table import DerivedTable, Run
from headrace.sinks.table.record import Job
SCHEMA = pa.schema([("run", pa.string()), ("number", pa.int64())])

def job(root, files, waits_s):
    run = DerivedTable(root, "made", SystemClock()).begin(day("2026-11-26"), SCHEMA)
    rows = lambda number: pa.record_batch([[run.attempt] * 100, [number] * 100], schema=SCHEMA)
    written = [run.staging.write([rows(number)]) for number in range(files)]
    time.sleep(waits_s)
    try:
        run.commit(written, Job("made", "1"))
    except OvertakenError:
        return 3
    return 0

for line in sys.stdin:
    root, files, kill_after_s, twice = json.loads(line)
    children = []
    for waits_s in (0, 0.2) if twice else (0,):
        if not (child := os.fork()):
            try:
                status = job(root, files, waits_s)
            except BaseException as error:
                print("failed", repr(error), file=sys.stderr, flush=True)
                status = 1
            os._exit(status)
        children.append(child)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(children[0], signal.SIGKILL)
    print("ended", json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)
"""


class Jobs:
    """Runs of a job, each a process of its own that begins with its modules loaded."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, files: int = FILES, *, kill_after_s: float | None = None, twice: bool = False) -> list[int]:
        """The exit statuses; negative: the signal."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps([str(self._root), files, kill_after_s, twice]) + "\n")
        self._parent.stdin.flush()
        word, _, told = self._parent.stdout.readline().partition(" ")
        assert word == "ended", "no run can be started any more"
        return [os.waitstatus_to_exitcode(status) for status in json.loads(told)]

    def close(self) -> None:
        self._parent.kill()
        self._parent.wait()


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    started = Jobs(tmp_path)
    yield started
    started.close()


def held(root: Path) -> dict[str, list[int]]:
    """What the slice holds: numbers by run."""
    found: dict[str, list[int]] = {}
    for file in snapshot(root, "made").files:
        for row in pq.ParquetFile(file.path).read().to_pylist():
            found.setdefault(row["run"], []).append(row["number"])
    return {run: sorted(numbers) for run, numbers in found.items()}


WHOLE = [number for number in range(FILES) for _ in range(100)]


def test_a_run_killed_at_any_moment_has_replaced_the_slice_or_not_and_the_next_one_does(tmp_path: Path, jobs: Jobs) -> None:
    assert jobs.run() == [0]
    began_s = time.monotonic()
    assert jobs.run() == [0]
    whole_s = time.monotonic() - began_s
    rng = random.Random(41)
    killed = 0
    for _ in range(KILLS):
        (before,) = held(tmp_path)
        (status,) = jobs.run(kill_after_s=rng.uniform(0, whole_s))
        killed += status == -signal.SIGKILL
        ((after, numbers),) = held(tmp_path).items()  # of one run, and all of it
        assert numbers == WHOLE
        assert status or after != before
        assert check_table(tmp_path, "made", deep=True).broken == []
    assert killed > KILLS // 4
    assert jobs.run() == [0]
    assert list(held(tmp_path).values()) == [WHOLE]
    old_s = time.time() - 8 * 24 * 3600
    for path in (tmp_path / "made" / names.HIDDEN).rglob("*"):
        if path.is_file():
            os.utime(path, (old_s, old_s))
    assert jobs.run() == [0]
    left = [path for path in (tmp_path / "made" / names.STAGING).rglob("*") if path.is_file()]
    assert (left, list(held(tmp_path).values())) == ([], [WHOLE])


def test_of_two_runs_at_once_one_wins_and_the_other_says_so(tmp_path: Path, jobs: Jobs) -> None:
    for _ in range(3):
        assert sorted(jobs.run(twice=True)) == [0, 3]
        assert list(held(tmp_path).values()) == [WHOLE]
    assert check_table(tmp_path, "made", deep=True).broken == []


def made(root: Path, name: str, date: str, *numbers: int) -> None:
    run = DerivedTable(root, name, SystemClock()).begin(day(date), SCHEMA)
    files = [run.staging.write([pa.record_batch([["r"], [number]], schema=SCHEMA)]) for number in numbers]
    run.commit([file for file in files if file is not None], Job("made", "1"))


def test_commands_show_a_jobs_table_or_leave_it_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Pipeline(tmp_path) as pipeline:
        root = pipeline.root
        for topic in ("logs", "made"):
            pipeline.create_topic(topic)
            pipeline.ship(topic, lines(20))
        made(root, "made", "2026-11-24", 1, 2)
        made(root, "made", "2026-11-25", 4)
        made(root, "made", "2026-11-24", 1, 2, 3)
        loader = pipeline.loader("--once", topics=["logs", "made"]).start(wait=False)
        assert loader.wait(60) == 1, "a loader lands nothing in what a job writes"
        said = loader.log_tail()
        assert "a job's output" in said
        assert [report.state for report in check_root(str(root), deep=True)] == ["ok", "ok"]
        place = ["--root", str(root)]

        def answered(*arguments: str, status: int = 0) -> str:
            capfd.readouterr()
            assert main([*arguments]) == status
            return capfd.readouterr().out

        asked = "SELECT dt, sum(number)::INT AS total FROM made GROUP BY dt ORDER BY dt"
        totals = [json.loads(line) for line in answered("query", asked, *place, "--format", "json").splitlines()]
        assert totals == [{"dt": "2026-11-24", "total": 6}, {"dt": "2026-11-25", "total": 4}]
        listed = [json.loads(line) for line in answered("files", "made", *place, "--format", "json").splitlines()]
        assert sorted(file["rows"] for file in listed) == [1, 1, 1, 1]
        changed = answered("files", "made", *place, "--changed-since", "1", "--format", "json").splitlines()
        assert [json.loads(line)["directory"] for line in changed] == ["dt=2026-11-24"]
        merged = json.loads(answered("compact", "made", *place, "--format", "json"))
        assert (merged["files_before"], merged["files_after"], merged["rows"]) == (3, 1, 3)
        assert [json.loads(line) for line in answered("query", asked, *place, "--format", "json").splitlines()] == totals
        audited = [json.loads(line) for line in answered("audit", *place, "--format", "json").splitlines()]
        assert {row["topic"] for row in audited} == {"logs"}
        behind = ["lag", "--config", str(loader.config_file), "--format", "json"]
        told = {row["topic"]: row["error"] for line in answered(*behind, status=1).splitlines() if (row := json.loads(line))}
        assert told == {"logs": None, "made": "a job writes this table, and no topic lands in it"}
        pipeline.delete_topic("made")
        assert {json.loads(line)["topic"] for line in answered(*behind).splitlines()} == {"logs"}
        answered("iceberg", "sync", str(root))
        shown = load_catalog("headrace", type="sql", uri=f"sqlite:///{root / '_iceberg' / 'catalog.db'}")
        assert sorted(shown.load_table(("landed", "made")).scan().to_arrow()["number"].to_pylist()) == [1, 2, 3, 4]
        days = (time.time() - day("2026-11-25").start_ms / 1000) // 3600
        gone = json.loads(answered("expire", "made", *place, "--older-than", f"{int(days)}h", "--format", "json"))
        assert gone["rows"] == 3
        capfd.readouterr()
        assert main(["load", "--rewind", "made", "--to", "0", "--config", str(loader.config_file)]) == 2
        assert "made cannot be rewound: it is a job's output; run the job again" in capfd.readouterr().err
        assert [report.state for report in check_root(str(root), deep=True)] == ["ok", "ok"]


@pytest.mark.parametrize("kind", ["hdfs-native", "s3"])
def test_on_stores_elsewhere_a_rerun_replaces_and_of_two_runs_one_wins(kind: str, new_root: Callable[[str], str]) -> None:
    root = new_root(kind)
    table = DerivedTable(root, "made", SystemClock())

    def staged(run: Run, number: int) -> list[DataFile]:
        file = run.staging.write([pa.record_batch([["r"], [number]], schema=SCHEMA)])
        assert file is not None
        return [file]

    first, loser = table.begin(day("2026-11-26"), SCHEMA), table.begin(day("2026-11-26"), SCHEMA)
    lost = staged(loser, 2)
    first.commit(staged(first, 1), Job("made", "1"))
    with pytest.raises(OvertakenError, match="nothing was replaced"):
        loser.commit(lost, Job("made", "1"))
    again = table.begin(day("2026-11-26"), SCHEMA)
    done = again.commit(staged(again, 3), Job("made", "1"))
    (live,) = snapshot(root, "made").files
    assert live.name.startswith(f"dt=2026-11-26/{done.attempt}-")
    with open_live(root, "made", live.name) as data:
        assert pq.read_table(data)["number"].to_pylist() == [3]
    assert check_table(root, "made", deep=True).broken == []
