"""Object stores (S3 and what speaks it, Google Cloud Storage, Azure) as a store, through obstore (docs/adr/0031).

No object is moved in one step, so nothing is staged: a data file is written where it will stay, and nobody knows of it until a
record names it. Put if absent is the store's own conditional put; obstore sends a request again when a connection fails, and so
may find its own object there: that is `EXISTS`, and the protocol compares whose it is. All that a conditional put may answer
beside that and success leaves open whether it happened, except a refusal.
"""

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedReader
from threading import Event
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from headrace.errors import CorruptError, StorageError, UsageError
from headrace.sinks.stores import credentials
from headrace.sinks.stores.buffered import buffered
from headrace.sinks.stores.listed_sizes import listed_sizes
from headrace.sinks.stores.object_errors import errors, is_refusal, said
from headrace.sinks.stores.spool import SpooledFile
from headrace.sinks.stores.watch import Carried, Watch
from headrace.sinks.table import names
from headrace.sinks.table.store import Entry, NewFile, Put

THREADS: Final = 16
RETRIES: Final = {"max_retries": 5, "retry_timeout": timedelta(seconds=10)}
"""Short, since whoever calls tries again, and between two tries hears that it is to end."""
ANSWER: Final = timedelta(seconds=10)
"""For what a store answers at once. As long as it is retried: what was not answered is not asked again beneath us."""
PIECE: Final = timedelta(seconds=30)
"""For what moves data: a part of a file, 5 MiB, of which twelve are on their way together; a copy."""
ONCE: Final = timedelta(seconds=2)
"""For the question whether there are credentials at all; a machine that has a role says so in milliseconds."""
OPTIONS: Final = ("endpoint", "region")


def connect(url: str, spool: str | None, watch: Watch) -> "ObjectRoot":
    """The root at `s3://BUCKET/PREFIX`, `gs://…` or `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/…`.

    `?endpoint=` names another server than the provider's, `&region=` a region of S3.

    Credentials come from the environment, as the stores' own tools have them; never from the URL.

    Raises:
        UsageError: obstore is not installed, or cannot make sense of the URL or the environment.
    """
    parts = urlsplit(url)
    if parts.password or (parts.username and not parts.scheme.startswith("abfs")):
        raise UsageError(f"{parts.scheme}://{parts.hostname}: a root's URL holds no credentials; give them by the environment")
    asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if unknown := asked.keys() - set(OPTIONS):
        raise UsageError(f"{url}: {unknown.pop()}= is not known; there are {', '.join(OPTIONS)}")
    if "endpoint" in asked and parts.scheme in ("gs", "gcs"):
        asked["base_url"] = asked.pop("endpoint")
    plain = parts._replace(query="", scheme="gs" if parts.scheme == "gcs" else parts.scheme).geturl().rstrip("/")
    try:
        asking, carrying = (_client(plain, asked, timeout, RETRIES) for timeout in (ANSWER, PIECE))
        once = _client(plain, asked, ONCE, {"max_retries": 0})
    except ImportError as error:
        raise UsageError(f"{url}: {error.name} is not installed; run: pip install 'headrace[objects]'") from error
    except Exception as error:
        raise UsageError(f"{url}: {said(error)}; see docs/stores.md") from error
    credentials.demand(urlsplit(plain).scheme, url, lambda: _has_any(once, ""))
    return ObjectRoot(url, plain, _Access(asking, carrying, spool, watch, ThreadPoolExecutor(THREADS, "objects")))


def _client(plain: str, asked: dict[str, str], timeout: timedelta, retries: dict[str, Any]) -> Any:
    from obstore.store import from_url

    options: dict[str, Any] = {"timeout": timeout}
    if any(value.startswith("http://") for value in asked.values()):
        options["allow_http"] = True
    return from_url(plain, config=asked, client_options=options, retry_config=retries)  # type: ignore[call-overload]


def _has_any(store: Any, prefix: str) -> bool:
    import obstore

    return any(obstore.list(store, prefix or None, chunk_size=1))


