"""Reading, looking up, rolling, retention, durability and faults of one partition's log."""

import errno
import itertools
import os
from pathlib import Path

import pytest

from headrace.broker.log.batch import BatchHeader, parse_header
from headrace.broker.log.config import LogConfig, with_overrides
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.disk import RealDisk
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, batches, build_batch, records
from headrace.broker.log.writing import BatchWrite
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError
from tests.unit.broker_log.logs import (
    CONFIG,
    NOW_MS,
    PATH,
    TOPIC_ID,
    append,
    new_disk,
    new_log,
    open_directory,
    settings,
    value_records,
)

RETRIABLE = ErrorCode.kafka_storage_error


def filled(count: int, **overrides: str) -> PartitionLog:
    """`count` batches of three records, a second apart."""
    log = new_log(**overrides)
    for at in range(count):
        assert append(log, b"a%d" % at, b"b", b"c", time_ms=NOW_MS - 100_000 + at * 1000).error == 0
    return log


def test_a_read_returns_the_batch_that_holds_the_offset_first() -> None:
    log = filled(40)
    for offset in range(120):
        result = log.read(offset, 1)
        [(header, _)] = list(batches(result.records))
        assert header.base_offset <= offset <= header.last_offset
        assert (result.high_watermark, result.log_start_offset) == (120, 0)


def test_a_read_returns_whole_batches_up_to_max_bytes_and_one_at_least() -> None:
    log = filled(40)
    size = parse_header(log.read(0, 1).records).size
    assert len(log.read(4, 3 * size + 10).records) == pytest.approx(3 * size, abs=10)
    assert log.read(4, size - 20, min_one=False).records == b""
    assert len(list(batches(log.read(4, size - 20).records))) == 1
    assert [record.offset for record in records(log.read(0, 1 << 20).records)] == list(range(120))


def test_reads_end_at_the_log_end_and_fail_outside() -> None:
    log = filled(2)
    assert (log.read(6, 100).error, log.read(6, 100).records) == (0, b"")
    assert log.read(7, 100).error == ErrorCode.offset_out_of_range
    assert log.read(-1, 100).error == ErrorCode.offset_out_of_range


def test_a_region_is_the_same_bytes_as_a_read() -> None:
    log = filled(40, segment_bytes="500")
    for offset in (0, 7, 50, 119):
        region = log.locate(offset, 300).region
        assert region is not None
        assert region.file.pread(region.size, region.position) == log.read(offset, 300).records


def test_reading_goes_on_across_segments() -> None:
    log = filled(40, segment_bytes="500")
    offset, regions = 0, 0
    while data := log.read(offset, 1 << 20).records:
        read = [record.offset for record in records(data)]
        assert read[0] == offset
        offset, regions = read[-1] + 1, regions + 1
    assert offset == 120
    assert regions > 5


@pytest.mark.parametrize("codec", range(5))
def test_a_time_leads_to_the_first_record_not_before_it(codec: int) -> None:
    log = new_log(segment_bytes="600")
    times = [50, 20, 90, 90, 70, 120, 110, 130, 10, 200, 150, 300]
    for first, second in itertools.pairwise(times):
        log.append(build_batch([Record(None, b"v" * 30, NOW_MS + t) for t in (first, second)], codec=codec), now_ms=NOW_MS)
    flat = [time for pair in itertools.pairwise(times) for time in pair]
    for wanted in range(0, 301, 5):
        offset = next(at for at, time in enumerate(flat) if time >= wanted)
        assert log.offset_for_timestamp(NOW_MS + wanted) == (offset, NOW_MS + flat[offset], 0)
    assert log.offset_for_timestamp(NOW_MS + 301) is None
    assert log.max_timestamp_offset() == (21, NOW_MS + 300, 0)


def test_an_empty_log_has_no_times() -> None:
    assert new_log().offset_for_timestamp(0) is None
    assert new_log().max_timestamp_offset() is None


