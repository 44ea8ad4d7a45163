"""Tables that jobs write: a slice is always the whole output of one run, whoever else runs, compacts, expires or loads."""

import json
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import OvertakenError, StorageError, UsageError
from headrace.sinks.check import check_table
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.derived.slices import Slice, day, input_of
from headrace.sinks.derived.table import Committed, DerivedTable, Run
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.places import landed_topics
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import checkpoint, names, upkeep
from headrace.sinks.table.commit import RUN_LIFETIME_MS, Fenced, Won, commit, read_head
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import CommitRecord, DataFile, Job, JobInput, LandedRange
from headrace.sinks.table.store import carry_out

SCHEMA = pa.schema([("host", pa.string()), ("events", pa.int64())])
JOB = Job("counts", "1", (JobInput("logs", 1, 41, "att", 3, "0" * 16),), {"gap": "30m"}, {"state": "complete"})
FRIDAY, SATURDAY = day("2026-11-27"), day("2026-11-28")


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_795_900_000_000

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(tmp_path: Path, clock: Clock) -> DerivedTable:
    return DerivedTable(tmp_path, "counts", clock)


def batch(*events: int) -> pa.RecordBatch:
    return pa.record_batch([[f"host-{count}" for count in events], list(events)], schema=SCHEMA)


def write(run: Run, *events: int) -> list[DataFile]:
    file = run.staging.write([batch(*events)])
    return [] if file is None else [file]


def ran(table: DerivedTable, of: Slice, *events: int) -> Committed:
    run = table.begin(of, SCHEMA)
    return run.commit(write(run, *events), JOB)


def events(root: Path, name: str = "counts") -> dict[str, list[int]]:
    """What the slices hold, by day."""
    found: dict[str, list[int]] = {}
    for file in snapshot(root, name).files:
        found.setdefault(file.dt, []).extend(pq.ParquetFile(file.path).read()["events"].to_pylist())
    return {at: sorted(counts) for at, counts in found.items()}


def is_sound(root: Path, name: str = "counts") -> bool:
    report = check_table(root, name, deep=True)
    assert report.broken == []
    return True


def test_a_rerun_replaces_its_slice_and_no_other(table: DerivedTable, tmp_path: Path) -> None:
    first = ran(table, FRIDAY, 1, 2)
    ran(table, SATURDAY, 9)
    again = ran(table, FRIDAY, 1, 2, 3)
    assert events(tmp_path) == {"2026-11-27": [1, 2, 3], "2026-11-28": [9]}
    assert (first.seq, again.seq, again.rows) == (0, 2, 3)
    assert table.owners["dt=2026-11-27"].attempt == again.attempt
    assert table.owners["dt=2026-11-27"].job == JOB
    assert is_sound(tmp_path)


def test_a_slice_without_rows_has_been_computed_all_the_same(table: DerivedTable, tmp_path: Path) -> None:
    ran(table, FRIDAY, 5)
    empty = ran(table, FRIDAY)
    assert events(tmp_path) == {}
    assert table.owners["dt=2026-11-27"].attempt == empty.attempt
    assert ran(table, FRIDAY, 6).rows == 1
    assert is_sound(tmp_path)


def test_of_two_runs_that_race_one_wins_and_the_other_is_told(table: DerivedTable, tmp_path: Path) -> None:
    one, other = table.begin(FRIDAY, SCHEMA), table.begin(FRIDAY, SCHEMA)
    files, others = write(one, 1), write(other, 2)
    other.commit(others, JOB)
    with pytest.raises(OvertakenError, match="nothing was replaced"):
        one.commit(files, JOB)
    assert events(tmp_path) == {"2026-11-27": [2]}
    assert not any((tmp_path / "counts" / names.STAGING).rglob("*.parquet"))
    assert is_sound(tmp_path)


def test_a_run_goes_on_beside_runs_of_other_slices_and_compactions_of_its_own(
    table: DerivedTable, tmp_path: Path, clock: Clock
) -> None:
    begun = table.begin(FRIDAY, SCHEMA)
    begun.commit([*write(begun, 1), *write(begun, 2)], JOB)
    run = table.begin(FRIDAY, SCHEMA)
    files = write(run, 7)
    clock.now_ms += 3 * upkeep.DAY_MS  # Friday is over for whoever compacts, and this run began before
    run_again = table.begin(FRIDAY, SCHEMA)
    files_again = write(run_again, 8)
    ran(table, SATURDAY, 9)
    assert compact_table(tmp_path, "counts", Limits(), clock, progress=lambda _: None).after == 1
    assert events(tmp_path) == {"2026-11-27": [1, 2], "2026-11-28": [9]}
    assert is_sound(tmp_path)
    run_again.commit(files_again, JOB)
    assert events(tmp_path) == {"2026-11-27": [8], "2026-11-28": [9]}
    assert is_sound(tmp_path)
    with pytest.raises(OvertakenError, match="older than a day"):
        run.commit(files, JOB)


