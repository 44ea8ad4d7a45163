"""Into a spool: what waits is made durable together, one write and one sync for all. Runs on the intake's loop.

While a commit is on the disk the next one gathers, so the busier the input, the more lines share a sync. A disk that refuses
is waited for and told of. A spool that is full either makes its sources wait, or drops what comes and counts it durably,
before anybody is answered for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Literal

from headrace.agents.metrics import Metrics
from headrace.agents.sources.intake import Pushed, size_of
from headrace.agents.spool.frames import encode_frame
from headrace.agents.spool.spools import Spool
from headrace.errors import StorageError

logger = logging.getLogger(__name__)

WhenFull = Literal["block", "drop_newest"]
MOST_COMMIT_BYTES = 256 * 1024
_ROOM_INTERVAL_S = 0.05  # how often a full spool is asked whether it has room
_DISK_RETRY_S = 1.0


class SpoolIntake:
    """One input's way into its spool.

    Args:
        service: what `service` says in events whose protocol names none.
        when_full: block, or drop_newest.
        dropped: counts lines as dropped, durably; called in `executor`, may raise StorageError.
        executor: where the disk is waited for.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        service: str,
        when_full: WhenFull,
        dropped: Callable[[Sequence[Pushed]], None],
        executor: Executor,
        metrics: Metrics,
    ) -> None:
        self._name, self._spool, self._service, self._when_full = spool.input.name, spool, service, when_full
        self._dropped, self._executor, self._metrics = dropped, executor, metrics
        self._waiting: deque[tuple[Sequence[Pushed], asyncio.Future[None]]] = deque()
        self._news = asyncio.Event()
        self._stuck = False
        self._full_said = False
        self.closing = False  # what was taken from peers goes in, room or not

    def use(self, *, service: str, when_full: WhenFull) -> None:
        """Go on so, with what waits too."""
        self._service, self._when_full = service, when_full

    async def put(self, lines: Sequence[Pushed]) -> None:
        """Return once all lines are durable, in this order, or dropped and counted."""
        if not lines:
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, done))
        self._news.set()
        await done

    @property
    def full(self) -> bool:
        """Whether `put` would wait now for more than the disk's next sync."""
        return self._stuck or (self._when_full == "block" and not self._spool.log.has_room(0))

    @property
    def cursor(self) -> str:
        """The cursor of the last durable line."""
        return self._spool.log.cursor

    async def drained(self) -> None:
        """Wait until nothing waits to be durable."""
        while self._waiting:
            await asyncio.wait([done for _, done in self._waiting])

    async def run(self) -> None:
        """Commit what is put, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._commit()

    async def _commit(self) -> None:
        """Make the first of what waits durable, as much as goes into one write."""
        count, size = 0, 0
        for lines, _ in self._waiting:
            size += size_of(lines)
            if count and size > MOST_COMMIT_BYTES:
                break
            count += 1
        batch = [self._waiting[index] for index in range(count)]
        pushed = [each for lines, _ in batch for each in lines]
        frame = encode_frame(self._spool.identity.mark, self._spool.log.end, pushed, service=self._service)
        if await self._has_room(len(frame), pushed):
            await self._durably(lambda: self._spool.log.append(frame, pushed[-1].cursor))
        for _ in batch:
            _, done = self._waiting.popleft()
            if not done.done():  # whoever waited may be gone
                done.set_result(None)

    async def _has_room(self, size_bytes: int, pushed: Sequence[Pushed]) -> bool:
        """Wait until there is room; False if the lines were dropped and counted instead."""
        while not (self.closing or self._spool.log.has_room(size_bytes)):
            if not self._full_said:
                self._full_said = True
                logger.warning("the spool is full", extra={"spool": self._spool.path, "policy": self._when_full})
            if self._when_full == "drop_newest":
                await self._durably(lambda: self._dropped(pushed))
                self._metrics.discarded(self._name, len(pushed), sum(len(each.line) for each in pushed))
                return False
            self._stuck = True
            await asyncio.sleep(_ROOM_INTERVAL_S)
        self._stuck = False
        if self._full_said:
            self._full_said = False
            logger.warning("the spool has room again", extra={"spool": self._spool.path})
        return True

    async def _durably(self, act: Callable[[], None]) -> None:
        """Do what waits for the disk, again and again until it does not refuse."""
        told = ""
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, act)
            except StorageError as error:
                self._stuck = True
                if str(error) != told:
                    told = str(error)
                    logger.error("waiting for the disk", extra={"spool": self._spool.path, "error": told})
                    self._metrics.error("disk", "receiving")
                await asyncio.sleep(_DISK_RETRY_S)
                continue
            if told:
                logger.warning("the disk takes what is pushed again", extra={"spool": self._spool.path})
            self._stuck = False
            return
