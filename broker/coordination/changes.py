"""What is changed in a store while a broker serves: one change at a time, and off the loop, since each is an fsync.

A change is a generator. It looks at what there is, yields what is to be written (`partial(store.change_entries, …)`), is sent
what came of it or thrown the StorageError, and puts it in force. Nothing else changes between its first step and its last. So
who keeps users, rules or topics says in one function what is so, whoever runs it: a broker on its loop (`Changes.make`), or a
command on the store of one that is stopped (`made_here`).
"""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from typing import Any, TypeVar

from headrace.errors import StorageError

T = TypeVar("T")
Change = Generator[Callable[[], Any], Any, T]


class Changes:
    """The line of those who want to change something. Owned by the event loop."""

    def __init__(self, executor: Executor) -> None:
        self._lock = asyncio.Lock()
        self._executor = executor

    async def make(self, change: Change[T]) -> T:
        """What the change comes to, in its turn. Raises what it raises."""
        async with self._lock:
            try:
                write = next(change)
                while True:
                    try:
                        result = await self._in_thread(write)
                    except StorageError as error:
                        write = change.throw(error)
                    else:
                        write = change.send(result)
            except StopIteration as done:
                made: T = done.value
                return made

    async def write(self, write: Callable[[], T]) -> T:
        """A change that is nothing but a write."""
        async with self._lock:
            return await self._in_thread(write)

    async def idle(self) -> None:
        """Return when nothing is being changed."""
        async with self._lock:
            pass

    async def _in_thread(self, write: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, write)


def made_here(change: Change[T]) -> T:
    """What the change comes to, here and now. Raises what it raises."""
    try:
        write = next(change)
        while True:
            try:
                result = write()
            except StorageError as error:
                write = change.throw(error)
            else:
                write = change.send(result)
    except StopIteration as done:
        made: T = done.value
        return made
