"""How much a session may take: memory, threads, time, room for what it spills; and what a killed one has left."""

import contextlib
import fcntl
import gc
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "headrace-query-"
_SLACK_BYTES: Final = 256 << 20
_SLACK_OF_A_THREAD_BYTES: Final = 16 << 20
"""What a statement may take beyond its memory: DuckDB does not count readers' buffers, allocators' rest, Arrow, and us."""
_KEEPS_NOTHING: Final = "DUCKDB_JE_MALLOC_CONF", "retain:false"
"""By it DuckDB's allocator gives addresses back that it does not use: otherwise each statement that failed would raise the next
one's bound by what it had come to."""
_DATA: Final = re.compile(r"^VmData:\s*(\d+) kB$", re.MULTILINE)
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


def prepare_bounded() -> None:
    """To be called before DuckDB is imported, where `bounded` is to be."""
    os.environ.setdefault(*_KEEPS_NOTHING)


@contextmanager
def bounded(memory_bytes: int, threads: int) -> Iterator[None]:
    """Hold this process to the private memory that it has now, so many bytes and the slack: who asks for more is refused it.

    DuckDB's own bound is of what it counts, and one value is not counted before it is there. The kernel counts private mappings
    that can be written, touched or not (RLIMIT_DATA; Linux only): so the value is refused at once, and DuckDB goes on.
    """
    found = _DATA.search(Path("/proc/self/status").read_text()) if Path("/proc/self/status").exists() else None
    if found is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = (int(found[1]) << 10) + memory_bytes + slack_bytes(threads)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if soft == resource.RLIM_INFINITY else min(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def slack_bytes(threads: int) -> int:
    """How much more than its memory a statement may take."""
    return _SLACK_BYTES + threads * _SLACK_OF_A_THREAD_BYTES


def shown_size(count: int) -> str:
    """Bytes as they are given to `--memory`."""
    units = {"GB": 10**9, "GiB": 1 << 30, "MB": 10**6, "MiB": 1 << 20}
    exact = (f"{count // size}{unit}" for unit, size in units.items() if count % size == 0)
    return next(exact, f"{count >> 20}MiB")


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
