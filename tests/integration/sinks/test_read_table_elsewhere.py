"""Beam's source of landed tables, and the jobs, on HDFS and S3, by our own file access."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from headrace.beam import ReadTable, run_pipeline
from headrace.errors import StorageError
from headrace.jobs.batch import table_scan
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.running import rows_of_job
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import names
from tests.integration.sinks.test_query_elsewhere import HOUR, T0, land
from tests.object_stores import ObjectStoreServer
from tests.store_proxy import StoreProxy


def positions(source: ReadTable) -> list[int]:
    found: list[int] = run_pipeline(lambda pipeline: pipeline | source | beam.FlatMap(_positions))
    return sorted(found)


def _positions(batch: Any) -> list[int]:
    listed: list[int] = batch["position"].to_pylist()
    return listed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hdfs-native", "libhdfs", "versitygw"])
def test_tables_elsewhere_are_read_as_those_here_also_files_that_move_meanwhile(
    kind: str, new_root: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_root(kind)
    land(url, tmp_path, 50)
    asked: dict[str, Any] = {"since": T0, "until": T0 + HOUR + 1, "where": [("position", ">=", 10), ("position", "<", 90)]}
    source, whole = ReadTable(url, "logs", **asked), ReadTable(url, "logs", columns=["position"])
    store = open_root(url).table("logs")
    (moved,) = store.list("dt=2025-11-23/hour=12", after="", recursive=False)
    name = f"dt=2025-11-23/hour=12/{moved.name}"
    store.move(name, names.removed(name))
    assert positions(source) == list(range(10, 90))
    monkeypatch.setattr(table_scan, "PIECE_BYTES", 0)
    assert positions(ReadTable(url, "logs", **asked)) == list(range(10, 90))
    counted = rows_of_job(made("counts"), url, topics=["logs"]).to_pylist()
    assert [(row["host"], row["events"]) for row in counted] == [("web-1", 50), ("web-1", 50)]
    monkeypatch.undo()
    store.delete(names.removed(name))
    with pytest.raises(StorageError, match="the log names this file, and it is missing"):
        positions(whole)


def test_what_is_read_of_an_object_is_the_columns_and_hours_asked_for(
    new_root: Callable[[str], str], object_store: Callable[[str], ObjectStoreServer], tmp_path: Path
) -> None:
    url, port = new_root("versitygw"), object_store("versitygw").port
    land(url, tmp_path, 3_000, text=4_000)
    size = sum(path.stat().st_size for path in (tmp_path / "logs").rglob("*.parquet"))
    with StoreProxy(port) as proxy:
        through = url.replace(f":{port}", f":{proxy.port}")
        assert positions(ReadTable(through, "logs", columns=["position"])) == list(range(6_000))
        one_column = proxy.answered_bytes
        hour = ReadTable(through, "logs", columns=["position", "message"], since=T0 + HOUR)
        assert positions(hour) == list(range(3_000, 6_000))
        one_hour = proxy.answered_bytes - one_column
    assert (one_column < size / 4, one_hour < size * 0.8) == (True, True), (one_column, one_hour, size)
