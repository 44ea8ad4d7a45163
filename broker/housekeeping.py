"""What is done to the logs beside appends and reads: checkpoints, retention, files coming and going; disk work is in threads.

Steps (log/steps.py) run one at a time, and a topic's files are renamed away while none runs. What looks at many logs lets
others have the loop between them, as connections do (network/turns.py). Owned by the event loop.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.unhurried import unhurried
from headrace.clock import Clock

logger = logging.getLogger(__name__)


class Housekeeping:
    """Of all log directories."""

    def __init__(self, logs: LogDirectories, clock: Clock, executor: Executor) -> None:
        """`executor` runs what blocks."""
        self._logs, self._clock, self._executor = logs, clock, executor
        self._running = asyncio.Lock()  # held while a step runs
        self._checkpoints = asyncio.Lock()  # held by who writes checkpoints, from looking at the logs until it is on disk

    async def in_thread(self, work: Callable[[], None]) -> None:
        """Run disk work that steps need not wait for."""
        await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def alone(self, work: Callable[[], None]) -> None:
        """Run disk work while no step runs."""
        async with self._running:
            await self.in_thread(work)

    async def run_due_steps(self) -> None:
        """Let the logs do what is due and may block."""
        async with self._checkpoints:
            async for step in unhurried(self._logs.due_steps(self._clock.wall_ms())):
                await self.alone(step.run)
                step.complete()

    async def forget(self, topic: str) -> None:
        """Let checkpoints say nothing of deleted logs of a topic that is about to be made; `begin_creation` asks."""
        if self._logs.forgetting_steps(topic):
            async with self._checkpoints:  # who writes them now may still speak of it
                for step in self._logs.forgetting_steps(topic):
                    await self.alone(step.run)
                    step.complete()

    def delete_records(self, log: PartitionLog, offset: int) -> None:
        """Records before `offset`, at most the high watermark, are gone; for good when `log_starts_durable` says so."""
        log.retirement.delete_records(offset, self._clock.wall_ms())
        logger.info("records deleted", extra={"topic": log.topic, "partition": log.partition, "before": log.log_start_offset})

    async def log_starts_durable(self) -> bool:
        """Write where the logs start; whether that is on disk."""
        async with self._checkpoints, self._running:
            steps = self._logs.log_start_steps()
            for step in steps:
                await self.in_thread(step.run)
                step.complete()
        return all(step.error is None for step in steps)
