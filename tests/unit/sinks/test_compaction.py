"""Compaction and expiry of real tables on a local disk: equal rows in fewer files, proved before the swap."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from headrace.cli import main
from headrace.clock import SystemClock
from headrace.errors import CorruptError
from headrace.schemas.client import Registered
from headrace.schemas.framing import frame
from headrace.sinks.attempt import Attempt
from headrace.sinks.check import check_table
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.merge import merged
from headrace.sinks.compaction.plan import Candidate, Limits, closed_ms, merges, small_files
from headrace.sinks.config import LayoutKeys, Output
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.layout import Layout
from headrace.sinks.path_template import DEFAULT_PATH
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.arrow_schema import decode_schema
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import locate, snapshot
from headrace.sinks.table.record import DataFile
from headrace.sinks.table.store import carry_out
from headrace.sinks.values import Schemas
from tests.parquet_files import parquet_settings
from tests.unit.sinks.messages import Message, Registry

HOUR_MS = 3_600_000
UTC_HOURS = Layout(LayoutKeys())
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS


def land(table: Path, partitions: dict[int, int], *, hour: int = 0) -> None:
    """One commit: `count` JSON rows for each partition, all of one hour."""
    clock, store = SystemClock(), LocalStore(table)
    fold = carry_out(read_head(), store)
    attempt = Attempt(table.name, store, fold, Output(), name=str(uuid.uuid4()), started_ms=clock.monotonic_ms())
    for partition, count in partitions.items():
        attempt.start(partition, 0, "id")
        at, time_ms = fold.end(0, partition), START_MS + hour * HOUR_MS
        messages = [Message(at + i, b'{"p": %d, "n": %d}' % (partition, at + i), time_ms) for i in range(count)]
        attempt.take(partition, messages, Schemas(None), why=lambda _, end: (end, "control"), now_ms=clock.monotonic_ms())
    carry_out(commit(attempt.close(clock.wall_ms()), fold, started_ms=attempt.started_ms), store, clock)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two hours: six files of two partitions in the first, one in the second."""
    for n in range(6):
        land(tmp_path / "t", {0: 3 + n, 1: 2})
    land(tmp_path / "t", {0: 5}, hour=1)
    return tmp_path / "t"


def rows(table: Path) -> list[tuple[Any, ...]]:
    found = []
    for file in snapshot(table.parent, table.name).files:
        read = pq.ParquetFile(locate(table.parent, table.name, file.name)).read()
        found += list(zip(*(read[name].to_pylist() for name in ("_partition", "_offset", "value")), strict=True))
    return sorted(found)


def compact(table: Path, limits: Limits = Limits()) -> Any:  # noqa: B008  # it is frozen
    return compact_table(table.parent, table.name, limits, SystemClock(), progress=int)


def test_small_files_of_an_hour_become_one_with_the_same_rows_in_order(table: Path) -> None:
    before = rows(table)
    done = compact(table)
    assert (done.before, done.after, done.rows) == (6, 1, len(before) - 5)
    assert rows(table) == before
    assert len(snapshot(table.parent, "t").files) == 2
    assert check_table(table.parent, "t", deep=True).broken == []
    assert {path.name for path in table.rglob("*.parquet") if "_headrace" not in path.parts} == {
        file.path.name if isinstance(file.path, Path) else Path(file.path).name for file in snapshot(table.parent, "t").files
    }


def test_compacting_twice_changes_nothing_more(table: Path) -> None:
    compact(table)
    head = snapshot(table.parent, "t").seq
    assert compact(table).before == 0
    assert snapshot(table.parent, "t").seq == head


def test_late_rows_of_an_hour_are_merged_with_what_was_compacted(table: Path) -> None:
    compact(table)
    land(table, {0: 4}, hour=0)
    assert compact(table).before == 2
    assert check_table(table.parent, "t", deep=True).broken == []


def test_an_hour_that_is_not_over_long_enough_stays(table: Path) -> None:
    assert compact(table, Limits(closed_for_ms=10**13)).before == 0


def test_a_reader_in_flight_finds_every_file_of_its_snapshot(table: Path) -> None:
    taken = snapshot(table.parent, "t")
    compact(table)
    for file in taken.files:
        assert pq.ParquetFile(locate(table.parent, "t", file.name)).metadata.num_rows == file.rows


