"""Changes of what the store keeps: one at a time, off the loop, and in force when they are written."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from headrace.broker.coordination.changes import Change, Changes, made_here
from headrace.broker.producer_ids import ProducerIds
from headrace.errors import StorageError
from tests.memory_store import MemoryStore


class Counting:
    """Something that is kept: a number that is raised by one at a time."""

    def __init__(self) -> None:
        self.stored = self.in_force = 0
        self.fails = False

    def _put(self, value: int) -> int:
        if self.fails:
            raise StorageError("no room")
        self.stored = value
        return value

    def raised(self) -> Change[int]:
        written = yield partial(self._put, self.in_force + 1)
        self.in_force = written
        return self.in_force

    def raised_or_not(self) -> Change[str]:
        try:
            yield from self.raised()
        except StorageError as error:
            return str(error)
        return "raised"


def test_changes_that_are_made_at_once_are_made_one_after_another() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(4) as executor:
            changes, counting = Changes(executor), Counting()
            assert await asyncio.gather(*(changes.make(counting.raised()) for _ in range(20))) == [*range(1, 21)]
            assert counting.stored == counting.in_force == 20

    asyncio.run(run())


def test_the_loop_goes_on_while_the_store_is_written() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(4) as executor:
            changes, is_free = Changes(executor), threading.Event()
            writing = asyncio.create_task(changes.write(partial(is_free.wait, 30)))
            await asyncio.sleep(0)
            is_free.set()  # by the loop, while the store waits for it
            assert await writing

    asyncio.run(run())


def test_what_cannot_be_written_is_told_to_the_change_and_others_go_on() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            changes, counting = Changes(executor), Counting()
            counting.fails = True
            assert await changes.make(counting.raised_or_not()) == made_here(counting.raised_or_not()) == "no room"
            with pytest.raises(StorageError):
                await changes.make(counting.raised())
            assert counting.in_force == 0
            counting.fails = False
            assert await changes.make(counting.raised_or_not()) == made_here(counting.raised_or_not()) == "raised"
            await changes.idle()
            assert counting.in_force == 2

    asyncio.run(run())


def test_producer_ids_asked_for_at_once_are_different() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(4) as executor:
            changes, ids = Changes(executor), ProducerIds(MemoryStore())
            given = await asyncio.gather(*(changes.make(ids.next()) for _ in range(2500)))
            assert sorted(given) == [*range(2500)]

    asyncio.run(run())