def test_a_run_lives_for_a_day(table: DerivedTable, tmp_path: Path, clock: Clock) -> None:
    run = table.begin(FRIDAY, SCHEMA)
    files = write(run, 1)
    clock.now_ms += RUN_LIFETIME_MS - 1
    run.commit(files, JOB)
    assert events(tmp_path) == {"2026-11-27": [1]}


def test_what_the_manifest_leaves_out_is_not_in_the_table_and_is_swept_after_a_week(
    table: DerivedTable, tmp_path: Path, clock: Clock
) -> None:
    run = table.begin(FRIDAY, SCHEMA)
    write(run, 1)  # of a worker that was tried again
    run.commit(write(run, 2), JOB)
    assert events(tmp_path) == {"2026-11-27": [2]}
    (left,) = (tmp_path / "counts" / names.STAGING).rglob("*.parquet")
    os.utime(left, (0, 0))
    ran(table, SATURDAY, 3)
    assert not left.exists()
    assert is_sound(tmp_path)


def _work(pickled: bytes, numbers: Sequence[int]) -> bytes:
    return pickle.dumps(pickle.loads(pickled).write([batch(*numbers)]))


def test_workers_in_other_processes_write_without_asking_anyone(table: DerivedTable, tmp_path: Path) -> None:
    run = table.begin(FRIDAY, SCHEMA)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = [pool.submit(_work, pickle.dumps(run.staging), numbers) for numbers in ([1, 2], [3], [])]
        files = [file for one in done if (file := pickle.loads(one.result())) is not None]
    assert run.commit(files, JOB).files == 2
    assert events(tmp_path) == {"2026-11-27": [1, 2, 3]}


def test_a_file_that_a_worker_wrote_elsewhere_is_missed_before_the_commit(table: DerivedTable, tmp_path: Path) -> None:
    ran(table, FRIDAY, 1)
    run = table.begin(FRIDAY, SCHEMA)
    files = write(run, 2)
    (tmp_path / "counts" / names.staged(files[0].path)).unlink()
    with pytest.raises(StorageError, match="workers must see the same"):
        run.commit(files, JOB)
    assert events(tmp_path) == {"2026-11-27": [1]}


def test_a_newer_version_of_a_job_may_add_columns_and_change_none(table: DerivedTable, tmp_path: Path) -> None:
    ran(table, FRIDAY, 1)
    more = pa.schema([*SCHEMA, ("bytes", pa.int64())])
    run = table.begin(SATURDAY, more)
    file = run.staging.write([pa.record_batch([["a"], [2], [3]], schema=more)])
    assert file is not None
    run.commit([file], JOB)
    ran(table, FRIDAY, 4)
    assert events(tmp_path) == {"2026-11-27": [4], "2026-11-28": [2]}
    assert is_sound(tmp_path)
    with pytest.raises(UsageError, match="name another table"):
        table.begin(FRIDAY, pa.schema([("host", pa.string()), ("events", pa.string())]))
    with pytest.raises(UsageError, match="the directory dt=2026-11-27 says dt"):
        table.begin(FRIDAY, pa.schema([("dt", pa.string())]))


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (pa.timestamp("s"), r"timestamp\[ms\]"),
        (pa.struct([("at", pa.timestamp("s", "UTC"))]), r"struct<at: timestamp\[ms, tz=UTC\]>"),
        (pa.time32("s"), r"time32\[ms\]"),
    ],
)
def test_columns_that_files_would_give_back_as_others_are_refused_before_anything_is_written(
    table: DerivedTable, tmp_path: Path, kind: pa.DataType, kept: str
) -> None:
    with pytest.raises(UsageError, match=f"column at of type .* would come back as .*{kept}; give it that type"):
        table.begin(FRIDAY, pa.schema([*SCHEMA, ("at", kind)]))
    with pytest.raises(UsageError, match="cannot hold"):
        table.begin(FRIDAY, pa.schema([("at", pa.month_day_nano_interval())]))
    assert not list(tmp_path.iterdir())


def test_slices_do_not_overlap(table: DerivedTable) -> None:
    ran(table, FRIDAY, 1)
    with pytest.raises(UsageError, match="overlap"):
        table.begin(Slice("dt=2026-11-27/hour=13", 0, 1), SCHEMA)


@pytest.mark.parametrize("directory", ["", "dt", "_x=1", "dt=1/..", "/dt=1", "dt=1/", "dt=", "a=b=c"])
def test_a_slice_is_a_directory_of_keys(directory: str) -> None:
    with pytest.raises(UsageError):
        Slice(directory, 0, 1)


def test_a_day_has_the_hours_of_its_zone() -> None:
    summer_ends = day("2026-10-25", "Europe/Zurich")
    assert (summer_ends.end_ms - summer_ends.start_ms) == 25 * 3_600_000
    assert summer_ends.directory == "dt=2026-10-25"
    with pytest.raises(UsageError):
        day("yesterday")


def landed(root: Path, topic: str) -> None:
    """A table of one load, without rows."""
    store = LocalStore(root / topic)
    fold = carry_out(read_head(), store)
    one = LandedRange(0, 0, fold.end(0, 0), fold.end(0, 0) + 1, 0, 0, 1, last_offset=0)
    done = carry_out(commit(CommitRecord("load", f"load-{fold.seq}", "t", 1, (one,)), fold, started_ms=0), store, Now())
    assert isinstance(done, Won)


