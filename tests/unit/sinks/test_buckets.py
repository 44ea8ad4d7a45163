"""Rows on their way into files: memory is bounded by what is counted, and files are sorted however rows are spilled."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.sinks.buckets import Buckets, Rows
from headrace.sinks.config import Output
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names

COLUMNS = 20


def rows(hour: int, offsets: range, *, partition: int = 0) -> Rows:
    columns = {f"c{n}": pa.array(list(offsets), pa.int64()) for n in range(COLUMNS - 2)}
    columns["_partition"] = pa.array([partition] * len(offsets), pa.int32())
    columns["_offset"] = pa.array(list(offsets), pa.int64())
    times = pa.chunked_array([pa.array([hour * 3_600_000] * len(offsets), pa.int64())])
    return Rows(0, partition, f"hour={hour:02d}", pa.table(columns), times, offsets[0], offsets[-1], frozenset({7}))


def test_a_few_rows_in_each_of_very_many_hours_are_counted_as_the_memory_they_take(tmp_path: Path) -> None:
    buckets = Buckets(LocalStore(tmp_path), "one", Output())
    for hour in range(500):
        buckets.add(rows(hour, range(hour, hour + 1)))
    assert buckets.held_bytes > 500 * COLUMNS * 500


def test_rows_of_an_hour_that_come_few_at_a_time_take_no_more_memory_than_at_once(tmp_path: Path) -> None:
    slowly, at_once = Buckets(LocalStore(tmp_path), "one", Output()), Buckets(LocalStore(tmp_path), "two", Output())
    for offset in range(0, 400, 2):
        slowly.add(rows(5, range(offset, offset + 1), partition=1))
        slowly.add(rows(5, range(offset, offset + 1), partition=2))
    at_once.add(rows(5, range(200), partition=1))
    at_once.add(rows(5, range(200), partition=2))
    assert slowly.held_bytes <= 1.1 * at_once.held_bytes


def test_spilled_or_not_every_row_is_in_one_file_in_order_of_its_partition(tmp_path: Path) -> None:
    buckets = Buckets(LocalStore(tmp_path), "one", Output())
    for step in range(12):
        for partition in (2, 0):
            buckets.add(rows(5 + step % 2, range(step * 40, step * 40 + 40), partition=partition))
        if step in (4, 5, 9):
            buckets.spill()
    files = buckets.close()
    assert buckets.held_bytes == 0
    found: list[tuple[int, int]] = []
    for file in files:
        table = pq.read_table(tmp_path / names.staged(file.path))
        keys = list(zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True))
        assert keys == sorted(keys)
        assert len(keys) == file.rows
        found += keys
    assert sorted(found) == sorted((partition, offset) for partition in (0, 2) for offset in range(480))
