"""`headrace.connect`: SQL and Arrow datasets over landed tables from Python, the same rows as the command's, and its errors."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

import headrace
from headrace.errors import ArgumentError, ArgumentTypeError, StorageError, UsageError
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from tests.landed_tables import ENVELOPE, Event, TableWriter

T0 = 1_763_900_400_000  # 2025-11-23 12:20:00 UTC
HOUR = 3_600_000
EVENTS = [Event("a", n * 30, T0 + n * HOUR // 4, fields={"user": f"u{n}"}) for n in range(12)]


@pytest.fixture(params=[True, False], ids=["columns in the log", "columns in footers only"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Twelve events in two records, the second of which lies in staging still, a day later."""
    root = tmp_path / "landed"
    root.mkdir()
    table = TableWriter(root, "my-topic", says_columns=request.param)
    table.land([event.row() for event in EVENTS[:8]], created_ms=T0)
    table.land([event.row() for event in EVENTS[8:]], created_ms=T0 + 24 * HOUR, staged=True)
    return root


def positions(found: ds.Dataset) -> list[int]:
    return sorted(found.to_table(columns=["position"])["position"].to_pylist())


def move_to_place(root: Path) -> None:
    staged, store = root / "my-topic" / names.STAGING, LocalStore(root / "my-topic")
    for file in list(staged.rglob("*.parquet")):
        name = str(file.relative_to(staged))
        store.move(names.staged(name), name)


def test_sql_gives_a_reader_of_batches(root: Path) -> None:
    with headrace.connect(root) as tables:
        assert tables.tables() == ["my-topic"]
        reader = tables.sql('SELECT hour, count(*) AS n FROM "my-topic" GROUP BY ALL ORDER BY hour')
        assert isinstance(reader, pa.RecordBatchReader)
        assert reader.read_all().to_pydict() == {"hour": [12, 13, 14, 15], "n": [3, 4, 4, 1]}
        tables.sql('FROM "my-topic"')  # left unread: the next statement ends it
        assert tables.sql('SELECT count(*) AS n FROM "my-topic" AT (VERSION => 0)').read_all().to_pylist() == [{"n": 8}]


def test_a_table_is_a_dataset_of_its_files_alone(root: Path) -> None:
    stranger = next((root / "my-topic").glob("dt=*/hour=*/*.parquet"))
    stranger.with_name("stranger-0.parquet").write_bytes(stranger.read_bytes())
    with headrace.connect(root) as tables:
        table = tables.table("my-topic")
    assert positions(table) == [event.position for event in EVENTS]
    assert table.count_rows(filter=(pc.field("hour") == 13) & (pc.field("dt") == date(2025, 11, 23))) == 4
    (hour,) = {fragment.path for fragment in table.get_fragments(pc.field("hour") == 15)}
    assert "/dt=2025-11-23/hour=15/" in hour
    assert [table.schema.field(name).type for name in ("dt", "hour")] == [pa.date32(), pa.int32()]


def test_a_dataset_stays_what_it_was_and_finds_its_files_where_they_move(root: Path) -> None:
    with headrace.connect(root) as tables:
        table = tables.table("my-topic")
        move_to_place(root)
        TableWriter(root, "my-topic").land([Event("a", 9999, T0).row()])
        assert positions(table) == [event.position for event in EVENTS]
        assert len(positions(tables.table("my-topic"))) == 13


@pytest.mark.parametrize("moment", [0, "0", datetime(2025, 11, 24, 12, tzinfo=UTC), datetime(2025, 11, 23, 23), "2025-11-24"])  # noqa: DTZ001
def test_as_of_is_a_number_or_a_time(root: Path, moment: int | str | datetime) -> None:
    with headrace.connect(root) as tables:
        assert len(positions(tables.table("my-topic", as_of=moment))) == 8
    with headrace.connect(root, as_of=moment) as tables:
        assert len(positions(tables.table("my-topic"))) == 8
        assert len(positions(tables.table("my-topic", as_of="latest"))) == 12
        assert tables.sql('SELECT count(*) AS n FROM "my-topic"').read_all().to_pylist() == [{"n": 8}]


