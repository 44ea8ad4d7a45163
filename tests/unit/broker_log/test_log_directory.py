"""The log directory: what it makes, finds again, refuses, repairs and removes."""

import errno
import json
from uuid import UUID

import pytest

from headrace.broker.log.checkpoint import decode_offsets
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import records
from headrace.errors import ConfigError, StorageError, UsageError, VersionError
from tests.sim.log.disk import SimDisk
from tests.unit.broker_log.logs import (
    CONFIG,
    NOW_MS,
    PATH,
    TOPIC_ID,
    append,
    due_steps,
    keep_house,
    new_disk,
    open_directory,
    settings,
)


def values(log: PartitionLog) -> list[bytes | None]:
    """Every value, from the log start on."""
    found, offset = [], log.log_start_offset
    while data := log.read(offset, 1 << 20).records:
        read = list(records(data))
        found += [record.value for record in read]
        offset = read[-1].offset + 1
    return found


def written(disk: SimDisk, count: int, **overrides: str) -> LogDirectories:
    """A directory with `count` batches of one record in events-3."""
    directory = open_directory(disk, **overrides)
    log = directory.create("events", 3, TOPIC_ID, settings(**overrides))
    for at in range(count):
        append(log, b"v%03d" % at, time_ms=NOW_MS + at)
    return directory


def reopened(disk: SimDisk, *, lucky: bool = True, **overrides: str) -> PartitionLog:
    log = open_directory(disk.crashed(lucky=lucky), **overrides).get("events", 3)
    assert log is not None
    return log


def test_files_have_kafkas_names_and_contents() -> None:
    disk = new_disk()
    directory = written(disk, 30, segment_bytes="1000")
    directory.close(NOW_MS)
    assert disk.content(f"{PATH}/events-3/partition.metadata") == b"version: 0\ntopic_id: AAAAAAAAAAASNFZ4kKvN7w\n"
    assert disk.content(f"{PATH}/events-3/leader-epoch-checkpoint") == b"0\n1\n0 0\n"
    assert disk.content(f"{PATH}/recovery-point-offset-checkpoint") == b"0\n1\nevents 3 30\n"
    assert disk.content(f"{PATH}/replication-offset-checkpoint") == b"0\n1\nevents 3 30\n"
    assert disk.content(f"{PATH}/log-start-offset-checkpoint") == b"0\n1\nevents 3 0\n"
    assert json.loads(disk.content(f"{PATH}/.kafka_cleanshutdown")) == {"version": 0, "brokerEpoch": -1}
    assert b"node.id=7\n" in disk.content(f"{PATH}/meta.properties")
    names = disk.list(f"{PATH}/events-3")
    assert [name for name in names if name.endswith(".log")][:2] == ["00000000000000000000.log", "00000000000000000013.log"]
    assert "00000000000000000030.snapshot" in names


def test_a_clean_stop_and_start_keeps_everything() -> None:
    disk = new_disk()
    written(disk, 50, segment_bytes="1000").close(NOW_MS)
    again = open_directory(disk)
    log = again.get("events", 3)
    assert log is not None
    assert values(log) == [b"v%03d" % at for at in range(50)]
    assert (log.topic_id, again.cluster_id) == (TOPIC_ID, "cluster-of-tests")
    assert ".kafka_cleanshutdown" not in disk.list(PATH)
    assert append(log, b"more").base_offset == 50


def test_kill_9_loses_nothing_that_the_page_cache_has() -> None:
    disk = new_disk()
    written(disk, 50, segment_bytes="1000")
    assert values(reopened(disk)) == [b"v%03d" % at for at in range(50)]


def test_recovery_scans_only_what_comes_after_the_recovery_point() -> None:
    disk = new_disk()
    directory = written(disk, 50, segment_bytes="1000")
    directory.maintain(NOW_MS + CONFIG.flush_checkpoint_interval_ms)
    content = bytearray(disk.content(f"{PATH}/events-3/00000000000000000000.log"))
    content[70] ^= 0xFF  # in a record: a scan would cut the log here
    disk.replace(f"{PATH}/events-3/00000000000000000000.log", bytes(content))
    assert reopened(disk).log_end_offset == 50


