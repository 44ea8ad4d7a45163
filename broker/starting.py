"""From what the last stop left in the log directories to logs that are open, as fast as the cores allow, telling how far it is.

After a crash each log is scanned from its recovery point (recovery.py), which costs CPU: logs with much to scan are loaded in
worker processes, several at a time, and come back as values; the others are loaded here. What has to be scanned is bounded
(256 MiB in all logs, `LogDirectories.due_steps`), except in directories that another program has written.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from uuid import UUID

from headrace.broker.log.claims import Claims
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import FoundLog, LogDirectoryConfig, Overrides
from headrace.broker.log.disk import Disk
from headrace.broker.log.recovery import load_apart, unscanned_bytes
from headrace.broker.workers import WorkerDiedError, Workers
from headrace.errors import CorruptError, UsageError

logger = logging.getLogger(__name__)
STORE = "coordination.db"
_WORTH_PROCESSES_BYTES = 24 << 20  # at 300 bytes a batch, what one core scans while a worker starts
_WORTH_A_JOB_BYTES = 256 << 10
_REPORT_INTERVAL_S = 1.0
_BAR_WIDTH = 30


@dataclass(slots=True)
class Progress:
    """How far the start has come; written by the loop, read by whoever is asked whether the broker is ready."""

    logs: int = 0
    logs_done: int = 0
    bytes: int = 0  # that have to be scanned
    bytes_done: int = 0
    begun_s: float = 0.0  # monotonic
    is_done: bool = False

    def seconds_left(self, now_s: float) -> float | None:
        """An estimate; None while there is nothing to go by."""
        done, total = (self.bytes_done, self.bytes) if self.bytes else (self.logs_done, self.logs)
        return (now_s - self.begun_s) * (total - done) / done if done else None


def store_path(configured: Path | None, paths: Sequence[str], claims: Claims) -> Path:
    """Where the store of topics and access rules is: in the first log directory, or wherever it was moved to since.

    Raises:
        UsageError: it is in two directories, or in none and the first one, where it should be, cannot be used: a new store
            would not know whose data the other directories hold, nor who may read it.
    """
    if configured is not None:
        return configured
    there = [Path(claim.path) / STORE for claim in claims.held if (Path(claim.path) / STORE).exists()]
    if len(there) > 1:
        raise UsageError(
            f"log.dirs: {there[0]} and {there[1]}: move one of them away, or name the right one (coordination.path)"
        )
    if not there and paths[0] in claims.refused:
        raise UsageError(
            f"log.dirs {paths[0]}: {claims.refused[paths[0]]}; {STORE} should be in it (or name another: coordination.path)"
        )
    return there[0] if there else Path(paths[0]) / STORE


async def open_logs(
    disk: Disk,
    claims: Claims,
    config: LogDirectoryConfig,
    now_ms: int,
    *,
    overrides: Overrides,
    deleted: Collection[UUID],
    processes: int | None,
    progress: Progress,
) -> LogDirectories:
    """Load every log; the loop turns meanwhile.

    Args:
        processes: at most so many at a time; None means as many as there are cores.
        progress: kept up to date.
    Raises:
        UsageError: a partition is in two directories. StorageError: no directory works.
    """
    logs = LogDirectories(disk, claims, config, now_ms)
    costs = [(_cost(disk, each), each) for each in logs.survey(overrides, deleted)]
    progress.logs, progress.bytes, progress.begun_s = len(costs), sum(cost for cost, _ in costs), time.monotonic()
    reporting = asyncio.create_task(_report(progress, sys.stderr))
    workers = Workers(processes or os.cpu_count() or 1, niceness=0)
    try:
        await _load(logs, costs, workers, progress, now_ms)
        workers.release()
    finally:
        workers.kill()
        reporting.cancel()
    logs.loaded()
    progress.is_done = True
    return logs


def _cost(disk: Disk, found: FoundLog) -> int:
    try:
        return 0 if found.facts.clean else unscanned_bytes(disk, found.path, found.facts.recovery_point)
    except OSError:
        return 0  # loading it will say so


async def _load(
    logs: LogDirectories, costs: Sequence[tuple[int, FoundLog]], workers: Workers, progress: Progress, now_ms: int
) -> None:
    worth_it = progress.bytes >= _WORTH_PROCESSES_BYTES
    apart = [(cost, each) for cost, each in costs if worth_it and cost >= _WORTH_A_JOB_BYTES]
    here = [(cost, each) for cost, each in costs if not worth_it or cost < _WORTH_A_JOB_BYTES]

    async def load_in_worker(cost: int, found: FoundLog) -> None:
        try:
            loaded = await workers.run(load_apart, found.path, found.config, found.facts, now_ms)
        except WorkerDiedError as error:
            logger.warning("a log is loaded here instead", extra={"log": found.path, "error": str(error)})
            logs.load(found)
        except (OSError, CorruptError) as error:
            logs.lose(found, error)
        else:
            logs.add(found, loaded)
        _count(progress, cost)

    jobs = [asyncio.create_task(load_in_worker(*each)) for each in sorted(apart, key=lambda each: -each[0])]
    try:
        for cost, found in here:
            logs.load(found)
            _count(progress, cost)
            await asyncio.sleep(0)
        await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()


def _count(progress: Progress, cost: int) -> None:
    progress.logs_done += 1
    progress.bytes_done += cost


async def _report(progress: Progress, stream: TextIO) -> None:
    """Once a second: a bar for a person at a terminal, a line of the log for everybody else."""
    shows_bar = stream.isatty()
    try:
        while True:
            await asyncio.sleep(_REPORT_INTERVAL_S)
            if shows_bar:
                stream.write("\r\x1b[K" + bar(progress, time.monotonic()))
                stream.flush()
            else:
                left_s = progress.seconds_left(time.monotonic())
                logger.info(
                    "loading logs",
                    extra={
                        "logs": progress.logs,
                        "logs_done": progress.logs_done,
                        "bytes": progress.bytes,
                        "bytes_done": progress.bytes_done,
                        "seconds_left": None if left_s is None else round(left_s, 1),
                    },
                )
    finally:
        if shows_bar:
            stream.write("\r\x1b[K")
            stream.flush()


def bar(progress: Progress, now_s: float) -> str:
    """One line for a terminal."""
    done, total = (progress.bytes_done, progress.bytes) if progress.bytes else (progress.logs_done, progress.logs)
    filled = _BAR_WIDTH * done // max(total, 1)
    left_s = progress.seconds_left(now_s)
    left = "" if left_s is None else f", about {left_s:.0f} s left"
    mib = f", {progress.bytes_done >> 20}/{progress.bytes >> 20} MiB scanned" if progress.bytes else ""
    return f"[{'#' * filled:.<{_BAR_WIDTH}}] {progress.logs_done}/{progress.logs} logs{mib}{left}"
