"""Which log directories keep writes waiting: a disk that is slow, told apart from a machine that is busy.

A thread that waits for a processor looks, by the clock, like one that waits for the disk. The kernel counts the first
(/proc/thread-self/schedstat); only what is left counts as slow. Appends then go to threads for a while (ADR 0022): on a machine
that is merely busy that would cost three times the work for nothing.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)
SLOW_WRITE_MS = 20
SLOW_FOR_MS = 10_000  # after the last slow write


class Pace:
    """What is known of each directory's writes; times are monotonic, ms. Owned by the loop, whose own writes it judges."""

    def __init__(self, run_delay_ms: Callable[[], int]) -> None:
        """`run_delay_ms` says how long the calling thread has waited for a processor so far (`thread_run_delay_ms`)."""
        self._run_delay_ms = run_delay_ms
        self._last_delay_ms = run_delay_ms()
        self._slow_until_ms: dict[str, int] = {}

    def look(self) -> None:
        """Take a reading to judge later writes by; once a second."""
        self._last_delay_ms = self._run_delay_ms()

    def is_slow(self, directory: str, now_ms: int) -> bool:
        """Whether writes there should not keep the loop waiting now."""
        until_ms = self._slow_until_ms.get(directory)
        if until_ms is None:
            return False
        if now_ms < until_ms:
            return True
        del self._slow_until_ms[directory]
        logger.info("the disk is quick again: appends are written on the loop", extra={"path": directory})
        return False

    def wrote(self, directory: str, write_ms: int, now_ms: int) -> None:
        """The loop's own write took so long by the clock: SLOW_WRITE_MS or more, below it need not be told."""
        before_ms = self._last_delay_ms
        self.look()
        self.waited(directory, write_ms - (self._last_delay_ms - before_ms), now_ms)

    def waited(self, directory: str, waited_ms: int, now_ms: int) -> None:
        """A write waited so long for the disk."""
        if waited_ms < SLOW_WRITE_MS:
            return
        if directory not in self._slow_until_ms:
            extra = {"path": directory, "waited_ms": waited_ms}
            logger.warning("the disk is slow: appends are written in threads, so that others go on", extra=extra)
        self._slow_until_ms[directory] = now_ms + SLOW_FOR_MS


class _RunDelay(threading.local):
    """The kernel's count for the calling thread, kept open: a look is one system call, which lets go of the GIL only once."""

    def __init__(self) -> None:
        try:
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._fd = -1

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def ms(self) -> int:
        try:
            return int(os.pread(self._fd, 100, 0).split()[1]) // 1_000_000
        except (OSError, ValueError, IndexError):
            return 0


_run_delay = _RunDelay()


def thread_run_delay_ms() -> int:
    """How long this thread has waited for a processor since it began, ms; 0 where the kernel does not count that."""
    return _run_delay.ms()


def waited_for_disk_ms(write: Callable[[], None]) -> int:
    """Write, on the calling thread, and say how long that waited for anything but a processor, ms."""
    delay_ms, begun_ns = thread_run_delay_ms(), time.perf_counter_ns()
    write()
    waited_ms = (time.perf_counter_ns() - begun_ns) // 1_000_000
    if waited_ms < SLOW_WRITE_MS:
        return waited_ms
    return waited_ms - (thread_run_delay_ms() - delay_ms)
