"""Quarantine files are merged day by day and expire when asked; what they hold is listed and shown as before."""

import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.clock import SystemClock
from headrace.errors import CorruptError
from headrace.sinks.attempt import Attempt
from headrace.sinks.changes import changed_since
from headrace.sinks.check import check_table
from headrace.sinks.compaction.compact import Outcome, compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.compaction.quarantine import MOST_FILES, Written, merges
from headrace.sinks.config import Output
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.quarantined import entries
from headrace.sinks.registered import Schemas
from headrace.sinks.rewinding import fork_table
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import Fenced, commit, read_head
from headrace.sinks.table.fold import Fold, PartitionEnd
from headrace.sinks.table.record import CommitRecord, Quarantine
from headrace.sinks.table.store import carry_out
from tests.unit.sinks.messages import Message

HOUR_S, DAY_S = 3600, 24 * 3600
NOON_S = int(time.time()) // DAY_S * DAY_S - 10 * DAY_S + 12 * HOUR_S
CLOCK = SystemClock()


def land(table: Path, *, poison: int, at_s: int) -> None:
    """One commit: a row, and so many records that are none, quarantined at that time."""
    store = LocalStore(table)
    fold = head(table)
    attempt = Attempt("t", store, fold, Output(), name=str(uuid.uuid4()), started_ms=CLOCK.monotonic_ms())
    attempt.start(0, 0, "id")
    at = fold.end(0, 0)
    messages = [Message(at, b'{"n": 1}')] + [Message(at + 1 + n, b"no %d" % n) for n in range(poison)]
    attempt.take(0, messages, Schemas(None), why=lambda _, end: (end, "control"), now_ms=CLOCK.monotonic_ms())
    draft = attempt.close(CLOCK.wall_ms())
    carry_out(commit(draft, fold, started_ms=attempt.started_ms), store, CLOCK)
    if draft.quarantine:
        os.utime(table / draft.quarantine.path, (at_s, at_s))


def head(table: Path) -> Fold:
    return carry_out(read_head(), LocalStore(table))


def compact(table: Path) -> Outcome:
    return compact_table(table.parent, "t", Limits(), CLOCK, progress=int)