def test_a_loader_that_commits_during_a_merge_is_not_fenced_and_neither_is_the_merge(table: Path) -> None:
    landed: list[int] = []

    def meanwhile(_: int) -> None:
        if not landed:
            land(table, {1: 7}, hour=1)
            landed.append(7)

    before = len(rows(table))
    done = compact_table(table.parent, "t", Limits(), SystemClock(), progress=meanwhile)
    assert (done.overtaken, done.before) == (0, 8)
    assert len(rows(table)) == before + 7
    assert check_table(table.parent, "t", deep=True).broken == []


def test_of_two_compactions_one_gives_way_and_nothing_lands_twice(table: Path) -> None:
    raced: list[int] = []

    def race(_: int) -> None:
        if not raced:
            raced.append(1)
            compact(table)

    before = rows(table)
    done = compact_table(table.parent, "t", Limits(), SystemClock(), progress=race)
    assert (done.overtaken, done.before) == (1, 0)
    assert rows(table) == before
    assert check_table(table.parent, "t", deep=True).broken == []


def test_files_that_do_not_hold_what_the_log_says_are_not_swapped_and_leave_nothing(table: Path) -> None:
    victim = Path(snapshot(table.parent, "t").files[0].path)
    read = pq.read_table(victim, partitioning=None)
    at = read.schema.get_field_index("value")
    pq.write_table(read.set_column(at, "value", pa.array(["altered"] * read.num_rows)), victim, compression="zstd")
    head = carry_out(read_head(), LocalStore(table)).seq
    with pytest.raises(CorruptError, match="nothing was changed; run: headrace check --deep"):
        compact(table)
    assert carry_out(read_head(), LocalStore(table)).seq == head
    assert not list((table / names.STAGING).rglob("*.parquet"))


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("time_zone", "path", "directory", "end"),
    [
        ("Asia/Kolkata", DEFAULT_PATH, "dt=2026-11-22/hour=05", "2026-11-22T06:00+05:30"),
        ("Asia/Kolkata", "dt={date}", "dt=2026-11-22", "2026-11-23T00:00+05:30"),
        ("America/New_York", DEFAULT_PATH, "dt=2026-07-01/hour=23", "2026-07-02T00:00-04:00"),
        ("America/New_York", DEFAULT_PATH, "dt=2026-03-08/hour=01", "2026-03-08T03:00-04:00"),  # then it is three o'clock
        ("America/New_York", DEFAULT_PATH, "dt=2026-11-01/hour=00", "2026-11-01T01:00-04:00"),
        ("America/New_York", DEFAULT_PATH, "dt=2026-11-01/hour=01", "2026-11-01T02:00-05:00"),  # it comes twice
        ("America/New_York", "dt={date}", "dt=2026-11-01", "2026-11-02T00:00-05:00"),
        ("UTC", "at/{year}/{month}-{day}/{hour}/of={a.b}", "at/2026/11-22/07/of=x%2Fy", "2026-11-22T08:00+00:00"),
    ],
)
def test_an_hour_is_over_when_the_clocks_of_its_zone_say_so(time_zone: str, path: str, directory: str, end: str) -> None:
    layout = Layout(LayoutKeys(time_zone=time_zone, path=path))
    assert closed_ms(directory, [file("f", 1)], layout) == ms(end)


def test_rows_of_a_zone_lie_in_the_hours_that_are_over_with_them() -> None:
    for time_zone in ("Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"):
        layout = Layout(LayoutKeys(time_zone=time_zone))
        for day in ("2026-03-08", "2026-04-05", "2026-10-04", "2026-11-01", "2026-11-22"):  # clocks change on the first four
            times = np.arange(ms(f"{day}T00:00+00:00"), ms(f"{day}T00:00+00:00") + 48 * HOUR_MS, 5 * 60_000)
            for directory, where in layout.split(pa.table({"x": times}), times):
                latest = int(times[where].max())
                assert latest < closed_ms(directory, [], layout) <= latest + 5 * 60_000 or where[-1] == len(times) - 1


