"""Object stores (S3 and what speaks it, Azure, Google Cloud Storage) as a store (docs/adr/0031).

No object is moved in one step, so nothing is staged: a data file is written where it will stay, and nobody knows of it until a
record names it. Put if absent is the store's own conditional put. It is put again when it was not answered, and so may find its
own object there: that is `EXISTS`, and the protocol compares whose it is. All answers beside that and success leave open if
it happened, except a refusal; and a refusal says nothing of the tries before it.
"""

import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedReader
from threading import Event
from typing import Final, Protocol
from urllib.parse import SplitResult, parse_qs, urlsplit

from headrace.errors import CorruptError, StorageError, UsageError
from headrace.sinks.stores.listed_sizes import listed_sizes
from headrace.sinks.stores.spool import SpooledFile
from headrace.sinks.stores.watch import Carried, Watch
from headrace.sinks.table import names
from headrace.sinks.table.store import Entry, NewFile, Put

THREADS: Final = 16
ANSWER: Final = timedelta(seconds=10)
"""For what a store answers at once. As long as it is retried: what was not answered is not asked again beneath us."""
PIECE: Final = timedelta(seconds=30)
"""For what moves data: a part of a file, 5 or 8 MiB; a copy."""

PAUSES_S: Final = (0.1, 0.4, 1.0)
"""After the tries of a put that are not answered; whoever calls puts again, and hears before that it is to end."""


class Bucket(Protocol):
    """The objects below a root, by keys that are relative to it: single requests, each watched. All raise StorageError."""

    def entries(self, directory: str, after: str, *, recursive: bool) -> Iterable[Entry]:
        """Those below `directory`, named relative to it; may be more than are asked for, in any order."""
        ...

    def directories(self) -> list[str]:
        """The names directly below the root that have objects below them."""
        ...

    def has_any(self, directory: str) -> bool:
        """Whether there is an object below; "" is the root."""
        ...

    def get(self, key: str) -> bytes | None: ...

    def put_if_absent(self, key: str, data: bytes) -> Put:
        """Tried once. EXISTS: there is an object, or a conflict with another put. Raises StorageError: it was refused."""
        ...

    def stamp(self, key: str) -> int:
        """Write an empty object and delete it: when the store says that it was written, ms since the epoch."""
        ...

    def size(self, key: str) -> int | None: ...

    def copy(self, source: str, target: str) -> None:
        """Does nothing, if there is no source."""
        ...

    def delete(self, key: str) -> None: ...
    def upload(self, key: str, file: Carried) -> None: ...

    def open(self, key: str) -> BufferedReader:
        """Raises FileNotFoundError."""
        ...


def connect(url: str, spool: str | None, watch: Watch) -> "ObjectRoot":
    """The root at `s3://BUCKET/PREFIX`, `gs://…` or `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/…`.

    `?endpoint=` names another server than the provider's, `&region=` a region of S3.

    Credentials come from the environment, as the stores' own tools have them; never from the URL.

    Raises:
        UsageError: the client is not installed, or cannot make sense of the URL or the environment.
    """
    parts = urlsplit(url)
    if parts.password or (parts.username and not parts.scheme.startswith("abfs")):
        raise UsageError(f"{parts.scheme}://{parts.hostname}: a root's URL holds no credentials; give them by the environment")
    is_google = parts.scheme in ("gs", "gcs")
    options = ("endpoint",) if is_google else ("endpoint", "region")
    asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if unknown := asked.keys() - set(options):
        raise UsageError(f"{url}: {unknown.pop()}= is not known; there is {', '.join(options)}")
    plain = parts._replace(query="", scheme="gs" if is_google else parts.scheme).geturl().rstrip("/")
    try:
        bucket = _bucket(urlsplit(plain), asked, url, watch)
    except ImportError as error:
        extra = "gcs" if is_google else "objects"
        raise UsageError(f"{url}: {error.name} is not installed; run: pip install 'headrace[{extra}]'") from error
    return ObjectRoot(url, plain, _Access(bucket, spool, watch, ThreadPoolExecutor(THREADS, "objects")))


def _bucket(plain: SplitResult, asked: dict[str, str], url: str, watch: Watch) -> Bucket:
    """Raises ImportError, UsageError."""
    if plain.scheme == "gs":
        from headrace.sinks.stores import google_bucket

        return google_bucket.connect(plain, asked, url, watch, ANSWER, PIECE)
    from headrace.sinks.stores import obstore_bucket

    return obstore_bucket.connect(plain, asked, url, watch, ANSWER, PIECE)


@dataclass(frozen=True, slots=True)
class _Access:
    """How the root is reached."""

    bucket: Bucket
    spool: str | None
    watch: Watch
    threads: ThreadPoolExecutor


