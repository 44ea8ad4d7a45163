"""What has changed follows from the commit records: late data names its hour, compaction none, and no gap is guessed."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.errors import StorageError
from headrace.sinks.changes import Change, changed_since
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.store import carry_out
from tests.unit.sinks.test_compaction import compact, land

FIRST, SECOND = "dt=2026-09-21/hour=14", "dt=2026-09-21/hour=15"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Records 0 and 2 are of the first hour, 1 of the second: the third is late."""
    for hour in (0, 1, 0):
        land(tmp_path / "t", {0: 3, 1: 2}, hour=hour)
    return tmp_path / "t"


def changes(table: Path, **since: Any) -> dict[str, Change]:
    return {change.directory: change for change in carry_out(changed_since(**since), LocalStore(table))}


def test_late_data_marks_its_own_hour_and_no_other(table: Path) -> None:
    found = changes(table, seq=1)
    assert found.keys() == {FIRST}
    assert (found[FIRST].seq, found[FIRST].rows_added, found[FIRST].files_removed) == (2, 5, 0)
    assert changes(table, seq=0).keys() == {FIRST, SECOND}
    assert changes(table, seq=2) == {}


def test_a_time_marks_what_was_committed_from_then_on(table: Path) -> None:
    times = [change.changed_ms for change in changes(table, seq=1).values()]
    assert FIRST in changes(table, since_ms=times[0])
    assert changes(table, since_ms=times[0] + 1) == {}
    assert changes(table, since_ms=0).keys() == {FIRST, SECOND}


def test_a_compaction_changes_no_hour(table: Path) -> None:
    assert compact(table).after == 1
    assert changes(table, seq=2) == {}


def test_where_records_are_gone_nothing_is_guessed(table: Path) -> None:
    (table / names.record_path(1, 0)).unlink()
    with pytest.raises(StorageError):
        changes(table, seq=-1)


def test_the_command_says_it_and_refuses_what_is_neither_number_nor_time(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(table.parent), "--format", "json"]
    assert main(["files", "t", "--changed-since", "1", *root]) == 0
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (row["directory"], row["seq"], row["rows_added"]) == (FIRST, 2, 5)
    assert main(["files", "t", "--changed-since", "2026-01-01", *root]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["files", "t", "--changed-since", "yesterday", *root]) == 2
    assert "record's number" in capsys.readouterr().err
