"""HDFS as a store. A table's namespace is kept by the NameNode, whose single steps are atomic and in one order.

Put if absent: a temporary is written and closed, then renamed where nothing is (landing.md, Put-if-absent). Both clients send
a request again when a connection fails, and so may report a rename that was done as one whose source is missing or whose target
exists. What an error means is therefore looked up: a target that is there is `EXISTS` (the protocol compares whose it is), and
a temporary that we could delete was not renamed and never will be. All else is `UNKNOWN`.
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader, BytesIO
from threading import Event
from typing import Final

from headrace.errors import CorruptError, StorageError, UsageError
from headrace.sinks.stores.hdfs_client import Readable, WatchedClient
from headrace.sinks.stores.listed_sizes import listed_sizes
from headrace.sinks.stores.spool import SpooledFile
from headrace.sinks.table import names
from headrace.sinks.table.store import Entry, NewFile, Put

THREADS: Final = 16
RENAME_TRIES: Final = 3
WRITE_TRIES: Final = 10
WRITE_PAUSE_S: Final = 1.0
_NO_TICKET: Final = ("GSS_S_NO_CRED", "GSS_S_CREDENTIALS_EXPIRED")
"""What hdfs-native says; libhdfs says no more than that it failed."""
"""A DataNode that has died is offered by the NameNode until it counts as stale or dead (30 s, 10 minutes)."""


class HdfsRoot:
    """A directory of tables on HDFS."""

    def __init__(self, url: str, client: WatchedClient, path: str, spool: str | None) -> None:
        self._url, self._client, self._path, self._spool = url.rstrip("/"), client, path.rstrip("/"), spool
        self._threads = ThreadPoolExecutor(THREADS, "hdfs")

    def __str__(self) -> str:
        return self._url

    def prepare(self) -> None:
        probe = HdfsStore(self._client, f"{self._path}/.headrace-probe-{uuid.uuid4().hex}", self._spool, self._threads)
        try:
            self._client.make_directory(self._path or "/")
            answers = [probe.put_if_absent("probe", text) for text in (b"first", b"second")]
            held = probe.get(("probe",))
            probe.delete("probe")
            with contextlib.suppress(StorageError):  # where DataNodes die, a temporary may be left in it
                probe.remove_directory()
        except (StorageError, OSError, RuntimeError) as error:
            raise UsageError(f"load.root {self._url}: {_said(error)}; name a directory that can be written") from error
        if answers != [Put.CREATED, Put.EXISTS] or held != (b"first",):
            raise UsageError(f"load.root {self._url}: a rename overwrites there; tables cannot be landed safely")

    def is_there(self) -> bool:
        with _errors(self._url):
            try:
                return self._client.status(self._path or "/").is_directory
            except FileNotFoundError:
                return False

    def tables(self) -> list[str]:
        with _errors(self._url):
            found = [entry.path.rpartition("/")[2] for entry in self._client.list(self._path or "/", recursive=False)]
            return sorted(topic for topic in found if self._is_table(topic))

    def _is_table(self, topic: str) -> bool:
        try:
            return self._client.status(f"{self._path}/{topic}/{names.LOG}").is_directory
        except FileNotFoundError:
            return False

    def table(self, topic: str) -> "HdfsStore":
        return HdfsStore(self._client, f"{self._path}/{topic}", self._spool, self._threads)

    def end_with(self, stop: Event) -> None:
        self._client.watch.end_with(stop)

    def location(self, topic: str, path: str) -> str:
        return f"{self._url.partition('?')[0]}/{topic}/{path}".rstrip("/")


class HdfsStore:
    """A table's directory."""

    stages = True

    def __init__(self, client: WatchedClient, path: str, spool: str | None, threads: ThreadPoolExecutor) -> None:
        self._client, self._path, self._spool, self._threads = client, path, spool, threads

    def _at(self, path: str) -> str:
        return f"{self._path}/{path}" if path else self._path

    def list(self, directory: str, *, after: str = "", recursive: bool = False) -> tuple[Entry, ...]:
        above = self._at(directory) + "/"
        with _errors(above):
            try:
                found = list(self._client.list(self._at(directory), recursive=recursive))
            except FileNotFoundError:
                return ()
        entries = (
            Entry(entry.path.removeprefix(above), entry.size_bytes, entry.changed_ms)
            for entry in found
            if not entry.is_directory
        )
        return tuple(sorted((entry for entry in entries if entry.name > after), key=lambda entry: entry.name))

    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]:
        return tuple(self._threads.map(self._get, paths)) if len(paths) > 1 else tuple(map(self._get, paths))

    def _get(self, path: str) -> bytes | None:
        try:
            with self.open(path) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def put_if_absent(self, path: str, data: bytes) -> Put:
        target = self._at(path)
        temporary = self._temporary(target, data)
        try:
            self._client.rename(temporary, target)
        except (OSError, RuntimeError) as error:
            return self._after_failed_put(temporary, target, error)
        return Put.CREATED

    def _temporary(self, target: str, data: bytes) -> str:
        """A file beside `target`, by its path; written again where that failed, to other DataNodes if the NameNode has any."""
        for tries in range(WRITE_TRIES):
            path = f"{target.rpartition('/')[0]}/.{uuid.uuid4().hex}.tmp"
            try:
                self._client.write(path, BytesIO(data))
                break
            except (OSError, RuntimeError) as error:
                with contextlib.suppress(OSError, RuntimeError):  # else it is swept
                    self._client.delete(path)
                if tries == WRITE_TRIES - 1:
                    raise StorageError(f"{target}: {_said(error)}") from error
                time.sleep(WRITE_PAUSE_S)
        return path

    def _after_failed_put(self, temporary: str, target: str, error: Exception) -> Put:
        is_withdrawn = False
        try:
            is_withdrawn = self._client.delete(temporary)
            if self._client.status(target).is_directory:
                raise CorruptError(f"{target} is a directory; no loader makes one there: remove it")
            return Put.EXISTS
        except (OSError, RuntimeError):
            if is_withdrawn:
                raise StorageError(f"{target}: {_said(error)}") from error
            return Put.UNKNOWN

    def move(self, source: str, target: str) -> None:
        if source == target:
            return
        from_, to = self._at(source), self._at(target)
        with _errors(from_):
            for tries in range(RENAME_TRIES):
                if not self._is_file(from_):
                    return
                self._client.make_directory(to.rpartition("/")[0])
                try:
                    if target.startswith(names.REMOVED):  # its day there counts from now; elsewhere nobody asks
                        self._client.rename_stamped(from_, to, self.now_ms())
                    else:
                        self._client.rename(from_, to)
                    break
                except (OSError, RuntimeError):  # another loader has moved it, or tidied the directory away; or we had, unheard
                    if self._is_file(from_) and self._is_file(to):
                        raise CorruptError(f"{to} exists and is not {from_}: two files of one name") from None
                    if tries == RENAME_TRIES - 1:
                        raise
            self._tidy(source)

    def _is_file(self, path: str) -> bool:
        try:
            return not self._client.status(path).is_directory
        except FileNotFoundError:
            return False

    def delete(self, path: str) -> None:
        """Delete a file, and the directories that it leaves empty below `_headrace`."""
        with _errors(self._at(path)):
            self._client.delete(self._at(path))
            self._tidy(path)

    def _tidy(self, path: str) -> None:
        above = path.split("/")[:-1]
        while len(above) > 2 and "=" in above[-1]:
            try:
                self._client.delete(self._at("/".join(above)))
            except (OSError, RuntimeError):  # not empty
                return
            above.pop()

    def remove_directory(self) -> None:
        """Delete the table's directory, which must be empty."""
        with _errors(self._path):
            self._client.delete(self._path)

    def sync_log(self, directory: str) -> None:  # noqa: ARG002 - the NameNode has one log of edits
        """A change of our own is answered when it is in the NameNode's edits, and so is all that we saw before it."""
        self.now_ms()

    def now_ms(self) -> int:
        probe = self._at(f"{names.HIDDEN}/.{uuid.uuid4().hex}.tmp")
        with _errors(probe):
            self._client.write(probe, BytesIO())
            now_ms = self._client.status(probe).changed_ms
            self._client.delete(probe)
            return now_ms

    def create(self, path: str) -> NewFile:
        return SpooledFile(
            self._spool, lambda file: self._upload(file, path), lambda: self.delete(path), self._client.watch.heard
        )

    def _upload(self, file: Readable, path: str) -> None:
        with _errors(self._at(path)):
            self._client.write(self._at(path), file)

    def open(self, path: str) -> BufferedReader:
        try:
            return self._client.open(self._at(path))
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self._at(path)}: {_said(error)}") from error

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        return listed_sizes(self.list, self._threads, paths)


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StorageError(f"{path}: it is missing") from None
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{path}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """The first line of what HDFS says, without the NameNode's stack."""
    if any(sign in str(error) for sign in _NO_TICKET):
        return "no Kerberos ticket; run kinit for the user of this process, or name its ticket cache in KRB5CCNAME"
    return str(error).replace("\\n", "\n").strip().split("\n")[0][:500]
