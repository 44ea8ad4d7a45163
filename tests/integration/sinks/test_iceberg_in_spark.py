"""Spark reads the Iceberg table: another implementation than the one that wrote it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pytest

from tests.integration.sinks.test_iceberg import compact, events, landed, opened, sync
from tests.landed_tables import TableWriter

SPARK = Path(__file__).parents[3] / ".peers" / "spark"


@pytest.fixture
def spark(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Callable[..., Any]:
    if not (SPARK / "complete").exists():
        missing("spark", "run make peers")

    def read(root: Path, *filters: str) -> Any:
        program = Path(__file__).with_name("iceberg_spark.py")
        command = [SPARK / "bin" / "python", program, SPARK / "iceberg.jar", tmp_path, opened(root).metadata_location, *filters]
        done = subprocess.run([str(word) for word in command], capture_output=True, cwd=tmp_path, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return read


def test_spark_sees_exactly_the_committed_rows_of_old_and_new_columns(tmp_path: Path, spark: Callable[..., Any]) -> None:
    logs = TableWriter(tmp_path, "logs")
    for first in (0, 20, 40):
        logs.land_events(events(first, 20))
    sync(tmp_path)
    compact(tmp_path)
    newer = pa.schema(
        [
            *[field for field in logs.schema if field.name != "part"],
            pa.field("part", pa.int64()),
            pa.field("at", pa.timestamp("ns", "UTC")),
            pa.field("order", pa.struct([("id", pa.int32())])),
        ]
    )
    logs.land([{**event.row(), "order": {"id": 1}, "at": 1000} for event in events(60, 30)], schema=newer)
    sync(tmp_path)
    hour = "event_time >= timestamp'2025-11-22 14:00:00' and event_time < timestamp'2025-11-22 15:00:00'"
    seen = spark(tmp_path, hour, "order.id = 1", "part = 0")
    assert [tuple(row) for row in seen["offsets"]] == landed(tmp_path)
    assert seen["counts"] == [30, 30, 90]
    assert seen["first"]["fields"] == {"k": "0"}
    assert seen["first"]["event_time"] == "2025-11-22T13:00:00.000Z"
