"""The shell of the groups on a real log directory: what a restart brings back, what expires, what a failing disk does."""

import asyncio
from pathlib import Path

import pytest

from headrace.broker.broker import Broker
from headrace.broker.groups.messages import GroupState, JoinRequest, LeavingMember, SyncRequest
from headrace.broker.groups.offsets_log import partition_of
from headrace.broker.groups.records import CommittedOffset
from headrace.broker.groups.service import GroupService
from headrace.broker.log.record import Record, build_batch
from headrace.broker.topic_names import OFFSETS_TOPIC
from headrace.broker.wire import ErrorCode
from headrace.errors import VersionError
from tests.integration.node import HandClock, Node

OK = ErrorCode.none
DAY_MS = 86_400_000
SUBSCRIPTION = bytes.fromhex("0001 00000001 0004 72656164 ffffffff 00000000")  # the topic "read"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def node(tmp_path: Path, clock: HandClock) -> Node:
    return Node(tmp_path, clock)


def joining(member_id: str = "") -> JoinRequest:
    protocols = (("range", SUBSCRIPTION),)
    return JoinRequest(0, member_id, None, "c", "/h", 10_000, 30_000, "consumer", protocols, "", False, False)


async def lone_member(groups: GroupService, group: str) -> str:
    joined = await groups.join(group, joining())
    assert joined.error is OK
    share = ((joined.member_id, b"everything"),)
    synced = await groups.sync(group, SyncRequest(0, joined.member_id, None, joined.generation, None, None, share))
    assert synced.assignment == b"everything"
    return joined.member_id


def offset(number: int, clock: HandClock, *, expire_at_ms: int | None = None) -> CommittedOffset:
    return CommittedOffset(number, 0, "note", clock.wall_ms(), expire_at_ms)


def test_members_and_offsets_are_there_again_after_a_restart(node: Node, clock: HandClock) -> None:
    async def first(groups: GroupService) -> str:
        member_id = await lone_member(groups, "g")
        assert await groups.commit("g", [(("read", 1), offset(7, clock)), (("read", 1), offset(8, clock))]) is OK
        assert await groups.commit("simple", [(("other", 3), offset(9, clock))]) is OK
        return member_id

    with node.running() as (_, groups):
        member_id = asyncio.run(first(groups))
    with node.running() as (_, groups):
        restored = groups.group("g")
        assert restored is not None
        assert (restored.state, restored.generation, list(restored.members)) == (GroupState.STABLE, 1, [member_id])
        assert groups.heartbeat("g", member_id, None, 1) is OK
        assert groups.committed("g", "read", 1) == offset(8, clock)
        assert groups.committed("simple", "other", 3) == offset(9, clock)
        assert [group.group_id for group in groups.groups()] == ["g", "simple"]


def test_a_deleted_group_stays_deleted_after_a_restart(node: Node, clock: HandClock) -> None:
    async def work(groups: GroupService) -> None:
        member_id = await lone_member(groups, "g")
        await groups.commit("g", [(("read", 1), offset(7, clock))])
        assert await groups.delete_group("g") is ErrorCode.non_empty_group
        groups.leave("g", [LeavingMember(member_id, None)])
        assert await groups.delete_group("g") is OK
        assert await groups.delete_group("g") is ErrorCode.group_id_not_found

    with node.running() as (_, groups):
        asyncio.run(work(groups))
    with node.running() as (_, groups):
        assert groups.group("g") is None
        assert groups.committed("g", "read", 1) is None


def test_a_member_that_falls_silent_is_noticed_after_a_restart(node: Node, clock: HandClock) -> None:
    with node.running() as (_, groups):
        asyncio.run(lone_member(groups, "g"))

    async def wait(groups: GroupService) -> None:
        clock.now_ms += 20_001  # twice the session: this clock's monotonic time runs at half speed
        groups.start()
        joined = await groups.join("g", joining())
        assert [member_id for member_id, _, _ in joined.members] == [joined.member_id]

    with node.running() as (_, groups):
        asyncio.run(asyncio.wait_for(wait(groups), 5))


def test_offsets_expire_once_their_retention_is_over_and_then_the_group_goes(node: Node, clock: HandClock) -> None:
    async def work(groups: GroupService) -> None:
        member_id = await lone_member(groups, "g")
        await groups.commit("g", [(("read", 1), offset(7, clock)), (("left", 2), offset(8, clock))])
        await groups.commit("own", [(("read", 1), offset(9, clock, expire_at_ms=clock.wall_ms() + DAY_MS))])
        clock.now_ms += 8 * DAY_MS
        await groups.expire()
        assert groups.committed("g", "read", 1) is not None  # a member reads it
        assert groups.committed("g", "left", 2) is None
        assert groups.group("own") is None
        groups.leave("g", [LeavingMember(member_id, None)])
        await groups.expire()
        assert groups.committed("g", "read", 1) is not None  # the group has only just become empty
        clock.now_ms += 7 * DAY_MS
        await groups.expire()
        assert groups.group("g") is None

    with node.running() as (_, groups):
        asyncio.run(work(groups))
    with node.running() as (_, groups):
        assert list(groups.groups()) == []