def test_the_last_batch_cut_at_any_byte_is_dropped_whole() -> None:
    disk = new_disk()
    written(disk, 4)
    path = f"{PATH}/events-3/00000000000000000000.log"
    whole = disk.content(path)
    size = len(whole) // 4
    for cut in range(3 * size, len(whole)):
        torn = disk.crashed(lucky=True)
        torn.replace(path, whole[:cut])
        log = reopened(torn)
        assert values(log) == [b"v000", b"v001", b"v002"]
        assert append(log, b"next").base_offset == 3
        assert log.offset_for_timestamp(NOW_MS + 2) == (2, NOW_MS + 2, 0)


def test_the_last_batch_changed_at_any_byte_is_dropped_or_the_same() -> None:
    disk = new_disk()
    written(disk, 4)
    path = f"{PATH}/events-3/00000000000000000000.log"
    whole = disk.content(path)
    size = len(whole) // 4
    for at in range(3 * size, len(whole)):
        damaged = disk.crashed(lucky=True)
        damaged.replace(path, whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        log = reopened(damaged)
        epoch_only = 3 * size + 12 <= at < 3 * size + 16  # not covered by the CRC, nor looked at by readers
        assert values(log) == [b"v000", b"v001", b"v002"] + [b"v003"] * epoch_only


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("damage", [None, b"", b"\xff" * 24, b"\0" * 24, b"x"])
@pytest.mark.parametrize("clean", [True, False])
def test_a_lost_or_garbled_index_is_made_again(suffix: str, damage: bytes | None, clean: bool) -> None:
    disk = new_disk()
    directory = written(disk, 60, segment_bytes="2000")
    if clean:
        directory.close(NOW_MS)
    else:
        directory.maintain(NOW_MS + CONFIG.flush_checkpoint_interval_ms)
    for name in [name for name in disk.list(f"{PATH}/events-3") if name.endswith(suffix)]:
        if damage is None:
            disk.remove(f"{PATH}/events-3/{name}")
        else:
            disk.replace(f"{PATH}/events-3/{name}", damage)
    log = reopened(disk)
    for offset in range(60):
        assert next(records(log.read(offset, 1).records)).offset == offset
        assert log.offset_for_timestamp(NOW_MS + offset) == (offset, NOW_MS + offset, 0)


def test_half_deleted_segments_and_strays_are_removed() -> None:
    disk = new_disk()
    written(disk, 30, segment_bytes="1000")
    path = f"{PATH}/events-3"
    for suffix in (".log", ".index"):
        disk.rename(f"{path}/00000000000000000000{suffix}", f"{path}/00000000000000000000{suffix}.deleted")
    disk.open(f"{path}/00000000000000000999.index", create=True)
    disk.open(f"{path}/leader-epoch-checkpoint.tmp", create=True)
    log = reopened(disk)
    assert log.log_start_offset == 13
    assert values(log)[0] == b"v013"


def test_the_log_end_is_never_below_what_was_checkpointed() -> None:
    disk = new_disk()
    directory = written(disk, 30, segment_bytes="1000")
    directory.maintain(NOW_MS + CONFIG.flush_checkpoint_interval_ms)
    directory.maintain(NOW_MS + 2 * CONFIG.flush_checkpoint_interval_ms)
    assert decode_offsets(disk.content(f"{PATH}/recovery-point-offset-checkpoint"), "")["events", 3] == 30
    disk.remove(f"{PATH}/events-3/00000000000000000026.log")
    log = reopened(disk)
    assert (log.log_start_offset, log.log_end_offset) == (0, 30)
    assert append(log, b"next").base_offset == 30
    assert values(log) == [b"v%03d" % at for at in range(26)] + [b"next"]
    assert next(records(log.read(27, 1).records)).offset == 30, "a reader in the hole goes on behind it"


def test_damaged_checkpoints_cost_a_scan_and_nothing_else() -> None:
    disk = new_disk()
    written(disk, 30, segment_bytes="1000").maintain(NOW_MS + CONFIG.flush_checkpoint_interval_ms)
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint"):
        disk.replace(f"{PATH}/{name}", b"0\n5\nrubbish")
    disk.replace(f"{PATH}/events-3/leader-epoch-checkpoint", b"?")
    log = reopened(disk)
    assert (log.log_end_offset, log.leader_epoch) == (30, 0)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("recovery-point-offset-checkpoint", b"1\n0\n"),
        ("events-3/leader-epoch-checkpoint", b"1\n0\n"),
        ("events-3/partition.metadata", b"version: 1\ntopic_id: AAAAAAAAAAASNFZ4kKvN7w\n"),
    ],
)
def test_a_newer_version_is_refused(file: str, content: bytes) -> None:
    disk = new_disk()
    written(disk, 3).close(NOW_MS)
    disk.replace(f"{PATH}/{file}", content)
    with pytest.raises(VersionError, match="upgrade"):
        open_directory(disk)


