"""Compaction of the broker's logs, one after another, the dirtiest first: work in other processes, fsyncs in threads.

Nobody waits for it. What goes wrong concerns one log: after a dead worker, a full disk and the like it is tried again with a
growing back-off; one with a batch that cannot be read is left alone until its settings change or the broker restarts.
Source: Kafka's LogCleaner and LogCleanerManager.
"""

import asyncio
import logging
from concurrent.futures import Executor
from dataclasses import dataclass

from headrace.broker.log.compaction.choice import Cleanable
from headrace.broker.log.compaction.clean import CleanResult, clean_in_worker
from headrace.broker.log.compaction.plan import CleanerLimits, survey
from headrace.broker.log.config import LogConfig
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.disk import is_full
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.unhurried import unhurried
from headrace.broker.workers import WorkerDiedError, Workers
from headrace.clock import Clock
from headrace.errors import CorruptError

logger = logging.getLogger(__name__)
_LONGEST_BACKOFF_MS = 600_000


@dataclass(slots=True)
class CompactionCounts:
    """What compaction has done since the broker began, and what the last one was like; for metrics."""

    cleanings: int = 0
    failures: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    last_seconds: float = 0.0
    last_written_share: float = 0.0  # of the bytes read
    last_key_map_share: float = 0.0  # of the memory for keys
    last_ended_ms: int = 0  # wall time
    uncleanable_partitions: int = 0
    max_dirty_ratio: float = 0.0  # of all compacted logs, when they were last looked at


@dataclass(frozen=True, slots=True)
class _Setback:
    """Why a log is not cleaned now: after so many failures not before a time, or (None) not with these settings."""

    failures: int
    not_before_ms: int | None
    config: LogConfig

    def holds(self, log: PartitionLog, now_ms: int) -> bool:
        return log.config is self.config if self.not_before_ms is None else now_ms < self.not_before_ms


class Compactor:
    """Cleans logs until it is closed."""

    def __init__(
        self, logs: LogDirectories, clock: Clock, executor: Executor, limits: CleanerLimits, *, processes: int, backoff_ms: int
    ) -> None:
        """`limits` are of each process; `executor` runs what blocks."""
        self.counts = CompactionCounts()
        self._logs, self._clock, self._executor, self._limits = logs, clock, executor, limits
        self._workers, self._processes, self._backoff_ms = Workers(processes), processes, backoff_ms
        self._busy: set[str] = set()  # paths: a topic that is made again has another log there
        self._setbacks: dict[PartitionLog, _Setback] = {}
        self._choosing = asyncio.Lock()  # what one has chosen, another does not
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, on the running loop."""
        self._tasks = [asyncio.create_task(self._go_on()) for _ in range(self._processes)]

    async def close(self) -> None:
        """Stop at once: what was begun is begun again another time, or finished by the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._workers.kill()

    async def _go_on(self) -> None:
        while True:
            cleaned = False
            try:
                cleaned = await self.clean_one()
            except Exception:  # a supervisor: without compaction topics grow, so it goes on
                logger.exception("compaction failed")
            if not cleaned:
                self._workers.release()
                await asyncio.sleep(self._backoff_ms / 1000)

    async def clean_one(self) -> bool:
        """Clean the dirtiest log that is due; False if there was none, or it failed."""
        async with self._choosing:
            chosen = await self._dirtiest()
            if chosen is None:
                return False
            log, found = chosen
            self._busy.add(log.path)
        try:
            await self._clean(log, found)
        except CorruptError as error:
            self._set_back(log, error, final=True)
        except (WorkerDiedError, OSError) as error:
            self._set_back(log, error)
        else:
            self._setbacks.pop(log, None)
            return True
        finally:
            self._busy.discard(log.path)
        return False

    async def _dirtiest(self) -> tuple[PartitionLog, Cleanable] | None:
        now_ms, ratios = self._clock.wall_ms(), [0.0]
        due: list[tuple[PartitionLog, Cleanable]] = []
        self._forget_closed()
        async for log, recovery_point in unhurried(self._logs.compacted()):
            setback = self._setbacks.get(log)
            if log.path in self._busy or (setback is not None and setback.holds(log, now_ms)):
                continue
            try:
                found = survey(log, recovery_point=recovery_point, now_ms=now_ms)
            except CorruptError as error:
                self._set_back(log, error, final=True)
            except OSError as error:
                log.fence(error)
            else:
                ratios.append(found.dirty_ratio)
                due += [(log, found)] if found.is_due(log.config) else []
        self.counts.max_dirty_ratio = max(ratios)
        due = [each for each in due if not each[0].closed]
        return max(due, key=lambda each: each[1].dirty_ratio, default=None)

    async def _clean(self, log: PartitionLog, found: Cleanable) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        job = self._logs.begin_clean(log, found, self._limits, self._clock.wall_ms())
        result = await self._workers.run(clean_in_worker, job)
        await self._swap(log, result)
        counts, seconds = self.counts, loop.time() - began_s
        counts.cleanings += 1
        counts.bytes_read += result.bytes_read
        counts.bytes_written += result.bytes_written
        counts.last_seconds, counts.last_ended_ms = seconds, self._clock.wall_ms()
        counts.last_written_share = result.bytes_written / max(result.bytes_read, 1)
        counts.last_key_map_share = result.key_map_share
        logger.info(
            "log compacted",
            extra={
                "topic": log.topic,
                "partition": log.partition,
                "dirty_from": found.dirty_from,
                "end_offset": result.end_offset,
                "bytes_before": found.clean_bytes + found.dirty_bytes,
                "bytes_written": result.bytes_written,
                "seconds": round(seconds, 3),
            },
        )

    async def _swap(self, log: PartitionLog, result: CleanResult) -> None:
        """Put the outcome in place.

        Raises:
            OSError: the disk fails, or the log is gone.
        """
        loop = asyncio.get_running_loop()
        swap = self._logs.begin_swap(log, result)
        try:
            if swap.is_wanted:
                await loop.run_in_executor(self._executor, swap.commit)
                for _ in swap.steps(self._clock.wall_ms()):
                    await asyncio.sleep(0)  # a turn for others between two segments
            await loop.run_in_executor(self._executor, swap.settle)
        finally:
            swap.complete()

    def _set_back(self, log: PartitionLog, error: Exception, *, final: bool = False) -> None:
        if log.closed:
            return  # deleted meanwhile
        self.counts.failures += 1
        known = self._setbacks.get(log)
        failures = 1 + (known.failures if known is not None else 0)
        wait_ms = min(self._backoff_ms << min(failures - 1, 16), _LONGEST_BACKOFF_MS)
        not_before_ms = None if final else self._clock.wall_ms() + wait_ms
        self._setbacks[log] = _Setback(failures, not_before_ms, log.config)
        self._count_uncleanable()
        where = {"topic": log.topic, "partition": log.partition, "error": str(error)}
        if final:
            logger.error("PARTITION NOT COMPACTED until its settings change or the broker restarts", extra=where)
        else:
            full = isinstance(error, OSError) and is_full(error)
            logger.warning("compaction put off", extra={**where, "wait_ms": wait_ms, "disk_full": full})

    def _forget_closed(self) -> None:
        self._setbacks = {log: setback for log, setback in self._setbacks.items() if not log.closed}
        self._count_uncleanable()

    def _count_uncleanable(self) -> None:
        self.counts.uncleanable_partitions = sum(
            setback.not_before_ms is None and log.config is setback.config for log, setback in self._setbacks.items()
        )
