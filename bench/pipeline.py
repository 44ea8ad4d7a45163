"""How long a log file takes to become rows of a query: `headrace demo` on one file, again and again.

    python bench/pipeline.py [lines] [runs]          (default: 100000 lines, 3 runs)

Each run is a new data directory: four processes start, the file is shipped, lands, is audited, and all stop. Prints the wall
time of the whole command, start and stop included; 100,000 lines must take less than 15 s.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from headrace.access_events import access_log


def main() -> None:
    lines, runs = (int(sys.argv[1]) if len(sys.argv) > 1 else 100_000), (int(sys.argv[2]) if len(sys.argv) > 2 else 3)
    table = Table(
        "run", "lines", "MB", "seconds", "lines/s", "audit", title="headrace demo: file → SQL, processes started and stopped"
    )
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        log = Path(folder) / "access.log"
        log.write_text("".join(f"{line}\n" for line in access_log(day=datetime(2026, 3, 4, tzinfo=UTC), count=lines, seed=7)))
        for run in range(1, runs + 1):
            command = [sys.executable, "-m", "headrace", "demo", str(log), "--data", f"{folder}/{run}", "--json"]
            began = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.monotonic() - began
            result = json.loads(done.stdout.splitlines()[-1])
            assert result["landed"] == lines, result
            size_mb = log.stat().st_size / 1e6
            table.add_row(
                str(run), f"{lines:,}", f"{size_mb:.1f}", f"{seconds:.1f}", f"{lines / seconds:,.0f}", result["audit"]
            )
    Console().print(table)


if __name__ == "__main__":
    main()