def test_a_directory_in_use_or_of_another_node_is_refused() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    with pytest.raises(UsageError, match="another broker uses it"):
        open_directory(disk)
    directory.close(NOW_MS)
    with pytest.raises(UsageError, match=r"node 7.*node.id is 8"):
        LogDirectories.open(disk, [PATH], LogDirectoryConfig(node_id=8, cluster_id="x"), NOW_MS)
    open_directory(disk).close(NOW_MS)


def test_create_is_repeatable_for_the_same_topic_id_only() -> None:
    directory = open_directory(new_disk())
    log = directory.create("events", 3, TOPIC_ID, {})
    assert directory.create("events", 3, TOPIC_ID, {}) is log
    with pytest.raises(StorageError, match="topic id"):
        directory.create("events", 3, UUID(int=99), {})
    with pytest.raises(ConfigError, match=r"retention.ms=soon: must be an integer"):
        directory.create("other", 0, UUID(int=5), {"retention.ms": "soon"})
    assert [(log.topic, log.partition) for log in directory.all()] == [("events", 3)]


def test_a_log_that_was_never_completely_made_is_removed() -> None:
    disk = new_disk()
    open_directory(disk).close(NOW_MS)
    disk.make_directory(f"{PATH}/half-0")
    disk.open(f"{PATH}/half-0/00000000000000000000.log", create=True)
    assert open_directory(disk).get("half", 0) is None
    assert "half-0" not in disk.list(PATH)


def test_a_deleted_topic_is_gone_at_once_and_its_files_after_the_delay() -> None:
    disk = new_disk()
    directory = written(disk, 5)
    directory.create("other", 0, UUID(int=5), {})
    directory.delete("events", TOPIC_ID)
    assert directory.get("events", 3) is None
    assert f"events-3.{TOPIC_ID.hex}-delete" in disk.list(PATH)
    again = directory.create("events", 3, UUID(int=6), {})
    assert again.log_end_offset == 0
    directory.maintain(NOW_MS + 60_000)
    assert [name for name in disk.list(PATH) if "-" in name and "checkpoint" not in name] == ["events-3", "other-0"]


def test_a_topic_that_was_being_deleted_is_removed_at_start() -> None:
    disk = new_disk()
    written(disk, 5).delete("events", TOPIC_ID)
    after = disk.crashed(lucky=True)
    assert open_directory(after).all() == []
    assert not any(name.endswith("-delete") for name in after.list(PATH))


def test_overrides_are_in_force_when_logs_are_loaded() -> None:
    disk = new_disk()
    written(disk, 5, retention_ms="-1").close(NOW_MS)
    directory = open_directory(disk, retention_ms="-1")
    log = directory.get("events", 3)
    assert log is not None
    directory.maintain(NOW_MS + 10**10)
    assert log.log_start_offset == 0


def test_due_steps_are_few_and_done_once() -> None:
    directory = written(new_disk(), 5)
    late = NOW_MS + CONFIG.flush_checkpoint_interval_ms
    steps = due_steps(directory, late)
    assert len(steps) == 2
    for step in steps:
        step.run()
        step.complete()
    log = directory.get("events", 3)
    assert log is not None
    assert (log.durability.recovery_point, log.durability.uncheckpointed_bytes) == (5, 0)
    assert len(due_steps(directory, late + CONFIG.high_watermark_checkpoint_interval_ms)) == 1, "the moved recovery point"


