"""Topics made and deleted while others do the same, and while the loop has other work: without a network."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.broker.broker import Broker
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.store import TopicRecord
from headrace.broker.handlers.topic_creation import auto_create
from headrace.broker.log.checkpoint import LOG_START
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.disk import RealDisk
from headrace.broker.log.record import Record, build_batch
from headrace.broker.topic_names import OFFSETS_TOPIC
from headrace.clock import SystemClock
from headrace.errors import StorageError
from tests.memory_store import MemoryStore


class FullDisk(RealDisk):
    """Takes no metadata of partition 2."""

    def rename(self, old: str, new: str) -> None:
        if new.endswith("-2/partition.metadata"):
            raise OSError(28, "No space left on device")
        super().rename(old, new)


@asynccontextmanager
async def running(path: Path, disk: RealDisk | None = None) -> AsyncIterator[Broker]:
    config, clock = BrokerConfig.model_validate({}), SystemClock()
    logs = LogDirectories.open(disk or RealDisk(), [str(path)], config.log_directory("c"), clock.wall_ms())
    with ThreadPoolExecutor(4) as executor:
        broker = Broker(config, clock, MemoryStore(), logs, {}, executor)
        yield broker
        await broker.close()
        logs.close(clock.wall_ms())


async def made(broker: Broker, name: str, partitions: int) -> TopicRecord:
    async with broker.topics.changes:
        return await broker.topics.create(name, partitions, {})


async def deleted(broker: Broker, topic: TopicRecord) -> None:
    async with broker.topics.changes:
        await broker.topics.delete(topic)


def directories(path: Path, name: str) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.name.startswith(f"{name}-"))


def test_a_topic_asked_for_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as broker:
            asked = [auto_create(broker, "wanted", by="test") for _ in range(10)]
            asked += [auto_create(broker, OFFSETS_TOPIC, by="test") for _ in range(10)]
            assert set(await asyncio.gather(*asked)) == {0}
            assert len({id(await broker.topics.ensure_offsets()) for _ in range(3)}) == 1
            assert [topic.name for topic in broker.topics.all()] == [OFFSETS_TOPIC, "wanted"]

    asyncio.run(work())


def test_names_that_collide_are_refused_also_while_the_first_is_being_made(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as broker:
            errors = await asyncio.gather(auto_create(broker, "a.b", by="test"), auto_create(broker, "a_b", by="test"))
            assert sorted(errors) == [0, 17]

    asyncio.run(work())


def test_a_topic_made_again_while_its_namesake_is_deleted_is_empty(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as broker:
            first = await made(broker, "t", 3)
            log = broker.logs.get("t", 1)
            assert log is not None
            now_ms = broker.clock.wall_ms()
            broker.appends.append_own(log, build_batch([Record(None, b"old", now_ms)]))
            _, second = await asyncio.gather(deleted(broker, first), made(broker, "t", 3))
            log = broker.logs.get("t", 1)
            assert log is not None
            assert (log.topic_id, log.log_end_offset) == (second.topic_id, 0)
            assert broker.topics.by_id(first.topic_id) is None

    asyncio.run(work())


def test_checkpoints_say_nothing_of_a_deleted_topic_when_its_namesake_is_made(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as broker:
            first = await made(broker, "t", 1)
            log = broker.logs.get("t", 0)
            assert log is not None
            broker.appends.append_own(log, build_batch([Record(None, b"old", broker.clock.wall_ms())]))
            log.sync(checkpoint=True)
            broker.housekeeping.delete_records(log, 1)
            assert await broker.housekeeping.log_starts_durable()
            assert "t 0 1" in (tmp_path / LOG_START).read_text()
            await deleted(broker, first)
            await made(broker, "other", 1)
            assert "t 0 1" in (tmp_path / LOG_START).read_text()  # nobody waits for that who need not
            await made(broker, "t", 1)
            assert "t 0 1" not in (tmp_path / LOG_START).read_text()

    asyncio.run(work())


def test_the_loop_turns_while_files_are_made_and_taken_away(tmp_path: Path) -> None:
    async def work() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with running(tmp_path) as broker:
            turning = asyncio.create_task(turn())
            topic = await made(broker, "many", 100)
            assert turns > 100, "each fsync lets the loop turn, many times"
            turns = 0
            await deleted(broker, topic)
            assert turns > 0
            turning.cancel()

    asyncio.run(work())


def test_a_topic_whose_files_cannot_be_made_leaves_nothing_and_can_be_made_later(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path, FullDisk()) as broker:
            with pytest.raises(StorageError):
                await made(broker, "t", 3)
            assert broker.topics.get("t") is None
            assert directories(tmp_path, "t") == []
            await made(broker, "t", 2)
            assert directories(tmp_path, "t") == ["t-0", "t-1"]

    asyncio.run(work())


def test_who_goes_while_an_internal_topic_is_made_does_not_stop_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as broker:
            asked = asyncio.create_task(broker.topics.ensure_offsets())
            await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert (await broker.topics.ensure_offsets()).partitions == 4
            assert len(directories(tmp_path, OFFSETS_TOPIC)) == 4

    asyncio.run(work())
