"""What the log asks of a disk, and the real one.

The log never touches `os`: a `Disk` is handed in, so that the simulator can tear writes, forget unsynced pages and lose
unsynced directory entries (tests/sim/log/disk.py). Both pass one contract suite. Promises, as POSIX gives them and no more:
bytes written are durable after `DiskFile.sync`; a name made, renamed or removed is durable after `sync_directory` of its
directory. Every method raises OSError when the disk fails.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class DiskFile(Protocol):
    """An open file, read and written by position."""

    def pread(self, size: int, position: int) -> bytes:
        """Up to `size` bytes from `position`; fewer only at the end of the file."""
        ...

    def pread_cached(self, size: int, position: int) -> Buffer | None:
        """What the page cache has of it, without waiting; None if it has nothing. Reads where the file system cannot tell."""
        ...

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> None:
        """Write all of the buffers, one after another, from `position`; after an OSError any part may be written."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def size(self) -> int:
        """Length, bytes."""
        ...

    def sync(self) -> None:
        """Return when all bytes and the length are durable; may run on another thread."""
        ...

    def fileno(self) -> int:
        """The descriptor, for sendfile. Raises OSError once closed, so that a number used again is never read by mistake."""
        ...

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        ...


class Lock(Protocol):
    """A lock held on a directory."""

    def release(self) -> None:
        """Let others have it; a second time does nothing."""
        ...


class Disk(Protocol):
    """A file system; paths are absolute, with `/`."""

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        """Open for reading and writing.

        Raises:
            FileNotFoundError: it is not there, and `create` is false. OSError: it is no regular file (a directory, a pipe …).
        """
        ...

    def list(self, path: str) -> list[str]:
        """Names in a directory, sorted."""
        ...

    def make_directory(self, path: str, *, durable: bool = True) -> None:
        """Make a directory and its parents, durably unless told otherwise; one that is there is fine."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename within one directory, over whatever file `new` names."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def sync_directory(self, path: str) -> None:
        """Return when the names in this directory are durable; may run on another thread."""
        ...

    def space(self, path: str) -> tuple[int, int]:
        """(bytes free to us, bytes in all) of the file system that holds `path`."""
        ...

    def modified_ms(self, path: str) -> int:
        """When a file was last written, wall time in ms."""
        ...

    def lock(self, path: str) -> Lock:
        """Take the lock that this file stands for, made if need be; it ends with the process.

        Raises:
            BlockingIOError: another process holds it.
        """
        ...


class RealFile:
    """A file of the operating system; closed with its last holder: a response being sent keeps a deleted segment alive."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pread(self, size: int, position: int) -> bytes:
        return os.pread(self._fd, size, position)

    def pread_cached(self, size: int, position: int) -> Buffer | None:
        buffer = bytearray(size)
        try:
            count = os.preadv(self.fileno(), [buffer], position, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # this file system has no such reads
                return os.pread(self._fd, size, position)
            raise
        return memoryview(buffer)[:count] if count < size else buffer

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> None:
        written = os.pwritev(self._fd, buffers, position)
        total = sum(map(len, buffers))
        if written == total:
            return
        rest = memoryview(b"".join(buffers))  # a short write: rare, so this may copy
        while written < total:
            step = os.pwrite(self._fd, rest[written:], position + written)
            if step <= 0:
                raise OSError(f"wrote {written} of {total} bytes")
            written += step

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        os.fdatasync(self._fd)  # the length counts as data, the times do not

    def fileno(self) -> int:
        if self._fd < 0:
            raise OSError("this file is closed")
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class RealDisk:
    """The operating system's files."""

    def open(self, path: str, *, create: bool = False) -> RealFile:
        return RealFile(_open(path, os.O_RDWR | (os.O_CREAT if create else 0)))

    def list(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def make_directory(self, path: str, *, durable: bool = True) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        self.make_directory(parent)
        os.mkdir(path)
        if durable:
            self.sync_directory(parent)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def space(self, path: str) -> tuple[int, int]:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def modified_ms(self, path: str) -> int:
        return os.stat(path).st_mtime_ns // 1_000_000

    def lock(self, path: str) -> "RealLock":
        return _locked(_open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)


class ReadOnlyDisk(RealDisk):
    """The operating system's files, opened for reading only: nothing can be changed by mistake."""

    def open(self, path: str, *, create: bool = False) -> "RealFile":
        assert not create
        return RealFile(_open(path, os.O_RDONLY))

    def lock(self, path: str) -> "RealLock":
        """Keep writers away; other readers may come. The file must be there."""
        return _locked(_open(path, os.O_RDONLY), fcntl.LOCK_SH)


def _open(path: str, flags: int) -> int:
    """A descriptor of a regular file, and of nothing else: who opens a pipe waits for its other end, for ever."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def _locked(fd: int, mode: int) -> "RealLock":
    """Both of Linux's kinds of lock, which do not see each other: ours is flock, Apache Kafka's that of POSIX."""
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
        fcntl.lockf(fd, mode | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        raise
    return RealLock(fd)


class RealLock:
    """A lock of the operating system."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def is_full(error: OSError) -> bool:
    """Whether the disk only lacks room: what was written before still stands."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_descriptors(error: OSError) -> bool:
    """Whether a file could not be opened because too many are: nothing was done, and later it will be."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def read_whole(disk: Disk, path: str) -> bytes | None:
    """A small file's bytes, or None where there is none."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        return file.pread(file.size(), 0)
    finally:
        file.close()


def write_whole(disk: Disk, directory: str, name: str, content: bytes, *, durable: bool = True) -> None:
    """Put a small file in place at once or not at all, durably: temporary file, fsync, rename, fsync of the directory.

    Args:
        durable: false leaves out the fsyncs, for what can be made again.
    Source: KAFKA-16541 (checkpoint files torn by a crash because no fsync came before the rename).
    """
    temporary = f"{directory}/{name}.tmp"
    file = disk.open(temporary, create=True)
    try:
        file.truncate(0)
        file.pwrite([content], 0)
        if durable:
            file.sync()
    finally:
        file.close()
    disk.rename(temporary, f"{directory}/{name}")
    if durable:
        disk.sync_directory(directory)


def remove_if_there(disk: Disk, path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        disk.remove(path)
    except FileNotFoundError:
        return
