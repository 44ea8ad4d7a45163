"""A disk in memory that loses power: it keeps what was synced, and of the rest whatever a real one might keep.

At a crash, each file has for every 512-byte sector either its synced or its last content, and a length between the two; each
directory has its synced names or those after any number of its later operations, in order (journalled file systems keep that
order within a directory, and nothing between directories or between names and contents). A write may be torn in the middle.
`crash_after(n)` cuts the power at the n-th operation that changes something; `fail_next` makes one operation fail.
"""

import random
from collections.abc import Sequence

from headrace.broker.log.disk import Buffer

SECTOR = 512


class PowerCutError(BaseException):
    """The process ends here. Not an Exception, so that nothing in the product can catch it."""


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.synced = b""
        self.modified_ms = 0

    def after_crash(self, rng: random.Random, *, lucky: bool) -> "_Inode":
        survivor = _Inode()
        old, new = self.synced, bytes(self.content)
        if lucky or old == new:
            survivor.content = bytearray(new)
        elif rng.random() < 0.3:
            survivor.content = bytearray(old)
        else:
            survivor.content = self._blend(old, new, rng)
        survivor.synced = bytes(survivor.content)
        survivor.modified_ms = self.modified_ms
        return survivor

    @staticmethod
    def _blend(old: bytes, new: bytes, rng: random.Random) -> bytearray:
        low, high = sorted((len(old), len(new)))
        size = rng.choice([low, high, rng.randint(low, high)])
        kept = rng.choice([0.1, 0.5, 0.9, 1.0])
        blend = bytearray()
        for at in range(0, size, SECTOR):
            source = new if rng.random() < kept else old
            blend += source[at : at + SECTOR].ljust(SECTOR, b"\0")
        return blend[:size]


class _Directory:
    def __init__(self) -> None:
        self.entries: dict[str, _Inode | _Directory] = {}
        self.states: list[dict[str, _Inode | _Directory]] = [{}]  # synced, then after each operation since

    def changed(self) -> None:
        self.states.append(dict(self.entries))

    def after_crash(self, rng: random.Random, *, lucky: bool) -> "_Directory":
        survivor = _Directory()
        state = self.states[-1] if lucky else rng.choice(self.states)
        for name, node in state.items():
            survivor.entries[name] = node.after_crash(rng, lucky=lucky)  # type: ignore[assignment]  # each kind makes its own kind
        survivor.states = [dict(survivor.entries)]
        return survivor


class SimFile:
    """An open file of a `SimDisk`."""

    def __init__(self, disk: "SimDisk", inode: _Inode, path: str) -> None:
        self._disk, self._inode, self._path, self._open = disk, inode, path, True

    def _check(self) -> None:
        if not self._open:
            raise OSError(9, "this file is closed")

    def pread(self, size: int, position: int) -> bytes:
        self._check()
        self._disk.may_fail("pread", self._path)
        return bytes(self._inode.content[position : position + size])

    def pread_cached(self, size: int, position: int) -> bytes:
        return self.pread(size, position)

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> None:
        self._check()
        data = b"".join(buffers)
        try:
            self._disk.step("pwrite", self._path)
        except (PowerCutError, OSError):
            self._write(data[: self._disk.torn(len(data))], position)
            raise
        self._write(data, position)

    def _write(self, data: bytes, position: int) -> None:
        content = self._inode.content
        if position > len(content):
            content += bytes(position - len(content))
        content[position : position + len(data)] = data

    def truncate(self, size: int) -> None:
        self._check()
        self._disk.step("truncate", self._path)
        del self._inode.content[size:]
        self._inode.content += bytes(size - len(self._inode.content))

    def size(self) -> int:
        self._check()
        return len(self._inode.content)

    def sync(self) -> None:
        self._check()
        self._disk.step("sync", self._path)
        self._inode.synced = bytes(self._inode.content)

    def fileno(self) -> int:
        raise OSError("a simulated file has no descriptor")

    def close(self) -> None:
        self._open = False


class _SimLock:
    def __init__(self, held: set[str], path: str) -> None:
        self._held, self._path = held, path

    def release(self) -> None:
        self._held.discard(self._path)


