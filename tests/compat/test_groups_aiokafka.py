"""aiokafka as a member of groups: it speaks the oldest versions of the three clients (JoinGroup 5, OffsetCommit 3)."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata

from tests.compat.group_broker import address, group_broker
from tests.processes import Part


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with group_broker(tmp_path_factory.mktemp("groups")) as running:
        yield running


async def make_topic(part: Part, name: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address(part))
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1)])
    await admin.close()


async def member(part: Part, topic: str, group: str) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=address(part),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=200,
    )
    await consumer.start()
    return consumer


async def wait_until(done: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_two_members_share_the_partitions_and_one_that_leaves_gives_them_back(part: Part) -> None:
    async def scenario() -> None:
        await make_topic(part, "shared", 4)
        first = await member(part, "shared", "sharing")
        await wait_until(lambda: len(first.assignment()) == 4)
        second = await member(part, "shared", "sharing")
        await wait_until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
        await second.stop()
        await wait_until(lambda: len(first.assignment()) == 4)
        await first.stop()

    asyncio.run(scenario())


def test_committed_offsets_survive_kill_9(part: Part) -> None:
    zero = TopicPartition("committed", 0)

    async def commit() -> None:
        await make_topic(part, "committed", 1)
        producer = AIOKafkaProducer(bootstrap_servers=address(part))
        await producer.start()
        for number in range(10):
            await producer.send_and_wait("committed", str(number).encode(), partition=0)
        await producer.stop()
        consumer = await member(part, "committed", "surviving")
        assert [int((await consumer.getone()).value) for _ in range(6)] == list(range(6))
        await consumer.commit({zero: OffsetAndMetadata(6, "midway")})
        await consumer.stop()

    async def read_on() -> None:
        consumer = await member(part, "committed", "surviving")
        assert await consumer.committed(zero) == 6
        assert [int((await consumer.getone()).value) for _ in range(4)] == [6, 7, 8, 9]
        await consumer.stop()

    asyncio.run(commit())
    part.kill()
    part.start()
    asyncio.run(read_on())


def test_an_administrator_sees_groups(part: Part) -> None:
    async def scenario() -> None:
        await make_topic(part, "administered", 2)
        consumer = await member(part, "administered", "administered")
        await consumer.commit({TopicPartition("administered", 1): 7})
        admin = AIOKafkaAdminClient(bootstrap_servers=address(part))
        await admin.start()
        assert ("administered", "consumer") in await admin.list_consumer_groups()
        offsets = await admin.list_consumer_group_offsets("administered")
        assert {each.partition: offset.offset for each, offset in offsets.items()} == {1: 7}
        (described,) = await admin.describe_consumer_groups(["administered"])
        assert described.groups[0][2] == "Stable"
        await admin.close()
        await consumer.stop()

    asyncio.run(scenario())