class Now(Clock):
    def __init__(self) -> None:
        self.now_ms = 5


def test_loaders_refuse_what_jobs_write_and_jobs_what_is_landed(table: DerivedTable, tmp_path: Path, clock: Clock) -> None:
    landed(tmp_path, "logs")
    ran(table, FRIDAY, 1)
    with pytest.raises(UsageError, match="landed from a topic"):
        DerivedTable(tmp_path, "logs", clock).begin(FRIDAY, SCHEMA)
    store = LocalStore(tmp_path / "counts")
    one = CommitRecord("load", "a", "t", 1, (LandedRange(0, 0, 0, 1, 0, 0, 1),))
    steps = commit(one, carry_out(read_head(), store), started_ms=0)
    with pytest.raises(AssertionError):
        carry_out(steps, store, Now())


def test_whoever_is_first_decides_what_a_table_is(tmp_path: Path, clock: Clock) -> None:
    run = DerivedTable(tmp_path, "logs", clock).begin(FRIDAY, SCHEMA)
    files = write(run, 1)
    store = LocalStore(tmp_path / "logs")
    fold = carry_out(read_head(), store)
    landed(tmp_path, "logs")
    with pytest.raises(OvertakenError, match="landed from a topic"):
        run.commit(files, JOB)
    ran(DerivedTable(tmp_path, "jobs", clock), FRIDAY, 1)
    late = CommitRecord("load", "late", "t", 1, (LandedRange(0, 0, 0, 1, 0, 0, 1),))
    lost = carry_out(commit(late, fold, started_ms=0), LocalStore(tmp_path / "jobs"), Now())
    assert isinstance(lost, Fenced)
    assert "job's output" in lost.why


def test_topics_do_not_include_what_jobs_write(table: DerivedTable, tmp_path: Path) -> None:
    landed(tmp_path, "logs")
    ran(table, FRIDAY, 1)
    assert landed_topics(tmp_path) == ["logs"]


def test_what_has_expired_is_still_known_to_have_been_computed(table: DerivedTable, tmp_path: Path, clock: Clock) -> None:
    ran(table, FRIDAY, 1)
    ran(table, SATURDAY, 2)
    gone = expire_table(tmp_path, "counts", Ages(events=SATURDAY.start_ms), clock, dry_run=False)
    assert len(gone.files) == 1
    assert events(tmp_path) == {"2026-11-28": [2]}
    assert set(table.owners) == {"dt=2026-11-27", "dt=2026-11-28"}
    ran(table, FRIDAY, 3)
    assert events(tmp_path) == {"2026-11-27": [3], "2026-11-28": [2]}
    assert is_sound(tmp_path)


def test_a_checkpoint_keeps_whose_output_each_slice_is(table: DerivedTable, tmp_path: Path) -> None:
    ran(table, FRIDAY, 1)
    ran(table, SATURDAY)
    store = LocalStore(tmp_path / "counts")
    fold = carry_out(read_head(), store)
    assert checkpoint.decode(checkpoint.encode(fold), "it").slices == fold.slices
    carry_out(upkeep.write_checkpoint(fold), store)
    for record in (tmp_path / "counts" / names.log_directory(1)).iterdir():
        record.unlink()
    assert table.owners == fold.slices
    ran(table, SATURDAY, 7)
    assert events(tmp_path) == {"2026-11-27": [1], "2026-11-28": [7]}


def test_inputs_tell_whether_rows_came_or_went_and_no_compaction(table: DerivedTable, tmp_path: Path, clock: Clock) -> None:
    run = table.begin(FRIDAY, SCHEMA)
    run.commit([*write(run, 1), *write(run, 2)], JOB)
    ran(table, SATURDAY, 9)
    before = input_of(snapshot(tmp_path, "counts"), FRIDAY)
    clock.now_ms += 3 * upkeep.DAY_MS
    compact_table(tmp_path, "counts", Limits(), clock, progress=lambda _: None)
    after = input_of(snapshot(tmp_path, "counts"), FRIDAY)
    assert (before.rows, before.content_hash) == (after.rows, after.content_hash) == (2, before.content_hash)
    assert after.seq > before.seq


def test_check_names_a_replace_that_does_not_follow(table: DerivedTable, tmp_path: Path) -> None:
    ran(table, FRIDAY, 1)
    ran(table, FRIDAY, 2)
    path = tmp_path / "counts" / names.record_path(1, 1)
    wrong: list[tuple[str, Any]] = [("replaces", "another"), ("remove", []), ("slice", "dt=2026-11-28")]
    whole = json.loads(path.read_bytes())
    for key, value in wrong:
        path.write_text(json.dumps({**whole, key: value}))
        assert check_table(tmp_path, "counts", deep=False).broken, key
    path.write_text(json.dumps({**whole, "job": None}))
    (broken,) = check_table(tmp_path, "counts", deep=False).broken
    assert "names no slice or no job" in broken
