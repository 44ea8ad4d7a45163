"""What is asked of a client of HDFS, whichever it is, and the watch over it."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Protocol

from headrace.sinks.stores.watch import Watch


class Readable(Protocol):
    """A local file, of which pieces are read."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Status:
    """A file or directory: absolute path, size, when it was written (the NameNode's clock, ms)."""

    path: str
    size_bytes: int
    changed_ms: int
    is_directory: bool


class HdfsClient(Protocol):
    """What the two clients have in common. Errors are FileNotFoundError and FileExistsError, else OSError or RuntimeError."""

    def status(self, path: str) -> Status: ...
    def list(self, directory: str, *, recursive: bool) -> Iterator[Status]: ...
    def open(self, path: str) -> BufferedReader: ...

    def write(self, path: str, data: Readable) -> None:
        """Make a file where none is, with the directories above it; on return it is closed and replicated."""
        ...

    def make_directory(self, path: str) -> None: ...

    def rename(self, source: str, target: str) -> None:
        """Never over another file."""
        ...

    def delete(self, path: str) -> bool:
        """Delete a file or an empty directory; whether it was there."""
        ...

    def rename_stamped(self, source: str, target: str, now_ms: int) -> None:
        """Rename, and have the file count as changed now; done again where that was done halfway."""
        ...


class WatchedClient:
    """A client, every call of which is watched."""

    def __init__(self, client: HdfsClient, watch: Watch) -> None:
        self._client, self.watch = client, watch

    def status(self, path: str) -> Status:
        with self.watch.asking(path):
            return self._client.status(path)

    def list(self, directory: str, *, recursive: bool) -> Iterator[Status]:
        with self.watch.asking(directory):
            return iter(tuple(self._client.list(directory, recursive=recursive)))

    def open(self, path: str) -> BufferedReader:
        with self.watch.asking(path):
            return self._client.open(path)

    def write(self, path: str, data: Readable) -> None:
        with self.watch.asking(path):
            self._client.write(path, data)

    def make_directory(self, path: str) -> None:
        with self.watch.asking(path):
            self._client.make_directory(path)

    def rename(self, source: str, target: str) -> None:
        with self.watch.asking(target):
            self._client.rename(source, target)

    def delete(self, path: str) -> bool:
        with self.watch.asking(path):
            return self._client.delete(path)

    def rename_stamped(self, source: str, target: str, now_ms: int) -> None:
        with self.watch.asking(target):
            self._client.rename_stamped(source, target, now_ms)
