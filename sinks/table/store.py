"""What the table log asks of a store, and the local disk as one. No protocol lives here, only durable single steps.

The cores (commit.py, upkeep.py) are generators that yield the operations below, in the order in which they must be carried
out, and are sent the answers; `carry_out` does that on a Store. Paths are relative to the table's directory.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from headrace.clock import Clock
from headrace.errors import CorruptError, StorageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed file: path relative to the listed directory, size, when it was written or moved (the store's clock, ms)."""

    name: str
    size_bytes: int
    changed_ms: int


class Put(Enum):
    """The answer to a conditional put. UNKNOWN: it may have happened, or may happen yet."""

    CREATED = "created"
    EXISTS = "exists"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class List:
    """Answer: tuple[Entry, …], by name; of files directly in `directory` (or anywhere below) with a name after `after`."""

    directory: str
    after: str = ""
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """Answer: tuple[bytes | None, …], None for what is absent. One request, however many: stores fetch them together."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PutIfAbsent:
    """Answer: Put."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Move:
    """Move each (source, target), if the source exists; never over another file. Answer: None."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete what exists of `paths`. Answer: None."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SyncLog:
    """Make durable whatever a reader of the log can see in `directory`. Answer: None."""

    directory: str


@dataclass(frozen=True, slots=True)
class Now:
    """Answer: MonotonicMs, of a clock that counts suspension."""


@dataclass(frozen=True, slots=True)
class StoreNow:
    """Answer: ms since the epoch by the clock that stamps the store's entries."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Answer: whether what was read still is what the topic holds (fingerprints, topic ids); asked of Kafka, not the store."""


Operation = List | Get | PutIfAbsent | Move | Delete | SyncLog | Now | StoreNow | Verify
Steps = Generator[Operation, Any, T]


class Store(Protocol):
    """One table's directory on some store. All methods raise StorageError."""

    def list(self, directory: str, *, after: str, recursive: bool) -> tuple[Entry, ...]: ...
    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]: ...
    def put_if_absent(self, path: str, data: bytes) -> Put: ...
    def move(self, source: str, target: str) -> None: ...
    def delete(self, path: str) -> None: ...
    def sync_log(self, directory: str) -> None: ...
    def now_ms(self) -> int: ...


def carry_out(steps: Steps[T], store: Store, clock: Clock | None = None, verify: Callable[[], bool] = lambda: True) -> T:
    """Run a core on a store until it returns.

    Args:
        clock: needed by cores that ask for Now (commits).
        verify: answers Verify.
    """
    answer: Any = None
    failed: StorageError | None = None
    while True:
        try:
            operation = steps.send(answer) if failed is None else steps.throw(failed)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # the steps say which type
        failed = None
        try:
            answer = _answer(operation, store, clock, verify)
        except StorageError as error:
            failed = error  # the core says what it means: it goes on through it, unless it is caught there


def _answer(operation: Operation, store: Store, clock: Clock | None, verify: Callable[[], bool]) -> Any:
    match operation:
        case List(directory, after, recursive):
            return store.list(directory, after=after, recursive=recursive)
        case Get(paths):
            return store.get(paths)
        case PutIfAbsent(path, data):
            return store.put_if_absent(path, data)
        case Move(pairs):
            for source, target in pairs:
                store.move(source, target)
        case Delete(paths):
            for path in paths:
                store.delete(path)
        case SyncLog(directory):
            store.sync_log(directory)
        case Now():
            assert clock is not None, "this core asks for the time"
            return clock.monotonic_ms()
        case StoreNow():
            return store.now_ms()
        case Verify():
            return verify()
    return None


class LocalStore:
    """A table on a local disk (or one that behaves so: atomic link and rename, fsync of directories)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, directory: str, *, after: str = "", recursive: bool = False) -> tuple[Entry, ...]:
        with _errors(self.root / directory):
            return tuple(sorted(self._entries(self.root / directory, "", after, recursive), key=lambda entry: entry.name))

    def _entries(self, directory: Path, prefix: str, after: str, recursive: bool) -> Iterator[Entry]:
        try:
            found = os.scandir(directory)
        except FileNotFoundError:
            return
        with found:
            for item in found:
                name = prefix + item.name
                if item.is_dir(follow_symlinks=False):
                    if recursive:
                        yield from self._entries(directory / item.name, name + "/", after, recursive)
                elif name > after:
                    with contextlib.suppress(FileNotFoundError):  # moved since it was listed
                        status = item.stat(follow_symlinks=False)
                        yield Entry(name, status.st_size, status.st_mtime_ns // 1_000_000)

    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]:
        return tuple(self._get(self.root / path) for path in paths)

    def _get(self, path: Path) -> bytes | None:
        with _errors(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def put_if_absent(self, path: str, data: bytes) -> Put:
        """Temporary file, fsync, link(2), fsync of the directory; what is visible is whole, what is answered is durable."""
        target = self.root / path
        temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
        with _errors(target):
            make_directory(target.parent, self.root)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, target)
                except FileExistsError:
                    return Put.EXISTS
                sync_directory(target.parent)
                return Put.CREATED
            finally:
                temporary.unlink(missing_ok=True)

    def move(self, source: str, target: str) -> None:
        """Link, then unlink: unlike rename(2), link does not overwrite. The next move finishes what a crash left between."""
        from_, to = self.root / source, self.root / target
        with _errors(from_):
            if not from_.exists():
                return
            make_directory(to.parent, self.root)
            try:
                os.utime(from_)
                os.link(from_, to)
                sync_directory(to.parent)
            except FileNotFoundError:
                return  # another loader has moved it
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if not os.path.samefile(from_, to):
                        raise CorruptError(f"{to} exists and is not {from_}: two files of one name") from None
            self.delete(source)

    def delete(self, path: str) -> None:
        """Delete a file, and the directories that it leaves empty below `_headrace`."""
        target = self.root / path
        with _errors(target):
            target.unlink(missing_ok=True)
            for parent in target.parents:
                if len(parent.relative_to(self.root).parts) < 3 or "=" not in parent.name:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break

    def sync_log(self, directory: str) -> None:
        with _errors(self.root / directory), contextlib.suppress(FileNotFoundError):
            sync_directory(self.root / directory)

    def now_ms(self) -> int:
        """The time that this file system stamps on a new file (a network file system has a clock of its own)."""
        probe = self.root / "_headrace" / f".{uuid.uuid4().hex}.tmp"
        with _errors(probe):
            make_directory(probe.parent, self.root)
            try:
                probe.touch()
                return probe.stat().st_mtime_ns // 1_000_000
            except FileNotFoundError:
                return time.time_ns() // 1_000_000
            finally:
                probe.unlink(missing_ok=True)


def make_directory(directory: Path, root: Path) -> None:
    """Make `directory` and what is missing above it down from `root`'s parent, each durable in its parent."""
    if directory.is_dir():
        return
    if directory != root and directory != directory.parent:
        make_directory(directory.parent, root)
    directory.mkdir(parents=True, exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """fsync a directory, so that the names in it survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
