"""A retention hold: what it keeps, what wins over it, and how long until retention, as numbers."""

from dataclasses import replace
from math import inf

import pytest

from headrace.broker.log.config import TABLE_GROUP, LogConfig, with_overrides
from headrace.broker.log.holding import held, release, seconds_until_retention
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.retention import Aged, is_held, ms_until_taken
from headrace.broker.log.space import DEFAULT_FLOOR_BYTES
from headrace.errors import ConfigError
from headrace.sinks.reading import GROUP
from tests.unit.broker_log.logs import NOW_MS, TOPIC_ID, append, keep_house, new_disk, new_log, open_directory, settings

DAY_MS = 86_400_000


def filled(count: int, **overrides: str) -> PartitionLog:
    """`count` segments of three records, a second apart, the last a minute old."""
    log = new_log(segment_bytes="200", headrace_retention_hold="table", **overrides)
    for at in range(count):
        assert append(log, b"a" * 60, b"b", b"c", time_ms=NOW_MS - 60_000 - (count - at) * 1000).error == 0
    return log


def test_the_loaders_group_is_what_table_means() -> None:
    assert TABLE_GROUP == GROUP
    config = with_overrides(LogConfig(), {"headrace.retention.hold": " table, nightly ,table"})
    assert config.hold_groups == (GROUP, "nightly")
    assert LogConfig().hold_groups == ()
    for bad in ("x" * 250, ",".join(f"g{at}" for at in range(17))):
        with pytest.raises(ConfigError, match=r"headrace\.retention\.hold"):
            with_overrides(LogConfig(), {"headrace.retention.hold": bad})


@pytest.mark.parametrize("limit", [{"retention_ms": "1000"}, {"retention_bytes": "0"}])
def test_nothing_goes_before_its_group_has_committed_it(limit: dict[str, str]) -> None:
    log = filled(10, **limit)
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset == 0  # nobody has said anything yet
    log.retirement.held_from = 13
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset == 12  # the segment that holds 13 stays whole
    log.retirement.held_from = 30
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset >= 27


def test_what_is_not_due_stays_though_it_is_landed() -> None:
    log = filled(10, retention_ms=str(DAY_MS))
    log.retirement.held_from = 30
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset == 0


def test_a_deletion_that_was_asked_for_wins() -> None:
    log = filled(10, retention_ms="1000")
    log.retirement.delete_records(13, NOW_MS)
    log.retirement.retain(NOW_MS)
    assert (log.log_start_offset, sum(aged.size_bytes for aged in held(log, NOW_MS))) == (13, log.size_bytes)


def test_what_is_held_is_told_by_segment() -> None:
    log = filled(10, retention_ms="65500")  # the first four are older
    assert [aged.end_offset for aged in held(log, NOW_MS)] == [3, 6, 9, 12, 15]
    log.retirement.held_from = 7
    assert [aged.end_offset for aged in held(log, NOW_MS)] == [9, 12, 15]
    log.retirement.held_from = None
    assert held(log, NOW_MS) == []


def with_two_logs() -> tuple[PartitionLog, PartitionLog]:
    disk = new_disk()
    directory = open_directory(disk)
    overrides = settings(segment_bytes="200", headrace_retention_hold="table", retention_ms="1000")
    older, newer = (directory.create(name, 0, TOPIC_ID, overrides) for name in ("older", "newer"))
    for log, age_ms in ((older, 90_000), (newer, 30_000)):
        for at in range(6):
            assert append(log, b"a" * 60, b"b", b"c", time_ms=NOW_MS - age_ms + at * 1000).error == 0
    return older, newer


def test_a_nearly_full_disk_takes_what_is_held_oldest_first_and_no_more_than_it_needs() -> None:
    older, newer = with_two_logs()
    size = older.size_bytes // 6
    older.retirement.held_from = 1
    release([older, newer], 2 * size - 5, NOW_MS)
    assert (older.log_start_offset, newer.log_start_offset) == (6, 0)
    assert (older.retirement.unlanded_deleted_bytes, older.retirement.unlanded_deleted_records) == (2 * size, 5)
    assert len(older.retirement.take_deleted(NOW_MS)) == 6  # three files a segment, without the usual delay
    release([older, newer], 5 * size, NOW_MS)
    assert (older.log_start_offset, newer.log_start_offset) == (18, 3)


