"""Long requests in steps (`api.Steps`): so many items at a time, then others have a turn."""

import asyncio
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from headrace.broker.handlers.api import Answer, Steps

TOPICS_AT_A_TIME = 20
A = TypeVar("A")
B = TypeVar("B")


def mapped(make: Callable[[A], B], items: Iterable[A], *, at_a_time: int = 50) -> Generator[None, None, list[B]]:
    """`make` of each item; after every `at_a_time` of them others have a turn."""
    made = []
    for count, item in enumerate(items, 1):
        made.append(make(item))
        if count % at_a_time == 0:
            yield
    return made


def at_once(steps: Generator[None, None, A]) -> A:
    """What the steps come to, in one."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: A = done.value
            return result


async def with_pauses(steps: Generator[None, None, A]) -> A:
    """What the steps come to; others have a turn after each."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: A = done.value
            return result
        await asyncio.sleep(0)


def started(steps: Steps) -> Answer:
    """The answer, if the first step is the last one; else the steps that are left."""
    try:
        next(steps)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    return steps