def shown(table: Path) -> list[tuple[int, Any]]:
    store = LocalStore(table)
    return [(entry.offset, entry.body) for found in head(table).quarantined.values() for entry in entries(store, found)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three files of one day, two of the next, five records in all; and two rows whose record brought none."""
    for poison, at_s in (
        (0, NOON_S),
        (1, NOON_S),
        (2, NOON_S + HOUR_S),
        (1, NOON_S + 2),
        (0, NOON_S),
    ):  # of the first it is said that values are JSON
        land(tmp_path / "t", poison=poison, at_s=at_s)
    for _ in range(2):
        land(tmp_path / "t", poison=1, at_s=NOON_S + DAY_S)
    return tmp_path / "t"


def test_the_files_of_a_day_become_one_which_holds_every_record_as_it_was(table: Path) -> None:
    before, windows = shown(table), head(table).quarantine_windows
    done = compact(table)
    assert (done.quarantine_before, done.quarantine_after, done.quarantined) == (5, 2, 6)
    fold = head(table)
    assert [found.count for found in fold.quarantined.values()] == [4, 2]
    assert sorted(shown(table)) == sorted(before)
    assert fold.quarantine_windows == windows
    assert check_table(table.parent, "t", deep=True).broken == []
    assert len(list((table / names.REMOVED / names.QUARANTINE).iterdir())) == 5
    assert compact(table).quarantine_before == 0


def test_an_hour_that_is_not_over_waits(table: Path) -> None:
    for _ in range(2):
        land(table, poison=1, at_s=int(time.time()))
    compact(table)
    assert [found.count for found in head(table).quarantined.values()] == [1, 1, 4, 2]


def test_a_reader_that_has_begun_finds_what_was_merged_meanwhile(table: Path) -> None:
    fold, before = head(table), shown(table)
    compact(table)
    carry_out(upkeep.sweep(), LocalStore(table))
    store = LocalStore(table)
    assert [(entry.offset, entry.body) for found in fold.quarantined.values() for entry in entries(store, found)] == before


@pytest.mark.parametrize("damage", ["cut", "altered", "one record more"])
def test_a_file_that_holds_not_what_the_log_says_is_not_merged(table: Path, damage: str) -> None:
    import zstandard

    path = table / next(iter(head(table).quarantined))
    at_s = path.stat().st_mtime
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    altered = {"altered": lines.replace(b"bm8", b"bm9"), "one record more": lines * 2}
    assert altered["altered"] != lines
    path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else zstandard.compress(altered[damage]))
    os.utime(path, (at_s, at_s))
    before = head(table).quarantined
    with pytest.raises(CorruptError, match=path.name):
        compact(table)
    assert head(table).quarantined == before
    assert len(list((table / names.QUARANTINE).iterdir())) == 5


def test_files_of_an_earlier_headrace_have_no_hash_and_are_merged_all_the_same(table: Path) -> None:
    for path in (table / names.log_directory(1)).iterdir():
        body = json.loads(path.read_bytes())
        if body["quarantine"]:
            del body["quarantine"]["content_hash"]
            path.write_text(json.dumps(body))
    before = sorted(shown(table))
    assert compact(table).quarantine_after == 2
    assert sorted(shown(table)) == before
    assert all(found.content_hash for found in head(table).quarantined.values())
    assert check_table(table.parent, "t", deep=True).broken == []


def test_a_merge_that_loses_a_record_is_found_by_the_check(table: Path) -> None:
    compact(table)
    record = max((table / names.log_directory(1)).iterdir())
    body = json.loads(record.read_bytes())
    body["quarantine"]["content_hash"] = "0" * 16
    record.write_text(json.dumps(body))
    found = check_table(table.parent, "t", deep=False).broken
    assert [line.partition(": ")[2] for line in found] == ["a compaction changes the content hash of quarantined records"]
    body["quarantine"]["count"] += 1
    record.write_text(json.dumps(body))
    found = check_table(table.parent, "t", deep=False).broken
    assert "a compaction changes the number of quarantined records" in [line.partition(": ")[2] for line in found]


def test_checkpoints_name_the_merged_files_alone(table: Path) -> None:
    compact(table)
    before = head(table)
    carry_out(upkeep.write_checkpoint(head(table)), LocalStore(table))
    again = head(table)
    assert (again.quarantined, again.quarantine_windows) == (before.quarantined, before.quarantine_windows)
    assert check_table(table.parent, "t", deep=True).broken == []


def test_quarantined_records_expire_when_asked_by_the_time_since_they_came(table: Path) -> None:
    compact(table)
    windows, rows = head(table).quarantine_windows, len(head(table).files)
    everything = Ages(events=0)
    assert expire_table(table.parent, "t", everything, CLOCK, dry_run=False).quarantine == []
    before = Ages(quarantined=(NOON_S + DAY_S) * 1000)
    assert [one.count for one in expire_table(table.parent, "t", before, CLOCK, dry_run=True).quarantine] == [4]
    assert len(head(table).quarantined) == 2
    assert [one.count for one in expire_table(table.parent, "t", before, CLOCK, dry_run=False).quarantine] == [4]
    fold = head(table)
    assert ([found.count for found in fold.quarantined.values()], fold.quarantine_windows, len(fold.files)) == (
        [2],
        windows,
        rows,
    )
    assert check_table(table.parent, "t", deep=True).broken == []
    assert carry_out(changed_since(seq=fold.seq - 1), LocalStore(table)) == ()


def test_a_file_that_is_still_to_be_moved_is_not_swept_however_old(table: Path) -> None:
    paths = list(head(table).quarantined)
    compact(table)
    for path in paths:  # as if it had died before it moved them
        (table / names.removed(path)).rename(table / path)
        os.utime(table / path, (NOON_S, NOON_S))
    carry_out(upkeep.sweep(), LocalStore(table))
    assert all((table / path).exists() for path in paths)
    carry_out(upkeep.finish_moves(head(table)), LocalStore(table))
    assert not any((table / path).exists() for path in paths)
    assert all((table / names.removed(path)).exists() for path in paths)


def test_what_a_rewind_keeps_is_neither_merged_nor_expired(table: Path) -> None:
    last = head(table).end(0, 0)
    assert fork_table(LocalStore(table), {(0, 0): PartitionEnd(last - 1)}, CLOCK) == 2
    *kept, gone = head(table).quarantined
    compact(table)
    expire_table(table.parent, "t", Ages(quarantined=CLOCK.wall_ms()), CLOCK, dry_run=False)
    assert list(head(table).quarantined) == kept
    assert (table / names.removed(gone)).exists(), "it is going to be read again"
    assert check_table(table.parent, "t", deep=True).broken == []


def test_a_rewind_that_would_keep_what_has_just_been_merged_comes_to_nothing(table: Path) -> None:
    old = head(table)
    state = {"quarantined": [{"path": path} for path in old.quarantined]}
    compact(table)
    fork = CommitRecord("fork", "late", "test:1", 1, next=2, state=state)
    done = carry_out(commit(fork, old, started_ms=CLOCK.monotonic_ms()), LocalStore(table), CLOCK)
    assert isinstance(done, Fenced)
    assert "is no longer live" in done.why


def written(sizes: Sequence[int], at_s: int = NOON_S) -> list[Written]:
    return [Written(Quarantine(f"q{n}", 1), size, at_s * 1000) for n, size in enumerate(sizes)]


def test_merges_are_no_larger_than_the_target_and_large_files_stay() -> None:
    limits = Limits(target_bytes=100)
    now_ms = (NOON_S + 3 * HOUR_S) * 1000
    planned = merges(written([40, 40, 40, 50, 49, 3]), limits, now_ms)
    assert [[one.size_bytes for one in merge] for merge in planned] == [[40, 40], [40, 49, 3]]
    assert merges(written([1, 1]), limits, (NOON_S + HOUR_S) * 1000) == []
    many = merges(written([0] * (MOST_FILES + 2)), limits, now_ms)
    assert [len(merge) for merge in many] == [MOST_FILES, 2]
    apart = [replace(one, last_ms=one.last_ms + n * DAY_S * 1000) for n, one in enumerate(written([1, 1]))]
    assert merges(apart, limits, now_ms + DAY_S * 1000) == []


def test_the_commands_say_what_became_of_quarantined_records(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--root", str(table.parent), "--format", "json"]
    assert main(["compact", "t", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["quarantine_before"], told["quarantine_after"], told["quarantined"]) == (5, 2, 6)
    assert main(["expire", "t", *where, "--older-than", "30d"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["quarantine_files"], told["quarantined"]) == (0, 0)
    assert main(["expire", "t", *where, "--quarantine-older-than", "2d"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["quarantine_files"], told["quarantined"]) == (0, 2, 6)
    assert main(["quarantine", "list", "t", *where]) == 0
    assert capsys.readouterr().out == ""
    assert main(["expire", "t", *where]) == 2
    assert "--quarantine-older-than" in capsys.readouterr().err
