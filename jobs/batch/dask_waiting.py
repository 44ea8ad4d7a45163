"""Waiting for Dask, but not for ever: a cluster can sit still with work to do, and then says nothing (docs/batch.md).

Workers tell the scheduler what they execute, and how many tasks they have in each state. Where none executes anything and no
number changes for minutes, nothing will: one long task is executed all the while, and waited for as long as its worker says so.

What tasks return is not asked for, as Beam's own runner does: it lies in a file (exchange.py), and where the worker that
has it is gone, or has come back, Dask may wait for it without end.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.errors import PeerError

PATIENCE_S: Final = 300.0
_LOOK_S: Final = 10.0


def wait_until_done(client: Any, futures: Sequence[Any], *, patience_s: float = PATIENCE_S, look_s: float = _LOOK_S) -> None:
    """Wait for futures to be done.

    Args:
        client: Dask's, which `futures` are of.
        patience_s: how long the cluster may sit still.
    Raises:
        PeerError: it has, for longer. Exception: what a task raised.
    """
    import distributed

    still = Stillness(patience_s, time.monotonic())
    while True:
        try:
            with client.as_current():
                distributed.wait(futures, timeout=look_s)
            break
        except TimeoutError:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            told = {
                name: Told(worker["last_seen"], worker["metrics"].get("task_counts", {})) for name, worker in workers.items()
            }
            if still.is_too_long(told, time.monotonic()):
                said = f"none of {len(workers)} workers has done anything for {patience_s:.0f} s, and the work is not done"
                raise PeerError(f"Dask: {said}; restart them, and run it again") from None
    for future in futures:
        if future.status == "error":
            future.result()


class Told(NamedTuple):
    """What a worker has told last, and when (the scheduler's clock, s): how many tasks it has in which of Dask's states."""

    at_s: float
    tasks: Mapping[str, int]

    def works_since(self, before: "Told") -> bool:
        """A worker that hangs has told of what it executes, too, and tells nothing more."""
        is_executing = bool(self.tasks.get("executing") or self.tasks.get("long-running"))
        return self.tasks != before.tasks or (is_executing and self.at_s > before.at_s)


class Stillness:
    """For how long nothing has happened. Pure."""

    def __init__(self, patience_s: float, now_s: float) -> None:
        self._patience_s, self._since_s = patience_s, now_s
        self._before: Mapping[str, Told] = {}

    def is_too_long(self, workers: Mapping[str, Told], now_s: float) -> bool:
        """By what each worker has told."""
        before = self._before
        if workers.keys() != before.keys() or any(told.works_since(before[name]) for name, told in workers.items()):
            self._since_s = now_s
        self._before = workers
        return now_s - self._since_s >= self._patience_s
