"""S3 and what speaks it, and Azure, through obstore (the `object_store` crate)."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from io import BufferedReader
from typing import Any, Final
from urllib.parse import SplitResult

from headrace.errors import StorageError, UsageError
from headrace.sinks.stores import credentials
from headrace.sinks.stores.buffered import buffered
from headrace.sinks.stores.object_errors import errors, is_refusal, said
from headrace.sinks.stores.watch import Carried, Watch
from headrace.sinks.table.store import Entry, Put

RETRIES: Final = 5
"""Few, since whoever calls tries again, and between two tries hears that it is to end."""
KNOCK: Final = timedelta(seconds=2)
"""For the question whether there are credentials at all; a machine that has a role says so in milliseconds."""


def connect(
    plain: SplitResult, asked: dict[str, str], url: str, watch: Watch, answer: timedelta, piece: timedelta
) -> "ObstoreBucket":
    """The bucket or container and prefix at `plain`.

    Args:
        asked: obstore's `endpoint` and `region`.
        url: as the user gave it, for messages.
        answer: how long requests are given, `piece`: those that move data.
    Raises:
        ImportError: obstore is not installed.
        UsageError: it cannot make sense of the URL or the environment, or there are no credentials.
    """
    retries = {"max_retries": RETRIES, "retry_timeout": answer}
    try:
        asking, carrying = (_client(plain.geturl(), asked, timeout, retries) for timeout in (answer, piece))
        once, knocking = (_client(plain.geturl(), asked, timeout, {"max_retries": 0}) for timeout in (answer, KNOCK))
    except ImportError:
        raise
    except Exception as error:
        raise UsageError(f"{url}: {said(error)}; see docs/stores.md") from error
    credentials.demand(plain.scheme, url, lambda: _has_any(knocking, None))
    return ObstoreBucket(plain.geturl(), asking, once, carrying, watch)


def _client(plain: str, asked: dict[str, str], timeout: timedelta, retries: dict[str, Any]) -> Any:
    from obstore.store import from_url

    options: dict[str, Any] = {"timeout": timeout}
    if any(value.startswith("http://") for value in asked.values()):
        options["allow_http"] = True
    return from_url(plain, config=asked, client_options=options, retry_config=retries)  # type: ignore[call-overload]


def _has_any(store: Any, prefix: str | None) -> bool:
    import obstore

    return any(obstore.list(store, prefix, chunk_size=1))


class ObstoreBucket:
    """A Bucket."""

    def __init__(self, plain: str, asking: Any, once: Any, carrying: Any, watch: Watch) -> None:
        """Three clients: for requests, for those that may not be sent twice, and for data."""
        self._plain, self._asking, self._once, self._carrying, self._watch = plain, asking, once, carrying, watch

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """While the store is asked for `key`. Raises StorageError for obstore's errors."""
        with errors(key), self._watch.asking(key):
            yield

    def entries(self, directory: str, after: str, *, recursive: bool) -> list[Entry]:
        import obstore

        with self._errors(directory):
            if recursive or after:
                offset = f"{directory}/{after}" if after else None
                found = [one for chunk in obstore.list(self._asking, directory, offset=offset) for one in chunk]
            else:
                found = list(obstore.list_with_delimiter(self._asking, directory)["objects"])
        return [Entry(one["path"].removeprefix(directory + "/"), one["size"], _changed_ms(one)) for one in found]

    def directories(self) -> list[str]:
        import obstore

        with self._errors(self._plain):
            return list(obstore.list_with_delimiter(self._asking)["common_prefixes"])

    def has_any(self, directory: str) -> bool:
        with self._errors(f"{self._plain}/{directory}"):
            return _has_any(self._asking, directory or None)

    def get(self, key: str) -> bytes | None:
        import obstore

        with self._errors(key):
            try:
                return bytes(obstore.get(self._asking, key).bytes())
            except FileNotFoundError:
                return None

    def put_if_absent(self, key: str, data: bytes) -> Put:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            with self._watch.asking(key):
                obstore.put(self._once, key, data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return Put.EXISTS
        except (BaseError, OSError) as error:
            if is_refusal(error):
                raise StorageError(f"{key}: {said(error)}") from error
            return Put.UNKNOWN
        return Put.CREATED

    def stamp(self, key: str) -> int:
        import obstore

        with self._errors(key):
            obstore.put(self._asking, key, b"")
            stamped_ms = _changed_ms(obstore.head(self._asking, key))
        self.delete(key)
        return stamped_ms

    def size(self, key: str) -> int | None:
        import obstore

        with self._errors(key):
            try:
                return int(obstore.head(self._asking, key)["size"])
            except FileNotFoundError:
                return None

    def copy(self, source: str, target: str) -> None:
        import obstore

        with self._errors(source), contextlib.suppress(FileNotFoundError):
            obstore.copy(self._carrying, source, target)

    def delete(self, key: str) -> None:
        import obstore

        with self._errors(key), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._asking, key)

    def upload(self, key: str, file: Carried) -> None:
        import obstore

        with self._errors(key):
            obstore.put(self._carrying, key, file)  # type: ignore[arg-type]  # it reads, seeks and tells

    def open(self, key: str) -> BufferedReader:
        import obstore

        try:
            with self._watch.asking(key):
                return buffered(obstore.open_reader(self._carrying, key))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StorageError(f"{key}: {said(error)}") from error


def _changed_ms(meta: Any) -> int:
    return int(meta["last_modified"].timestamp() * 1000)