class ObjectRoot:
    """A prefix in a bucket."""

    def __init__(self, url: str, plain: str, access: _Access) -> None:
        self._url, self._plain, self._access = url, plain, access

    def __str__(self) -> str:
        return self._url

    def prepare(self) -> None:
        probe = ObjectStore(self._access, f".headrace-probe-{uuid.uuid4().hex}")
        try:
            answers = []
            for text in (b"first", b"second"):
                answers.append(probe.put_if_absent("probe", text))
                if answers[-1] is Put.UNKNOWN:
                    raise UsageError(f"load.root {self._url}: it does not answer; see docs/stores.md")
            held = probe.get(("probe",))
            probe.delete("probe")
        except StorageError as error:
            raise UsageError(f"load.root {self._url}: {error}; name a bucket that can be written") from error
        if answers != [Put.CREATED, Put.EXISTS] or held != (b"first",):
            raise UsageError(
                f"load.root {self._url}: its second put of one name was not refused: without a conditional put (If-None-Match) "
                "two loaders would overwrite each other's commits; upgrade the store, or land on another"
            )

    def is_there(self) -> bool:
        return self._access.bucket.has_any("")

    def tables(self) -> list[str]:
        found = sorted(self._access.bucket.directories())
        logs = self._access.threads.map(lambda topic: self._access.bucket.has_any(f"{topic}/{names.LOG}"), found)
        return [topic for topic, has_log in zip(found, logs, strict=True) if has_log]

    def table(self, topic: str) -> "ObjectStore":
        return ObjectStore(self._access, topic)

    def end_with(self, stop: Event) -> None:
        self._access.watch.end_with(stop)

    def location(self, topic: str, path: str) -> str:
        return f"{self._plain}/{topic}/{path}".rstrip("/")


class ObjectStore:
    """The objects of a table."""

    stages = False

    def __init__(self, access: _Access, prefix: str) -> None:
        self._access, self._bucket, self._prefix = access, access.bucket, prefix

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}" if path else self._prefix

    def list(self, directory: str, *, after: str = "", recursive: bool = False) -> tuple[Entry, ...]:
        entries = self._bucket.entries(self._at(directory), after, recursive=recursive)
        wanted = (entry for entry in entries if entry.name > after and (recursive or "/" not in entry.name))
        return tuple(sorted(wanted, key=lambda entry: entry.name))

    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]:
        return tuple(self._access.threads.map(self._bucket.get, map(self._at, paths)))

    def put_if_absent(self, path: str, data: bytes) -> Put:
        began_s, is_open = time.monotonic(), False
        for pause_s in PAUSES_S:
            try:
                answer = self._bucket.put_if_absent(self._at(path), data)
            except StorageError:
                if is_open:
                    break
                raise
            if answer is not Put.UNKNOWN:
                return self._who_is_there(path) if answer is Put.EXISTS else answer
            is_open = True
            if time.monotonic() - began_s > ANSWER.total_seconds():
                break
            time.sleep(pause_s)
        return Put.UNKNOWN

    def _who_is_there(self, path: str) -> Put:
        """A conflict may also mean that another put of the name is under way, and may yet fail."""
        try:
            held = self._bucket.get(self._at(path))
        except StorageError:
            return Put.UNKNOWN
        return Put.UNKNOWN if held is None else Put.EXISTS

    def move(self, source: str, target: str) -> None:
        """Copy, then delete. A name is given once: a target that is there was copied by another, or by us unheard."""
        if source == target or source.startswith(names.STAGING):  # nothing ever is in staging
            return
        from_, to = self._at(source), self._at(target)
        sizes = [self._bucket.size(key) for key in (from_, to)]
        if sizes[0] is None:
            return
        if sizes[1] is None:
            self._bucket.copy(from_, to)
        elif sizes[0] != sizes[1]:
            raise CorruptError(f"{to} exists and is not {from_}: two objects of one name")
        self.delete(source)

    def delete(self, path: str) -> None:
        self._bucket.delete(self._at(path))

    def sync_log(self, directory: str) -> None:
        """What can be seen in an object store is durable."""

    def now_ms(self) -> int:
        return self._bucket.stamp(self._at(f"{names.HIDDEN}/.{uuid.uuid4().hex}.tmp"))

    def create(self, path: str) -> NewFile:
        return SpooledFile(
            self._access.spool,
            lambda file: self._bucket.upload(self._at(path), file),
            lambda: self.delete(path),
            self._access.watch.heard,
        )

    def open(self, path: str) -> BufferedReader:
        return self._bucket.open(self._at(path))

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        return listed_sizes(self.list, self._access.threads, paths)
