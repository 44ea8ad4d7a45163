"""The thread that takes in: one loop for all pushed inputs, beside the thread that ships.

A source that fails is made anew and run again, sooner at first, later if it goes on failing; it is told of, and the others go
on. What a source cannot begin with (a taken port) is an error of the agent's start. If the loop itself fails the agent ends
with that error: an agent that takes in nothing must not look well.

A reload changes single inputs (`change`). First all that the new ones need is got: doors are opened, certificates read,
programs found. What fails there refuses the reload as a whole, and nothing has changed. Then those that are gone end, those
that stay go on at the same doors and with the same peers where they can, and new ones begin.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from headrace.agents.metrics import Metrics
from headrace.agents.sources.doors import Door, Doors
from headrace.agents.sources.intake import Pushed, Source
from headrace.agents.sources.running import Ground, PushedInput, RunningInput
from headrace.errors import HeadraceError, UsageError

logger = logging.getLogger(__name__)

START_S = 10.0  # how long the start waits for sources to begin
CHANGE_GRACE_S = 5.0  # how long a reload waits for a source to end
STUCK_S = 30.0  # a loop that has not turned for so long is stuck
_TURN_S = 1.0
_DISK_THREADS = 4


class IntakeThread:
    """All pushed inputs of one agent.

    Args:
        doors: where they listen.
        dropped: counts lines as dropped, durably (topic, lines); called from other threads.
    """

    def __init__(
        self,
        inputs: Sequence[PushedInput],
        doors: Doors,
        dropped: Callable[[str, Sequence[Pushed]], None],
        metrics: Metrics,
    ) -> None:
        self._inputs, self._doors, self._dropped, self._metrics = inputs, doors, dropped, metrics
        self._running: dict[str, RunningInput] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Future[None] | None = None
        self._ground: Ground | None = None
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._turned_s: float | None = None
        self._grace_s = 0.0

    def start(self) -> Mapping[str, int]:
        """Begin to take in; the ports that are listened on, by input and transport.

        Raises:
            UsageError: a source cannot begin; nothing runs.
        """
        if not self._inputs:
            return {}
        self._begun.clear()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            self._thread.join()
            self._thread, failure, self._failure = None, self._failure, None
            raise failure
        return self._ports()

    def change(self, inputs: Sequence[PushedInput], beat: Callable[[], None]) -> Mapping[str, int]:
        """Go on with these inputs, each by its name; the ports that are listened on then.

        Args:
            beat: is called while this waits.
        Raises:
            UsageError: one cannot begin; all go on as before.
        """
        if self._thread is None:
            former, self._inputs = self._inputs, inputs
            try:
                return self.start()
            except UsageError:
                self._inputs = former
                raise
        assert self._loop is not None
        changing = asyncio.run_coroutine_threadsafe(self._change(inputs), self._loop)
        while not wait([changing], _TURN_S).done:
            beat()
            self.check()
        changing.result()
        self._inputs = inputs
        return self._ports()

    def stop(self, grace_s: float) -> None:
        """Take in no more; what was taken in is made durable, for so long at most."""
        if self._thread is None or self._loop is None:
            return
        self._grace_s = grace_s
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._end, None)
        self._thread.join(grace_s + 1)
        self._thread = None

    @property
    def ended(self) -> bool:
        """Whether every input has come to its end, and all of it is durable."""
        return all(running.ended for running in self._running.values())

    def check(self) -> None:
        """See that the loop has not failed.

        Raises:
            HeadraceError: it has, and nothing is taken in any more; what was taken in is durable.
        """
        if self._failure is not None:
            raise HeadraceError(
                f"the thread that takes in has failed: {self._failure!r}; start the agent again"
            ) from self._failure

    def why_not_alive(self) -> str | None:
        """Why nothing is taken in any more; None if it is. Asked from another thread."""
        if self._failure is not None:
            return f"the thread that takes in has failed: {self._failure!r}"
        still_s = 0.0 if self._thread is None or self._turned_s is None else time.monotonic() - self._turned_s
        return f"the thread that takes in has not turned for {still_s:.0f} s" if still_s > STUCK_S else None

    def _ports(self) -> dict[str, int]:
        return {
            f"{name}.{transport}": port
            for name, running in self._running.items()
            if running.source is not None
            for transport, port in running.source.ports.items()
        }

    # ---- on the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            if self._begun.is_set():
                logger.exception("the intake has failed")
        finally:
            self._begun.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        turning = asyncio.create_task(self._turn())
        with ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="spool") as executor:
            self._ground = Ground(self._dropped, executor, self._metrics, self._end)
            try:
                self._running = {each.name: RunningInput(each, None, self._ground) for each in self._inputs}
                await self._begin()
                self._begun.set()
                await self._over
            finally:
                turning.cancel()
                await asyncio.gather(*(running.end(self._grace_s) for running in self._running.values()))
                self._doors.close()

    def _end(self, error: BaseException | None) -> None:
        """Stop, because we are asked to or because of what no input can go on after."""
        assert self._over is not None
        if self._over.done():
            if error is not None:
                logger.error("the intake ended with an error", extra={"error": str(error)})
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    async def _turn(self) -> None:
        while True:
            self._turned_s = time.monotonic()
            await asyncio.sleep(_TURN_S)

    async def _begin(self) -> None:
        """Wait until every source has begun, or has ended.

        Raises:
            UsageError: one cannot begin.
        """
        for running in self._running.values():
            try:
                async with asyncio.timeout(START_S):
                    await running.begun.wait()
            except TimeoutError:
                logger.warning("an input has not begun yet", extra={"input": running.input.name})
            if running.refused is not None:
                raise running.refused

    async def _change(self, inputs: Sequence[PushedInput]) -> None:
        """Go on with these.

        Raises:
            UsageError: one cannot begin; nothing has changed.
        """
        assert self._ground is not None
        fresh = {each.name: each.make() for each in inputs}
        before = _doors(running.source for running in self._running.values() if running.source is not None)
        try:
            for source in fresh.values():
                await source.prepare()
        except UsageError:
            self._doors.keep(before)
            raise
        gone = [self._running.pop(name) for name in self._running.keys() - fresh.keys()]
        await asyncio.gather(*(running.end(CHANGE_GRACE_S) for running in gone))
        staying = [(self._running[each.name], each) for each in inputs if each.name in self._running]
        await asyncio.gather(*(running.go_on(each, fresh[each.name], CHANGE_GRACE_S) for running, each in staying))
        new = [each for each in inputs if each.name not in self._running]
        self._running |= {each.name: RunningInput(each, fresh[each.name], self._ground) for each in new}
        self._doors.keep(_doors(fresh.values()))


def _doors(sources: Iterable[Source]) -> list[Door]:
    return [door for source in sources for door in source.doors]
