"""Batches that are inspected in a thread keep the order of their log, and hold up no other."""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from headrace.broker.appends import Appends
from headrace.broker.flushing import Flusher
from headrace.broker.log.batch import parse_header
from headrace.broker.log.compression import GZIP
from headrace.broker.log.directory import LogDirectory
from headrace.broker.log.disk import Buffer
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, Rest, batches, build_batch
from headrace.broker.log.results import AppendResult
from headrace.broker.pace import SLOW_WRITE_MS
from headrace.broker.telemetry.metrics import Durations, Traffic
from headrace.broker.waiting import Waiters
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError
from tests.unit.broker_log.logs import NOW_MS, new_disk, open_directory


class Now:
    """A clock that stands."""

    def wall_ms(self) -> int:
        return NOW_MS

    def monotonic_ms(self) -> int:
        return 77


class World:
    """Two logs, of topics that keep batches in this codec, and what is told of their appends."""

    def __init__(self, codec: str = "gzip") -> None:
        self.directory: LogDirectory = open_directory(new_disk())
        settings = {"compression.type": codec}
        self.log, self.other = (self.directory.create(name, 0, UUID(int=at), settings) for at, name in enumerate("ab", 1))
        self.traffic, self.waiters = Traffic(), Waiters()
        flusher = Flusher(Now(), self.waiters, ThreadPoolExecutor(1), Durations())
        self.appends = Appends(Now(), self.traffic, self.waiters, flusher)

    def append(self, records: int, size: int, *, sequence: int = -1, log: PartitionLog | None = None) -> "Appended":
        content = [Record(b"k", os.urandom(size // 2).hex().encode(), NOW_MS) for _ in range(records)]
        known = sequence >= 0
        batch = build_batch(content, producer_id=5 if known else -1, producer_epoch=0 if known else -1, base_sequence=sequence)
        return self.appends.append(log or self.log, batch)


Appended = AppendResult | asyncio.Future[AppendResult]


async def outcome(appended: Appended) -> AppendResult:
    return appended if isinstance(appended, AppendResult) else await appended


def test_a_small_batch_is_appended_at_once() -> None:
    async def steps() -> None:
        world = World()
        result = world.append(3, 100)
        assert isinstance(result, AppendResult)
        assert parse_header(world.log.read(0, 1 << 20).records).codec == GZIP

    asyncio.run(steps())


def test_batches_behind_a_large_one_wait_for_it_and_sequences_hold() -> None:
    async def steps() -> None:
        world = World()
        sizes = [(400, 2000), (2, 10), (300, 1000), (1, 10), (1, 10)]
        sequence, pending = 0, []
        for records, size in sizes:
            pending.append(world.append(records, size, sequence=sequence))
            sequence += records
        assert not any(isinstance(each, AppendResult) for each in pending)
        results = [await outcome(each) for each in pending]
        assert [(each.error, each.base_offset) for each in results] == [(0, 0), (0, 400), (0, 402), (0, 702), (0, 703)]
        assert world.traffic.of("a").messages_in == 704
        assert isinstance(world.append(1, 10, sequence=sequence), AppendResult)  # nothing is left to wait for
        data = world.log.read(0, 1 << 24).records
        assert [header.base_offset for header, _ in batches(data)] == [0, 400, 402, 702, 703, 704]

    asyncio.run(steps())


def test_the_brokers_own_batch_is_appended_at_once_or_behind_those_that_wait() -> None:
    async def steps() -> None:
        world = World()
        own = build_batch([Record(b"k", b"own", NOW_MS)])
        first = world.appends.append_own(world.log, own)
        assert isinstance(first, AppendResult)
        before, behind, last = world.append(400, 2000), world.appends.append_own(world.log, own), world.append(1, 10)
        assert not any(isinstance(each, AppendResult) for each in (before, behind, last))
        assert [(await outcome(each)).base_offset for each in (first, before, behind, last)] == [0, 1, 401, 402]
        assert world.traffic.of("a").messages_in == world.log.log_end_offset == 403

    asyncio.run(steps())


def test_a_large_batch_is_written_in_a_thread_and_those_behind_it_wait() -> None:
    async def steps() -> None:
        world = World("producer")
        large, behind = world.append(3, 200_000), world.append(1, 10)
        assert not isinstance(large, AppendResult)
        assert not isinstance(behind, AppendResult)
        assert isinstance(world.append(1, 10, log=world.other), AppendResult)
        assert world.log.log_end_offset == 0
        closing = asyncio.ensure_future(world.appends.close())
        assert [(await outcome(each)).base_offset for each in (large, behind)] == [0, 3]
        await closing
        assert [header.base_offset for header, _ in batches(world.log.read(0, 1 << 24).records)] == [0, 3]

    asyncio.run(steps())


def test_a_disk_that_keeps_large_batches_waiting_is_not_slow_for_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps() -> None:
        world = World("producer")
        kind = type(world.log.segments.active.file)
        write = kind.pwrite

        def throttled(file: Any, buffers: Sequence[Buffer], position: int) -> None:
            if sum(map(len, buffers)) > 600_000:
                time.sleep(1.5 * SLOW_WRITE_MS / 1000)
            write(file, buffers, position)

        monkeypatch.setattr(kind, "pwrite", throttled)
        assert (await outcome(world.append(3, 300_000))).error == 0
        assert isinstance(world.append(1, 10), AppendResult)

    asyncio.run(steps())


def test_other_logs_do_not_wait() -> None:
    async def steps() -> None:
        world = World()
        slow = world.append(400, 2000)
        assert isinstance(world.append(1, 10, log=world.other), AppendResult)
        assert not isinstance(slow, AppendResult)
        assert not slow.done()
        assert (await slow).base_offset == 0

    asyncio.run(steps())


def test_a_topic_that_is_deleted_meanwhile_takes_nothing_more() -> None:
    async def steps() -> None:
        world = World()
        pending = [world.append(400, 2000), world.append(1, 10)]
        world.log.abandon()
        assert {(await outcome(each)).error for each in pending} == {ErrorCode.unknown_topic_or_partition}
        assert world.traffic.of("a").messages_in == 0

    asyncio.run(steps())


def test_who_waits_for_records_hears_of_them_once_they_are_in_the_log() -> None:
    async def steps() -> None:
        world = World()
        heard = asyncio.ensure_future(world.waiters.high_watermark_reaches(world.log, 401))
        appended = [world.append(400, 2000), world.append(1, 10)]
        await asyncio.sleep(0)
        assert not heard.done()
        assert [(await outcome(each)).base_offset for each in appended] == [0, 400]
        await asyncio.wait_for(heard, 10)

    asyncio.run(steps())


def test_a_repeat_of_a_batch_is_answered_and_not_counted_again() -> None:
    async def steps() -> None:
        world = World()
        assert [(await outcome(world.append(3, 100, sequence=0))).base_offset for _ in range(2)] == [0, 0]
        assert world.traffic.of("a").messages_in == 3

    asyncio.run(steps())


def test_a_client_that_goes_away_leaves_its_batch_in_its_place() -> None:
    async def steps() -> None:
        world = World()
        gone, behind = world.append(400, 2000), world.append(1, 10)
        assert not isinstance(gone, AppendResult)
        gone.cancel()
        assert (await outcome(behind)).base_offset == 400
        await world.appends.close()

    asyncio.run(steps())


def test_a_refused_batch_holds_up_none_behind_it() -> None:
    async def steps() -> None:
        world = World()
        refused, behind = world.append(400, 2000, sequence=9), world.append(1, 10)
        again = world.append(400, 2000, sequence=9999)
        assert (await outcome(refused)).error == 0  # an unknown producer may begin with any sequence
        assert (await outcome(behind)).base_offset == 400
        assert (await outcome(again)).error == ErrorCode.out_of_order_sequence_number
        assert (await outcome(world.append(1, 10, sequence=409))).error == 0

    asyncio.run(steps())


def test_a_short_look_does_not_wait_for_the_end_of_a_long_one() -> None:
    async def steps() -> None:
        world, is_over = World(), threading.Event()
        long = asyncio.ensure_future(world.appends.look_into(lambda _: is_over.wait(30), is_long=True))
        assert await world.appends.look_into(lambda _: "short", is_long=False) == "short"
        is_over.set()
        assert await long
        await world.appends.close()

    asyncio.run(steps())


def test_a_long_look_is_given_up_when_the_broker_stops() -> None:
    async def steps() -> None:
        world, looks = World(), threading.Event()

        def look(rest: Rest) -> None:
            for _ in range(20_000):
                looks.set()
                rest()

        looking = asyncio.ensure_future(world.appends.look_into(look, is_long=True))
        await asyncio.get_running_loop().run_in_executor(None, looks.wait, 30)
        await world.appends.close()
        with pytest.raises(StorageError, match="stops"):
            await asyncio.wait_for(looking, 30)

    asyncio.run(steps())
