"""Others have the loop while thousands are looked at."""

import asyncio

from headrace.broker.unhurried import AT_A_TIME, unhurried


def test_others_have_the_loop_after_every_few_looks_and_no_result_is_lost() -> None:
    async def both() -> tuple[list[int], int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        looks = iter([at if at % 3 == 0 else None for at in range(10 * AT_A_TIME)])
        results = [result async for result in unhurried(looks)]
        beside.cancel()
        return results, turns

    assert asyncio.run(both()) == ([*range(0, 10 * AT_A_TIME, 3)], 10)