def test_epochs_end_where_the_log_ends_and_unknown_ones_are_undefined() -> None:
    log = filled(3)
    assert log.end_offset_for_epoch(0) == (0, 9)
    assert log.end_offset_for_epoch(1) == (-1, -1)
    assert log.end_offset_for_epoch(-1) == (-1, -1)


def segment_count(**overrides: str) -> int:
    disk = new_disk()
    log = new_log(disk, **overrides)
    for at in range(10):
        append(log, b"a%d" % at, b"b", b"c", time_ms=NOW_MS - 100_000 + at * 1000)
    log.sync(checkpoint=True)
    return sum(name.endswith(".log") for name in disk.list(log.path))


def test_a_segment_rolls_by_size_by_time_and_by_index() -> None:
    assert segment_count() == 1
    assert segment_count(segment_bytes="250") == 5
    assert segment_count(segment_ms="4500") == 2
    assert segment_count(segment_index_bytes="36") > 1


def test_a_batch_larger_than_a_segment_has_one_of_its_own() -> None:
    log = new_log(segment_bytes="100")
    assert [append(log, b"x" * 300).base_offset for _ in range(3)] == [0, 1, 2]


def test_time_retention_deletes_what_is_older_and_files_go_after_the_delay() -> None:
    disk = new_disk()
    directory = open_directory(disk, retention_ms="50000", segment_bytes="250")
    log = directory.create("events", 3, TOPIC_ID, settings(retention_ms="50000", segment_bytes="250"))
    for at in range(10):
        append(log, b"a%d" % at, b"b", b"c", time_ms=NOW_MS + at * 10_000)
    reader = log.locate(0, 1 << 20).region
    assert reader is not None
    later = NOW_MS + CONFIG.retention_check_interval_ms
    directory.maintain(later)
    assert log.log_start_offset == log.log_end_offset == 30
    assert log.read(0, 100).error == ErrorCode.offset_out_of_range
    assert len(reader.file.pread(reader.size, reader.position)) == reader.size
    assert any(name.endswith(".deleted") for name in disk.list(log.path))
    directory.maintain(later + 60_000)
    assert [name for name in disk.list(log.path) if ".log" in name] == ["00000000000000000030.log"]
    assert append(log, b"next").base_offset == 30


def test_time_retention_goes_by_the_records_times_also_by_those_of_the_future() -> None:
    log = new_log(segment_bytes="120", retention_ms="1000")
    for time_ms in (NOW_MS - 90_000, NOW_MS + 3_000_000, NOW_MS - 90_000):
        assert append(log, b"a" * 60, time_ms=time_ms).error == 0
    log.retirement.retain(NOW_MS + 60_000)
    assert log.log_start_offset == 1  # one of the future keeps itself, and all that come after it
    log.retirement.retain(NOW_MS + 3_001_001)
    assert (log.log_start_offset, log.log_end_offset, log.size_bytes) == (3, 3, 0)
    log.retirement.retain(NOW_MS + 10**9)  # an empty segment stays
    assert append(log, b"b").base_offset == 3


def test_a_setting_holds_from_the_next_look_of_retention_and_the_next_roll() -> None:
    log = filled(10, segment_bytes="250")
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset == 0
    log.configure(with_overrides(LogConfig(), {"retention.bytes": "500", "segment.ms": "500"}))
    log.retirement.retain(NOW_MS)
    assert 0 < log.log_start_offset < 30
    files = log.size_bytes
    append(log, b"x", time_ms=NOW_MS)
    append(log, b"y", time_ms=NOW_MS + 501)
    log.configure(with_overrides(LogConfig(), {"retention.ms": "0"}))
    log.retirement.retain(NOW_MS + 600)
    assert log.size_bytes < files
    assert log.log_start_offset == 32


def test_time_retention_keeps_what_is_young_enough() -> None:
    log = filled(10, retention_ms="95000", segment_bytes="250")
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset == 12
    log.retirement.retain(NOW_MS)
    assert log.log_start_offset == 12