def test_offsets_of_a_deleted_topic_are_forgotten_for_all_groups(node: Node, clock: HandClock) -> None:
    async def work(broker: Broker, groups: GroupService) -> None:
        topic = await broker.topics.create("read", 1, {})
        for group in ("g", "h"):
            await groups.commit(group, [(("read", 0), offset(7, clock)), (("kept", 0), offset(8, clock))])
        await broker.topics.delete(topic)
        await asyncio.sleep(0)
        assert [groups.all_committed(group) for group in ("g", "h")] == [[("kept", 0)], [("kept", 0)]]

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))


def test_a_commit_that_the_disk_refuses_is_not_there(node: Node, clock: HandClock) -> None:
    async def work(broker: Broker, groups: GroupService) -> None:
        await groups.commit("g", [(("read", 1), offset(7, clock))])
        log = broker.logs.get(OFFSETS_TOPIC, partition_of("g", broker.config.offsets_topic_num_partitions))
        assert log is not None
        log.fence(OSError(5, "Input/output error"))
        assert await groups.commit("g", [(("read", 1), offset(8, clock))]) is ErrorCode.coordinator_not_available
        committed = groups.committed("g", "read", 1)
        assert committed is not None
        assert committed.offset == 7
        joined = await groups.join("g", joining())
        share = ((joined.member_id, b"x"),)
        synced = await groups.sync("g", SyncRequest(0, joined.member_id, None, joined.generation, None, None, share))
        assert synced.error is ErrorCode.coordinator_not_available

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))


def test_a_group_whose_end_the_disk_refuses_is_as_it_was(node: Node, clock: HandClock) -> None:
    async def work(broker: Broker, groups: GroupService) -> None:
        member_id = await lone_member(groups, "g")
        await groups.commit("g", [(("read", 1), offset(7, clock))])
        groups.leave("g", [LeavingMember(member_id, None)])
        log = broker.logs.get(OFFSETS_TOPIC, partition_of("g", broker.config.offsets_topic_num_partitions))
        assert log is not None
        await asyncio.sleep(0)  # that it is empty is stored
        log.fence(OSError(5, "Input/output error"))
        assert await groups.delete_group("g") is ErrorCode.coordinator_not_available
        group = groups.group("g")
        assert group is not None
        assert (group.state, group.protocol_type) == (GroupState.EMPTY, "consumer")
        assert groups.all_committed("g") == [("read", 1)]

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))


def test_a_commit_is_answered_once_the_topics_durability_is_met(tmp_path: Path, clock: HandClock) -> None:
    node = Node(tmp_path, clock, **{"log.flush.interval.messages": 1})

    async def work(broker: Broker, groups: GroupService) -> None:
        log_of = partition_of("g", broker.config.offsets_topic_num_partitions)
        commit = asyncio.ensure_future(groups.commit("g", [(("read", 1), offset(7, clock))]))
        await asyncio.sleep(0)
        assert not commit.done()
        assert groups.committed("g", "read", 1) is None
        assert await commit is OK
        log = broker.logs.get(OFFSETS_TOPIC, log_of)
        assert log is not None
        assert log.high_watermark == log.log_end_offset == 1
        await lone_member(groups, "g")
        assert log.high_watermark == log.log_end_offset
        await broker.flusher.close()

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))


def test_garbage_in_the_topic_does_not_keep_the_broker_down(node: Node, clock: HandClock) -> None:
    async def work(broker: Broker, groups: GroupService) -> None:
        await broker.topics.ensure_offsets()
        log = broker.logs.get(OFFSETS_TOPIC, 0)
        assert log is not None
        for key, value in ((b"\x00\x01rubbish", b"x"), (b"\x00\x03\x00\x01g", b"other kind"), (b"", None)):
            broker.appends.append_own(log, build_batch([Record(key, value, clock.wall_ms())]))
        assert await groups.commit("g", [(("read", 1), offset(7, clock))]) is OK

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))
    with node.running() as (_, groups):
        assert groups.committed("g", "read", 1) is not None


def test_records_of_a_newer_version_are_refused(node: Node, clock: HandClock) -> None:
    with node.running() as (broker, _):
        asyncio.run(broker.topics.ensure_offsets())
        log = broker.logs.get(OFFSETS_TOPIC, 0)
        assert log is not None
        newer = Record(bytes.fromhex("0002 0001 67"), bytes.fromhex("0005"), clock.wall_ms())
        broker.appends.append_own(log, build_batch([newer]))
    with pytest.raises(VersionError, match="version 5"), node.running():
        pass


@pytest.mark.parametrize(
    ("group", "partition"),
    [  # Java: Math.abs("…".hashCode()) % 50, and Kafka's rule for Integer.MIN_VALUE
        ("hello", 22),  # 99162322
        ("g", 3),  # 103
        ("", 0),
        ("polygenelubricants", 0),  # hashCode() is Integer.MIN_VALUE
    ],
)
def test_groups_are_found_in_the_partition_where_kafka_looks(group: str, partition: int) -> None:
    assert partition_of(group, 50) == partition
