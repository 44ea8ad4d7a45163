"""Work that looks at thousands of logs or connections, on the loop, without anybody waiting for its end.

Generators do it: they yield results, and None after whatever is short, where others may have the loop, as often as between the
requests of a client (network/turns.py).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from time import perf_counter_ns
from typing import TypeVar

T = TypeVar("T")
_AT_A_TIME_NS = 200_000


async def unhurried(work: Iterator[T | None]) -> AsyncIterator[T]:
    """The results of such work; others have the loop every 0.2 ms."""
    until_ns = perf_counter_ns() + _AT_A_TIME_NS
    for result in work:
        if result is not None:
            yield result
        elif perf_counter_ns() < until_ns:
            continue
        else:
            await asyncio.sleep(0)
        until_ns = perf_counter_ns() + _AT_A_TIME_NS


async def done(work: Iterator[None]) -> None:
    """Return when such work, which has no results, is done."""
    async for _ in unhurried(work):
        pass