def test_size_retention_keeps_at_least_the_bytes_that_it_promises() -> None:
    log = filled(40, retention_bytes="1000", retention_ms="-1", segment_bytes="250")
    before = log.size_bytes
    log.retirement.retain(NOW_MS)
    assert before > 1300
    assert 1000 <= log.size_bytes < 1300


def test_a_compacted_topic_is_kept() -> None:
    log = filled(10, cleanup_policy="compact", retention_ms="1", retention_bytes="1", segment_bytes="250")
    log.retirement.retain(NOW_MS + 10**9)
    assert log.log_start_offset == 0


def test_retention_never_deletes_what_is_not_exposed() -> None:
    log = filled(10, retention_ms="1", segment_bytes="250", flush_messages="1000")
    log.retirement.retain(NOW_MS + 10**9)
    assert log.log_start_offset == 0
    log.sync()
    log.retirement.retain(NOW_MS + 10**9)
    assert log.log_start_offset == 30


def test_records_before_an_advanced_log_start_are_gone() -> None:
    log = filled(10, segment_bytes="250")
    log.retirement.delete_records(13, NOW_MS)
    assert log.read(12, 100).error == ErrorCode.offset_out_of_range
    assert log.read(13, 100).error == 0
    assert log.offset_for_timestamp(0) == (13, NOW_MS - 100_000 + 4001, 0)
    log.retirement.delete_records(10**6, NOW_MS)
    assert log.log_start_offset == log.high_watermark


def test_deleted_records_do_not_count_for_the_greatest_time() -> None:
    log = new_log(segment_bytes="400")
    times = [5, 900, 30, 700, 20, 10, 15, 12]
    for first, second in zip(times[::2], times[1::2], strict=True):
        log.append(build_batch([Record(None, b"v" * 100, NOW_MS + t) for t in (first, second)]), now_ms=NOW_MS)
    for start in range(8):
        log.retirement.delete_records(start, NOW_MS)
        offset, time = max(enumerate(times[start:], start), key=lambda pair: (pair[1], -pair[0]))
        assert log.max_timestamp_offset() == (offset, NOW_MS + time, 0)


def test_without_flush_settings_a_record_is_exposed_at_once() -> None:
    log = filled(1)
    assert (log.high_watermark, log.sync_due(NOW_MS + 10**9)) == (3, False)


def test_with_flush_messages_a_record_is_exposed_once_it_is_synced() -> None:
    log = new_log(flush_messages="2")
    append(log, b"one")
    assert (log.high_watermark, log.sync_due(NOW_MS)) == (0, False)
    assert (log.read(0, 100).error, log.read(0, 100).records) == (0, b"")
    append(log, b"two")
    assert log.sync_due(NOW_MS)
    step = log.begin_sync()
    append(log, b"three")
    step.run()
    assert log.high_watermark == 0
    step.complete()
    assert (log.high_watermark, log.log_end_offset) == (2, 3)
    assert [record.value for record in records(log.read(0, 1 << 20).records)] == [b"one", b"two"]
    assert log.offset_for_timestamp(0) == (0, NOW_MS, 0)


def test_with_flush_ms_the_oldest_record_sets_the_time() -> None:
    log = new_log(flush_ms="500")
    append(log, b"one", now_ms=NOW_MS)
    append(log, b"two", now_ms=NOW_MS + 400)
    assert not log.sync_due(NOW_MS + 499)
    assert log.sync_due(NOW_MS + 500)
    log.sync()
    assert log.high_watermark == 2
    append(log, b"three", now_ms=NOW_MS + 600)
    assert not log.sync_due(NOW_MS + 1000)


def test_settings_may_change_and_what_was_exposed_stays_so() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, {})
    append(log, b"one")
    directory.configure("events", {"flush.messages": "5"})
    append(log, b"two")
    assert log.high_watermark == 1
    assert [record.value for record in records(log.read(0, 100).records)] == [b"one"]
    directory.configure("events", {})
    assert log.high_watermark == 2


