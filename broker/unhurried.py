"""Work that looks at thousands of logs or connections, on the loop, without anybody waiting for its end.

Generators do it: they yield results, and None after whatever is short. Others have the loop after every few of them; these are
counted, not timed, so that a simulation is decided by its seed: some 0.2 ms where nothing of a log is in the cache.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

T = TypeVar("T")
AT_A_TIME = 16


async def unhurried(work: Iterator[T | None]) -> AsyncIterator[T]:
    """The results of such work."""
    for at, result in enumerate(work, 1):
        if result is not None:
            yield result
        if at % AT_A_TIME == 0:
            await asyncio.sleep(0)


async def done(work: Iterator[None]) -> None:
    """Return when such work, which has no results, is done."""
    async for _ in unhurried(work):
        pass
