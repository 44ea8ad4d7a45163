"""A table that jobs write, as an Iceberg table: `dt`, which only directories say, is a column there, by which readers prune."""

from pathlib import Path

import polars as pl
import pyarrow as pa

from headrace.clock import SystemClock
from headrace.sinks.derived.slices import day
from headrace.sinks.derived.table import DerivedTable
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection
from headrace.sinks.table.record import Job
from tests.integration.sinks.engines import DuckDB
from tests.integration.sinks.test_iceberg import opened

HOURS = pa.schema([("hour", pa.timestamp("us", "UTC")), ("events", pa.int64())])


def run(root: Path, on: str, *numbers: int, schema: pa.Schema = HOURS) -> None:
    """A run of a job for a day, whose events are these, one file each; and Iceberg knows it."""
    made = DerivedTable(root, "job_sums", SystemClock()).begin(day(on), schema)
    rows = [pa.table([[0], [number], *([["x"]] * (len(schema) - 2))], schema=schema) for number in numbers]
    files = [made.staging.write([one]) for one in rows]
    made.commit([file for file in files if file is not None], Job("sums", "1"))
    Projection(Iceberg(), root, SystemClock()).sync("job_sums")


def seen(rows: pa.Table | pl.DataFrame) -> list[tuple[str, int]]:
    return sorted((row["dt"], row["events"]) for row in (rows.to_pylist() if isinstance(rows, pa.Table) else rows.to_dicts()))


def test_rows_have_the_day_of_their_slice_by_every_reader_also_of_runs_that_replace_and_add_columns(tmp_path: Path) -> None:
    run(tmp_path, "2026-11-25", 1, 2)
    run(tmp_path, "2026-11-26", 3)
    run(tmp_path, "2026-11-25", 4, 5, schema=HOURS.append(pa.field("service", pa.string())))
    expected = [("2026-11-25", 4), ("2026-11-25", 5), ("2026-11-26", 3)]
    table = opened(tmp_path, "job_sums")
    assert seen(table.scan().to_arrow()) == expected
    assert seen(pl.scan_iceberg(table).collect()) == expected
    if DuckDB.is_installed():
        scan = f"iceberg_scan('{table.metadata_location.removeprefix('file://')}')"
        found = DuckDB.rows(f"SELECT dt, events FROM {scan}")
        assert sorted((row["dt"], row["events"]) for row in found) == expected
        assert [row["events"] for row in DuckDB.rows(f"SELECT events FROM {scan} WHERE dt = '2026-11-26'")] == [3]
    only = table.scan("dt == '2026-11-26'")
    assert len(list(only.plan_files())) == 1
    assert seen(only.to_arrow()) == expected[2:]
    run(tmp_path, "2026-11-26")
    assert seen(opened(tmp_path, "job_sums").scan().to_arrow()) == expected[:2]