def test_a_full_disk_refuses_and_then_goes_on() -> None:
    disk = new_disk()
    log = new_log(disk)
    append(log, b"one")
    disk.fail_next("pwrite", OSError(errno.ENOSPC, "No space left on device"))
    result = append(log, b"two")
    assert (result.error, log.fenced) == (RETRIABLE, False)
    assert append(log, b"two").base_offset == 1
    assert [record.value for record in records(log.read(0, 1000).records)] == [b"one", b"two"]


def test_an_io_error_takes_the_partition_offline_and_the_next_start_recovers() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, {})
    append(log, b"one")
    disk.fail_next("pwrite", OSError(errno.EIO, "Input/output error"))
    assert append(log, b"two").error == RETRIABLE
    assert log.fenced
    assert append(log, b"three").error == RETRIABLE
    assert log.read(0, 100).error == RETRIABLE
    directory.close(NOW_MS)
    assert ".kafka_cleanshutdown" not in disk.list(PATH)
    again = open_directory(disk.crashed(lucky=True)).get("events", 3)
    assert again is not None
    assert [record.value for record in records(again.read(0, 1000).records)] == [b"one"]


def test_a_lack_of_descriptors_is_answered_retriably_and_takes_nothing_offline() -> None:
    disk = new_disk()
    directory = open_directory(disk, flush_messages="1")
    log = directory.create("events", 3, TOPIC_ID, settings(flush_messages="1"))
    append(log, b"one")
    log.sync()
    too_many = OSError(errno.EMFILE, "Too many open files")
    for _ in range(2):
        directory.maintain(NOW_MS)  # an idle segment gives its descriptor back
    disk.fail_next("open", too_many)
    assert log.read(0, 1000).error == RETRIABLE
    for _ in range(2):
        directory.maintain(NOW_MS)
    disk.fail_next("open", too_many)
    assert append(log, b"two").error == RETRIABLE
    assert append(log, b"two").base_offset == 1
    for _ in range(2):
        log.tidy()
    disk.fail_next("open", too_many)
    log.sync()
    assert (log.fenced, log.high_watermark) == (False, 1)
    log.sync()
    assert [record.value for record in records(log.read(0, 1000).records)] == [b"one", b"two"]


def test_a_failed_fsync_takes_the_partition_offline_and_exposes_nothing() -> None:
    disk = new_disk()
    log = new_log(disk, flush_messages="1")
    append(log, b"one")
    disk.fail_next("sync", OSError(errno.EIO, "Input/output error"))
    log.sync()
    assert (log.fenced, log.high_watermark) == (True, 0)


def test_below_the_free_space_floor_producers_are_refused_and_the_broker_writes_on() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, {})
    append(log, b"one")
    disk.free_bytes = 1000
    directory.maintain(NOW_MS)
    result = append(log, b"two")
    assert (result.error, log.fenced) == (RETRIABLE, False)
    assert "nearly full" in (result.message or "")
    internal = build_batch([Record(b"k", b"v", NOW_MS)])
    assert log.append(internal, now_ms=NOW_MS, origin="internal").error == 0
    assert len(list(records(log.read(0, 1000).records))) == 2
    disk.free_bytes = 1 << 40
    directory.maintain(NOW_MS)
    assert append(log, b"two").error == 0


def test_a_region_outlives_the_release_of_an_idle_segment(tmp_path: Path) -> None:
    directory = LogDirectories.open(RealDisk(), [str(tmp_path)], CONFIG, NOW_MS)
    log = directory.create("events", 3, TOPIC_ID, {"segment.bytes": "300"})
    for at in range(9):
        append(log, b"v%d" % at * 40)
    region = log.locate(0, 1 << 20).region
    assert region is not None
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        directory.maintain(NOW_MS)
    assert len(os.listdir("/proc/self/fd")) < before
    assert region.file.fileno() > 0
    assert region.file.pread(region.size, region.position) == log.read(0, 1 << 20).records
    directory.close(NOW_MS)


