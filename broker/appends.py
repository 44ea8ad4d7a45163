"""Batches on their way into the logs, and what follows: they are counted, and who waits hears of them.

They are appended at once where that is quick, else through a thread, in order all the same.

What must be decompressed, or compressed as the topic wants it, is inspected in a thread when it is large. While one batch of a
log is there, later ones of that log wait behind it, so that offsets are given in the order of requests and an idempotent
producer's sequences are found in order. Threads inspect ahead; batches are appended on the loop. Owned by the loop.

Writes are quick while the page cache takes them, and are done on the loop. On a disk that has kept one waiting (dirty pages
throttled, a dying disk; `pace.py`) the loop does not wait again: for a while, all appends of its directory are written in
threads, one at a time of each log, and everybody else goes on (ADR 0022): clients' batches, and the broker's own.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from headrace.broker.flushing import Flusher
from headrace.broker.log.appending import Batch, inspected, inspected_quickly, is_inspected
from headrace.broker.log.batch import Rejection, check_batch
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.results import AppendResult, refused
from headrace.broker.pace import SLOW_WRITE_MS, Pace, thread_run_delay_ms, waited_for_disk_ms
from headrace.broker.telemetry.metrics import Traffic
from headrace.broker.waiting import Waiters
from headrace.broker.wire import ErrorCode
from headrace.clock import Clock

logger = logging.getLogger(__name__)
_THREADS = 2
_WRITERS = 16  # so many logs of slow disks are written at once; the others wait
T = TypeVar("T")
Inspection = asyncio.Future[Batch | Rejection]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch whose turn has not come: what it will be, and who is told what became of it."""

    size_bytes: int
    inspection: Inspection
    told: asyncio.Future[AppendResult]


class Appends:
    """Every append of the broker; the queues of all logs, of which most of the time there are none."""

    def __init__(self, clock: Clock, traffic: Traffic, waiters: Waiters, flusher: Flusher) -> None:
        """`traffic` counts what is in the logs; `waiters` hear of what may be read, `flusher` of what must be fsynced first."""
        self._clock, self._traffic, self._waiters, self._flusher = clock, traffic, waiters, flusher
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="records")
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer")
        self._pace = Pace(thread_run_delay_ms)
        self._queues: dict[PartitionLog, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def append(self, log: PartitionLog, records: bytes | memoryview) -> AppendResult | asyncio.Future[AppendResult]:
        """Append what a client sent for one partition; a future where it must wait."""
        now_ms, data = self._clock.wall_ms(), memoryview(records)
        header = log.admit(data, now_ms=now_ms)
        if isinstance(header, AppendResult):
            return header
        batch = (data, header)
        begun_ms = self._clock.monotonic_ms()
        if log not in self._queues and not self._pace.is_slow(log.log_directory, begun_ms):
            config = log.config
            ready = batch if is_inspected(header, config) else inspected_quickly(batch, config, now_ms=now_ms)
            if ready is not None:
                return self._append(log, ready, len(data), now_ms, begun_ms)
        kept = memoryview(bytes(data)), header  # the request's bytes may lie in a shared buffer
        look = partial(inspected, kept, log.config, now_ms=now_ms)
        return self._enqueue(log, len(data), asyncio.get_running_loop().run_in_executor(self._threads, look))

    def append_own(self, log: PartitionLog, records: bytes) -> AppendResult | asyncio.Future[AppendResult]:
        """Append a batch of the broker's own, which takes the room that is left on a disk; a future where it must wait."""
        now_ms, batch = self._clock.wall_ms(), memoryview(records)
        header = check_batch(batch, config=log.config, now_ms=now_ms, origin="internal")
        if isinstance(header, Rejection):
            return refused(header.error, header.message)
        begun_ms = self._clock.monotonic_ms()
        if log not in self._queues and not self._pace.is_slow(log.log_directory, begun_ms):
            return self._append(log, (batch, header), len(batch), now_ms, begun_ms)
        inspection: Inspection = asyncio.get_running_loop().create_future()
        inspection.set_result((batch, header))
        return self._enqueue(log, len(batch), inspection)

    def look_at_pace(self) -> None:
        """Keep apart what waits for the disk and what waits for a processor; once a second."""
        self._pace.look()

    async def look_into(self, look: Callable[[], T]) -> T:
        """What a look into batches finds, in a thread; its exceptions are raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, look)

    async def close(self) -> None:
        """Return when nothing waits any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)
        self._writers.shutdown(wait=False)

    def _enqueue(self, log: PartitionLog, size_bytes: int, inspection: Inspection) -> asyncio.Future[AppendResult]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(size_bytes, inspection, loop.create_future())
        queue = self._queues.get(log)
        if queue is None:
            queue = self._queues[log] = deque()
            task = loop.create_task(self._work(log, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.append(waiting)
        return waiting.told

    async def _work(self, log: PartitionLog, queue: deque[_Waiting]) -> None:
        try:
            while queue:
                batch = await self._outcome(queue[0].inspection)
                now_ms, begun_ms = self._clock.wall_ms(), self._clock.monotonic_ms()
                if self._pace.is_slow(log.log_directory, begun_ms):
                    result = await self._append_in_thread(log, batch, queue[0].size_bytes, now_ms)
                else:
                    result = self._append(log, batch, queue[0].size_bytes, now_ms, begun_ms)
                waiting = queue.popleft()
                if not waiting.told.done():
                    waiting.told.set_result(result)
        finally:
            del self._queues[log]

    @staticmethod
    async def _outcome(inspection: Inspection) -> Batch | Rejection:
        try:
            return await inspection
        except Exception:  # a supervisor: the batches behind it must not wait for ever
            logger.exception("inspecting a batch failed")
            return Rejection(ErrorCode.unknown_server_error, "inspecting the batch failed")

    def _append(
        self, log: PartitionLog, batch: Batch | Rejection, size_bytes: int, now_ms: int, begun_ms: int
    ) -> AppendResult:  # fmt: skip
        """Append here and now; `begun_ms`: when that began, monotonic."""
        if isinstance(batch, Rejection):
            return refused(batch.error, batch.message)
        write = log.begin_append(*batch, now_ms=now_ms)
        if isinstance(write, AppendResult):
            return write
        write.run()
        written_ms = self._clock.monotonic_ms()
        if written_ms - begun_ms >= SLOW_WRITE_MS:
            self._pace.wrote(log.log_directory, written_ms - begun_ms, written_ms)
        return self._appended(log, log.complete_append(write), size_bytes)

    async def _append_in_thread(
        self, log: PartitionLog, batch: Batch | Rejection, size_bytes: int, now_ms: int
    ) -> AppendResult:
        if isinstance(batch, Rejection):
            return refused(batch.error, batch.message)
        write = log.begin_append(*batch, now_ms=now_ms)
        if isinstance(write, AppendResult):
            return write
        waited_ms = await asyncio.get_running_loop().run_in_executor(self._writers, waited_for_disk_ms, write.run)
        self._pace.waited(log.log_directory, waited_ms, self._clock.monotonic_ms())
        return self._appended(log, log.complete_append(write), size_bytes)

    def _appended(self, log: PartitionLog, result: AppendResult, size_bytes: int) -> AppendResult:
        """Count what is in the log, and tell who waits for it."""
        if result.error:
            return result
        traffic = self._traffic.of(log.topic)
        traffic.bytes_in += size_bytes
        traffic.messages_in += result.last_offset - result.base_offset + 1
        if log.high_watermark == log.log_end_offset:
            self._waiters.grown(log, size_bytes)
        else:
            self._flusher.appended(log, size_bytes)
        return result
