"""How much a session may take: memory, threads, time, room for what it spills; and what a killed one has left."""

import contextlib
import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "headrace-query-"
_CGROUPS: Final = ("memory.max", "memory/memory.limit_in_bytes")
_SHARE: Final = 2
"""A statement may have half of what there is: of memory beside what else runs, of the disk beside what else is written."""


def default_memory_bytes(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Half of the machine's memory, or of what its control group lets this process have, where that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # another version of cgroups, or no limit: `max`
            limits.append(int((cgroups / name).read_text()))
    return min(limits) // _SHARE


def spill_bytes(folder: Path) -> int:
    """How much may be spilled below a folder: half of what is free there now."""
    return shutil.disk_usage(folder).free // _SHARE


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects that all stay: the collector would look through them again and again, a third of the time they take."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for a session's copies and what it spills, which is gone afterwards; those that were left before are removed.

    Who lives in a folder holds a lock on it, which ends with its process however that ends.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with _locked(folder) as is_ours:
            if not is_ours:  # it was taken for one that was left, before it was locked
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether a folder is there, and nobody else lives in it."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = folder.exists() and os.fstat(opened).st_uid == os.getuid()
        except OSError:
            is_there = False
        yield is_there
    finally:
        os.close(opened)


def _remove_if_left(folder: Path) -> None:
    with _locked(folder) as is_left:
        if is_left:
            shutil.rmtree(folder, ignore_errors=True)
