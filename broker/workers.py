"""Processes for work that burns CPU in Python: one busy thread beside the loop takes its p99 from 0.1 to 12.7 ms (design D2).

A worker is spawned when there is work and ends when there has been none for a while: an idle broker does not pay for it.
It runs module functions on plain values (paths, numbers, bytes, frozen dataclasses of them), knows nothing of the broker, and
touches only the files that it is told of. It yields to the broker (nice) once that serves, and dies with it.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from headrace.logs import log_to_stderr
from headrace.process import bind_to_parent

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
_NICENESS = 5
# What Python's own helper process would say, in plain text among our log lines, when we are killed: the kernel has cleaned up.
_UNSAID = "ignore:resource_tracker:UserWarning"


class WorkerDiedError(Exception):
    """The process ended in the middle of its work, as after kill -9 or a lack of memory; what it was at may be half done."""


class Workers:
    """A few processes that work one job each at a time; further jobs wait."""

    def __init__(self, processes: int, *, niceness: int = _NICENESS) -> None:
        self._processes, self._niceness = processes, niceness
        self._pool: ProcessPoolExecutor | None = None
        self._busy = 0

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `job`, run in another process; its exceptions are raised here.

        Raises:
            WorkerDiedError: the process died.
        """
        if self._pool is None:
            if _UNSAID not in sys.warnoptions:
                sys.warnoptions.append(_UNSAID)  # which processes that we spawn are given
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, _begin, (os.getpid(), self._niceness))
        pool = self._pool
        self._busy += 1
        try:
            call: Any = pool.submit(job, *args, **kwargs)
            result: R = await asyncio.wrap_future(call)
        except BrokenProcessPool as error:
            if self._pool is pool:
                self._pool = None
            raise WorkerDiedError(f"the worker process died while it ran {job.__name__}") from error
        finally:
            self._busy -= 1
        return result

    def release(self) -> None:
        """Let the processes end, if they have no work; the next work starts them again."""
        if self._pool is not None and not self._busy:
            self._pool.shutdown(wait=False)
            self._pool = None

    def kill(self) -> None:
        """End the processes, whatever they are at: their work must bear it, as it must bear kill -9."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):  # no public way before Python 3.14 (kill_workers)
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _begin(parent: int, niceness: int) -> None:
    """In the worker, before its first job."""
    for signum in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches the whole group: the broker decides
        signal.signal(signum, signal.SIG_IGN)
    bind_to_parent(parent, signal.SIGKILL)
    os.nice(niceness)
    log_to_stderr()
