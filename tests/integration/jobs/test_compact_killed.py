"""The driver of `compact` killed with -9 in the middle, wherever that is, and run again: no row is lost or doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.sinks.check import check_table
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from tests.integration.jobs.test_jobs import bare
from tests.landed_tables import Event, TableWriter

KILLS = int(os.environ.get("HEADRACE_COMPACT_KILLS", "1"))
DAY_MS, HOUR_MS, HOURS = 1_763_856_000_000, 3_600_000, 8


def landed(root: Path) -> None:
    """Three small files in each of some hours."""
    table = TableWriter(root, "logs")
    for turn in range(3):
        table.land_events([Event("a", 100 * turn + n, DAY_MS + n * HOUR_MS // 4) for n in range(4 * HOURS)])


def start(root: Path, runner: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "headrace", "job", "run", "compact", "--root", str(root), "--runner", runner]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("runner", ["inprocess", pytest.param("multiprocess", marks=pytest.mark.slow)])
def test_nothing_is_lost_or_doubled(tmp_path: Path, runner: str) -> None:
    random_ = random.Random(7)
    landed(tmp_path)
    rows = bare(tmp_path, "SELECT * FROM t ORDER BY ALL")
    log = tmp_path / "logs" / names.log_directory(1)
    for _ in range(KILLS):
        records = len(list(log.iterdir())) + random_.randrange(1, 3)
        with start(tmp_path, runner) as driver:
            while len(list(log.iterdir())) < records and driver.poll() is None:
                time.sleep(0.001)
            driver.send_signal(signal.SIGKILL)
        assert bare(tmp_path, "SELECT * FROM t ORDER BY ALL") == rows, "a reader of the log between"
    with start(tmp_path, runner) as driver:
        assert driver.wait(120) == 0
    assert bare(tmp_path, "SELECT * FROM t ORDER BY ALL") == rows
    directories = [file.name.rpartition("/")[0] for file in snapshot(tmp_path, "logs").files]
    assert len(directories) == len(set(directories)) == HOURS
    in_place = list(tmp_path.glob("logs/dt=*/hour=*/*.parquet"))
    assert len(in_place) == HOURS, "what dead runs had written is in staging, or was put in place"
    found = check_table(tmp_path, "logs", deep=True)
    assert found.broken == []
