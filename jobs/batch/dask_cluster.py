"""The Dask cluster that a pipeline runs on: one of this machine's cores, or one that others have started.

Dask names a task by what it does to which values, so that like pipelines of several runs share names. A scheduler that has not
yet forgotten a task of the run before takes the new one for it, and where that waited for others than the new one does, it may
wait for ever (github.com/dask/dask/issues/9888). Here what a pipeline begins with has a name that nobody had before, and so has
all that is made of it.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import dask
import distributed
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dask import overrides, transform_evaluator
from apache_beam.runners.dask.dask_runner import DaskOptions
from dask.graph_manipulation import clone

from headrace.errors import PeerError, UsageError

_WORKER: Final = "headrace.jobs.batch.worker"


class _OfThisRun(transform_evaluator.Create):
    """Beam's `Create`, by names of its own."""

    def apply(self, input_bag: Any, side_inputs: Any = None) -> Any:
        return clone(super().apply(input_bag, side_inputs))


transform_evaluator.TRANSLATIONS[overrides._Create] = _OfThisRun


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """What Dask sets for the workers that it begins (PYTHONHASHSEED, OMP_NUM_THREADS …) is not left in our own environment."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in {*os.environ, *before}:
            if name not in before:
                del os.environ[name]
            elif os.environ.get(name) != before[name]:
                os.environ[name] = before[name]


@contextlib.contextmanager
def cluster_of(options: PipelineOptions, folder: str) -> Iterator[None]:
    """The cluster that the options name, or one of this machine's cores for as long as the block runs.

    Raises:
        UsageError: the scheduler's address is none. PeerError: it is not there, or has no workers: both may come yet.
    """
    asked = options.view_as(DaskOptions)
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"dataframe.shuffle.method": "tasks"}))  # files are of one host
        if not asked.address and not asked.scheduler_file:
            stack.enter_context(_own_environment())
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    host="127.0.0.1",
                    n_workers=os.cpu_count(),
                    threads_per_worker=1,
                    dashboard_address=None,
                    local_directory=folder,
                    preload=_WORKER,
                    env={"DASK_LOGGING__DISTRIBUTED": "critical"},
                )
            )
            asked.address = cluster.scheduler_address
        try:
            client = stack.enter_context(
                distributed.Client(asked.address, scheduler_file=asked.scheduler_file, timeout=asked.timeout or "10s")
            )
        except (OSError, ValueError) as error:
            kind = UsageError if isinstance(error, ValueError) else PeerError
            raise kind(f"--runner dask: {asked.address or asked.scheduler_file}: {error}; name a scheduler") from error
        try:
            client.wait_for_workers(1, timeout=asked.timeout or "10s")
        except TimeoutError as error:
            raise PeerError(
                f"--runner dask: {asked.address} has no workers; start some: dask worker {asked.address}"
            ) from error
        if not asked.npartitions and not asked.partition_size:
            asked.npartitions = 4 * len(client.nthreads())
        yield
