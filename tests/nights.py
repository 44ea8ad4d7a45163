"""Nights as real processes: `headrace nightly` over a root, and what it and its tables say."""

import json
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from headrace.sinks.table import names
from headrace.sinks.table.reader import open_live, snapshot
from tests import forks


def let_midnight_pass() -> None:
    """What is yesterday must be so until the end of a test."""
    now = datetime.now(UTC)
    if now.hour == 23 and now.minute >= 55:
        time.sleep((60 - now.minute) * 60)


@dataclass
class Nights:
    """The configuration of nights (`keys` are put into it), and what the last of them has said."""

    root: Path | str
    folder: Path
    keys: dict[str, Any]
    said: str = ""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one, or `status`."""
        file = self.folder / "nightly.yaml"
        nightly = {
            "root": str(self.root),
            "after": "00:00",
            "wait": "1s",
            "catch_up": 3,
            "jobs": [{"job": "counts"}],
            **self.keys,
        }
        file.write_text(yaml.safe_dump({"nightly": nightly}))
        command = [*forks.PREFIX, "nightly", *arguments, "--config", str(file), "--format", "json"]
        return forks.Headrace(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str, status: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
        """Run one to its end, which has to be that exit status; its entries by day and table."""
        night = self.start(*arguments)
        out, self.said = night.communicate(timeout=120)
        assert night.returncode == status, self.said
        return {(entry["day"], entry["table"]): entry for entry in map(json.loads, out.splitlines())}

    @property
    def last_line(self) -> str:
        """What is to be done now."""
        return self.said.splitlines()[-1]


def rows(root: Path | str, table: str) -> list[dict[str, Any]]:
    """The rows of a job's table, with their `dt`, in no order."""
    return [
        {"dt": file.dt, **row}
        for file in snapshot(root, table).files
        for row in pq.ParquetFile(open_live(root, table, file.name)).read().to_pylist()
    ]  # fmt: skip


def counted(root: Path | str, table: str = "job_counts") -> dict[str, int]:
    """Events of each day, as the job `counts` has counted them."""
    found: dict[str, int] = {}
    for row in rows(root, table):
        found[row["dt"]] = found.get(row["dt"], 0) + row["events"]
    return found


def replaced(root: Path, table: str = "job_counts") -> list[str]:
    """The day of each record of a job's table."""
    records = sorted((root / table / names.log_directory(1)).glob("*.json"))
    return [json.loads(record.read_text())["slice"].removeprefix("dt=") for record in records]
