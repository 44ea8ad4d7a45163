"""Readers of an Iceberg table find every file of the snapshot that they read, whatever becomes of the landed one meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from pyiceberg.catalog import Catalog

from headrace.clock import SystemClock
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.table import ProjectedTable
from headrace.sinks.iceberg.tables import Projection
from headrace.sinks.stores.local import LocalStore
from tests.integration.sinks.test_iceberg import HOUR, T0, Later, compact, events, landed, offsets, opened, sync
from tests.landed_rows import rows
from tests.landed_tables import TableWriter


@pytest.fixture
def logs(tmp_path: Path) -> TableWriter:
    """Three small files of one hour, one of the next, and Iceberg knows them."""
    logs = TableWriter(tmp_path, "logs")
    for first in (0, 20, 40, 60):
        logs.land_events(events(first, 20))
    sync(tmp_path)
    return logs


def test_a_snapshot_can_be_read_before_and_after_the_sync_that_follows_a_compaction(tmp_path: Path, logs: TableWriter) -> None:
    before = opened(tmp_path)
    compact(tmp_path)
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)
    sync(tmp_path)
    assert offsets(before.scan().to_arrow()) == offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)
    first = opened(tmp_path).snapshots()[0].snapshot_id
    assert opened(tmp_path).scan(snapshot_id=first).to_arrow().num_rows == 80


def test_what_has_expired_stays_in_the_snapshots_that_had_it(tmp_path: Path, logs: TableWriter) -> None:
    before = opened(tmp_path)
    expire_table(tmp_path, "logs", Ages(events=T0 + HOUR), SystemClock(), dry_run=False)
    sync(tmp_path)
    assert before.scan().to_arrow().num_rows == 80
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)
    assert len(landed(tmp_path)) < 80


def test_an_engine_that_reads_the_directory_sees_no_row_twice_for_it(tmp_path: Path, logs: TableWriter) -> None:
    compact(tmp_path)
    sync(tmp_path)
    found = [row["_offset"] for row in rows((tmp_path / "logs").glob("dt=*/hour=*/*.parquet"))]
    assert sorted(found) == list(range(80))


def test_readers_that_never_pause_see_whole_snapshots_while_files_land_and_are_merged(
    tmp_path: Path, logs: TableWriter
) -> None:
    done = Event()

    def read() -> Iterator[list[int]]:
        while not done.is_set():
            yield sorted(opened(tmp_path).scan().to_arrow().column("_offset").to_pylist())

    with ThreadPoolExecutor() as threads:
        reading = threads.submit(lambda: list(read()))
        for first in range(80, 200, 20):
            logs.land_events(events(first, 20))
            compact(tmp_path)
            sync(tmp_path)
        done.set()
        seen = reading.result(60)
    assert seen
    assert all(one == list(range(len(one))) for one in seen)
    assert [len(one) for one in seen] == sorted(len(one) for one in seen)


class DaysLater(LocalStore):
    """A disk whose clock is three days on."""

    def now_ms(self) -> int:
        return super().now_ms() + 72 * HOUR


def links(root: Path) -> set[Path]:
    return set((root / "logs" / "_headrace" / "iceberg").rglob("*.parquet"))


def test_a_file_that_no_snapshot_has_any_more_is_deleted_and_no_other(tmp_path: Path, logs: TableWriter) -> None:
    merged = {path for path in links(tmp_path) if "hour=13" in path.parts}
    compact(tmp_path)
    sync(tmp_path)
    catalog = opened(tmp_path).catalog
    logs.land_events(events(80, 5))
    sync_on(LocalStore(tmp_path / "logs"), catalog)
    assert merged < links(tmp_path), "a commit may be about to name what was linked today"
    logs.land_events(events(85, 5))
    sync_on(DaysLater(tmp_path / "logs"), catalog)
    table = opened(tmp_path)
    assert {Path(task.file.file_path.removeprefix("file://")) for task in table.scan().plan_files()} == links(tmp_path)
    assert not merged & links(tmp_path)
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)


def test_a_dropped_table_keeps_no_file_that_the_log_has_given_up(tmp_path: Path, logs: TableWriter) -> None:
    Projection(Iceberg(), tmp_path, SystemClock()).drop("logs")
    assert not links(tmp_path)
    assert sync(tmp_path).added == 4
    assert offsets(opened(tmp_path).scan().to_arrow()) == landed(tmp_path)


def sync_on(store: LocalStore, catalog: Catalog) -> None:
    ProjectedTable(catalog, ("landed", "logs"), store, f"file://{store.root}", 60, Later()).sync()
