"""The job `compact` over thousands of small files, beside one who keeps landing: rows, time, and memory of all its processes.

    python -m bench.compact_job [--files 2000] [--rows 200] [--runner inprocess|multiprocess]

Prints one line of JSON. Rows are counted by DuckDB over the live files; `lost` are positions that had landed, before or
meanwhile, and are not there. `peak_mb` is the greatest resident memory of driver and workers together, looked at every 50 ms.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from headrace.sinks.table.reader import snapshot
from tests.landed_tables import Event, TableWriter

T0, HOURS, HOUR_MS = 1_763_856_000_000, 24, 3_600_000


def events(first: int, count: int) -> list[Event]:
    """As many in each hour of a day."""
    return [Event("a", first + n, T0 + n * HOURS * HOUR_MS // count) for n in range(count)]


def positions(root: Path) -> list[int]:
    """Of all rows, by DuckDB."""
    paths = [file.path for file in snapshot(root, "logs").files]
    found = duckdb.execute("SELECT position FROM read_parquet($1, hive_partitioning = false)", [paths]).fetchall()
    return [position for (position,) in found]


def resident_mb(process: int) -> float:
    """Of a process and those below it."""
    total = 0.0
    for one in (process, *children(process)):
        try:
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return total


def children(process: int) -> list[int]:
    try:
        mine = [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        for thread in Path(f"/proc/{process}/task").iterdir():
            mine += [int(one) for one in (thread / "children").read_text().split() if int(one) not in mine]
    except OSError:
        return []
    return [below for one in mine for below in (one, *children(one))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=200, help="of a file")
    parser.add_argument("--runner", default="inprocess")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, a_record, landed = Path(folder), HOURS * args.rows, 0
        writer = TableWriter(root, "logs")
        while landed < args.files * args.rows:
            writer.land_events(events(landed, a_record))
            landed += a_record
        files_before, before = len(snapshot(root, "logs").files), landed
        command = [sys.executable, "-m", "headrace", "job", "run", "compact", "--root", folder, "--runner", args.runner]
        began, peak_mb, next_s = time.monotonic(), 0.0, 0.0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as job:
            while job.poll() is None:
                if time.monotonic() > next_s:
                    writer.land_events(events(landed, HOURS))
                    landed, next_s = landed + HOURS, time.monotonic() + 1
                peak_mb = max(peak_mb, resident_mb(job.pid))
                time.sleep(0.05)
        found = positions(root)
        said = {
            "runner": args.runner,
            "status": job.returncode,
            "files": [files_before, len(snapshot(root, "logs").files)],
            "rows": [before, landed, len(found)],
            "lost": len(set(range(landed)) - set(found)),
            "doubled": len(found) - len(set(found)),
            "seconds": round(time.monotonic() - began, 1),
            "peak_mb": round(peak_mb),
        }
        print(json.dumps(said))


if __name__ == "__main__":
    main()
