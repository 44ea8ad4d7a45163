"""Who waits is woken by what concerns it, and by nothing else; nobody is forgotten, nothing is kept for who has gone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from headrace.broker.waiting import Waiters

LONG_MS = 60_000


@dataclass(eq=False)
class Log:
    """What waiters look at in a log."""

    high_watermark: int = 0


def on_a_loop(test: Callable[[Waiters], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(Waiters()), 10))

    run.__name__ = test.__name__
    return run


async def turns() -> None:
    """Let everybody else run."""
    for _ in range(5):
        await asyncio.sleep(0)


@on_a_loop
async def test_a_poll_counts_the_bytes_of_all_its_logs(waiters: Waiters) -> None:
    first, second = Log(), Log()
    poll = asyncio.ensure_future(waiters.bytes_arrive([first, second], 100, LONG_MS))
    await turns()
    waiters.grown(first, 60)
    await turns()
    assert not poll.done()
    waiters.grown(second, 40)
    await poll


@on_a_loop
async def test_a_poll_is_not_woken_by_other_logs(waiters: Waiters) -> None:
    poll = asyncio.ensure_future(waiters.bytes_arrive([Log()], 1, LONG_MS))
    await turns()
    waiters.grown(Log(), 1000)
    await turns()
    assert not poll.done()
    poll.cancel()


@on_a_loop
async def test_a_poll_ends_when_a_log_is_gone_or_time_is_up(waiters: Waiters) -> None:
    log = Log()
    poll = asyncio.ensure_future(waiters.bytes_arrive([Log(), log], 1, LONG_MS))
    await turns()
    waiters.gone(log)
    await poll
    await waiters.bytes_arrive([log], 1, 1)


@on_a_loop
async def test_the_high_watermark_wakes_those_whose_offset_it_reached(waiters: Waiters) -> None:
    log = Log(high_watermark=5)
    await waiters.high_watermark_reaches(log, 5)
    near = asyncio.ensure_future(waiters.high_watermark_reaches(log, 7))
    far = asyncio.ensure_future(waiters.high_watermark_reaches(log, 9))
    await turns()
    log.high_watermark = 8
    waiters.grown(log, 300)
    await near
    assert not far.done()
    waiters.gone(log)
    await far


@on_a_loop
async def test_a_waiting_call_that_was_cancelled_does_no_harm(waiters: Waiters) -> None:
    log = Log()
    poll = asyncio.ensure_future(waiters.bytes_arrive([log], 1, LONG_MS))
    commit = asyncio.ensure_future(waiters.high_watermark_reaches(log, 3))
    await turns()
    for waiting in (poll, commit):
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    log.high_watermark = 4
    waiters.grown(log, 10)
