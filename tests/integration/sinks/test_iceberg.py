"""Landed tables as Iceberg tables: independent readers see exactly the committed rows, whatever happens on the way."""

import logging
import math
import os
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

from headrace.clock import SystemClock, WallMs
from headrace.errors import PeerError, StorageError, UsageError
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from tests.landed_rows import rows
from tests.landed_tables import Event, TableWriter

HOUR = 3_600_000
T0 = 1_763_816_400_000  # 2025-11-22T13:00:00Z


def opened(root: Path, topic: str = "logs", namespace: str = "landed", **catalog: str) -> Table:
    """The table as pyiceberg's own users open it; in the SQLite beside the tables, unless `catalog` says where."""
    beside = {"type": "sql", "uri": f"sqlite:///{root / '_iceberg' / 'catalog.db'}"}
    return load_catalog("headrace", **(catalog or beside)).load_table((namespace, topic))


def offsets(table: pa.Table) -> list[tuple[int, int, int]]:
    return sorted(
        zip(*(table.column(name).to_pylist() for name in ("_incarnation", "_kafka_partition", "_offset")), strict=True)
    )


def landed(root: Path, topic: str = "logs") -> list[tuple[int, int, int]]:
    found = rows(file.path for file in snapshot(root, topic).files)
    return sorted((row["_incarnation"], row["_partition"], row["_offset"]) for row in found)  # type: ignore[misc]


def events(first: int, count: int, *, step_ms: int = 60_000) -> list[Event]:
    return [Event("a", n, T0 + n * step_ms, fields={"k": str(n)}) for n in range(first, first + count)]


@pytest.fixture
def logs(tmp_path: Path) -> TableWriter:
    return TableWriter(tmp_path, "logs")


def compact(root: Path) -> None:
    """`headrace compact`: the small files of each hour become one."""
    compact_table(root, "logs", Limits(target_bytes=1 << 20, closed_for_ms=HOUR), SystemClock(), progress=lambda _: None)


class Later(SystemClock):
    """The machine's clock, two hours on."""

    def wall_ms(self) -> WallMs:
        return WallMs(super().wall_ms() + 2 * HOUR)


def sync(root: Path, **keys: Any) -> Any:
    return Projection(Iceberg(**keys), root, SystemClock()).sync("logs")


def test_pyiceberg_sees_exactly_the_committed_rows_of_each_hour(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 130))
    assert sync(tmp_path).added == 3
    logs.land_events(events(130, 20))
    logs.land_events(events(150, 20), partition=1)
    done = sync(tmp_path)
    assert (done.added, done.removed) == (2, 0)
    table = opened(tmp_path)
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)
    assert [field.name for field in table.spec().fields] == ["event_time_hour"]
    only = table.scan("event_time >= '2025-11-22T14:00:00+00:00' and event_time < '2025-11-22T15:00:00+00:00'")
    assert len(list(only.plan_files())) == 1
    assert only.to_arrow().num_rows == 60
    assert sync(tmp_path).added == 0


def test_polars_sees_exactly_the_committed_rows(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 70))
    logs.land_events(events(70, 5), partition=1)
    sync(tmp_path)
    found = pl.scan_iceberg(opened(tmp_path)).collect()
    assert sorted(found.select("_incarnation", "_kafka_partition", "_offset").rows()) == landed(tmp_path)


def test_a_file_that_is_staged_still_is_in_its_place_before_iceberg_names_it(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 70), staged=True)
    sync(tmp_path)
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)
    assert not list((tmp_path / "logs" / names.STAGING).rglob("*.parquet"))


def test_a_compaction_replaces_exactly_its_files(tmp_path: Path, logs: TableWriter) -> None:
    for first in (0, 10, 20):
        logs.land_events(events(first, 10))
    logs.land_events(events(30, 90))
    sync(tmp_path)
    compact(tmp_path)
    done = sync(tmp_path)
    assert (done.added, done.removed) == (1, 4)
    table = opened(tmp_path)
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)
    assert len(list(table.scan().plan_files())) == len(snapshot(tmp_path, "logs").files) == 2
    assert table.current_snapshot().summary.operation.value == "overwrite"  # type: ignore[union-attr]


