"""The shell of `headrace broker check`: the lock, the processes that look at partitions, and what is said while they do."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from headrace.broker.log.disk import ReadOnlyDisk
from headrace.broker.log.findings import Report
from headrace.broker.log.inspection import Task, look_at_partition, plan
from headrace.errors import UsageError

_LOCK = ".lock"
_SMALL_BYTES = 64 << 20  # so much is read faster than processes start
_PROGRESS_INTERVAL_S = 2.0


def check_directory(path: Path, *, deep: bool) -> list[Report]:
    """Look at a whole log directory: its own report, then its partitions' in the order of their names.

    Raises:
        UsageError: no log directory, or a broker is running on it. OSError: the disk fails.
    """
    disk, directory = ReadOnlyDisk(), str(path.absolute())
    try:
        lock = disk.lock(f"{directory}/{_LOCK}") if (path / _LOCK).exists() else None
        try:
            report, tasks = plan(disk, directory)
            looked = {found.directory: found for found in _look(directory, list(tasks), deep=deep)}
        finally:
            if lock is not None:
                lock.release()
    except BlockingIOError as error:
        raise UsageError(f"{path}: a broker is running on it; stop that one, or check a copy") from error
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"{path}: {error.strerror}; name a broker's log directory") from error
    return [report, *(looked[task.name] for task in sorted(tasks, key=lambda task: (task.topic, task.partition)))]


def _look(directory: str, tasks: list[Task], *, deep: bool) -> Iterator[Report]:
    sizes = {task.name: _size_bytes(f"{directory}/{task.name}") for task in tasks}
    tasks.sort(key=lambda task: -sizes[task.name])  # the longest first, so that none is left alone at the end
    progress = _Progress(len(tasks), sum(sizes.values()))
    processes = min(os.cpu_count() or 1, len(tasks))
    if processes < 2 or sum(sizes.values()) < _SMALL_BYTES:
        for task in tasks:
            yield _look_at(directory, task, deep=deep)
            progress.done(sizes[task.name])
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        calls = {pool.submit(_look_at, directory, task, deep=deep): task for task in tasks}
        for call in as_completed(calls):
            yield call.result()
            progress.done(sizes[calls[call].name])


def _look_at(directory: str, task: Task, *, deep: bool) -> Report:
    return look_at_partition(ReadOnlyDisk(), directory, task, deep=deep)


def _size_bytes(path: str) -> int:
    """For the order and the progress alone: what cannot be read is told when it is looked at."""
    try:
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries)
    except OSError:
        return 0


class _Progress:
    """Says on standard error, every two seconds, how far a long check is."""

    def __init__(self, partitions: int, size_bytes: int) -> None:
        self._partitions, self._bytes = partitions, size_bytes
        self._partitions_done = self._bytes_done = 0
        self._said_s = time.monotonic()

    def done(self, size_bytes: int) -> None:
        self._partitions_done += 1
        self._bytes_done += size_bytes
        if time.monotonic() - self._said_s >= _PROGRESS_INTERVAL_S:
            self._said_s = time.monotonic()
            of = f"{self._bytes_done / 1e6:,.0f} of {self._bytes / 1e6:,.0f} MB"
            print(f"headrace broker check: {self._partitions_done} of {self._partitions} partitions, {of}", file=sys.stderr)
