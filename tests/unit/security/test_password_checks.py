"""Password checks in threads: what one does to those behind it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.broker.security.logins import PasswordChecks


def test_a_check_that_fails_is_told_and_the_next_ones_go_on() -> None:
    def broken() -> bool:
        raise MemoryError

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            checks = PasswordChecks(executor)
            first = asyncio.ensure_future(checks.run("203.0.113.7", broken))
            rest = [asyncio.ensure_future(checks.run("203.0.113.7", lambda: True)) for _ in range(8)]
            with pytest.raises(MemoryError):
                await asyncio.wait_for(first, 10)
            assert await asyncio.wait_for(asyncio.gather(*rest), 10) == [True] * 8

    asyncio.run(run())
