"""Waiting for Dask, but not for ever: a cluster can sit still with work to do, and then says nothing (docs/batch.md).

Workers tell the scheduler what they execute, and how many tasks they have in each state. Where none executes anything and no
number changes for minutes, nothing will: one long task is executed all the while, and waited for.

What tasks return is not asked for, as Beam's own runner does: it lies in a file (exchange.py), and where the worker that
has it is gone, or has come back, Dask may wait for it without end.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

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
            counts = {name: worker["metrics"].get("task_counts", {}) for name, worker in workers.items()}
            if still.is_too_long(counts, time.monotonic()):
                said = f"none of {len(workers)} workers has done anything for {patience_s:.0f} s, and the work is not done"
                raise PeerError(f"Dask: {said}; restart them, and run it again") from None
    for future in futures:
        if future.status == "error":
            future.result()


class Stillness:
    """For how long nothing has happened. Pure."""

    def __init__(self, patience_s: float, now_s: float) -> None:
        self._patience_s, self._since_s = patience_s, now_s
        self._seen: Mapping[str, Mapping[str, int]] = {}

    def is_too_long(self, workers: Mapping[str, Mapping[str, int]], now_s: float) -> bool:
        """By how many tasks each worker has in which of Dask's states."""
        if workers != self._seen or any(tasks.get("executing") or tasks.get("long-running") for tasks in workers.values()):
            self._seen, self._since_s = workers, now_s
        return now_s - self._since_s >= self._patience_s
