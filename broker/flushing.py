"""Group commit: one fsync covers every append that came before it, however many producers wait (design D3).

The fsync runs in a thread (it releases the GIL); appends that come meanwhile wait for the next one. Per partition one fsync
runs at a time.
"""

import asyncio
import time
from concurrent.futures import Executor

from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.telemetry.metrics import Durations
from headrace.broker.waiting import Waiters
from headrace.clock import Clock


class Flusher:
    """Watches the partitions whose topics ask for `flush.messages` or `flush.ms`."""

    def __init__(self, clock: Clock, waiters: Waiters, executor: Executor, times: Durations) -> None:
        """`times`: how long each fsync took, waiting for its thread included, is added there."""
        self._times = times
        self._clock, self._waiters, self._executor = clock, waiters, executor
        self._unsynced_bytes: dict[PartitionLog, int] = {}  # appended since the last fsync began
        self._running: dict[PartitionLog, asyncio.Task[None]] = {}

    def appended(self, log: PartitionLog, size_bytes: int) -> None:
        """The log grew by bytes that are not exposed yet; on the loop."""
        first = log not in self._unsynced_bytes
        self._unsynced_bytes[log] = self._unsynced_bytes.get(log, 0) + size_bytes
        if first and log not in self._running:
            # After this turn of the loop, so that all appends of the turn share the fsync.
            asyncio.get_running_loop().call_soon(self._look, log)

    def look_again(self) -> None:
        """A checkpoint may have made durable what waits here."""
        for log in list(self._unsynced_bytes):
            self._look(log)

    async def close(self) -> None:
        """Return when no fsync runs."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def _look(self, log: PartitionLog) -> None:
        if log in self._running or log not in self._unsynced_bytes:
            return
        if log.closed or log.fenced:
            del self._unsynced_bytes[log]
            self._waiters.gone(log)
        elif log.high_watermark >= log.log_end_offset:
            self._waiters.grown(log, self._unsynced_bytes.pop(log))
        elif log.sync_due(self._clock.wall_ms()):
            self._running[log] = asyncio.create_task(self._sync(log))
        else:  # not enough messages yet: flush.ms after the first of them at the latest
            asyncio.get_running_loop().call_later(min(log.config.flush_ms, 60_000) / 1000 + 0.001, self._look, log)

    async def _sync(self, log: PartitionLog) -> None:
        exposed_bytes = self._unsynced_bytes.pop(log)
        step = log.begin_sync()
        try:
            began_ns = time.perf_counter_ns()
            await asyncio.get_running_loop().run_in_executor(self._executor, step.run)
            self._times.add(time.perf_counter_ns() - began_ns)
            step.complete()
        finally:
            del self._running[log]
        if log.fenced or log.closed:
            self._waiters.gone(log)
            return
        if log.high_watermark < step.end_offset:  # not this time; `look_again` tries once a second
            self._unsynced_bytes[log] = self._unsynced_bytes.get(log, 0) + exposed_bytes
            return
        self._waiters.grown(log, exposed_bytes)
        self._look(log)
