"""A second wall around SQL: Landlock, by which Linux lets a process give rights up for good (userspace-api/landlock.rst).

What it forbids, no function of DuckDB reaches, whatever is missing from the list of those that may be called (allowed.py). It
binds the thread that asks for it and all that are started after, so it is for a command's own process, before DuckDB starts.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import headrace

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_MACHINES: Final = ("x86_64", "aarch64")
"""Where the calls have these numbers, as on every architecture that Linux got after 2019; others were not tried."""
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVS: Final = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_SYSTEM: Final = (
    *("/usr", "/lib", "/lib64", "/proc", "/dev", "/sys/fs/cgroup", "/sys/devices/system"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ssl"),
)
_REMOVE_DIR: Final = 1 << 4
_READ: Final = _READ_FILE | _READ_DIR
_ALL_OF_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
"""Every right over files that a version knows, by version; later ones are not needed for what is written or read."""
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | (1 << 14)
"""Rights that a file may have; the others are of folders."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """The version of Landlock that this kernel has; 0: none."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return 0
    found = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(found, 0)


def confine(*, reads: Iterable[Path] | None, writes: Iterable[Path]) -> bool:
    """Let this process open no files any more but those below these paths, Python's and the system's libraries.

    Args:
        reads: None: it may read everything, as who speaks to a store elsewhere needs keys and settings from many places.
    Returns:
        False: the kernel has no Landlock, and nothing has changed.
    """
    handled = _everything() if reads is not None else _everything() & ~(_READ | _EXECUTE)
    rules = [(path, _READ | _EXECUTE) for path in (*_of_python(), *reads)] if reads is not None else []
    written = [(path, handled) for path in (*writes, Path("/dev/null"))]
    removed = [(path.parent, _REMOVE_DIR) for path in writes]  # an empty folder may go, as it came
    return _restrict(handled, [*rules, *written, *removed])


def confine_writes(root: Path) -> bool:
    """Let this process write nothing below a folder any more, nor make files in the folders above it; False: no Landlock.

    What may be written has to be named: all that lies beside the way to the folder.
    """
    handled = _everything() & ~(_READ | _EXECUTE)
    inner, beside = root.resolve(), []
    while inner != inner.parent:
        beside += [path for path in inner.parent.iterdir() if path != inner and not path.is_symlink()]
        inner = inner.parent
    return _restrict(handled, [(path, handled) for path in beside])


def _everything() -> int:
    known = version()
    return _ALL_OF_ABI[min(known, max(_ALL_OF_ABI))] if known else 0


def _restrict(handled: int, rules: Iterable[tuple[Path, int]]) -> bool:
    """Keep the rights that the rules give, and no others of those that are handled."""
    if not handled or (ruleset := _call(_CREATE_RULESET, ctypes.byref(_Ruleset(handled)), ctypes.sizeof(_Ruleset), 0)) < 0:
        return False
    try:
        for path, access in rules:
            _allow(ruleset, path, access)
        return _prctl() and _call(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _of_python() -> list[Path]:
    """What an interpreter may still come to open: modules, libraries, devices, and what it says of itself.

    Where it was started is none of it, although Python may look for modules there.
    """
    package = Path(headrace.__file__).parent
    parts = [path.resolve() for path in package.iterdir() if path.is_dir()]  # links, where it is not installed
    modules = [Path(folder) for folder in sys.path if folder and Path(folder).resolve() not in (Path.cwd(), package.parent)]
    prefixes = [Path(folder) for folder in {sys.prefix, sys.base_prefix, sys.exec_prefix}]
    return [package, *parts, *modules, *prefixes, *map(Path, _SYSTEM)]


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    try:
        own = access if os.path.isdir(path) else access & _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(own, opened)), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))


def _prctl() -> bool:
    return int(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)) == 0