@dataclass(frozen=True, slots=True)
class _Access:
    """How the root is reached: one client for requests, one for data."""

    asking: Any
    carrying: Any
    spool: str | None
    watch: Watch
    threads: ThreadPoolExecutor

    @contextlib.contextmanager
    def errors(self, path: str) -> Iterator[None]:
        """While the store is asked for `path`. Raises StorageError for obstore's errors."""
        with errors(path), self.watch.asking(path):
            yield


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
        return self._has("")

    def _has(self, prefix: str) -> bool:
        with self._access.errors(f"{self._plain}/{prefix}"):
            return _has_any(self._access.asking, prefix)

    def tables(self) -> list[str]:
        import obstore

        with self._access.errors(self._plain):
            found = sorted(obstore.list_with_delimiter(self._access.asking)["common_prefixes"])
        logs = self._access.threads.map(lambda topic: self._has(f"{topic}/{names.LOG}"), found)
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
        self._access, self._prefix = access, prefix

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}" if path else self._prefix

    def list(self, directory: str, *, after: str = "", recursive: bool = False) -> tuple[Entry, ...]:
        import obstore

        above = self._at(directory)
        with self._access.errors(above):
            if recursive or after:
                offset = f"{above}/{after}" if after else None
                found = [one for chunk in obstore.list(self._access.asking, above, offset=offset) for one in chunk]
            else:
                found = list(obstore.list_with_delimiter(self._access.asking, above)["objects"])
        entries = (
            Entry(one["path"].removeprefix(above + "/"), one["size"], int(one["last_modified"].timestamp() * 1000))
            for one in found
        )
        wanted = (entry for entry in entries if entry.name > after and (recursive or "/" not in entry.name))
        return tuple(sorted(wanted, key=lambda entry: entry.name))

    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]:
        return tuple(self._access.threads.map(self._get, paths))

    def _get(self, path: str) -> bytes | None:
        import obstore

        with self._access.errors(self._at(path)):
            try:
                return bytes(obstore.get(self._access.asking, self._at(path)).bytes())
            except FileNotFoundError:
                return None

    def put_if_absent(self, path: str, data: bytes) -> Put:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            with self._access.watch.asking(self._at(path)):
                obstore.put(self._access.asking, self._at(path), data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return self._who_is_there(path)
        except (BaseError, OSError) as error:
            if is_refusal(error):
                raise StorageError(f"{self._at(path)}: {said(error)}") from error
            return Put.UNKNOWN
        return Put.CREATED

    def _who_is_there(self, path: str) -> Put:
        """A conflict may also mean that another put of the name is under way, and may yet fail."""
        try:
            (held,) = self.get((path,))
        except StorageError:
            return Put.UNKNOWN
        return Put.UNKNOWN if held is None else Put.EXISTS

    def move(self, source: str, target: str) -> None:
        """Copy, then delete. A name is given once: a target that is there was copied by another, or by us unheard."""
        import obstore

        if source == target or source.startswith(names.STAGING):  # nothing ever is in staging
            return
        from_, to = self._at(source), self._at(target)
        with self._access.errors(from_):
            sizes = [self._size(path) for path in (from_, to)]
            if sizes[0] is None:
                return
            if sizes[1] is None:
                try:
                    obstore.copy(self._access.carrying, from_, to)
                except FileNotFoundError:
                    return  # another loader has moved it
            elif sizes[0] != sizes[1]:
                raise CorruptError(f"{to} exists and is not {from_}: two objects of one name")
        self.delete(source)

    def _size(self, key: str) -> int | None:
        import obstore

        try:
            return int(obstore.head(self._access.asking, key)["size"])
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        import obstore

        with self._access.errors(self._at(path)), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._access.asking, self._at(path))

    def sync_log(self, directory: str) -> None:
        """What can be seen in an object store is durable."""

    def now_ms(self) -> int:
        import obstore

        probe = self._at(f"{names.HIDDEN}/.{uuid.uuid4().hex}.tmp")
        with self._access.errors(probe):
            obstore.put(self._access.asking, probe, b"")
            now_ms = int(obstore.head(self._access.asking, probe)["last_modified"].timestamp() * 1000)
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._access.asking, probe)
            return now_ms

    def create(self, path: str) -> NewFile:
        return SpooledFile(
            self._access.spool, lambda file: self._upload(file, path), lambda: self.delete(path), self._access.watch.heard
        )

    def _upload(self, file: Carried, path: str) -> None:
        import obstore

        with self._access.errors(self._at(path)):
            obstore.put(self._access.carrying, self._at(path), file)  # type: ignore[arg-type]  # it reads, seeks and tells

    def open(self, path: str) -> BufferedReader:
        import obstore

        try:
            with self._access.watch.asking(self._at(path)):
                return buffered(obstore.open_reader(self._access.carrying, self._at(path)))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StorageError(f"{self._at(path)}: {said(error)}") from error

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        return listed_sizes(self.list, self._access.threads, paths)
