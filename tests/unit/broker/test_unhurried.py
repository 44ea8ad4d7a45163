"""Others have the loop while thousands are looked at."""

import asyncio
import time
from collections.abc import Iterator

from headrace.broker.unhurried import unhurried


def looks(count: int, seconds: float) -> Iterator[int | None]:
    """So many, each that long; every third has a result."""
    for at in range(count):
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        yield at if at % 3 == 0 else None


def test_others_have_the_loop_meanwhile_and_no_result_is_lost() -> None:
    async def both() -> tuple[list[int], int]:
        turns = 0
        ended = asyncio.Event()

        async def other() -> None:
            nonlocal turns
            while not ended.is_set():
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        results = [result async for result in unhurried(looks(30, 0.0003))]
        ended.set()
        await beside
        return results, turns

    results, turns = asyncio.run(both())
    assert results == [*range(0, 30, 3)]
    assert turns >= 20, "after each look that had no result"
