"""Sweeping on a real disk, by the times that its files bear: 7 days, 24 hours, and never what the fold names."""

import os
import time
from pathlib import Path

from headrace.clock import SystemClock
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange
from headrace.sinks.table.store import carry_out

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def make(root: Path, path: str, age_s: float) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def land(store: LocalStore, name: str, **record: object) -> None:
    file = DataFile(f"dt=2026-11-22/hour=13/{name}-0.parquet", "parquet", 1, 1, "crc32c:00000000", "0" * 16, 0, 0)
    make(store.root, names.staged(file.path), 0)
    fold = carry_out(read_head(), store)
    start = fold.end(0, 0)
    ranges = () if record else (LandedRange(0, 0, start, start + 1, 1, 0, 0),)
    draft = CommitRecord(str(record.pop("kind", "load")), name, "test:1", 1, ranges=ranges, add=(file,), **record)  # type: ignore[arg-type]  # whatever the test names
    clock = SystemClock()
    carry_out(commit(draft, fold, started_ms=clock.monotonic_ms()), store, clock)


def swept(store: LocalStore) -> set[str]:
    return set(carry_out(upkeep.sweep(), store))


def test_files_that_no_fold_names_go_after_seven_days(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    land(store, "one")
    for path in ("staging/dt=2026-11-22/hour=13/a-0.parquet", "quarantine/a.jsonl.zst"):
        old, young = make(tmp_path, f"_headrace/{path}", 7 * DAY_S + 60), make(tmp_path, f"_headrace/{path}.b", 7 * DAY_S - 60)
        swept(store)
        assert (old.exists(), young.exists()) == (False, True)


def test_a_live_file_that_was_never_moved_out_of_staging_stays_however_old(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    land(store, "one")
    placed = tmp_path / "dt=2026-11-22/hour=13/one-0.parquet"
    staged = tmp_path / names.staged("dt=2026-11-22/hour=13/one-0.parquet")
    staged.parent.mkdir(parents=True)
    placed.rename(staged)
    os.utime(staged, (time.time() - 90 * DAY_S,) * 2)
    assert swept(store) == set()
    assert staged.exists()


def test_removed_files_go_a_day_after_they_were_removed_however_old_they_are(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    land(store, "one")
    path = "dt=2026-11-22/hour=13/one-0.parquet"
    os.utime(tmp_path / path, (time.time() - 90 * DAY_S,) * 2)
    land(store, "two", kind="compact", remove=(path,))
    removed = tmp_path / names.removed(path)
    swept(store)
    assert removed.exists()
    os.utime(removed, (time.time() - DAY_S - 60,) * 2)
    swept(store)
    assert not removed.exists()


def test_records_go_thirty_days_after_a_checkpoint_that_covers_them(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("one", "two", "three"):
        land(store, name)
    fold = carry_out(read_head(), store)
    carry_out(upkeep.write_checkpoint(fold), store)
    land(store, "four")
    checkpoint = tmp_path / names.checkpoint_path(1, 2)
    os.utime(checkpoint, (time.time() - 30 * DAY_S + 60,) * 2)
    assert swept(store) == set()
    os.utime(checkpoint, (time.time() - 30 * DAY_S - 60,) * 2)
    assert swept(store) == {names.record_path(1, seq) for seq in (0, 1, 2)}
    assert carry_out(read_head(), store).seq == 3


def test_what_a_crash_leaves_of_a_put_or_a_look_at_the_clock_goes_after_seven_days(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    land(store, "one")
    places = (names.HIDDEN, names.log_directory(1), names.checkpoint_directory(1))
    old = [make(tmp_path, f"{place}/.dead.tmp", 8 * DAY_S) for place in places]
    young = [make(tmp_path, f"{place}/.alive.tmp", HOUR_S) for place in places]
    swept(store)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)