def test_columns_that_came_later_and_grew_are_the_tables(tmp_path: Path) -> None:
    own = [field for field in ENVELOPE if field.name[0] == "_"]
    table = TableWriter(tmp_path, "t", pa.schema([("n", pa.int32()), *own]), says_columns=True)
    table.land([{"n": 1, "_timestamp": T0}])
    table.land([{"n": 2**40, "s": "x", "_timestamp": T0}], schema=pa.schema([("n", pa.int64()), ("s", pa.string()), *own]))
    with headrace.connect(tmp_path) as tables:
        rows = tables.table("t").to_table(columns=["n", "s"]).sort_by("n").to_pylist()
    assert rows == [{"n": 1, "s": None}, {"n": 2**40, "s": "x"}]


def test_a_table_without_files_is_an_empty_dataset(tmp_path: Path) -> None:
    TableWriter(tmp_path, "nothing").land([], quarantined=[T0])
    with headrace.connect(tmp_path) as tables:
        assert tables.table("nothing").count_rows() == 0


def test_errors_are_the_commands(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        headrace.connect(tmp_path / "missing")
    with headrace.connect(root) as tables:
        with pytest.raises(UsageError, match="no table 'my-topics'; did you mean my-topic"):
            tables.table("my-topics")
        with pytest.raises(UsageError, match="my-topic as of 9: the newest record is 1"):
            tables.table("my-topic", as_of=9)
        for refused in ("COPY (SELECT 1) TO '/tmp/x'", "FROM lgos", 'SELECT nope FROM "my-topic"'):
            with pytest.raises(UsageError):
                tables.sql(refused)
        with pytest.raises(UsageError, match="Could not convert string"):
            tables.sql('SELECT message::INT FROM "my-topic"').read_all()
        table = tables.table("my-topic")
        next((root / "my-topic").glob("dt=*/hour=13/*.parquet")).unlink()
        with pytest.raises(StorageError, match="the log names this file, and it is missing"):
            table.to_table()
        with pytest.raises(StorageError, match="the log names this file, and it is missing"):
            tables.table("my-topic")


@pytest.mark.parametrize(
    ("root", "given", "error", "said"),
    [
        ("", {"memory_bytes": -1}, ValueError, "memory_bytes=-1: give 16,777,216 to"),
        ("", {"memory_bytes": "1GB"}, TypeError, "memory_bytes='1GB': give a whole number"),
        ("", {"threads": 0}, ValueError, "threads=0: give 1 to 1,024"),
        ("", {"threads": 1.5}, TypeError, "threads=1.5: give a whole number"),
        ("", {"as_of": "yesterday"}, UsageError, "as of 'yesterday': give a record's number, a time"),
        ("", {"as_of": 4.2}, TypeError, "as_of=4.2: give a record's number, a datetime"),
        ("..", {}, ValueError, "is a data directory: its tables are in .*/landed"),
        ("missing", {}, FileNotFoundError, "missing: no such directory; name the directory or URL"),
    ],
)
def test_what_connect_cannot_take_is_an_error_of_ours_and_of_python(
    tmp_path: Path, root: str, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    TableWriter(tmp_path / "landed", "t").land([], quarantined=[T0])
    for kind in (error, UsageError):
        with pytest.raises(kind, match=said) as failed:
            headrace.connect(tmp_path / "landed" / root, **given)
        assert "\n" not in str(failed.value)


def test_no_root_and_what_comes_after_the_end_are_errors_too(root: Path) -> None:
    for wrong, error in ((None, ArgumentTypeError), (7, ArgumentTypeError), ("", ArgumentError)):
        with pytest.raises(error, match=r"the root is .*: name the directory or URL"):
            headrace.connect(wrong)  # type: ignore[arg-type]  # it is what is tried
    tables = headrace.connect(root)
    with pytest.raises(TypeError, match=r"sql\(None\): give one statement"):
        tables.sql(None)  # type: ignore[arg-type]  # it is what is tried
    with pytest.raises(ArgumentTypeError, match=r"table\(None\): name a topic as a text"):
        tables.table(None)  # type: ignore[arg-type]  # it is what is tried
    tables.close()
    tables.close()
    with pytest.raises(ValueError, match=r"sql\(\) after close\(\): connect to .*landed again"):
        tables.sql("SELECT 1")
    assert tables.tables() == ["my-topic"]


def test_headrace_itself_imports_nothing_of_it() -> None:
    heavy = "[name for name in sys.modules if name.startswith(('duckdb', 'pyarrow', 'headrace.'))]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, headrace; print({heavy})"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
