"""One pushed input while it runs: its source, supervised, and its way into its spool. On the intake's loop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from headrace.agents.metrics import Metrics
from headrace.agents.sources.intake import Pushed, Source
from headrace.agents.spool.spools import Spool
from headrace.agents.spool.taking_in import SpoolIntake, WhenFull
from headrace.errors import UsageError

logger = logging.getLogger(__name__)

_RETRY_LEAST_S, _RETRY_MOST_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class PushedInput:
    """One pushed input: its name, how its source is made, its spool, and what its configuration says of that."""

    name: str
    make: Callable[[], Source]
    spool: Spool
    service: str
    when_full: WhenFull


@dataclass(frozen=True, slots=True)
class Ground:
    """What all running inputs share.

    `dropped` counts lines as dropped, durably (topic, lines), in `executor`, which waits for disks; `failed` is told of what
    no input can go on after.
    """

    dropped: Callable[[str, Sequence[Pushed]], None]
    executor: Executor
    metrics: Metrics
    failed: Callable[[BaseException], None]


class RunningInput:
    """Runs from when it is made until `end`; its source knows it as its intake.

    Args:
        source: prepared; None: it is made, and what it cannot begin with is `refused`.
    """

    def __init__(self, given: PushedInput, source: Source | None, ground: Ground) -> None:
        self.input, self._ground = given, ground
        self.source: Source | None = source
        self.begun = asyncio.Event()
        self.ended = False
        self.refused: UsageError | None = None
        self._next, self._may_refuse, self._is_up = source, source is None, False
        self._ending: set[asyncio.Task[None]] = set()
        self._into = self._way(given)
        self._commits = self._watched(self._into.run())
        self._supervising = self._watched(self._supervise())

    # ---- what the source knows

    async def put(self, lines: Sequence[Pushed]) -> None:
        """Return once all lines are durable, in this order, or dropped and counted."""
        await self._into.put(lines)

    def began(self) -> None:
        """The source takes in from now on."""
        self.begun.set()
        self._ground.metrics.input_up(self.input.name, up=True)

    @property
    def full(self) -> bool:
        """Whether `put` would wait now."""
        return self._into.full

    @property
    def cursor(self) -> str:
        """The cursor of the last durable line."""
        return self._into.cursor

    # ---- what the thread does with it

    async def go_on(self, given: PushedInput, source: Source, grace_s: float) -> None:
        """Go on as `given`, with the source that runs if it can become `source`, else with that one, which is prepared."""
        former, self.input = self.input, given
        if former.spool.path == given.spool.path:
            self._into.use(service=given.service, when_full=given.when_full)
        else:
            into, commits = self._into, self._commits
            given.spool.log.cursor = former.spool.log.cursor
            self._into = self._way(given)
            self._commits = self._watched(self._into.run())
            await self._finished(into, commits, grace_s)
        runs = self._is_up or self.ended
        if runs and self.source is not None and type(self.source) is type(source) and self.source.become(source):
            return
        await self._end_source(grace_s)
        self._into.closing = False
        self._next, self._may_refuse, self.ended = source, False, False
        self._supervising = self._watched(self._supervise())

    async def end(self, grace_s: float) -> None:
        """Take in no more; what was taken in is made durable, for so long at most."""
        await self._end_source(grace_s)
        await self._finished(self._into, self._commits, grace_s)

    async def _end_source(self, grace_s: float) -> None:
        self._into.closing = True
        await self._end(self._supervising, grace_s)
        await _drained(self._into, grace_s)

    def _way(self, given: PushedInput) -> SpoolIntake:
        topic = given.spool.input.topic
        return SpoolIntake(
            given.spool,
            service=given.service,
            when_full=given.when_full,
            dropped=lambda pushed: self._ground.dropped(topic, pushed),
            executor=self._ground.executor,
            metrics=self._ground.metrics,
        )

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what ends only when we end it: if it fails, or is cancelled by another, nothing would be taken in any more."""

        def look(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._ground.failed(error)
            elif task.cancelled() and task not in self._ending:
                self._ground.failed(RuntimeError(f"input {self.input.name} was cancelled"))
            self._ending.discard(task)

        task = asyncio.create_task(work)
        task.add_done_callback(look)
        return task

    async def _end(self, task: asyncio.Task[None], grace_s: float | None) -> None:
        """Cancel a task, and let it end, for so long at most."""
        if not task.done():
            self._ending.add(task)
            task.cancel()
            await asyncio.wait([task], timeout=grace_s)

    async def _finished(self, into: SpoolIntake, commits: asyncio.Task[None], grace_s: float) -> None:
        """Make what waits durable, room or not, for so long at most, and no more."""
        into.closing = True
        await _drained(into, grace_s)
        await self._end(commits, None)

    async def _supervise(self) -> None:
        name, delay_s = self.input.name, _RETRY_LEAST_S
        clock = asyncio.get_running_loop()
        while True:
            began_s = clock.time()
            try:
                self.source = self._next or self.input.make()
                self._next, self._is_up = None, True
                await self.source.run(self)
            except Exception as error:  # noqa: BLE001 - a supervisor
                if isinstance(error, UsageError) and self._may_refuse and not self.begun.is_set():
                    self.refused = error
                    self.begun.set()
                    return
                self._ground.metrics.error("input_failed", "receiving")
                if asyncio.current_task() in self._ending:
                    logger.error("an input has failed at its end", extra={"input": name, "error": str(error)})
                    return
                logger.error(
                    "an input has failed and is begun again", extra={"input": name, "error": str(error), "in_s": delay_s}
                )  # fmt: skip
            else:
                self.ended = True
                self.begun.set()
                logger.info("an input has ended", extra={"input": name})
                return
            finally:
                self._is_up = False
                self._ground.metrics.input_up(name, up=False)
            self.begun.set()
            if clock.time() - began_s > _RETRY_MOST_S:
                delay_s = _RETRY_LEAST_S
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MOST_S)


async def _drained(into: SpoolIntake, grace_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await into.drained()
