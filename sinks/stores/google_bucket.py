"""Google Cloud Storage through Google's own client, which speaks the JSON interface.

Put if absent is an upload on condition that the name has no generation (`ifGenerationMatch=0`): 412 where it has one.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.client import HTTPException
from io import BufferedReader
from typing import Any, Final
from urllib.parse import SplitResult

from google.api_core.exceptions import Conflict, Forbidden, GoogleAPIError, NotFound, PreconditionFailed, Unauthorized
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from headrace.errors import StorageError, UsageError
from headrace.sinks.stores import credentials
from headrace.sinks.stores.buffered import BUFFER_BYTES, buffered
from headrace.sinks.stores.watch import Carried, Watch
from headrace.sinks.table.store import Entry, Put

PIECE_BYTES: Final = 8 << 20
"""Of a file that is larger, so much is sent at a time, and again if it was not answered."""
CONNECTIONS: Final = 16
"""Kept open; so many threads ask together (objects.THREADS)."""
PAGE: Final = 1_000
"""Objects that are listed by one request; Google lists no more."""
_SETTINGS: Final = {
    "GCE_METADATA_DETECT_RETRIES": "1",  # for credentials: a machine in the cloud answers at once, and others never do
    "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",  # else a thread asks for the bucket, for traces that nobody wants
}
"""Of Google's libraries, which take them from the environment alone."""
_RETRY: Final = DEFAULT_RETRY.with_delay(initial=0.1, maximum=2.0)
_REMEDY: Final = (
    "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account's key, or run gcloud auth application-default login"
)
_ERRORS: Final = (GoogleAPIError, GoogleAuthError, InvalidResponse, DataCorruption, HTTPError, HTTPException, OSError)
_REFUSALS: Final = (Forbidden, Unauthorized, NotFound, RefreshError)
"""The store did nothing, for good: no permission, no such bucket, or a request that was never sent."""


