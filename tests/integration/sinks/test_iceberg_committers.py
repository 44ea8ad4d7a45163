"""Committers of one Iceberg table as processes: several at once, and killed at any moment."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.integration.sinks.test_iceberg import events, landed, offsets, opened, sync
from tests.landed_tables import TableWriter

_COMMITTER = """
import sys
from pathlib import Path
from headrace.clock import SystemClock
from headrace.errors import HeadraceError
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection
projection = None
print("up", flush=True)
while True:
    try:
        projection = projection or Projection(Iceberg(), Path(sys.argv[1]), SystemClock())
        projection.sync("logs")
    except HeadraceError as error:
        print(error, flush=True)
"""


def committer(root: Path) -> subprocess.Popen[bytes]:
    with (root / "said.txt").open("ab") as said:
        return subprocess.Popen([sys.executable, "-c", _COMMITTER, str(root)], stdout=said, stderr=said)


def test_committers_that_are_killed_again_and_again_show_each_file_once(tmp_path: Path) -> None:
    rng = random.Random(4)
    logs = TableWriter(tmp_path, "logs")
    logs.land_events(events(0, 3))
    running = [committer(tmp_path) for _ in range(2)]
    killed = 0
    try:
        deadline = time.monotonic() + 12
        first = 3
        while time.monotonic() < deadline or killed < 6:
            logs.land_events(events(first, 3))
            first += 3
            time.sleep(rng.uniform(0, 0.1))
            if rng.random() < 0.15 and opened_or_none(tmp_path):
                running.pop(rng.randrange(2)).kill()
                running.append(committer(tmp_path))
                killed += 1
    finally:
        for process in running:
            process.kill()
            process.wait()
    sync(tmp_path)
    table = opened(tmp_path)
    paths = Counter(task.file.file_path for task in table.scan().plan_files())
    assert set(paths.values()) == {1}
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)
    assert len(table.snapshots()) > 3, (tmp_path / "said.txt").read_text()


def opened_or_none(root: Path) -> bool:
    return (root / "logs" / "_headrace" / "iceberg").exists()
