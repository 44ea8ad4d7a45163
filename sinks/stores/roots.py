"""From the URL of a root to the tables below it: the one place that knows which stores there are."""

from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import Final, Protocol

from headrace.errors import StorageError, UsageError
from headrace.sinks.stores import watch
from headrace.sinks.stores.local import LocalRoot
from headrace.sinks.stores.watch import Watch
from headrace.sinks.table.store import Store

SCHEMES: Final = ("file", "hdfs", "s3", "gs", "gcs", "abfs", "abfss")


class Root(Protocol):
    """The directory of the tables on some store; `str` of it is its absolute path or URL, without secrets."""

    def prepare(self) -> None:
        """Make ready to be landed on. Raises UsageError: it cannot be written, or has no way to put only if absent."""
        ...

    def is_there(self) -> bool:
        """Whether there is such a directory. Raises StorageError."""
        ...

    def tables(self) -> list[str]:
        """The topics that have a table, by name. Raises StorageError."""
        ...

    def table(self, topic: str) -> Store:
        """The store of one table, which need not exist yet."""
        ...

    def end_with(self, stop: Event) -> None:
        """From when `stop` is set, let this process end although the store does not answer."""
        ...

    def location(self, topic: str, path: str) -> str:
        """The absolute path or URL of a file of a table, for people and for other engines."""
        ...


def answers(root: Root) -> bool:
    """Whether a store answers when asked about its root; then what has failed for one table may be that table's trouble."""
    try:
        return root.is_there()
    except StorageError:
        return False


def open_root(root: Path | str, *, spool: str | None = None) -> Root:
    """The root that a path or URL names; one object, and one client of the store, a process.

    Args:
        spool: where files are written before they go to a store elsewhere; None: the system's folder for temporary files.
    Raises:
        UsageError: no store is known by such a URL, or its client is not installed.
    """
    url = str(root)
    if not url:
        raise UsageError("the root of the landed tables is an empty name; give a path, or a URL")
    if scheme_of(url) == "file":
        return LocalRoot(Path(url.removeprefix("file://")))
    return _connect(url, spool)


@lru_cache(maxsize=64)
def _connect(url: str, spool: str | None) -> Root:
    scheme = scheme_of(url)
    if scheme == "hdfs":
        from headrace.sinks.stores import hdfs_clients

        return hdfs_clients.connect(url, spool, _watch())
    if scheme in SCHEMES:
        from headrace.sinks.stores import objects

        return objects.connect(url, spool, _watch())
    raise UsageError(f"{url}: no store is known by {scheme}://; give a path, or a URL with {', '.join(SCHEMES)}")


@lru_cache(maxsize=1)
def _watch() -> Watch:
    return watch.start()


def local_directory(root: Path | str, who: str) -> Path:
    """The directory of a root on the local disk, for `who` can use no other.

    Raises:
        UsageError: it is on a store elsewhere.
    """
    if scheme_of(str(root)) != "file":
        raise UsageError(f"{root}: {who} needs tables on a local disk")
    return LocalRoot(Path(str(root).removeprefix("file://"))).directory


def scheme_of(url: str) -> str:
    """`hdfs`, `s3` …; `file` for a path."""
    return url.partition("://")[0].lower() if "://" in url else "file"
