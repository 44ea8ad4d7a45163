"""A local disk (or what behaves so: atomic link and rename, fsync of directories) as a store."""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from threading import Event

from headrace.errors import CorruptError, StorageError
from headrace.process import writable_directory
from headrace.sinks.table import names
from headrace.sinks.table.store import Entry, Put, missing


class LocalRoot:
    """A directory of tables."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    def __str__(self) -> str:
        return str(self.directory)

    def prepare(self) -> None:
        """Make the directory, and see that it can be written.

        Raises:
            UsageError: it cannot.
        """
        writable_directory(self.directory, "load.root")

    def is_there(self) -> bool:
        with self._readable():
            return self.directory.is_dir()

    def tables(self) -> list[str]:
        with self._readable():
            return sorted(entry.name for entry in self.directory.iterdir() if (entry / names.LOG).is_dir())

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self.directory
            raise StorageError(f"{where}: {error.strerror or error}; let this user read the whole root") from error

    def table(self, topic: str) -> "LocalStore":
        return LocalStore(self.directory / topic)

    def end_with(self, stop: Event) -> None:
        """A local disk answers, or nothing can be done."""

    def location(self, topic: str, path: str) -> str:
        return f"{self.directory}/{topic}/{path}" if path else f"{self.directory}/{topic}"


class LocalStore:
    """A table's directory."""

    stages = True

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
            if source == target or not from_.exists():
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

    def link(self, pairs: Mapping[str, str]) -> None:
        """Give live files, by their paths in the log, a second name each, wherever they are; all durable on return.

        Raises:
            StorageError: a file is nowhere.
        """
        directories = {(self.root / link).parent for link in pairs.values()}
        for directory in directories:
            with _errors(directory):
                make_directory(directory, self.root)
        for path, link in pairs.items():
            self._link(path, self.root / link)
        for directory in directories:
            with _errors(directory):
                sync_directory(directory)

    def _link(self, path: str, to: Path) -> None:
        with _errors(to):
            for place in (names.staged(path), path, names.removed(path)):  # a file only ever moves forward
                try:
                    os.link(self.root / place, to)
                    return
                except FileExistsError:
                    return
                except FileNotFoundError:
                    continue
        raise missing(self.root / path)

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

    def create(self, path: str) -> "LocalFile":
        target = self.root / path
        with _errors(target):
            while True:
                make_directory(target.parent, self.root)
                try:
                    return LocalFile(target)
                except FileNotFoundError:  # another loader has just tidied the empty directory away
                    continue

    def open(self, path: str) -> BufferedReader:
        try:
            return (self.root / path).open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"{self.root / path}: {error.strerror or error}") from error

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        sizes: list[int | None] = []
        root = str(self.root)
        for path in paths:  # of a table's files there are thousands: no objects for each
            try:
                sizes.append(os.stat(f"{root}/{path}").st_size)
            except FileNotFoundError:
                sizes.append(None)
            except OSError as error:
                raise StorageError(f"{root}/{path}: {error.strerror or error}") from error
        return tuple(sizes)


class LocalFile:
    """A file that is written where it will stay until its record is committed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=1 << 20)
        self._is_finished = False

    def write(self, data: bytes | memoryview) -> int:
        return self._file.write(data)

    def finish(self) -> None:
        """fsync it, and the directory that it is in (which `create` has made durable in turn)."""
        with _errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            sync_directory(self._path.parent)
        self._is_finished = True

    def discard(self) -> None:
        if self._is_finished:
            return
        with contextlib.suppress(OSError):  # a full disk refuses what is still buffered
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


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