def test_below_the_floor_only_what_retention_would_take_is_released() -> None:
    log = filled(10, retention_ms="65500")
    release([log], 10**9, NOW_MS)
    assert log.log_start_offset == 15


def test_the_directory_lets_go_below_its_floor_and_holds_again_above_it() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("t", 0, TOPIC_ID, settings(segment_bytes="200", headrace_retention_hold="g", retention_ms="1000"))
    for at in range(6):
        append(log, b"a" * 60, b"b", b"c", time_ms=NOW_MS - 90_000 + at * 1000)
    keep_house(directory, NOW_MS + 400_000)
    assert log.log_start_offset == 0
    disk.free_bytes = DEFAULT_FLOOR_BYTES - log.size_bytes // 6 - 1
    keep_house(directory, NOW_MS + 401_000)
    assert log.log_start_offset == 6
    keep_house(directory, NOW_MS + 402_000)  # what is about to be removed counts already
    assert log.log_start_offset == 6
    disk.free_bytes = DEFAULT_FLOOR_BYTES + 1
    directory.maintain(NOW_MS + 900_000)
    assert log.log_start_offset == 6


def test_a_group_that_is_named_beside_another_holds_from_the_begin_on() -> None:
    log = filled(4)
    log.retirement.held_from = 9
    log.configure(replace(log.config, headrace_retention_hold="table,other"))
    assert log.retirement.held_from == 0
    log.retirement.held_from = 9
    log.configure(replace(log.config, retention_ms=5))
    assert log.retirement.held_from == 9, "the same groups"
    log.configure(replace(log.config, headrace_retention_hold=""))
    assert log.retirement.held_from is None


def test_how_long_until_retention_takes_the_first_record_that_is_not_read() -> None:
    log = filled(10, retention_ms="65500")  # the segments' greatest times are 70 s to 61 s old, less 2 ms
    assert seconds_until_retention(log, 0, NOW_MS) == pytest.approx(-4.498)
    assert seconds_until_retention(log, 29, NOW_MS) == pytest.approx(4.502)
    assert seconds_until_retention(log, 29, NOW_MS + 60_000) == pytest.approx(-55.498)
    assert seconds_until_retention(log, 30, NOW_MS) == inf
    log.retirement.delete_records(13, NOW_MS)
    assert seconds_until_retention(log, 0, NOW_MS) == pytest.approx(-0.498)


def test_size_takes_a_record_at_once_or_never_and_an_older_one_must_go_first() -> None:
    ages = [Aged(10, 5_000, 100, 200), Aged(20, 1_000, 100, 100), Aged(30, 9_000, 100, 0)]
    config = with_overrides(LogConfig(), {"retention.ms": "3000", "retention.bytes": "-1"})
    assert [ms_until_taken(ages, offset, config, 6_000) for offset in (9, 10, 29, 30)] == [2_000, 2_000, 6_000, inf]
    config = with_overrides(config, {"retention.bytes": "150"})
    assert [ms_until_taken(ages, offset, config, 6_000) for offset in (9, 19)] == [0, 0]
    config = with_overrides(config, {"retention.ms": "-1"})
    assert [ms_until_taken(ages, offset, config, 6_000) for offset in (9, 19)] == [0, inf]
    assert ms_until_taken(ages, 9, with_overrides(config, {"cleanup.policy": "compact"}), 6_000) == inf


def test_a_segment_is_held_from_its_first_uncommitted_record_on() -> None:
    aged = Aged(10, 0, 1, 0)
    held_from = [is_held(aged, offset, log_start_offset=0) for offset in (None, 0, 9, 10, 11)]
    assert held_from == [False, True, True, False, False]
    assert not is_held(aged, 0, log_start_offset=10)