def connect(
    plain: SplitResult, asked: dict[str, str], url: str, watch: Watch, answer: timedelta, piece: timedelta
) -> "GoogleBucket":
    """The bucket and prefix at `plain`, with the credentials that Google's tools find; none where STORAGE_EMULATOR_HOST is set.

    Args:
        asked: `endpoint`: another server's URL than Google's.
        url: as the user gave it, for messages.
        answer: how long requests are given, `piece`: those that move data; for each wait on the network, and for all tries.
    Raises:
        UsageError: there are no credentials, or none that can be read.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("google.auth.compute_engine._metadata").setLevel(logging.ERROR)  # that this is no cloud is no warning
    options = {"api_endpoint": asked["endpoint"].rstrip("/")} if "endpoint" in asked else None
    try:
        client = Client(project=None, client_options=options)
    except DefaultCredentialsError as error:
        is_named = "GOOGLE_APPLICATION_CREDENTIALS" in os.environ
        raise UsageError(f"{url}: {_said(error) if is_named else credentials.none(_REMEDY)}; see docs/stores.md") from error
    except (GoogleAuthError, OSError, ValueError) as error:
        raise UsageError(f"{url}: {_said(error)}; see docs/stores.md") from error
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
    return GoogleBucket(client, plain.netloc, plain.path.strip("/"), watch, answer, piece)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]


class GoogleBucket:
    """A Bucket."""

    def __init__(self, client: Client, name: str, prefix: str, watch: Watch, answer: timedelta, piece: timedelta) -> None:
        self._client, self._prefix, self._watch = client, prefix, watch
        self._bucket = client.bucket(name)
        self._asking, self._carrying = (
            {"timeout": wait.total_seconds(), "retry": _RETRY.with_timeout(wait.total_seconds())} for wait in (answer, piece)
        )

    def _at(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def _named(self, key: str) -> str:
        return f"gs://{self._bucket.name}/{self._at(key)}"

    def _blob(self, key: str) -> Any:
        return self._bucket.blob(self._at(key))

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """While the store is asked for `key`. Raises StorageError; FileNotFoundError passes."""
        try:
            with self._watch.asking(self._named(key)):
                yield
        except FileNotFoundError:
            raise
        except _ERRORS as error:
            raise StorageError(f"{self._named(key)}: {_said(error)}") from error

    def _list(self, directory: str, **options: Any) -> Any:
        above = self._at(directory)
        return self._client.list_blobs(self._bucket, prefix=above and f"{above}/", page_size=PAGE, **options, **self._asking)

    def entries(self, directory: str, after: str, *, recursive: bool) -> list[Entry]:
        above = self._at(directory) + "/"
        with self._errors(directory):
            found = self._list(
                directory,
                delimiter=None if recursive else "/",
                start_offset=above + after if after else None,
                fields="items(name,size,timeCreated),nextPageToken",
            )
            entries = [Entry(blob.name.removeprefix(above), blob.size, _ms(blob.time_created)) for blob in found]
        return [entry for entry in entries if not entry.name.endswith("/")]  # the console makes objects of directories

    def directories(self) -> list[str]:
        above = self._at("")
        with self._errors(""):
            found = self._list("", delimiter="/", fields="prefixes,nextPageToken")
            for _ in found:  # the directories of each page come with its objects
                pass
            return [prefix.removeprefix(above).strip("/") for prefix in found.prefixes]

    def has_any(self, directory: str) -> bool:
        with self._errors(directory):
            return any(True for _ in self._list(directory, max_results=1, fields="items(name),nextPageToken"))

    def get(self, key: str) -> bytes | None:
        with self._errors(key):
            try:
                return bytes(self._blob(key).download_as_bytes(**self._asking))
            except NotFound:
                return None

    def put_if_absent(self, key: str, data: bytes) -> Put:
        once = self._asking | {"retry": None}
        try:
            with self._watch.asking(self._named(key)):
                try:
                    self._blob(key).upload_from_string(data, content_type="application/json", if_generation_match=0, **once)
                except (PreconditionFailed, Conflict):
                    return Put.EXISTS
        except _REFUSALS as error:
            raise StorageError(f"{self._named(key)}: {_said(error)}") from error
        except _ERRORS:
            return Put.UNKNOWN
        return Put.CREATED

    def stamp(self, key: str) -> int:
        blob = self._blob(key)
        with self._errors(key):
            blob.upload_from_string(b"", **self._asking)
        self.delete(key)
        return _ms(blob.time_created)

    def size(self, key: str) -> int | None:
        with self._errors(key):
            blob = self._bucket.get_blob(self._at(key), **self._asking)
            return None if blob is None else int(blob.size)

    def copy(self, source: str, target: str) -> None:
        """On condition that no other loader has copied it. The store may ask to be asked again, until all is copied."""
        with self._errors(source), contextlib.suppress(NotFound, PreconditionFailed):
            token, is_begun = None, False
            while token or not is_begun:
                token, *_ = self._blob(target).rewrite(self._blob(source), token=token, if_generation_match=0, **self._carrying)
                is_begun = True

    def delete(self, key: str) -> None:
        with self._errors(key), contextlib.suppress(NotFound):
            self._blob(key).delete(**self._asking)

    def upload(self, key: str, file: Carried) -> None:
        blob = self._bucket.blob(self._at(key), chunk_size=PIECE_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with self._errors(key):
            blob.upload_from_file(file, size=size, **self._carrying)

    def open(self, key: str) -> BufferedReader:
        with self._errors(key):
            blob = self._bucket.get_blob(self._at(key), **self._asking)
            if blob is None:
                raise FileNotFoundError(key)
            return buffered(_Opened(self, key, blob.open("rb", chunk_size=BUFFER_BYTES, **self._carrying)))


class _Opened:
    """An object that is read: what goes wrong meanwhile is a StorageError too."""

    def __init__(self, bucket: GoogleBucket, key: str, file: Any) -> None:
        self._bucket, self._key, self._file = bucket, key, file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int, /) -> bytes:
        with self._bucket._errors(self._key):
            return bytes(self._file.read(size))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