def land_widened(table: Path, number: int) -> None:
    """One commit of version `number` of a schema: int, then long and a text, then without the first."""
    clock, store = SystemClock(), LocalStore(table)
    fold = carry_out(read_head(), store)
    attempt = Attempt(table.name, store, fold, Output(), name=str(uuid.uuid4()), started_ms=clock.monotonic_ms())
    attempt.start(0, 0, "id")
    fields = [[("a", "int")], [("a", "long"), ("b", "string")], [("b", ["null", "string"])]][number]
    text = json.dumps({"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in fields]})
    schema = Registered(number + 1, "AVRO", text, ())
    schemas = Registry(by_id={number + 1: schema}, subjects={"t-value": schema}).schemas()
    payload = [b"\x0a", b"\x0a\x02x", b"\x02\x02y"][number]
    messages = [Message(fold.end(0, 0) + n, frame(number + 1, payload), START_MS) for n in range(4)]
    attempt.take(0, messages, schemas, why=lambda _, end: (end, "control"), now_ms=clock.monotonic_ms())
    carry_out(commit(attempt.close(clock.wall_ms()), fold, started_ms=attempt.started_ms), store, clock)


def test_files_whose_columns_differ_become_one_under_the_columns_of_the_table(tmp_path: Path) -> None:
    table = tmp_path / "t"
    for number in (0, 0, 1, 0, 2):
        land_widened(table, number)
    done = compact(table)
    assert (done.before, done.after, done.rows) == (5, 1, 20)
    (made,) = snapshot(tmp_path, "t").files
    read = pq.ParquetFile(made.path).read()
    assert read.schema.equals(decode_schema(carry_out(read_head(), LocalStore(table)).arrow_schema or ""))
    assert (read.schema.field("a").type, read["_offset"].to_pylist()) == (pa.int64(), list(range(20)))
    assert read["a"].to_pylist() == [5] * 16 + [None] * 4
    assert read["b"].to_pylist() == [None] * 8 + ["x"] * 4 + [None] * 4 + ["y"] * 4
    assert check_table(tmp_path, "t", deep=True).broken == []
    land_widened(table, 0)
    assert compact(table).before == 2
    assert check_table(tmp_path, "t", deep=True).broken == []


def test_a_file_that_was_altered_is_noticed_also_where_columns_are_unified(tmp_path: Path) -> None:
    table = tmp_path / "t"
    for number in (0, 1):
        land_widened(table, number)
    victim = Path(next(file.path for file in snapshot(tmp_path, "t").files if "b" not in pq.read_schema(file.path).names))
    read = pq.ParquetFile(victim).read()
    pq.write_table(read.set_column(0, read.schema.field(0), pa.array([6] * 4, pa.int32())), victim, compression="zstd")
    head = carry_out(read_head(), LocalStore(table)).seq
    with pytest.raises(CorruptError, match="nothing was changed; run: headrace check --deep"):
        compact(table)
    assert carry_out(read_head(), LocalStore(table)).seq == head
    assert not list((table / names.STAGING).rglob("*.parquet"))


PARQUET = {"compression": "gzip", "dictionary": False, "statistics": False, "row_group_rows": 7}


def test_files_are_written_as_the_loaders_configuration_says(table: Path, tmp_path: Path) -> None:
    config = tmp_path / "load.yaml"
    load = {"root": str(table.parent), "per_topic": [{"topics": ["t"], "parquet": PARQUET}]}
    config.write_text(yaml.safe_dump({"load": load, "kafka": {"bootstrap.servers": "127.0.0.1:1"}}))
    assert main(["compact", "--config", str(config), "--root", "elsewhere"]) == 2
    assert main(["compact", "--config", str(config)]) == 0
    made = next(file for file in snapshot(table.parent, "t").files if file.rows > 5)
    assert parquet_settings(Path(made.path)) == ({"GZIP"}, False, False, 7)
    assert check_table(table.parent, "t", deep=True).broken == []


def test_files_of_other_columns_are_not_merged_with_each_other(table: Path) -> None:
    files = list(carry_out(read_head(), LocalStore(table)).files.values())
    limits = Limits()
    one = [Candidate(file, "a" if n % 2 else "b", 10) for n, file in enumerate(files[:4])]
    assert sorted({each.family for each in merge} for merge in merges(one, limits)) == [{"a"}, {"b"}]


def file(name: str, size_bytes: int, *, directory: str = "dt=2026-01-01/hour=05") -> DataFile:
    return DataFile(f"{directory}/{name}.parquet", "parquet", 1, size_bytes, "crc32c:00000000", "0" * 16, 5, 9)


def test_a_merge_stays_below_the_target_and_within_memory() -> None:
    limits = Limits(target_bytes=100, memory_bytes=50)
    candidates = [Candidate(file(f"f{n}", 20), "a", 20) for n in range(7)]
    assert [len(merge) for merge in merges(candidates, limits)] == [2, 2, 2]
    assert [len(merge) for merge in merges(candidates, replace(limits, memory_bytes=1000))] == [5, 2]


def test_large_files_and_lonely_ones_stay() -> None:
    fold = Fold()
    for one in (file("large", 60), file("small", 40), file("other", 40, directory="dt=2026-01-01/hour=06")):
        fold.files[one.path] = one
    assert small_files(fold, Limits(target_bytes=100), UTC_HOURS, 10**15) == []


@pytest.mark.parametrize(
    ("directory", "expected"),
    [("dt=1970-01-02/hour=03", (24 + 4) * HOUR_MS), ("dt=1970-01-02", 48 * HOUR_MS), ("region=eu", 9), ("dt=soon/hour=1", 9)],
)
def test_a_directory_is_over_with_its_hour_or_day_or_its_newest_event(directory: str, expected: int) -> None:
    assert closed_ms(directory, [file("f", 1)], UTC_HOURS) == expected


def batches(*keys: tuple[int, int, int], size: int = 2) -> Iterator[pa.RecordBatch]:
    for at in range(0, len(keys), size):
        part = keys[at : at + size]
        columns = {name: [key[n] for key in part] for n, name in enumerate(("_partition", "_incarnation", "_offset"))}
        yield pa.RecordBatch.from_pydict(columns)


def keys(found: Iterator[pa.RecordBatch]) -> list[tuple[int, int, int]]:
    return [tuple(row.values()) for batch in found for row in batch.to_pylist()]


def test_rows_are_merged_by_partition_incarnation_and_offset() -> None:
    one = [(0, 0, 1), (0, 0, 2), (0, 1, 0), (2, 0, 9)]
    two = [(0, 0, 0), (0, 0, 3), (1, 0, 0), (1, 0, 1), (1, 0, 2)]
    three = [(0, 0, 5), (3, 0, 0)]
    assert keys(merged([batches(*one), batches(*two), batches(*three), batches()])) == sorted([*one, *two, *three])


@pytest.mark.parametrize("wrong", [[(0, 0, 1), (0, 0, 2)], [(0, 0, 3), (0, 0, 0)]])
def test_a_row_in_two_files_or_out_of_order_is_noticed(wrong: list[tuple[int, int, int]]) -> None:
    with pytest.raises(CorruptError, match=r"in two files|does not follow"):
        keys(merged([batches((0, 0, 0), (0, 0, 2)), batches(*wrong, size=1)]))


def test_expiry_takes_out_old_hours_whole_and_keeps_offsets(table: Path) -> None:
    ends = snapshot(table.parent, "t").ends
    gone = expire_table(table.parent, "t", Ages(events=START_MS + HOUR_MS), SystemClock(), dry_run=False).files
    assert len(gone) == 6
    after = snapshot(table.parent, "t")
    assert ([file.hour for file in after.files], after.ends) == ([Path(after.files[0].name).parent.name[5:]], ends)
    assert check_table(table.parent, "t", deep=True).broken == []
    assert len(list((table / names.REMOVED).rglob("*.parquet"))) == 6


def test_a_dry_run_of_expiry_changes_nothing(table: Path) -> None:
    before = rows(table)
    assert len(expire_table(table.parent, "t", Ages(events=START_MS + HOUR_MS), SystemClock(), dry_run=True).files) == 6
    assert rows(table) == before


def test_the_commands_say_what_they_did(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--root", str(table.parent), "--format", "json"]
    assert main(["compact", "t", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["topic"], told["files_before"], told["files_after"]) == ("t", 6, 1)
    assert main(["expire", *where, "--older-than", "1d", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] in (0, 2)
    assert main(["compact", "none", *where]) == 2
    assert main(["expire", *where, "--older-than", "1 day"]) == 2
