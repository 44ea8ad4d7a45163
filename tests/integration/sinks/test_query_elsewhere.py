"""SQL over tables on HDFS, S3 and Google's store: read where they lie, the columns and hours that a statement needs."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import StorageError, UsageError
from headrace.jobs.sql.query import ask
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Store
from tests.landed_tables import Event, TableWriter
from tests.object_stores import ObjectStoreServer
from tests.store_proxy import StoreProxy

T0, HOUR = 1_763_900_400_000, 3_600_000


def land(root: str, tmp_path: Path, rows: int, *, text: int = 10) -> None:
    """A table `logs` of two hours, made on the local disk and put elsewhere."""
    table = TableWriter(tmp_path, "logs")
    for hour in (0, 1):
        start = hour * rows
        table.land_events([Event("a", n, T0 + hour * HOUR, message=noise(n, text)) for n in range(start, start + rows)])
    store: Store = open_root(root).table("logs")
    for path in sorted((tmp_path / "logs").rglob("*")):
        if path.is_file():
            file = store.create(str(path.relative_to(tmp_path / "logs")))
            file.write(path.read_bytes())
            file.finish()


def noise(n: int, size: int) -> str:
    return random.Random(n).randbytes(size // 2).hex()


def rows(root: str, sql: str) -> list[tuple[Any, ...]]:
    with ask(root, sql) as reader:
        return [tuple(row.values()) for row in reader.read_all().to_pylist()]


@pytest.mark.parametrize("kind", ["hdfs-native", "versitygw", "fake-gcs-server"])
def test_tables_elsewhere_are_asked_as_those_here(kind: str, new_root: Callable[[str], str], tmp_path: Path) -> None:
    url = new_root(kind)
    land(url, tmp_path, 50)
    assert rows(url, "SELECT count(*), count(DISTINCT position), min(hour), max(hour) FROM logs") == [(100, 100, 12, 13)]
    assert rows(url, "SELECT min(position) FROM logs WHERE hour = 13 AND dt = DATE '2025-11-23'") == [(50,)]
    with pytest.raises(UsageError):
        rows(url, "SELECT nothing FROM logs")
    (live, *_) = open_root(url).table("logs").list("dt=2025-11-23/hour=12", after="", recursive=False)
    open_root(url).table("logs").delete(f"dt=2025-11-23/hour=12/{live.name}")
    with pytest.raises(StorageError, match="missing"):
        rows(url, "SELECT max(position) FROM logs")


def test_a_query_of_one_column_reads_a_small_part_of_the_table(
    new_root: Callable[[str], str],
    object_store: Callable[[str], ObjectStoreServer],
    tmp_path: Path,
) -> None:
    url, port = new_root("versitygw"), object_store("versitygw").port
    land(url, tmp_path, 3_000, text=4_000)
    size = sum(path.stat().st_size for path in (tmp_path / "logs").rglob("*.parquet"))
    with StoreProxy(port) as proxy:
        through = url.replace(f":{port}", f":{proxy.port}")
        assert rows(through, "SELECT sum(position) FROM logs") == [(sum(range(6_000)),)]
        one_column = proxy.answered_bytes
        assert rows(through, "SELECT max(message) FROM logs WHERE hour = 13")[0][0]
        one_hour = proxy.answered_bytes - one_column
    assert (one_column < size / 4, one_hour < size * 0.8) == (True, True), (one_column, one_hour, size)
