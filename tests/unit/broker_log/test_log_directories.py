"""Several log directories: where partitions go and are found, and what one that fails takes with it."""

import errno
from uuid import UUID

import pytest

from headrace.broker.log.checkpoint import decode_offsets, decode_properties
from headrace.broker.log.claims import claim_directories
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.record import build_batch
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError, UsageError
from tests.sim.log.disk import SimDisk
from tests.unit.broker_log.logs import (
    CONFIG,
    NOW_MS,
    TOPIC_ID,
    append,
    due_steps,
    new_disk,
    open_directory,
    settings,
    value_records,
)

A, B, C = "/data/a", "/data/b", "/data/c"


def open_all(disk: SimDisk, *paths: str, config: LogDirectoryConfig = CONFIG) -> LogDirectories:
    return LogDirectories.open(disk, paths, config, NOW_MS)


def spread(disk: SimDisk, partitions: int = 4) -> LogDirectories:
    """Topic `events` over A and B, with a record in each partition."""
    logs = open_all(disk, A, B)
    creation = logs.begin_creation("events", range(partitions), TOPIC_ID, {})
    creation.run()
    creation.complete()
    for log in logs.all():
        append(log, b"in %d" % log.partition)
    return logs


def test_new_partitions_go_to_the_directory_with_the_fewest() -> None:
    disk = new_disk()
    spread(disk, 3)
    assert [name for name in disk.list(A) if "events" in name] == ["events-0", "events-2"]
    assert [name for name in disk.list(B) if "events" in name] == ["events-1"]


def test_each_directory_has_ids_and_checkpoints_of_its_own() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    properties = [decode_properties(disk.content(f"{path}/meta.properties")) for path in (A, B)]
    assert {each["cluster.id"] for each in properties} == {"cluster-of-tests"}
    assert len({each["directory.id"] for each in properties}) == 2
    for path, partitions in ((A, (0, 2)), (B, (1, 3))):
        content = disk.content(f"{path}/recovery-point-offset-checkpoint")
        assert decode_offsets(content, path) == {("events", partition): 1 for partition in partitions}
        assert ".kafka_cleanshutdown" in disk.list(path)


def test_partitions_are_found_wherever_a_directory_is_mounted() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    for old, new in ((B, C), (A, B), (C, A)):
        disk.rename(old, new)
    logs = open_all(disk, B, A)
    assert [(log.path, log.log_end_offset) for log in logs.all()] == [
        (f"{B}/events-0", 1),
        (f"{A}/events-1", 1),
        (f"{B}/events-2", 1),
        (f"{A}/events-3", 1),
    ]


def test_a_partition_in_two_directories_is_refused_and_both_are_named() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    other = open_all(disk, C)
    other.create("events", 1, TOPIC_ID, {})
    other.close(NOW_MS)
    with pytest.raises(UsageError, match="/data/b/events-1 and /data/c/events-1"):
        open_all(disk, A, B, C)
    open_all(disk, A, B)  # all locks were given back


def test_a_copy_of_a_directory_is_refused() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    disk.replace(f"{B}/meta.properties", disk.content(f"{A}/meta.properties"))
    with pytest.raises(UsageError, match="is a copy of /data/a"):
        open_all(disk, A, B)


def test_a_directory_of_another_node_or_cluster_is_left_alone_and_the_others_go_on() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    open_all(disk, C, config=LogDirectoryConfig(node_id=8, cluster_id="cluster-of-tests")).close(NOW_MS)
    open_all(disk, "/data/d", config=LogDirectoryConfig(node_id=7, cluster_id="another")).close(NOW_MS)
    before = disk.list(C)
    logs = open_all(disk, A, B, C, "/data/d")
    assert len(logs.all()) == 4
    assert {path: reason.split(",")[0] for path, reason in logs.refused.items()} == {
        C: "belongs to node 8",
        "/data/d": "belongs to cluster another",
    }
    assert disk.list(C) == before


def test_a_directory_that_cannot_be_read_takes_only_its_partitions_with_it() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    disk.dead = (B,)
    logs = open_all(disk, A, B)
    assert set(logs.refused) == {B}
    logs.restore("events", 4, TOPIC_ID, {})
    assert [log.fenced for log in logs.all()] == [False, True, False, True]
    lost = logs.get("events", 1)
    assert lost is not None
    assert append(lost, b"no").error == ErrorCode.kafka_storage_error
    assert lost.locate(0, 100).error == ErrorCode.kafka_storage_error
    assert not logs.is_whole
    whole = logs.get("events", 0)
    assert whole is not None
    assert append(whole, b"yes").error == 0
    logs.delete("events", TOPIC_ID)
    assert logs.all() == []
    logs.close(NOW_MS)
    disk.dead = ()
    again = open_all(disk, A, B)
    assert [log.path for log in again.all()] == [f"{B}/events-1", f"{B}/events-3"]


def test_what_was_deleted_while_a_directory_was_away_is_removed_when_it_returns() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    claims = claim_directories(disk, [A, B], CONFIG.node_id)
    logs = LogDirectories(disk, claims, CONFIG, NOW_MS)
    assert logs.survey({}, {TOPIC_ID}) == []
    assert not any("events" in name for path in (A, B) for name in disk.list(path))