class SimDisk:
    """The disk; `crashed` gives the disk that the next process finds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._root = _Directory()
        self._locks: set[str] = set()
        self._until_crash: int | None = None
        self._failures: dict[str, OSError] = {}
        self.free_bytes = self.total_bytes = 1 << 40
        self.dead: tuple[str, ...] = ()  # what lies below these paths fails

    # Faults

    def crash_after(self, operations: int) -> None:
        """Cut the power at that many changing operations from now."""
        self._until_crash = operations

    def fail_next(self, operation: str, error: OSError | None) -> None:
        """Let the next `operation` (a method's name) fail once; None takes that back."""
        self._failures.pop(operation, None)
        if error is not None:
            self._failures[operation] = error

    def crashed(self, *, lucky: bool = False) -> "SimDisk":
        """What is left; `lucky` is the death of the process alone, as by kill -9: the page cache survives."""
        survivor = SimDisk(self._rng)
        survivor._root = self._root.after_crash(self._rng, lucky=lucky)
        survivor.free_bytes, survivor.total_bytes, survivor.dead = self.free_bytes, self.total_bytes, self.dead
        return survivor

    def step(self, operation: str, path: str) -> None:
        self.may_fail(operation, path)
        if self._until_crash is not None:
            self._until_crash -= 1
            if self._until_crash <= 0:
                raise PowerCutError

    def may_fail(self, operation: str, path: str) -> None:
        if path.startswith(self.dead):
            raise OSError(5, "Input/output error", path)
        if operation in self._failures:
            raise self._failures.pop(operation)

    def torn(self, size: int) -> int:
        return self._rng.randint(0, size)

    # What the tests do to files behind the log's back

    def content(self, path: str) -> bytes:
        return bytes(self._file(path).content)

    def replace(self, path: str, content: bytes) -> None:
        """Damage a file, durably."""
        inode = self._file(path)
        inode.content, inode.synced = bytearray(content), content

    # Disk

    def open(self, path: str, *, create: bool = False) -> SimFile:
        self.may_fail("open", path)
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if node is None:
            if not create:
                raise FileNotFoundError(2, "no such file", path)
            self.step("create", path)
            node = directory.entries[name] = _Inode()
            directory.changed()
        if not isinstance(node, _Inode):
            raise IsADirectoryError(21, "is a directory", path)
        return SimFile(self, node, path)

    def list(self, path: str) -> list[str]:
        self.may_fail("list", path)
        return sorted(self._directory(path).entries)

    def make_directory(self, path: str, *, durable: bool = True) -> None:
        directory = self._root
        for name in filter(None, path.split("/")):
            node = directory.entries.get(name)
            if node is None:
                self.step("make_directory", path)
                node = directory.entries[name] = _Directory()
                directory.changed()
                if durable:
                    directory.states = [dict(directory.entries)]
            if not isinstance(node, _Directory):
                raise FileExistsError(17, "is a file", path)
            directory = node

    def rename(self, old: str, new: str) -> None:
        directory, name = self._parent(old)
        target, new_name = self._parent(new)
        assert directory is target, "only within one directory"
        if name not in directory.entries:
            raise FileNotFoundError(2, "no such file", old)
        self.step("rename", new)
        directory.entries[new_name] = directory.entries.pop(name)
        directory.changed()

    def remove(self, path: str) -> None:
        self._file(path)
        self.step("remove", path)
        directory, name = self._parent(path)
        del directory.entries[name]
        directory.changed()

    def remove_directory(self, path: str) -> None:
        if self._directory(path).entries:
            raise OSError(39, "directory not empty", path)
        self.step("remove_directory", path)
        directory, name = self._parent(path)
        del directory.entries[name]
        directory.changed()

    def sync_directory(self, path: str) -> None:
        directory = self._directory(path)
        self.step("sync_directory", path)
        directory.states = [dict(directory.entries)]

    def space(self, path: str) -> tuple[int, int]:
        self.may_fail("space", path)
        self._directory(path)
        return self.free_bytes, self.total_bytes

    def modified_ms(self, path: str) -> int:
        return self._file(path).modified_ms

    def lock(self, path: str) -> _SimLock:
        self.may_fail("lock", path)
        if path in self._locks:
            raise BlockingIOError(11, "locked", path)
        self._locks.add(path)
        return _SimLock(self._locks, path)

    def _parent(self, path: str) -> tuple[_Directory, str]:
        parent, _, name = path.rpartition("/")
        return self._directory(parent), name

    def _directory(self, path: str) -> _Directory:
        directory = self._root
        for name in filter(None, path.split("/")):
            node = directory.entries.get(name)
            if not isinstance(node, _Directory):
                raise FileNotFoundError(2, "no such directory", path)
            directory = node
        return directory

    def _file(self, path: str) -> _Inode:
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if not isinstance(node, _Inode):
            raise FileNotFoundError(2, "no such file", path)
        return node
