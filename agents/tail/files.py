"""The agent's hands on files: open files by handle. Shell: carries out, decides nothing.

Files are opened without blocking and only if regular, so that a pipe or a device in a glob cannot stop the agent.
"""

import ctypes
import errno
import fnmatch
import os
import stat as stat_module
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.agents.effects import Input, Measured, NotOpened, Opened
from headrace.agents.tail.gzip_content import MAGIC, GzipContent
from headrace.agents.tail.identity import FileStat

_STATX_BTIME = 0x800
_AT_EMPTY_PATH, _AT_SYMLINK_NOFOLLOW, _AT_FDCWD = 0x1000, 0x100, -100
_MEASURED_BYTES = 4 * 1024 * 1024  # looked through at once: about 30 ms
_devices: dict[int, int] = {}  # one object for each number: ten thousand files have it
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Globs:
    """The files of one input; `each` says how one of them is shipped, where that is not the same for all."""

    patterns: tuple[str, ...]
    excluded: tuple[str, ...]
    input: Input
    each: Callable[[str], Input] | None = None

    def of(self, path: str) -> Input:
        """How a file is shipped."""
        return self.input if self.each is None else self.each(path)

    def excludes(self, path: str) -> bool:
        """Whether a file is left out."""
        return any(fnmatch.fnmatch(path, each) for each in self.excluded)


def stat_of(path: str) -> FileStat | None:
    """A regular file's stat; None for anything else, and where there is nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return file_stat(found) if stat_module.S_ISREG(found.st_mode) else None


def file_stat(found: os.stat_result, birth_ns: int = 0, target: str = "") -> FileStat:
    """What the system says of a file, as the cores know it."""
    inode = found.st_ino if found.st_ino < 1 << 63 else found.st_ino - (1 << 64)  # the state's integers are signed
    device = _devices.setdefault(found.st_dev, found.st_dev)
    return FileStat(device, inode, found.st_size, found.st_mtime_ns, found.st_nlink, birth_ns, target)


def _target_of(descriptor: int, path: str) -> str:
    """Where an open file lies, if that is not the path that it was opened by; empty where the system does not say."""
    try:
        target = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
    return "" if target == path or target.endswith(" (deleted)") else target


def birth_ns_of(descriptor: int) -> int:
    """When an open file was made, ns since the epoch; 0 where the file system does not say (Python's os has no statx)."""
    return _birth_ns(descriptor, b"", _AT_EMPTY_PATH)


def path_birth_ns(path: str) -> int:
    """The same by a file's name; of a symbolic link, its own."""
    return _birth_ns(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW)


def _birth_ns(descriptor: int, path: bytes, flags: int) -> int:
    buffer = ctypes.create_string_buffer(256)
    try:
        failed = _libc.statx(descriptor, path, flags, _STATX_BTIME, buffer)
    except AttributeError:  # a C library older than 2.28
        return 0
    if failed or not struct.unpack_from("=I", buffer, 0)[0] & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    return int(seconds * 1_000_000_000 + nanoseconds)


class OpenFiles:
    """Open files by handle (their descriptors)."""

    def __init__(self) -> None:
        self._packed: dict[int, GzipContent] = {}

    def open(self, path: str, *, packed: bool = False) -> Opened | NotOpened:
        """Open for reading; with `packed`, what a gzip file holds (its `trailer` is not given if it is none)."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            denied, exhausted = error.errno in (errno.EACCES, errno.EPERM), error.errno in (errno.EMFILE, errno.ENFILE)
            return NotOpened(error.strerror or str(error), denied, exhausted)
        found = os.fstat(descriptor)
        if not stat_module.S_ISREG(found.st_mode):
            os.close(descriptor)
            return NotOpened("not a regular file", denied=True)
        stat = file_stat(found, birth_ns_of(descriptor), _target_of(descriptor, path))
        if not packed or (stat.size and os.pread(descriptor, len(MAGIC), 0) != MAGIC[: stat.size]):
            return Opened(descriptor, stat)
        content = self._packed[descriptor] = GzipContent(descriptor)
        return Opened(descriptor, stat, content.trailer())

    def measure(self, handle: int, marks: tuple[tuple[int, int], ...]) -> Measured:
        """Look through some of what a packed file holds; a file that cannot be read ends there."""
        content = self._packed[handle]
        try:
            size = content.measure(_MEASURED_BYTES, marks)
        except OSError as error:
            return Measured(True, content.measured_to, content.crcs, error.strerror or str(error), 1)
        return Measured(size == content.end, size, content.crcs, content.broken, content.lost_bytes)

    def stat(self, handle: int) -> FileStat | None:
        """The stat of an open file, with the size of what it holds if it is packed; None where the system fails."""
        try:
            stat = file_stat(os.fstat(handle))
        except OSError:
            return None
        content = self._packed.get(handle)
        return stat if content is None else replace(stat, size=content.measured_to)

    def read(self, handle: int, offset: int, length: int) -> bytes | None:
        """Up to `length` bytes at `offset`, fewer only at the end; None where the system fails."""
        pieces = []
        try:
            if handle in self._packed:
                return self._packed[handle].read(offset, length)
            while length > 0 and (piece := os.pread(handle, length, offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        except OSError:
            return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self, handle: int) -> None:
        """Let go of it."""
        self._packed.pop(handle, None)
        os.close(handle)
