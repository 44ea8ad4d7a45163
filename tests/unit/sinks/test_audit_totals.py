"""Sums of windows in bounded room: a day that nobody tells of for long is one sum, wherever a fold was gone on from."""

import random
from dataclasses import replace

from headrace.audit import HASH_MODULUS
from headrace.sinks.table import checkpoint
from headrace.sinks.table.audit_totals import DAY_MS, KEEP_WINDOWS_MS, AuditTotal, day_start_ms
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import AuditSum, CommitRecord, DataFile

NOW = 20_000 * DAY_MS + 7_000
KEY = ("agent", 20_000 * DAY_MS + 600_000)


def told(fold: Fold, at_ms: int, *sums: AuditSum, **more: object) -> Fold:
    """One record on; the same fold."""
    record = CommitRecord("load", f"{fold.seq + 1}", "sim", at_ms, seq=fold.seq + 1, prev=fold.attempt, audit=sums)
    fold.apply(replace(record, **more))  # type: ignore[arg-type]  # whatever the test changes
    return fold


def one(key: tuple[str, int], count: int = 3, content_hash: int = HASH_MODULUS - 1) -> AuditSum:
    return AuditSum(*key, count, count * 10, f"{content_hash:016x}", 1)


def again(fold: Fold) -> Fold:
    return checkpoint.decode(checkpoint.encode(fold), "checkpoint")


def test_a_day_that_no_record_tells_of_for_two_days_is_one_sum() -> None:
    fold = told(Fold(), NOW, one(KEY), one(("other", KEY[1] + 600_000), 4))
    told(fold, NOW + DAY_MS), told(fold, NOW + KEEP_WINDOWS_MS)
    assert len(fold.audit.windows) == 2
    told(fold, NOW + KEEP_WINDOWS_MS + DAY_MS)
    assert fold.audit.windows == {}
    assert fold.audit.settled() == {20_000 * DAY_MS: AuditTotal(7, 70, HASH_MODULUS - 2, 2)}
    assert fold.audit


def test_what_is_told_of_a_day_after_goes_to_its_sum_and_what_is_told_before_keeps_it_apart() -> None:
    fold = told(Fold(), NOW, one(KEY))
    for day in range(1, 4):
        told(fold, NOW + day * DAY_MS, one(("late", KEY[1]), 1))
    assert len(fold.audit.windows) == 2
    for day in range(4, 8):
        told(fold, NOW + day * DAY_MS)
    told(fold, NOW + 8 * DAY_MS, one(KEY, 5))
    assert fold.audit.windows == {}
    assert fold.audit.settled()[20_000 * DAY_MS].count == 3 + 3 + 5


def test_a_fold_that_went_on_from_a_checkpoint_is_the_one_that_did_not() -> None:
    source = random.Random(7)
    fold, resumed = Fold(), Fold()
    for step in range(200):
        at_ms = NOW + step * source.randrange(3_600_000)
        agent, start_ms = source.choice("ab"), (at_ms - source.randrange(4 * DAY_MS)) // 600_000 * 600_000
        for each in (fold, resumed):
            told(each, at_ms, one((agent, start_ms)))
        if source.random() < 0.3:
            resumed = again(resumed)
        assert resumed.audit == fold.audit
    assert fold.audit.settled()
    assert fold.audit.windows


def test_a_checkpoint_with_sums_of_days_is_of_a_version_that_older_headraces_refuse() -> None:
    fold = told(Fold(), NOW, one(KEY))
    assert b'"version"' not in checkpoint.encode(fold)  # it is compressed
    assert again(fold).audit == fold.audit
    for day in range(1, 4):
        told(fold, NOW + day * DAY_MS)
    assert again(fold).audit == fold.audit


def test_two_folds_agree_where_one_tells_windows_apart_and_the_other_does_not() -> None:
    fold = told(Fold(), NOW, one(KEY), one(("b", KEY[1] + DAY_MS)))
    settled = fold.audit.copy()
    settled.settle(NOW + KEEP_WINDOWS_MS + 1)
    assert settled.agrees_with(fold.audit)
    assert fold.audit.agrees_with(settled)
    other = fold.audit.copy()
    other.take_back(KEY, AuditTotal(1, 10, 9))
    assert not other.agrees_with(fold.audit)
    assert not settled.agrees_with(other)


def test_rows_that_are_taken_back_lessen_the_day_where_windows_are_not_told_apart() -> None:
    fold = told(Fold(), NOW, one(KEY))
    fold.audit.settle(NOW + KEEP_WINDOWS_MS + 1)
    fold.audit.take_back(KEY, AuditTotal(1, 10, HASH_MODULUS - 1))
    assert fold.audit.settled() == {day_start_ms(KEY[1]): AuditTotal(2, 20, 0, 1)}


def test_a_fold_knows_up_to_when_files_have_expired() -> None:
    file = DataFile("dt=2026-11-22/hour=13/one-0.parquet", "parquet", 9, 1, "crc32c:0", "0", 1_000, 2_000)
    fold = told(Fold(), NOW, add=(file, replace(file, path="two", max_event_time_ms=5_000)))
    assert fold.expired_ms is None
    told(fold, NOW, kind="expire", remove=("two",))
    told(fold, NOW, kind="expire", remove=(file.path,))
    assert fold.expired_ms == 5_000
    assert again(fold).expired_ms == 5_000