def test_a_log_at_rest_is_not_looked_at_until_something_is_done_with_it() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log, idle = (directory.create("events", at, TOPIC_ID, {}) for at in (3, 4))
    append(log, b"one")
    for _ in range(3):
        directory.maintain(NOW_MS + CONFIG.flush_checkpoint_interval_ms)
    at_rest = NOW_MS + 2 * CONFIG.flush_checkpoint_interval_ms
    directory.maintain(at_rest)
    assert list(directory.due_steps(at_rest + CONFIG.high_watermark_checkpoint_interval_ms)) == []
    assert list(directory.keep_house(at_rest)) == []
    assert log.read(0, 1000).records
    assert len(list(directory.keep_house(at_rest))) == 1, "what was opened to read is to be given back"
    append(idle, b"one")
    assert len(list(directory.keep_house(at_rest))) == 2


def test_what_retention_opens_is_given_back_also_where_it_takes_nothing() -> None:
    disk = new_disk()
    written(disk, 30, segment_bytes="1000").close(NOW_MS)
    directory = open_directory(disk, segment_bytes="1000")
    log = directory.get("events", 3)
    assert log is not None
    for _ in range(3):
        directory.maintain(NOW_MS)
    for at in range(4):
        directory.maintain(NOW_MS + CONFIG.retention_check_interval_ms + at)
    assert log.segments.first.indexes.offsets is None
    assert list(directory.keep_house(NOW_MS + CONFIG.retention_check_interval_ms + 5)) == []


def test_files_to_be_removed_are_not_forgotten_where_a_sync_cannot_begin() -> None:
    disk = new_disk()
    directory = written(disk, 30, segment_bytes="1000", retention_bytes="0", retention_ms="-1")
    other = directory.create("other", 0, TOPIC_ID, {})
    late = NOW_MS + CONFIG.retention_check_interval_ms
    directory.maintain(late)
    deleted = [name for name in disk.list(f"{PATH}/events-3") if name.endswith(".deleted")]
    append(other, b"one", now_ms=late)
    for _ in range(2):
        other.tidy()
    disk.fail_next("open", OSError(errno.EMFILE, "Too many open files"))
    directory.maintain(late + CONFIG.flush_checkpoint_interval_ms)
    directory.maintain(late + 2 * CONFIG.flush_checkpoint_interval_ms)
    assert deleted
    assert not set(deleted) & set(disk.list(f"{PATH}/events-3"))
    assert other.durability.recovery_point == 1


def test_what_may_block_is_a_step_and_the_loop_does_none_of_it() -> None:
    disk = new_disk()
    directory = open_directory(disk, flush_ms="500", segment_bytes="200", retention_bytes="0")
    log = directory.create("events", 3, TOPIC_ID, settings(flush_ms="500", segment_bytes="200", retention_bytes="0"))
    append(log, b"one" * 30)
    keep_house(directory, NOW_MS + 500)
    assert log.high_watermark == 0, "no fsync"
    (sync,) = due_steps(directory, NOW_MS + 500)
    sync.run()
    sync.complete()
    assert log.high_watermark == 1
    later = NOW_MS + CONFIG.retention_check_interval_ms
    keep_house(directory, later)
    deleted = [name for name in disk.list(log.path) if name.endswith(".deleted")]
    assert deleted, "retention renames"
    keep_house(directory, later + 60_000)
    assert set(deleted) <= set(disk.list(log.path)), "no removal"
    for step in due_steps(directory, later + 60_000):
        step.run()
        step.complete()
    assert not set(deleted) & set(disk.list(log.path))
    assert append(log, b"two", now_ms=later).base_offset == 1


def test_a_partition_without_its_metadata_is_kept_if_it_holds_records_and_removed_if_not() -> None:
    for count in (1, 0):
        disk = new_disk()
        written(disk, count).close(NOW_MS)
        disk.remove(f"{PATH}/events-3/partition.metadata")
        open_directory(disk).close(NOW_MS)
        assert ("events-3" in disk.list(PATH)) == bool(count)
