"""`headrace check` names every way in which a landed table can be made wrong by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.clock import SystemClock
from headrace.errors import CorruptError, UsageError
from headrace.sinks.attempt import Attempt
from headrace.sinks.check import check_root, check_table
from headrace.sinks.config import Output
from headrace.sinks.registered import Schemas
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.store import carry_out
from tests.unit.sinks.test_attempt import Message

LOG = names.log_directory(1)
RECORDS = 5


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five records of three rows, the third also with a record in quarantine."""
    directory, clock = tmp_path / "t", SystemClock()
    store = LocalStore(directory)
    for n in range(RECORDS):
        fold = carry_out(read_head(), store)
        attempt = Attempt("t", store, fold, Output(), name=f"attempt-{n}", started_ms=clock.monotonic_ms())
        attempt.start(0, 0, "id")
        at = fold.end(0, 0)
        messages = [Message(at + i, b'{"n": %d}' % (at + i)) for i in range(3)] + ([Message(at + 3, b"no")] if n == 2 else [])
        attempt.take(0, messages, Schemas(None), why=lambda _, end: (end, "control"), now_ms=clock.monotonic_ms())
        carry_out(commit(attempt.close(clock.wall_ms()), fold, started_ms=attempt.started_ms), store, clock)
    return directory


def test_a_place_without_tables_is_refused_and_not_found_in_order(table: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match="no landed tables there; name the directory"):
        list(check_root(str(tmp_path / "data"), deep=False))
    table.parent.joinpath("t").rename(tmp_path / "data" / "t")
    (tmp_path / "data").rename(tmp_path / "landed")
    with pytest.raises(UsageError, match=r"did you mean .*/landed\?"):
        list(check_root(str(tmp_path), deep=False))
    assert [report.rows for report in check_root(str(tmp_path / "landed"), deep=False)] == [3 * RECORDS]


def broken(table: Path, *, deep: bool = True) -> list[str]:
    return check_table(table.parent, table.name, deep=deep).broken


def record(table: Path, seq: int) -> Path:
    return table / names.record_path(1, seq)


def alter(table: Path, seq: int, change: Callable[[Any], object]) -> None:
    body = json.loads(record(table, seq).read_bytes())
    change(body)
    record(table, seq).write_text(json.dumps(body))


def data_file(table: Path, seq: int) -> Path:
    return table / json.loads(record(table, seq).read_bytes())["add"][0]["path"]


def quarantine_file(table: Path) -> Path:
    (file,) = (table / names.QUARANTINE).iterdir()
    return file


def rewrite_a_row(table: Path) -> None:
    path = data_file(table, 1)
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(1, "value", pa.array(["altered"] * rows.num_rows)), path)


def flip_a_byte(table: Path) -> None:
    path = data_file(table, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


CORRUPTIONS: dict[str, Callable[[Path], object]] = {
    "a record in the middle is gone": lambda t: record(t, 2).unlink(),
    "the first record is gone": lambda t: record(t, 0).unlink(),
    "a record is empty": lambda t: record(t, 4).write_bytes(b""),
    "a record is half written": lambda t: record(t, 4).write_bytes(record(t, 4).read_bytes()[:200]),
    "a record follows another": lambda t: alter(t, 3, lambda r: r.update(prev="stranger")),
    "a record has another number": lambda t: alter(t, 3, lambda r: r.update(seq=7)),
    "a record is of a newer version": lambda t: alter(t, 4, lambda r: r.update(version=2)),
    "a record is of an unknown kind": lambda t: alter(t, 4, lambda r: r.update(kind="melt")),
    "a range starts elsewhere": lambda t: alter(t, 3, lambda r: r["ranges"][0].update(start=11)),
    "a range does not balance": lambda t: alter(t, 4, lambda r: r["ranges"][0].update(duplicates=1)),
    "a range has more rows than files": lambda t: alter(t, 4, lambda r: r["ranges"][0].update(rows=4, end=17)),
    "a gap has no allowed cause": lambda t: alter(
        t, 4, lambda r: r["ranges"][0].update(gaps=[{"from": 16, "to": 17, "why": "moths"}], end=17)
    ),
    "a file's offsets are of another range": lambda t: alter(t, 4, lambda r: r["add"][0]["ranges"][0].update(end=99)),
    "a path climbs out": lambda t: alter(t, 4, lambda r: r["add"][0].update(path="../x.parquet")),
    "a quarantine path climbs out": lambda t: alter(t, 2, lambda r: r["quarantine"].update(path="../../x")),
    "a file is removed that is not live": lambda t: alter(t, 4, lambda r: r.update(remove=["dt=2026-01-01/x.parquet"])),
    "a live file is gone": lambda t: data_file(t, 1).unlink(),
    "a live file is cut": lambda t: data_file(t, 1).write_bytes(data_file(t, 1).read_bytes()[:-1]),
    "a live file has another byte": flip_a_byte,
    "a row was altered": rewrite_a_row,
    "a stranger lies among the data": lambda t: (data_file(t, 1).parent / "stray.parquet").write_bytes(b""),
    "a stranger lies beside the hours": lambda t: (data_file(t, 1).parents[1] / "stray.parquet").write_bytes(b""),
    "a quarantine file is gone": lambda t: quarantine_file(t).unlink(),
    "a quarantine file is cut": lambda t: quarantine_file(t).write_bytes(quarantine_file(t).read_bytes()[:-9]),
}


def test_a_sound_table_is_ok(table: Path) -> None:
    report = check_table(table.parent, "t", deep=True)
    assert (report.broken, report.records, report.rows) == ([], RECORDS, 15)


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_what_was_made_wrong_by_hand_is_named(table: Path, what: str) -> None:
    CORRUPTIONS[what](table)
    assert broken(table)


def checkpointed(table: Path) -> None:
    store = LocalStore(table)
    carry_out(upkeep.write_checkpoint(carry_out(read_head(), store)), store)


def test_the_newest_records_gone_behind_a_checkpoint_are_missed(table: Path) -> None:
    checkpointed(table)
    assert not broken(table)
    record(table, 4).unlink()
    assert any("records 4 to 4 are missing" in line for line in broken(table))


def test_a_hole_below_a_checkpoint_is_missed_though_the_oldest_were_swept(table: Path) -> None:
    checkpointed(table)
    record(table, 0).unlink()
    assert not broken(table)
    record(table, 2).unlink()
    assert any("record 2 is missing" in line for line in broken(table))


def test_a_checkpoint_that_says_something_else_is_named(table: Path) -> None:
    fold = carry_out(read_head(), LocalStore(table))
    fold.files.popitem()
    carry_out(upkeep.write_checkpoint(fold), LocalStore(table))
    assert any("live files" in line for line in broken(table))


def test_files_that_engines_skip_are_no_strangers(table: Path) -> None:
    (data_file(table, 1).parent / "_SUCCESS").touch()
    assert not broken(table)


def test_a_reader_says_which_table_is_damaged(table: Path) -> None:
    record(table, 4).write_bytes(b"")
    with pytest.raises(CorruptError, match=f"^table {table}: .*; run: headrace check {table.parent}$"):
        snapshot(table.parent, "t")


def test_a_reader_refuses_a_file_of_another_size(table: Path) -> None:
    data_file(table, 1).write_bytes(b"PAR1")
    with pytest.raises(CorruptError, match="has 4 bytes"):
        snapshot(table.parent, "t")