def test_columns_come_and_are_widened_and_files_with_what_iceberg_cannot_say_are_read_without_it(
    tmp_path: Path, logs: TableWriter
) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    kept = [field for field in logs.schema if field.name not in ("part", "host")]
    newer = pa.schema(
        [
            *kept,
            pa.field("part", pa.int64()),
            pa.field("order", pa.struct([pa.field("id", pa.int32(), nullable=False), pa.field("tags", pa.list_(pa.string()))])),
            pa.field("at", pa.timestamp("ns", "UTC")),
            pa.field("_file", pa.string()),
        ]
    )
    rows_ = [{**event.row(), "order": {"id": 7, "tags": ["x"]}, "at": T0 * 1_000_000, "_file": "f"} for event in events(5, 5)]
    logs.land(rows_, schema=newer)
    sync(tmp_path)
    found = opened(tmp_path).scan().to_arrow().sort_by("_offset")
    assert found.column("_offset").to_pylist() == list(range(10))
    assert found.column("part").type == pa.int64()
    assert found.column("host").to_pylist()[4:6] == ["web-1", None]
    assert found.column("order").to_pylist()[4:6] == [None, {"id": 7, "tags": ["x"]}]
    assert found.column("_file_").to_pylist()[4:6] == [None, "f"]
    assert "at" not in found.column_names
    logs.land_events(events(10, 5))  # a loader that still has the old schema
    sync(tmp_path)
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_floats_have_no_bounds_because_these_would_leave_nan_out_and_every_reader_finds_it(
    tmp_path: Path, logs: TableWriter, caplog: pytest.LogCaptureFixture
) -> None:
    schema = logs.schema.append(pa.field("took", pa.float64())).append(pa.field("each", pa.list_(pa.float32())))
    values = [math.nan, 1.5, None, -math.inf]
    logs.land(
        [{**event.row(), "took": took, "each": [took]} for event, took in zip(events(0, 4), values, strict=True)], schema=schema
    )
    sync(tmp_path)
    table = opened(tmp_path)
    assert table.scan("took is nan").to_arrow().column("_offset").to_pylist() == [0]
    assert table.scan("took < 0").to_arrow().column("_offset").to_pylist() == [3]
    found = pl.scan_iceberg(table).filter(pl.col("took").is_nan()).collect()
    assert found.get_column("_offset").to_list() == [0]
    (path,) = table.inspect.files().column("file_path").to_pylist()
    assert duckdb.sql(f"SELECT _offset FROM '{path}' WHERE took > 100 OR isnan(each[1])").fetchall() == [(0,)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_column_that_changes_its_kind_is_refused_and_what_was_shown_stays(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    other = pa.schema([field if field.name != "position" else pa.field("position", pa.string()) for field in logs.schema])
    logs.land([{**event.row(), "position": "p"} for event in events(5, 5)], schema=other)
    with pytest.raises(StorageError, match=r"another kind: position \(string, so far long\)"):
        sync(tmp_path)
    assert opened(tmp_path).scan().to_arrow().num_rows == 5


@pytest.mark.parametrize(
    ("before", "after"),
    [(pa.decimal128(10, 2), pa.decimal128(12, 4)), (pa.string(), pa.binary()), (pa.binary(), pa.string())],
)
def test_what_pyiceberg_would_take_for_the_same_column_and_is_not_is_refused(
    tmp_path: Path, logs: TableWriter, before: pa.DataType, after: pa.DataType
) -> None:
    for first, type_ in ((0, before), (5, after)):
        logs.land([event.row() for event in events(first, 5)], schema=logs.schema.append(pa.field("amount", type_)))
        if first == 0:
            sync(tmp_path)
    with pytest.raises(StorageError, match=r"another kind: amount"):
        sync(tmp_path)


def test_a_record_that_gets_a_field_which_iceberg_has_no_type_for_is_shown_without_it(
    tmp_path: Path, logs: TableWriter
) -> None:
    newer = pa.struct([("id", pa.int64()), ("at", pa.timestamp("ns", "UTC"))])
    for first, kind in ((0, pa.struct([("id", pa.int32())])), (5, newer)):
        order: dict[str, int] = {"id": 7} if first == 0 else {"id": 8, "at": 1}
        schema = logs.schema.append(pa.field("order", kind))
        logs.land([{**event.row(), "order": order} for event in events(first, 5)], schema=schema)
        sync(tmp_path)
    found = opened(tmp_path).scan().to_arrow().sort_by("_offset")["order"].to_pylist()
    assert found == [{"id": 7}] * 5 + [{"id": 8}] * 5


def test_files_of_more_than_one_hour_are_partitioned_by_days_which_filters_prune(tmp_path: Path, logs: TableWriter) -> None:
    for first in (0, 720, 1440):  # half an hour each before and after the full hour, as of a layout in a zone with half ones
        logs.land([{**event.row(), "_event_ms": T0} for event in events(first + 30, 60)])
    sync(tmp_path)
    table = opened(tmp_path)
    assert [field.name for field in table.spec().fields] == ["event_time_day"]
    only = table.scan("event_time < '2025-11-23T00:00:00+00:00'")
    assert len(list(only.plan_files())) == 1
    assert only.to_arrow().num_rows == 60
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)


def test_rows_without_an_event_time_are_found_by_asking_for_them(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    logs.land([{**event.row(), "event_time": None if event.position == 6 else event.event_ms * 1000} for event in events(5, 5)])
    sync(tmp_path)
    assert opened(tmp_path).scan("event_time is null").to_arrow().column("_offset").to_pylist() == [6]
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_a_table_that_was_rolled_back_dropped_or_written_to_is_mended_by_the_difference(
    tmp_path: Path, logs: TableWriter
) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    first = opened(tmp_path).current_snapshot().snapshot_id  # type: ignore[union-attr]
    logs.land_events(events(5, 5))
    sync(tmp_path)
    opened(tmp_path).manage_snapshots().set_current_snapshot(first).commit()
    assert sync(tmp_path).added == 1
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)

    opened(tmp_path).delete("_offset >= 5")
    assert opened(tmp_path).scan().to_arrow().num_rows == 5
    assert sync(tmp_path).added == 1
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)

    opened(tmp_path).catalog.drop_table(("landed", "logs"))
    assert sync(tmp_path).added == 2
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_our_file_that_another_has_added_again_is_there_once_after_the_next_sync(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    (task,) = opened(tmp_path).scan().plan_files()
    with opened(tmp_path).transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(task.file)
    assert opened(tmp_path).scan().to_arrow().num_rows == 10
    sync(tmp_path)
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_a_catalog_restored_from_a_copy_goes_on_from_there(tmp_path: Path, logs: TableWriter) -> None:
    catalog = tmp_path / "_iceberg" / "catalog.db"
    logs.land_events(events(0, 5))
    sync(tmp_path)
    copy = catalog.read_bytes()
    for first in (5, 10):
        logs.land_events(events(first, 5))
        sync(tmp_path)
    catalog.write_bytes(copy)
    assert sync(tmp_path).added == 2
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_a_log_restored_from_a_copy_takes_out_what_it_does_not_know(tmp_path: Path, logs: TableWriter) -> None:
    for first in (0, 5):
        logs.land_events(events(first, 5))
        sync(tmp_path)
    logs.remove_record(1)
    logs.land_events(events(5, 3))
    done = sync(tmp_path)
    assert (done.added, done.removed) == (1, 1)
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_records_without_rows_change_nothing(tmp_path: Path, logs: TableWriter) -> None:
    logs.land([], quarantined=[T0])
    assert sync(tmp_path).marks is None
    logs.land_events(events(0, 5))
    sync(tmp_path)
    before = opened(tmp_path).metadata_location
    logs.land([], quarantined=[T0])
    assert sync(tmp_path).added == 0
    assert opened(tmp_path).metadata_location == before


def test_pyiceberg_repeats_no_commit_by_itself_even_if_somebody_allows_it_again(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    with opened(tmp_path).transaction() as transaction:
        transaction.remove_properties("commit.retry.num-retries")
    logs.land_events(events(5, 5))
    sync(tmp_path)
    assert opened(tmp_path).properties["commit.retry.num-retries"] == "0"


def test_old_snapshots_are_forgotten_and_metadata_that_only_they_needed_is_deleted(tmp_path: Path, logs: TableWriter) -> None:
    for first in (0, 5, 10):
        logs.land_events(events(first, 5))
        sync(tmp_path)
    (metadata,) = (tmp_path / "logs" / "_headrace" / "iceberg").glob("*/metadata")
    (metadata / "left-by-a-killed-committer-m0.avro").write_bytes(b"x")
    for path in metadata.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    logs.land_events(events(15, 5))
    Projection(Iceberg(keep="30m"), tmp_path, Later()).sync("logs")
    table = opened(tmp_path)
    assert len(table.snapshots()) == 1
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)
    named = {Path(manifest.manifest_path).name for manifest in table.current_snapshot().manifests(table.io)}  # type: ignore[union-attr]
    assert {path.name for path in metadata.glob("*-m*.avro")} == named
    assert len(list(metadata.glob("snap-*.avro"))) == 1
    logs.land_events(events(20, 5))
    sync(tmp_path)
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def test_a_table_of_another_root_or_of_nobody_is_not_touched(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    TableWriter(elsewhere, "logs").land_events(events(0, 3))
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path / '_iceberg' / 'catalog.db'}"}
    with pytest.raises(UsageError, match="choose another namespace"):
        sync(elsewhere, catalog=catalog)
    with pytest.raises(UsageError, match="choose another namespace"):
        Projection(Iceberg(catalog=catalog), elsewhere, SystemClock()).drop("logs")
    assert sync(elsewhere, catalog=catalog, namespace="other").added == 1
    assert opened(tmp_path).scan().to_arrow().num_rows == 5


def test_a_landed_file_that_is_missing_is_named_and_nothing_is_committed(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    sync(tmp_path)
    (path,) = logs.land_events(events(5, 5))
    path.unlink()
    with pytest.raises(StorageError, match=r"missing; run: headrace check"):
        sync(tmp_path)
    assert opened(tmp_path).scan().to_arrow().num_rows == 5


def test_a_catalog_out_of_reach_is_an_error_without_its_password(tmp_path: Path, logs: TableWriter) -> None:
    logs.land_events(events(0, 5))
    catalog = {"type": "rest", "uri": "http://user:hunter2@127.0.0.1:9", "token": "hunter3"}
    with pytest.raises(PeerError) as caught:
        sync(tmp_path, catalog=catalog)
    assert "iceberg catalog headrace" in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_spark_is_told_to_read_without_vectors_unless_somebody_says_otherwise(tmp_path: Path, logs: TableWriter) -> None:
    key = "read.parquet.vectorization.enabled"
    logs.land_events(events(0, 5))
    sync(tmp_path)
    assert opened(tmp_path).properties[key] == "false"
    for change, after in (({key: "true"}, "true"), ({}, "false")):
        with opened(tmp_path).transaction() as transaction:
            transaction.set_properties(change) if change else transaction.remove_properties(key)
        sync(tmp_path)
        assert opened(tmp_path).properties[key] == after
