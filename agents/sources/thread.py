"""The thread that takes in: one loop for all pushed inputs, beside the thread that ships.

A source that fails is made anew and run again, sooner at first, later if it goes on failing; it is told of, and the others go
on. What a source cannot begin with (a taken port) is an error of the agent's start.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headrace.agents.metrics import Metrics
from headrace.agents.sources.intake import Pushed, Source
from headrace.agents.spool.spools import Spool
from headrace.agents.spool.taking_in import SpoolIntake, WhenFull
from headrace.errors import UsageError

logger = logging.getLogger(__name__)

START_S = 10.0  # how long the start waits for sources to begin
_RETRY_LEAST_S, _RETRY_MOST_S = 1.0, 60.0
_DISK_THREADS = 4


@dataclass(frozen=True, slots=True)
class PushedInput:
    """One pushed input: its name, how its source is made, its spool, and what its configuration says of that."""

    name: str
    make: Callable[[], Source]
    spool: Spool
    service: str
    when_full: WhenFull


@dataclass(slots=True)
class _Running:
    input: PushedInput
    began: asyncio.Event = field(default_factory=asyncio.Event)
    source: Source | None = None
    ended: bool = False
    refused: UsageError | None = None


class _Intake(SpoolIntake):
    """An input's way into its spool that also hears that its source has begun."""

    def __init__(self, running: _Running, dropped: Callable[[str, Sequence[Pushed]], None], executor: ThreadPoolExecutor,
                 metrics: Metrics) -> None:  # fmt: skip
        given = running.input
        topic = given.spool.input.topic
        super().__init__(
            given.spool,
            service=given.service,
            when_full=given.when_full,
            dropped=lambda pushed: dropped(topic, pushed),
            executor=executor,
            metrics=metrics,
        )
        self._running, self._up = running, metrics.input_up

    def began(self) -> None:
        """The source takes in from now on."""
        self._running.began.set()
        self._up(self._running.input.name, up=True)


class IntakeThread:
    """All pushed inputs of one agent.

    Args:
        dropped: counts lines as dropped, durably (topic, lines); called from other threads.
    """

    def __init__(
        self, inputs: Sequence[PushedInput], dropped: Callable[[str, Sequence[Pushed]], None], metrics: Metrics
    ) -> None:
        self._inputs, self._dropped, self._metrics = inputs, dropped, metrics
        self._running: list[_Running] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._grace_s = 0.0

    def start(self) -> Mapping[str, int]:
        """Begin to take in; the ports that are listened on, by input and transport.

        Raises:
            UsageError: a source cannot begin; nothing runs.
        """
        if not self._inputs:
            return {}
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return {
            f"{running.input.name}.{transport}": port
            for running in self._running
            if running.source is not None
            for transport, port in running.source.ports.items()
        }

    def stop(self, grace_s: float) -> None:
        """Take in no more; what was taken in is made durable, for so long at most."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._grace_s = grace_s
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(grace_s + 1)
        self._thread = None

    @property
    def ended(self) -> bool:
        """Whether every input has come to its end, and all of it is durable."""
        return all(running.ended for running in self._running)

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
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        with ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="spool") as executor:
            self._running = [_Running(each) for each in self._inputs]
            intakes = [_Intake(running, self._dropped, executor, self._metrics) for running in self._running]
            commits = [asyncio.create_task(intake.run()) for intake in intakes]
            sources = [
                asyncio.create_task(self._supervise(running, intake))
                for running, intake in zip(self._running, intakes, strict=True)
            ]
            try:
                await self._begin()
                self._begun.set()
                await self._stop.wait()
            finally:
                for intake in intakes:
                    intake.closing = True
                await _end(sources, self._grace_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._grace_s):
                        await asyncio.gather(*(intake.drained() for intake in intakes))
                await _end(commits, None)

    async def _begin(self) -> None:
        """Wait until every source has begun, or has ended.

        Raises:
            UsageError: one cannot begin.
        """
        for running in self._running:
            try:
                async with asyncio.timeout(START_S):
                    await running.began.wait()
            except TimeoutError:
                logger.warning("an input has not begun yet", extra={"input": running.input.name})
            if running.refused is not None:
                raise running.refused

    async def _supervise(self, running: _Running, intake: _Intake) -> None:
        name, delay_s = running.input.name, _RETRY_LEAST_S
        while True:
            running.source = running.input.make()
            began_s = asyncio.get_running_loop().time()
            try:
                await running.source.run(intake)
            except Exception as error:  # noqa: BLE001 - a supervisor
                if isinstance(error, UsageError) and not running.began.is_set():
                    running.refused = error
                    running.began.set()
                    return
                self._metrics.error("input_failed", "receiving")
                logger.error(
                    "an input has failed and is begun again", extra={"input": name, "error": str(error), "in_s": delay_s}
                )  # fmt: skip
            else:
                running.ended = True
                running.began.set()
                logger.info("an input has ended", extra={"input": name})
                return
            finally:
                self._metrics.input_up(name, up=False)
            running.began.set()
            if asyncio.get_running_loop().time() - began_s > _RETRY_MOST_S:
                delay_s = _RETRY_LEAST_S
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MOST_S)


async def _end(tasks: Sequence[asyncio.Task[None]], grace_s: float | None) -> None:
    """Cancel tasks, and let them end, for so long at most."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=grace_s)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the intake ended with an error", extra={"error": str(error)})
