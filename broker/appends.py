"""Batches on their way into the logs, and what follows: they are counted, and who waits hears of them.

They are appended at once where that is quick, else through a thread, in order all the same.

What must be decompressed, or compressed as the topic wants it, is inspected in a thread when it is large. While one batch of a
log is there, later ones of that log wait behind it, so that offsets are given in the order of requests and an idempotent
producer's sequences are found in order. Threads inspect ahead; batches are appended on the loop. Owned by the loop.

Writes are quick while the page cache takes them, and are done on the loop. On a disk that has kept one waiting (dirty pages
throttled, a dying disk; `pace.py`) the loop does not wait again: for a while, all appends of its directory are written in
threads, one at a time of each log, and everybody else goes on (ADR 0022): clients' batches, and the broker's own. Large batches
are written so always.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from headrace.broker.flushing import Flusher
from headrace.broker.log.appending import Batch, inspected, inspected_quickly, is_inspected
from headrace.broker.log.batch import Rejection, check_batch
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Rest
from headrace.broker.log.results import AppendResult, refused
from headrace.broker.log.writing import BatchWrite
from headrace.broker.pace import SLOW_WRITE_MS, Pace, thread_run_delay_ms, waited_for_disk_ms
from headrace.broker.telemetry.metrics import Traffic
from headrace.broker.waiting import Waiters
from headrace.broker.wire import ErrorCode
from headrace.clock import Clock
from headrace.errors import StorageError

logger = logging.getLogger(__name__)
_THREADS = 2
_WRITERS = 16  # so many logs are written at once in threads; the others wait
_REST_S = 0.0001  # of a thread that computes in Python, so that the loop need not ask for the GIL at each system call
_LARGE_BYTES = 512 * 1024  # to write so many takes up to 2 ms, with pages to be found: no reason to keep others waiting
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
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="looks")  # Python: more would only wait for the GIL
        self._long_looks = ThreadPoolExecutor(1, thread_name_prefix="long-looks")  # others do not wait for their end
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer")
        self._large_writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="large-writer")
        self._pace = Pace(thread_run_delay_ms)
        self._queues: dict[PartitionLog, deque[_Waiting]] = {}
        self._emptied: asyncio.Future[None] | None = None  # while somebody waits for that
        self._looks_on = True

    def append(self, log: PartitionLog, records: bytes | memoryview) -> AppendResult | asyncio.Future[AppendResult]:
        """Append what a client sent for one partition; a future where it must wait."""
        now_ms, data = self._clock.wall_ms(), memoryview(records)
        header = log.admit(data, now_ms=now_ms)
        if isinstance(header, AppendResult):
            return header
        batch = (data, header)
        ready = batch if is_inspected(header, log.config) else inspected_quickly(batch, log.config, now_ms=now_ms)
        if ready is None:
            look = partial(inspected, batch, log.config, now_ms=now_ms)
            return self._enqueue(log, len(data), asyncio.get_running_loop().run_in_executor(self._threads, look))
        return self._append_ready(log, ready, len(data), now_ms)

    def append_own(self, log: PartitionLog, records: bytes) -> AppendResult | asyncio.Future[AppendResult]:
        """Append a batch of the broker's own, which takes the room that is left on a disk; a future where it must wait."""
        now_ms, batch = self._clock.wall_ms(), memoryview(records)
        header = check_batch(batch, config=log.config, now_ms=now_ms, origin="internal")
        if isinstance(header, Rejection):
            return refused(header.error, header.message)
        return self._append_ready(log, (batch, header), len(batch), now_ms)

    def _append_ready(
        self, log: PartitionLog, batch: Batch | Rejection, size_bytes: int, now_ms: int
    ) -> AppendResult | asyncio.Future[AppendResult]:  # fmt: skip
        begun_ms = self._clock.monotonic_ms()
        if size_bytes < _LARGE_BYTES and log not in self._queues and not self._pace.is_slow(log.log_directory, begun_ms):
            return self._append(log, batch, size_bytes, now_ms, begun_ms)
        inspection: Inspection = asyncio.get_running_loop().create_future()
        inspection.set_result(batch)
        return self._enqueue(log, size_bytes, inspection)

    def look_at_pace(self) -> None:
        """Keep apart what waits for the disk and what waits for a processor; once a second."""
        self._pace.look()

    async def look_into(self, look: Callable[[Rest], T], *, is_long: bool) -> T:
        """What a look into batches finds, in a thread that rests; its exceptions are raised here."""
        executor = self._long_looks if is_long else self._looks
        return await asyncio.get_running_loop().run_in_executor(executor, look, self._rest)

    def _rest(self) -> None:
        if not self._looks_on:  # 128 MB of records take minutes, and a process does not end before its threads
            raise StorageError("the broker stops")
        time.sleep(_REST_S)

    async def close(self) -> None:
        """Return when nothing waits any more; looks are given up."""
        self._looks_on = False
        if self._queues:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
        self._threads.shutdown(wait=False)
        self._looks.shutdown(wait=False)
        self._long_looks.shutdown(wait=False)
        self._writers.shutdown(wait=False)
        self._large_writers.shutdown(wait=False)

    def _enqueue(self, log: PartitionLog, size_bytes: int, inspection: Inspection) -> asyncio.Future[AppendResult]:
        waiting = _Waiting(size_bytes, inspection, asyncio.get_running_loop().create_future())
        queue = self._queues.get(log)
        if queue is None:
            self._queues[log] = deque((waiting,))
            self._begin_first(log)
        else:
            queue.append(waiting)
        return waiting.told

    def _begin_first(self, log: PartitionLog) -> None:
        """Append the first batch that waits, once it is inspected."""
        inspection = self._queues[log][0].inspection
        if inspection.done():
            self._append_first(log)
        else:
            inspection.add_done_callback(lambda _: self._append_first(log))

    def _append_first(self, log: PartitionLog) -> None:
        first = self._queues[log][0]
        batch = _outcome(first.inspection)
        now_ms, begun_ms = self._clock.wall_ms(), self._clock.monotonic_ms()
        is_large = first.size_bytes >= _LARGE_BYTES
        if not is_large and not self._pace.is_slow(log.log_directory, begun_ms):
            self._first_done(log, self._append(log, batch, first.size_bytes, now_ms, begun_ms))
            return
        write = _begun(log, batch, now_ms)
        if isinstance(write, AppendResult):
            self._first_done(log, write)
            return
        loop = asyncio.get_running_loop()  # told by the thread itself: asyncio's own way takes one turn of everybody more
        writing = (self._large_writers if is_large else self._writers).submit(waited_for_disk_ms, write.run)
        writing.add_done_callback(lambda written: loop.call_soon_threadsafe(self._written, log, write, written))

    def _written(self, log: PartitionLog, write: BatchWrite, written: Future[int]) -> None:
        size_bytes = self._queues[log][0].size_bytes
        if size_bytes < _LARGE_BYTES:  # who dirties many pages is made to wait for them: that says nothing of small writes
            self._pace.waited(log.log_directory, written.result(), self._clock.monotonic_ms())
        self._first_done(log, self._appended(log, log.complete_append(write), size_bytes))

    def _first_done(self, log: PartitionLog, result: AppendResult) -> None:
        queue = self._queues[log]
        told = queue.popleft().told
        if not told.done():
            told.set_result(result)
        if queue:
            asyncio.get_running_loop().call_soon(self._begin_first, log)
            return
        del self._queues[log]
        if self._emptied is not None and not self._queues:
            self._emptied.set_result(None)

    def _append(
        self, log: PartitionLog, batch: Batch | Rejection, size_bytes: int, now_ms: int, begun_ms: int
    ) -> AppendResult:  # fmt: skip
        """Append here and now; `begun_ms`: when that began, monotonic."""
        write = _begun(log, batch, now_ms)
        if isinstance(write, AppendResult):
            return write
        write.run()
        written_ms = self._clock.monotonic_ms()
        if written_ms - begun_ms >= SLOW_WRITE_MS:
            self._pace.wrote(log.log_directory, written_ms - begun_ms, written_ms)
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


def _begun(log: PartitionLog, batch: Batch | Rejection, now_ms: int) -> BatchWrite | AppendResult:
    return refused(batch.error, batch.message) if isinstance(batch, Rejection) else log.begin_append(*batch, now_ms=now_ms)


def _outcome(inspection: Inspection) -> Batch | Rejection:
    try:
        return inspection.result()
    except Exception:  # a supervisor: the batches behind it must not wait for ever
        logger.exception("inspecting a batch failed")
        return Rejection(ErrorCode.unknown_server_error, "inspecting the batch failed")