def test_syncs_that_overlap_each_cover_what_none_has_covered() -> None:
    disk = new_disk()
    directory = open_directory(disk, flush_messages="1", segment_bytes="200")
    log = directory.create("events", 3, TOPIC_ID, settings(flush_messages="1", segment_bytes="200"))
    append(log, b"one" * 30)
    log.sync()
    append(log, b"two" * 30)  # in a segment of its own, whose name must be durable too
    slow = log.begin_sync()
    append(log, b"three" * 30)
    log.sync()
    assert log.high_watermark == 3
    for _ in range(20):
        again = open_directory(disk.crashed(), flush_messages="1", segment_bytes="200").get("events", 3)
        assert again is not None
        assert again.log_end_offset == 3
    slow.run()
    slow.complete()
    assert log.high_watermark == 3


def test_a_disk_error_while_looking_up_a_time_takes_the_partition_offline() -> None:
    disk = new_disk()
    log = new_log(disk)
    append(log, b"one")
    disk.fail_next("pread", OSError(errno.EIO, "Input/output error"))
    with pytest.raises(StorageError, match="Input/output error"):
        log.offset_for_timestamp(0)
    assert log.fenced


def test_a_disk_too_full_for_a_checkpoint_takes_nothing_offline() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, {})
    for at in range(9):
        append(log, b"v%d" % at)
    disk.fail_next("create", OSError(errno.ENOSPC, "No space left on device"))
    log.sync(checkpoint=True)
    assert (log.fenced, log.durability.recovery_point) == (False, 0)
    log.sync(checkpoint=True)
    assert log.durability.recovery_point == 9


def test_a_stop_on_a_full_disk_is_not_called_clean_and_loses_nothing() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, {})
    append(log, b"one")
    disk.fail_next("create", OSError(errno.ENOSPC, "No space left on device"))
    directory.close(NOW_MS)
    assert ".kafka_cleanshutdown" not in disk.list(PATH)
    again = open_directory(disk.crashed()).get("events", 3)
    assert again is not None
    assert again.log_end_offset == 1


def begun(log: PartitionLog, *values: bytes) -> BatchWrite:
    """An append whose write is on its way in a thread, say."""
    data = memoryview(build_batch(value_records(*values)))
    header = log.admit(data, now_ms=NOW_MS)
    assert isinstance(header, BatchHeader)
    write = log.begin_append(data, header, now_ms=NOW_MS)
    assert isinstance(write, BatchWrite)
    return write


def test_a_batch_is_read_and_synced_only_once_its_write_is_complete() -> None:
    log = new_log(flush_messages="1")
    append(log, b"first")
    log.sync()
    write = begun(log, b"second")
    write.run()
    log.sync()
    assert (log.log_end_offset, log.high_watermark) == (1, 1)
    assert [record.value for record in records(log.read(0, 1 << 20).records)] == [b"first"]
    result = log.complete_append(write)
    assert (result.error, result.base_offset, log.log_end_offset, log.high_watermark) == (0, 1, 2, 1)
    log.sync()
    assert log.high_watermark == 2


def test_retention_does_not_roll_the_segment_that_is_being_written() -> None:
    disk = new_disk()
    log = new_log(disk, retention_ms="1000")
    append(log, b"old")
    write = begun(log, b"new")
    log.retirement.retain(NOW_MS + 10_000)
    write.run()
    log.complete_append(write)
    assert (log.log_start_offset, log.log_end_offset) == (0, 2)
    log.retirement.retain(NOW_MS + 10_000)
    assert log.log_start_offset == 2


def test_a_write_that_fails_or_ends_after_the_log_is_refused_and_leaves_nothing() -> None:
    full, closed = new_disk(), new_log()
    log = new_log(full)
    append(log, b"first")
    write = begun(log, b"second")
    full.fail_next("pwrite", OSError(errno.ENOSPC, "full"))
    write.run()
    assert log.complete_append(write).error == ErrorCode.kafka_storage_error
    assert append(log, b"again").base_offset == 1
    write = begun(closed, b"late")
    closed.abandon()
    write.run()
    assert closed.complete_append(write).error == ErrorCode.unknown_topic_or_partition
    assert closed.log_end_offset == 0
