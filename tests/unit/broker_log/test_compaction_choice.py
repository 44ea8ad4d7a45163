"""Which log is cleaned, and how far."""

from headrace.broker.log.compaction.choice import Cleanable, SealedSegment, cleanable
from headrace.broker.log.config import LogConfig

NOW_MS = 1_700_000_000_000
SEALED = [SealedSegment(0, 100, 1000), SealedSegment(100, 180, 3000), SealedSegment(180, 250, 500)]


def look(
    sealed: list[SealedSegment] = SEALED,
    config: LogConfig | None = None,
    *,
    cleaned_to: int = 0,
    start: int = 0,
    limit: int = 250,
) -> Cleanable:
    return cleanable(
        sealed, config or LogConfig(), cleaned_to=cleaned_to, log_start_offset=start, limit=limit, now_ms=NOW_MS
    )  # fmt: skip


def test_what_was_never_cleaned_is_dirty() -> None:
    found = look()
    assert (found.dirty_from, found.end) == (0, 250)
    assert (found.clean_bytes, found.dirty_bytes, found.dirty_ratio) == (0, 4500, 1.0)


def test_the_ratio_is_of_bytes_written_since_the_last_cleaning() -> None:
    found = look(cleaned_to=100)
    assert (found.clean_bytes, found.dirty_bytes) == (1000, 3500)
    assert found.is_due(LogConfig(min_cleanable_dirty_ratio=0.77))
    assert not found.is_due(LogConfig(min_cleanable_dirty_ratio=0.78))


def test_a_ratio_of_exactly_the_setting_is_not_enough() -> None:
    found = look([SealedSegment(0, 10, 700), SealedSegment(10, 20, 700)], cleaned_to=10)
    assert not found.is_due(LogConfig(min_cleanable_dirty_ratio=0.5))


def test_nothing_is_due_where_nothing_is_dirty() -> None:
    assert not look(cleaned_to=250).is_due(LogConfig(min_cleanable_dirty_ratio=0.0))
    assert not look([]).is_due(LogConfig(min_cleanable_dirty_ratio=0.0))


def test_a_segment_that_reaches_beyond_the_limit_is_left_and_so_are_all_after_it() -> None:
    found = look(limit=179)
    assert [segment.base_offset for segment in found.segments] == [0]
    assert found.end == 100


def test_records_younger_than_the_lag_are_left() -> None:
    sealed = [SealedSegment(0, 100, 10, newest_ms=NOW_MS - 5001), SealedSegment(100, 200, 20, newest_ms=NOW_MS - 4999)]
    assert look(sealed, LogConfig(min_compaction_lag_ms=5000), limit=200).end == 100


def test_a_clean_segment_is_not_held_back_by_the_lag() -> None:
    sealed = [SealedSegment(0, 100, 10, newest_ms=NOW_MS), SealedSegment(100, 200, 20, newest_ms=NOW_MS - 9000)]
    assert look(sealed, LogConfig(min_compaction_lag_ms=5000), cleaned_to=100, limit=200).end == 200


def test_a_dirty_record_older_than_the_greatest_lag_makes_it_due_whatever_the_ratio() -> None:
    config = LogConfig(max_compaction_lag_ms=6000, min_cleanable_dirty_ratio=1.0)
    young = [SealedSegment(0, 100, 10, first_ms=NOW_MS - 9000), SealedSegment(100, 200, 20, first_ms=NOW_MS - 6000)]
    old = [SealedSegment(0, 100, 10, first_ms=NOW_MS - 9000), SealedSegment(100, 200, 20, first_ms=NOW_MS - 6001)]
    assert not look(young, config, cleaned_to=100, limit=200).is_due(config)
    assert look(old, config, cleaned_to=100, limit=200).is_due(config)


def test_what_lies_below_the_log_start_does_not_count_as_dirty() -> None:
    found = look(start=100)
    assert (found.dirty_from, found.dirty_bytes) == (100, 3500)


def test_where_records_must_be_compacted_in_time_they_are_sealed_in_time() -> None:
    assert LogConfig(cleanup_policy="compact", segment_ms=9000, max_compaction_lag_ms=7000).roll_ms == 7000
    assert LogConfig(cleanup_policy="compact", segment_ms=5000, max_compaction_lag_ms=7000).roll_ms == 5000
    assert LogConfig(cleanup_policy="delete", segment_ms=9000, max_compaction_lag_ms=7000).roll_ms == 9000
