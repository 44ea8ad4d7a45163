"""Object stores (S3 and what speaks it, Google Cloud Storage, Azure) as a store, through obstore (docs/adr/0031).

No object is moved in one step, so nothing is staged: a data file is written where it will stay, and nobody knows of it until a
record names it. Put if absent is the store's own conditional put; obstore sends a request again when a connection fails, and so
may find its own object there: that is `EXISTS`, and the protocol compares whose it is. All that a conditional put may answer
beside that and success leaves open whether it happened, except a refusal.
"""

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BufferedReader
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qs, urlsplit

from headrace.errors import CorruptError, StorageError, UsageError
from headrace.sinks.stores import credentials
from headrace.sinks.stores.buffered import buffered
from headrace.sinks.stores.listed_sizes import listed_sizes
from headrace.sinks.stores.object_errors import errors, is_refusal, said
from headrace.sinks.stores.spool import SpooledFile
from headrace.sinks.table import names
from headrace.sinks.table.store import Entry, NewFile, Put

THREADS: Final = 16
RETRIES: Final = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
"""Short, since whoever calls tries again, and between two tries hears that it is to end; a request's own time-out is 30 s."""
ONCE: Final = timedelta(seconds=2)
"""For the question whether there are credentials at all; a machine that has a role says so in milliseconds."""
OPTIONS: Final = ("endpoint", "region")


def connect(url: str, spool: str | None) -> "ObjectRoot":
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
        store = _client(plain, asked, timedelta(seconds=30), RETRIES)
        once = _client(plain, asked, ONCE, {"max_retries": 0})
    except ImportError as error:
        raise UsageError(f"{url}: {error.name} is not installed; run: pip install 'headrace[objects]'") from error
    except Exception as error:
        raise UsageError(f"{url}: {said(error)}; see docs/stores.md") from error
    credentials.demand(urlsplit(plain).scheme, url, lambda: _has_any(once, ""))
    return ObjectRoot(url, plain, store, spool)


def _client(plain: str, asked: dict[str, str], timeout: timedelta, retries: dict[str, Any]) -> Any:
    from obstore.store import from_url

    options: dict[str, Any] = {"timeout": timeout}
    if any(value.startswith("http://") for value in asked.values()):
        options["allow_http"] = True
    return from_url(plain, config=asked, client_options=options, retry_config=retries)  # type: ignore[call-overload]


def _has_any(store: Any, prefix: str) -> bool:
    import obstore

    return any(obstore.list(store, prefix or None, chunk_size=1))


class ObjectRoot:
    """A prefix in a bucket."""

    def __init__(self, url: str, plain: str, store: Any, spool: str | None) -> None:
        self._url, self._plain, self._store, self._spool = url, plain, store, spool
        self._threads = ThreadPoolExecutor(THREADS, "objects")

    def __str__(self) -> str:
        return self._url

    def prepare(self) -> None:
        probe = ObjectStore(self._store, f".headrace-probe-{uuid.uuid4().hex}", self._spool, self._threads)
        try:
            answers = [probe.put_if_absent("probe", text) for text in (b"first", b"second")]
            held = probe.get(("probe",))
            probe.delete("probe")
        except StorageError as error:
            raise UsageError(f"load.root {self._url}: {error}; name a bucket that can be written") from error
        if Put.UNKNOWN in answers:
            raise UsageError(f"load.root {self._url}: it does not answer; see docs/stores.md")
        if answers != [Put.CREATED, Put.EXISTS] or held != (b"first",):
            raise UsageError(
                f"load.root {self._url}: its second put of one name was not refused: without a conditional put (If-None-Match) "
                "two loaders would overwrite each other's commits; upgrade the store, or land on another"
            )

    def is_there(self) -> bool:
        return self._has("")

    def _has(self, prefix: str) -> bool:
        with errors(f"{self._plain}/{prefix}"):
            return _has_any(self._store, prefix)

    def tables(self) -> list[str]:
        import obstore

        with errors(self._plain):
            found = sorted(obstore.list_with_delimiter(self._store)["common_prefixes"])
        logs = self._threads.map(lambda topic: self._has(f"{topic}/{names.LOG}"), found)
        return [topic for topic, has_log in zip(found, logs, strict=True) if has_log]

    def table(self, topic: str) -> "ObjectStore":
        return ObjectStore(self._store, topic, self._spool, self._threads)

    def location(self, topic: str, path: str) -> str:
        return f"{self._plain}/{topic}/{path}".rstrip("/")


class ObjectStore:
    """The objects of a table."""

    stages = False

    def __init__(self, store: Any, prefix: str, spool: str | None, threads: ThreadPoolExecutor) -> None:
        self._store, self._prefix, self._spool, self._threads = store, prefix, spool, threads

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}" if path else self._prefix

    def list(self, directory: str, *, after: str = "", recursive: bool = False) -> tuple[Entry, ...]:
        import obstore

        above = self._at(directory)
        with errors(above):
            if recursive or after:
                offset = f"{above}/{after}" if after else None
                found = [one for chunk in obstore.list(self._store, above, offset=offset) for one in chunk]
            else:
                found = list(obstore.list_with_delimiter(self._store, above)["objects"])
        entries = (
            Entry(one["path"].removeprefix(above + "/"), one["size"], int(one["last_modified"].timestamp() * 1000))
            for one in found
        )
        wanted = (entry for entry in entries if entry.name > after and (recursive or "/" not in entry.name))
        return tuple(sorted(wanted, key=lambda entry: entry.name))

    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]:
        return tuple(self._threads.map(self._get, paths))

    def _get(self, path: str) -> bytes | None:
        import obstore

        with errors(self._at(path)):
            try:
                return bytes(obstore.get(self._store, self._at(path)).bytes())
            except FileNotFoundError:
                return None

    def put_if_absent(self, path: str, data: bytes) -> Put:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            obstore.put(self._store, self._at(path), data, mode="create")
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
        with errors(from_):
            sizes = [self._size(path) for path in (from_, to)]
            if sizes[0] is None:
                return
            if sizes[1] is None:
                try:
                    obstore.copy(self._store, from_, to)
                except FileNotFoundError:
                    return  # another loader has moved it
            elif sizes[0] != sizes[1]:
                raise CorruptError(f"{to} exists and is not {from_}: two objects of one name")
        self.delete(source)

    def _size(self, key: str) -> int | None:
        import obstore

        try:
            return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        import obstore

        with errors(self._at(path)), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._at(path))

    def sync_log(self, directory: str) -> None:
        """What can be seen in an object store is durable."""

    def now_ms(self) -> int:
        import obstore

        probe = self._at(f"{names.HIDDEN}/.{uuid.uuid4().hex}.tmp")
        with errors(probe):
            obstore.put(self._store, probe, b"")
            now_ms = int(obstore.head(self._store, probe)["last_modified"].timestamp() * 1000)
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, probe)
            return now_ms

    def create(self, path: str) -> NewFile:
        return SpooledFile(self._spool, lambda file: self._upload(file, path), lambda: self.delete(path))

    def _upload(self, file: BinaryIO, path: str) -> None:
        import obstore

        with errors(self._at(path)):
            obstore.put(self._store, self._at(path), file)

    def open(self, path: str) -> BufferedReader:
        import obstore

        try:
            return buffered(obstore.open_reader(self._store, self._at(path)))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StorageError(f"{self._at(path)}: {said(error)}") from error

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        return listed_sizes(self.list, self._threads, paths)
