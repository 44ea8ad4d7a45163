"""A Dask cluster as its users start one: a scheduler and its workers as processes, on loopback; stopped by process id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed

from tests.processes import free_port


@contextmanager
def dask_cluster(folder: Path, *, workers: int = 2) -> Iterator[str]:
    """The scheduler's address. Workers import what this process can."""
    address = f"tcp://127.0.0.1:{free_port()}"
    quiet = ["--host", "127.0.0.1", "--no-dashboard"]
    commands = [
        ["dask_scheduler", "--port", address.rpartition(":")[2], *quiet],
        ["dask_worker", address, "--nworkers", str(workers), "--nthreads", "1", "--local-directory", str(folder), *quiet],
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (folder / "dask.log").open("wb") as log:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            for command in commands
        ]
    try:
        with distributed.Client(address, timeout="120s", set_as_default=False) as client:
            client.wait_for_workers(workers, timeout="120s")
        yield address
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
