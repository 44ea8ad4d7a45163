"""Clears up after a run of a batch job, however its driver ended: kill -9 leaves neither processes nor files.

It is a process of its own, in a session of its own, that reads from a pipe until the driver closes it or dies. Everything that
the driver started bears a mark in its environment, whoever started it in between (Beam, Dask, a JVM); all of it is killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MARK: Final = "HEADRACE_RUN"
_PATIENCE_S: Final = 5.0
"""How long a process that was killed may take to be gone, and still write into the folder."""


@dataclass(frozen=True, slots=True)
class House:
    """A run's temporary folder, and the mark of its processes."""

    folder: str
    mark: str

    def empty(self) -> None:
        """Kill the processes that bear the mark, and wait until they are gone."""
        until = time.monotonic() + _PATIENCE_S
        while (left := _bearing(f"{_MARK}={self.mark}".encode())) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


@contextlib.contextmanager
def kept_house() -> Iterator[House]:
    """A temporary folder, where this process and those that it starts put what is temporary. When the block ends, or this
    process dies, they are killed and it is gone."""
    mark, before = uuid.uuid4().hex, tempfile.tempdir
    folder = tempfile.mkdtemp(prefix="headrace-job-")
    janitor = subprocess.Popen(
        [sys.executable, "-m", __name__, mark, folder],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    kept = {name: os.environ.get(name) for name in (_MARK, "TMPDIR")}
    os.environ.update({_MARK: mark, "TMPDIR": folder})
    tempfile.tempdir = folder
    try:
        yield House(folder, mark)
    finally:
        tempfile.tempdir = before
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        assert janitor.stdin is not None, "it was asked for"
        janitor.stdin.close()
        janitor.wait()


def main(mark: str, folder: str) -> None:
    """Wait for the driver's end, kill what bears the mark, and remove the folder."""
    sys.stdin.buffer.read()
    House(folder, mark).empty()
    shutil.rmtree(folder, ignore_errors=True)


def _bearing(mark: bytes) -> list[int]:
    """The processes that bear a mark; those that are dead and not yet waited for have no environment.

    Python's own that tracks shared memory is left alone: it ends with the process that it belongs to, and is missed before.
    """
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and mark in (entry / "environ").read_bytes().split(b"\0")
                and b"multiprocessing.resource_tracker" not in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
