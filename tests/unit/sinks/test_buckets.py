"""Rows on their way into files: memory is bounded by what is counted, and files are sorted however rows are spilled."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.sinks.buckets import Buckets, Rows
from headrace.sinks.config import Output
from headrace.sinks.content_hash import content_hash
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names

COLUMNS = 20


def rows(hours: list[int], start: int, *, partition: int = 0, columns: int = COLUMNS) -> Rows:
    """Rows at offsets from `start` on, each in its hour."""
    offsets = pa.array(range(start, start + len(hours)), pa.int64())
    table = {f"c{n}": offsets for n in range(columns - 3)}
    table["_incarnation"] = pa.array([partition % 2] * len(hours), pa.int32())
    table["_partition"] = pa.array([partition] * len(hours), pa.int32())
    table["_offset"] = offsets
    paths = tuple(f"hour={hour:02d}" for hour in sorted(set(hours)))
    numbers = np.array([sorted(set(hours)).index(hour) for hour in hours], np.int32)
    return Rows(pa.table(table), np.array(hours) * 3_600_000, numbers, paths, frozenset({partition}))


def buckets_of(folder: Path, name: str = "one") -> Buckets:
    return Buckets(LocalStore(folder), name, Output())


def test_few_rows_are_counted_as_the_memory_that_they_take(tmp_path: Path) -> None:
    buckets = buckets_of(tmp_path)
    for offset in range(500):
        buckets.add(rows([offset % 24], offset))
    assert buckets.held_bytes > 500 * COLUMNS * 500


def test_spilled_or_not_each_directory_has_one_file_with_its_rows_in_order(tmp_path: Path) -> None:
    rnd = random.Random(5)
    spilling, holding = buckets_of(tmp_path, "one"), buckets_of(tmp_path, "two")
    ends = dict.fromkeys(range(7), 0)
    for step in range(60):
        partition = rnd.choice(list(ends))
        hours = [rnd.choice((1, 2, 3, partition)) for _ in range(rnd.randrange(1, 50))]
        for buckets in (spilling, holding):
            buckets.add(rows(hours, ends[partition], partition=partition))
        ends[partition] += len(hours)
        if step % 13 == 4:
            spilling.spill()
    files, same = spilling.close(), holding.close()
    assert spilling.held_bytes == holding.held_bytes == 0
    assert len({file.path.partition("/")[0] for file in files}) == len(files) == len(same)
    for file, other in zip(files, same, strict=True):
        table = pq.ParquetFile(tmp_path / names.staged(file.path)).read()
        keys = list(zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True))
        assert keys == sorted(set(keys))
        assert (len(keys), f"{content_hash(table):016x}") == (file.rows, file.content_hash)
        assert (file.rows, file.content_hash, file.ranges, file.schema_ids) == (
            other.rows, other.content_hash, other.ranges, other.schema_ids,
        )  # fmt: skip
        assert file.min_event_time_ms == file.max_event_time_ms == int(file.path[5:7]) * 3_600_000
        spans = {(span.incarnation, span.partition): (span.start, span.end) for span in file.ranges}
        for partition in {key[0] for key in keys}:
            own = [offset for key, offset in keys if key == partition]
            assert spans[partition % 2, partition] == (own[0], own[-1] + 1)
    assert sum(file.rows for file in files) == sum(ends.values())


def test_an_hour_is_due_by_all_its_rows_the_spilled_ones_too(tmp_path: Path) -> None:
    buckets = buckets_of(tmp_path)
    buckets.add(rows([1] * 60 + [2] * 50, 0))
    buckets.spill()
    assert not buckets.is_due(bytes_=1 << 30, rows=100)
    buckets.add(rows([1] * 40, 110))
    assert buckets.is_due(bytes_=1 << 30, rows=100)
    buckets.discard()


def test_rows_are_brought_under_new_columns_and_spilled_ones_stay(tmp_path: Path) -> None:
    buckets = buckets_of(tmp_path)
    buckets.add(rows([1] * 5, 0))
    buckets.spill()
    buckets.add(rows([1] * 5, 5))
    buckets.project(lambda table: table.append_column("new", pa.nulls(table.num_rows, pa.string())))
    first, second = buckets.close()
    assert [(file.rows, file.ranges[0].start, file.ranges[0].end) for file in (first, second)] == [(5, 0, 5), (5, 5, 10)]
    assert "new" in pq.ParquetFile(tmp_path / names.staged(second.path)).schema_arrow.names


def test_giving_up_leaves_no_file(tmp_path: Path) -> None:
    buckets = buckets_of(tmp_path)
    buckets.add(rows([1] * 5, 0))
    buckets.spill()
    buckets.add(rows([1] * 5, 5))
    buckets.discard()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
