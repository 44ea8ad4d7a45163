"""Engines read the Iceberg table: other implementations than the one that wrote it, Spark by way of a REST catalog."""

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import pyarrow as pa
import pytest

from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from tests.integration.sinks.test_iceberg import compact, events, landed, offsets, opened, sync
from tests.landed_tables import TableWriter

PEERS = Path(__file__).parents[3] / ".peers"
HOUR_14 = "event_time >= timestamp '2025-11-22 14:00:00' and event_time < timestamp '2025-11-22 15:00:00'"


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory, iceberg_catalog: Callable[[str], dict[str, str]]
) -> tuple[Path, dict[str, Any]]:
    """A table in a REST catalog: compacted, then with a column widened, one added, and one that Iceberg has no type for."""
    root = tmp_path_factory.mktemp("shown")
    config = {"catalog": iceberg_catalog("rest"), "namespace": f"n{uuid.uuid4().hex}"}
    logs = TableWriter(root, "logs")
    for first in (0, 20, 40):
        logs.land_events(events(first, 20))
    sync(root, **config)
    compact(root)
    newer = pa.schema(
        [
            *[field for field in logs.schema if field.name != "part"],
            pa.field("part", pa.int64()),
            pa.field("at", pa.timestamp("ns", "UTC")),
            pa.field("order", pa.struct([("id", pa.int32())])),
        ]
    )
    logs.land([{**event.row(), "order": {"id": 1}, "at": 1000} for event in events(60, 30)], schema=newer)
    sync(root, **config)
    return root, config


def directory_with_leftovers(root: Path) -> Path:
    """A landed table, compacted, with files that were taken out and one that nobody committed."""
    logs = TableWriter(root, "logs")
    for first in (0, 30, 60):
        logs.land_events(events(first, 30))
    compact(root)
    assert list((logs.directory / names.REMOVED).rglob("*.parquet"))
    live = Path(snapshot(root, "logs").files[0].path)
    left = logs.directory / names.staged(f"{live.parent.relative_to(logs.directory)}/{uuid.uuid4()}-0.parquet")
    left.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(live, left)
    return logs.directory


def run(peer: str, program: str, *arguments: str) -> Any:
    command = [str(PEERS / peer / "bin" / "python"), str(Path(__file__).with_name(program)), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_spark_sees_exactly_the_committed_rows_of_old_and_new_columns(
    tmp_path: Path, shown: tuple[Path, dict[str, Any]], missing: Callable[[str, str], NoReturn]
) -> None:
    if not (PEERS / "spark" / "complete").exists():
        missing("spark", "run make peers")
    root, config = shown
    jar, name = str(PEERS / "spark" / "iceberg.jar"), f"{config['namespace']}.logs"
    filters = (HOUR_14, "order.id = 1", "part = 0")
    directory = directory_with_leftovers(tmp_path)
    files = json.dumps([file.path for file in snapshot(tmp_path, "logs").files])
    where = (config["catalog"]["uri"], name, str(directory), files)
    seen = run("spark", "iceberg_spark.py", jar, str(tmp_path / "warehouse"), *where, *filters)
    assert [tuple(row) for row in seen["offsets"]] == landed(root)
    assert seen["counts"] == [30, 30, 90]
    assert seen["first"]["fields"] == {"k": "0"}
    assert seen["first"]["event_time"] == "2025-11-22T13:00:00.000Z"
    places = [list(place) for place in landed(tmp_path)]
    assert seen["directory"] == seen["listed"] == places
    assert seen["hour"] == places[:60]


def test_duckdb_sees_exactly_the_committed_rows_of_old_and_new_columns(
    shown: tuple[Path, dict[str, Any]], missing: Callable[[str, str], NoReturn]
) -> None:
    if not (PEERS / "duckdb" / "complete").exists():
        missing("duckdb", "run make peers")
    root, config = shown
    metadata = opened(root, namespace=config["namespace"], **config["catalog"]).metadata_location
    filters = (HOUR_14, '"order".id = 1', "part = 0")
    seen = run("duckdb", "iceberg_duckdb.py", metadata.removeprefix("file://"), *filters)
    assert [tuple(row) for row in seen["offsets"]] == landed(root)
    assert seen["counts"] == [30, 30, 90]


def test_polars_and_pyiceberg_see_exactly_the_committed_rows_of_old_and_new_columns(
    shown: tuple[Path, dict[str, Any]],
) -> None:
    root, config = shown
    table = opened(root, namespace=config["namespace"], **config["catalog"])
    found = pl.scan_iceberg(table).collect()
    assert sorted(found.select("_incarnation", "_kafka_partition", "_offset").rows()) == landed(root)
    assert found.filter(pl.col("order").struct.field("id") == 1).height == 30
    assert offsets(table.scan().to_arrow()) == landed(root)
    assert table.scan("order.id = 1").to_arrow().num_rows == 30
