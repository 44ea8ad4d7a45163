"""Tables as they were: after a record or at a time, by SQL's AT, a name with @ or --as-of, and what is not kept any more."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.errors import UsageError
from headrace.jobs.sql.options import Options
from headrace.jobs.sql.session import Session
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.store import carry_out
from tests.landed_tables import Event, TableWriter

T0 = 1_763_900_400_000  # 2025-11-23 12:20:00 UTC
HOUR = 3_600_000
LANDED = [T0 + n * HOUR for n in range(3)]
"""When each of three records was written: three rows, then two more, then one."""


def at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "landed"
    root.mkdir()
    table = TableWriter(root, "logs", says_columns=True)
    for count, created_ms in zip((3, 2, 1), LANDED, strict=True):
        events = [Event("a", created_ms + n, T0 + n) for n in range(count)]
        table.land([event.row() for event in events], created_ms=created_ms)
    return root


def ask(root: Path, sql: str, **options: Any) -> list[tuple[Any, ...]]:
    with Session.open(root, Options(**options)) as session, session.ask(sql) as reader:
        return [tuple(row.values()) for row in reader.read_all().to_pylist()]


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("logs", 6),
        ("logs AT (VERSION => 0)", 3),
        ("logs AT (VERSION => 1)", 5),
        ("LOGS AT (VERSION => '2')", 6),
        (f"logs AT (TIMESTAMP => '{at(LANDED[1])}')", 5),
        (f"logs AT (TIMESTAMP => TIMESTAMP '{at(LANDED[2] - 1000)}')", 5),
        ('"logs@0"', 3),
        ('"logs@latest"', 6),
        (f'"logs@{at(LANDED[1])}"', 5),
        ("(FROM logs AT (VERSION => 0))", 3),
        ("(FROM logs AT (VERSION => 0) UNION ALL FROM logs AT (VERSION => 1) UNION ALL FROM logs)", 14),
    ],
)
def test_a_table_is_as_it_was(root: Path, table: str, rows: int) -> None:
    assert ask(root, f"SELECT count(*) FROM {table}") == [(rows,)]


def test_a_table_at_a_moment_has_its_own_name_for_its_columns(root: Path) -> None:
    assert ask(root, "SELECT count(logs.position) FROM logs AT (VERSION => 0) WHERE logs.part = 0") == [(3,)]
    assert ask(root, "SELECT count(x.position) FROM logs AS x AT (VERSION => 0)") == [(3,)]
    new = "SELECT count(*) FROM logs ANTI JOIN logs AS old AT (VERSION => 1) USING (position)"
    assert ask(root, new) == [(1,)]


def test_the_option_means_all_tables_that_say_nothing_else(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TableWriter(root, "other").land([Event("b", 1, T0).row()], created_ms=LANDED[0])
    sql = "SELECT (SELECT count(*) FROM other), (SELECT count(*) FROM logs AT (VERSION => 2)), count(*) FROM logs"
    assert ask(root, sql, as_of=at(LANDED[1])) == [(1, 6, 5)]
    assert main(["query", "SELECT count(*) AS n FROM logs", "--root", str(root), "--as-of", "0", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "n\n3\n"


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("3", "logs as of 3: the newest record is 2"),
        (at(LANDED[0] - 1000), "the log is kept from record 0 on; name a later one"),
        ("yesterday", "give a record's number, a time as 2026-11-27T12:00, or latest"),
    ],
)
def test_a_moment_that_is_none_is_a_usage_error(root: Path, capsys: pytest.CaptureFixture[str], moment: str, said: str) -> None:
    assert main(["query", "FROM logs", "--root", str(root), "--as-of", moment]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_moment_that_is_no_moment_is_told_though_no_table_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "SELECT 1", "--root", str(root), "--as-of", "x"]) == 2
    assert capsys.readouterr().err == (
        "headrace query: as of 'x': give a record's number, a time as 2026-11-27T12:00, or latest\n"
    )


def compacted(root: Path) -> list[Path]:
    """The table's files merged into one by a fourth record; what they were, where they wait for their day to end."""
    assert main(["compact", "--root", str(root), "logs"]) == 0
    store = LocalStore(root / "logs")
    carry_out(upkeep.write_checkpoint(carry_out(read_head(), store)), store)
    removed = sorted((root / "logs" / names.REMOVED).rglob("*.parquet"))
    assert len(removed) == 3
    return removed


def test_files_that_were_taken_out_are_read_for_as_long_as_they_are_there(root: Path) -> None:
    removed = compacted(root)
    assert ask(root, "SELECT count(*) FROM logs AT (VERSION => 1)") == [(5,)]
    for file in removed:
        file.unlink()
    for moment in ("0", "1", "2"):
        with pytest.raises(UsageError, match=r"files were taken out since, and deleted after a day; whole are records 3 to 3"):
            ask(root, f"SELECT count(*) FROM logs AT (VERSION => {moment})")
    assert ask(root, "SELECT count(*) FROM logs AT (VERSION => 3)") == ask(root, "SELECT count(*) FROM logs") == [(6,)]


def test_a_moment_before_the_oldest_checkpoint_that_is_kept_says_from_where_on_the_log_is(root: Path) -> None:
    compacted(root)
    (root / "logs" / names.record_path(1, 0)).unlink()
    with pytest.raises(UsageError, match="the log is kept from record 3 on; name a later one"):
        ask(root, "SELECT count(*) FROM logs AT (VERSION => 1)")
    assert ask(root, "SELECT count(*) FROM logs AT (VERSION => 3)") == [(6,)]
