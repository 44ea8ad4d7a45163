"""`headrace check --repair` finishes what a crash left, takes strangers out after a week, and never touches a live file."""

import os
import time
from pathlib import Path

import pytest

from headrace.cli import main
from headrace.sinks.check import check_table
from headrace.sinks.repair import repair_table
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.store import carry_out
from tests.unit.sinks.test_compaction import compact, land, rows

WEEK_S = 7 * 24 * 3600


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for n in range(3):
        land(tmp_path / "t", {0: 3 + n})
    return tmp_path / "t"


def move(table: Path, source: str, target: str) -> None:
    (table / target).parent.mkdir(parents=True, exist_ok=True)
    (table / source).rename(table / target)


def test_live_files_in_staging_are_moved_to_their_place(table: Path) -> None:
    before = rows(table)
    paths = list(carry_out(read_head(), LocalStore(table)).files)
    for path in paths[:2]:
        move(table, path, names.staged(path))
    assert check_table(table.parent, "t", deep=True).remarks == [
        "2 live files are still in staging; the next loader moves them"
    ]
    assert repair_table(LocalStore(table)) == ["2 files live, moved from staging to their place"]
    report = check_table(table.parent, "t", deep=True)
    assert (report.broken, report.remarks, rows(table)) == ([], [], before)


def test_files_that_a_compaction_took_out_before_it_died_leave_the_data(table: Path) -> None:
    before = rows(table)
    paths = list(carry_out(read_head(), LocalStore(table)).files)
    compact(table)
    for path in paths:
        move(table, names.removed(path), path)
    assert "3 files that were taken out are still in place" in check_table(table.parent, "t", deep=True).remarks[0]
    assert repair_table(LocalStore(table)) == ["3 files taken out, moved to removed/"]
    report = check_table(table.parent, "t", deep=True)
    assert (report.broken, report.remarks, rows(table)) == ([], [], before)


def test_a_stranger_among_the_data_stays_for_a_week_and_goes_to_removed_then(table: Path) -> None:
    stranger = table / "dt=2026-01-01/hour=00/somebody.parquet"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"x")
    assert repair_table(LocalStore(table)) == []
    assert "the log does not name it" in check_table(table.parent, "t", deep=False).broken[0]
    os.utime(stranger, (time.time() - WEEK_S - 60,) * 2)
    assert repair_table(LocalStore(table)) == ["1 files that the log does not name, a week old, moved to removed/"]
    assert (table / names.removed("dt=2026-01-01/hour=00/somebody.parquet")).exists()
    assert check_table(table.parent, "t", deep=True).broken == []


def test_no_live_file_goes_however_old_it_is_and_wherever_it_lies(table: Path) -> None:
    before = rows(table)
    paths = list(carry_out(read_head(), LocalStore(table)).files)
    move(table, paths[0], names.staged(paths[0]))
    move(table, paths[1], names.removed(paths[1]))
    for path in table.rglob("*.parquet"):
        os.utime(path, (time.time() - 90 * 24 * 3600,) * 2)
    repair_table(LocalStore(table))
    assert rows(table) == before


def test_a_table_whose_log_is_damaged_is_left_alone_and_reported(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table / names.record_path(1, 1)).unlink()
    files = sorted(table.rglob("*"))
    assert main(["check", str(table.parent), "--repair"]) == 1
    assert "record 1 is missing" in capsys.readouterr().out
    assert sorted(table.rglob("*")) == files


def test_what_was_repaired_is_said(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path, *_) = carry_out(read_head(), LocalStore(table)).files
    move(table, path, names.staged(path))
    assert main(["check", str(table.parent), "--repair"]) == 0
    assert "repaired: 1 files live, moved from staging to their place" in capsys.readouterr().out