def test_a_disk_that_dies_later_takes_its_directory_offline_and_the_others_go_on() -> None:
    disk = new_disk()
    logs = spread(disk)
    disk.dead = (B,)
    logs.maintain(NOW_MS + CONFIG.flush_checkpoint_interval_ms)
    assert [log.fenced for log in logs.all()] == [False, True, False, True]
    creation = logs.begin_creation("more", range(3), UUID(int=9), {})
    creation.run()
    creation.complete()
    assert [name for name in disk.list(A) if "more" in name] == ["more-0", "more-1", "more-2"]
    logs.close(NOW_MS)
    assert ".kafka_cleanshutdown" in disk.list(A)
    disk.dead = ()
    assert ".kafka_cleanshutdown" not in disk.list(B)
    assert [log.log_end_offset for log in open_all(disk, A, B).all()] == [1, 1, 1, 1, 0, 0, 0]


def test_many_partitions_come_and_go_in_steps() -> None:
    disk = new_disk()
    logs = open_all(disk, A, B)
    creation = logs.begin_creation("many", range(120), UUID(int=9), {})
    creation.run()
    assert [len(logs.all()) for _ in creation.complete_in_steps()] == [50, 100]
    many = logs.all()
    assert len(many) == 120
    assert append(many[7], b"x").error == 0
    deletion = logs.begin_deletion("many", UUID(int=9))
    assert [len(logs.all()) for _ in deletion.begin_in_steps()] == [70, 20]
    deletion.run()
    assert append(many[7], b"x").error == ErrorCode.unknown_topic_or_partition
    assert sum(1 for _ in deletion.complete_in_steps()) == 2
    logs.maintain(NOW_MS + 1_000_000)
    assert [name for path in (A, B) for name in disk.list(path) if "many" in name] == []


def test_no_directory_that_works_is_refused() -> None:
    disk = new_disk()
    disk.dead = (A, B)
    with pytest.raises(UsageError, match=r"/data/a.*/data/b"):
        open_all(disk, A, B)


def test_a_partition_that_cannot_be_loaded_is_offline_alone_and_its_checkpoints_are_kept() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    disk.dead = (f"{A}/events-2",)
    logs = open_all(disk, A, B)
    with pytest.raises(StorageError, match="in the way"):
        logs.begin_creation("events", [2, 5], UUID(int=3), {})
    logs.restore("events", 4, TOPIC_ID, {})
    assert [log.fenced for log in logs.all()] == [False, False, True, False]
    logs.close(NOW_MS)
    disk.dead = ()
    assert ".kafka_cleanshutdown" not in disk.list(A)
    checkpoint = disk.content(f"{A}/recovery-point-offset-checkpoint")
    assert decode_offsets(checkpoint, A) == {("events", 0): 1, ("events", 2): 1}
    assert [log.log_end_offset for log in open_all(disk, A, B).all()] == [1, 1, 1, 1]


def test_what_a_lost_checkpoint_does_not_say_of_an_offline_partition_is_not_taken_for_a_promise() -> None:
    disk = new_disk()
    spread(disk).close(NOW_MS)
    compacted = [build_batch(value_records(b"kept"), base_offset=offset) for offset in (0, 5)]
    disk.replace(f"{A}/events-2/{0:020d}.log", b"".join(compacted))
    disk.replace(f"{A}/recovery-point-offset-checkpoint", b"?")
    disk.dead = (f"{A}/events-2",)
    open_all(disk, A, B).close(NOW_MS)
    disk.dead = ()
    log = open_all(disk, A, B).get("events", 2)
    assert log is not None
    assert log.log_end_offset == 6, "a hole is legal where nobody knows what was promised"


def test_a_directory_in_use_and_one_named_twice_end_the_start() -> None:
    disk = new_disk()
    spread(disk)
    with pytest.raises(UsageError, match="another broker uses it"):
        open_all(disk, C, A)
    open_all(disk, C)


def test_what_checkpoints_say_of_a_deleted_log_is_not_taken_for_its_namesake_after_a_crash() -> None:
    disk = new_disk()
    logs = open_directory(disk, flush_messages="1")
    old = logs.create("events", 3, TOPIC_ID, settings(flush_messages="1"))
    append(old, b"a", b"b", b"c")
    old.sync(checkpoint=True)
    for step in due_steps(logs, NOW_MS + 60_000):
        step.run()
        step.complete()
    logs.delete("events", TOPIC_ID)
    new = logs.create("events", 3, UUID(int=99), settings(flush_messages="1"))
    append(new, b"x")
    new.sync()
    again = open_directory(disk.crashed(), flush_messages="1").get("events", 3)
    assert again is not None
    assert (again.topic_id, again.log_start_offset, again.log_end_offset) == (UUID(int=99), 0, 1)


def test_a_log_is_not_made_while_checkpoints_cannot_forget_its_namesake() -> None:
    disk = new_disk()
    logs = open_directory(disk)
    append(logs.create("events", 3, TOPIC_ID, {}), b"a")
    logs.maintain(NOW_MS + 60_000)
    logs.delete("events", TOPIC_ID)
    disk.fail_next("rename", OSError(errno.ENOSPC, "full"))
    with pytest.raises(StorageError, match="deleted events-3"):
        logs.create("events", 3, UUID(int=99), {})
    assert logs.create("events", 3, UUID(int=99), {}).log_end_offset == 0
