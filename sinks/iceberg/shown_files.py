"""Under which names an Iceberg table shows landed files: names that last as long as a snapshot that has them.

A landed file does not stay where it is: a compaction takes it away, and only then puts the merged one in its place, so that
engines which read the directory see no row twice. Iceberg's readers open files by the names that a snapshot gave them, hours
later. The two cannot share a name, so each store gives a second one: hard links (here), inodes (shown_by_inode.py); or, on
object stores, where nobody is promised anything by directory, the place itself, in which files then stay.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table

from headrace.sinks.iceberg.leases import Leases
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.store import Delete, Entry, List, Store, StoreNow, carry_out
from headrace.sinks.table.store import Steps as StoreSteps
from headrace.sinks.table.upkeep import DAY_MS

ATTEMPT_MS: Final = 3_600_000
"""How long a commit may take from the reading of the table on: a link that it has made is safe for a day at least."""
_KEPT_DAYS: Final = 1
_DATA: Final = "data"


class ShownFiles(Protocol):
    """The names of one table's files in Iceberg. All methods raise StorageError."""

    def hold(self, table: Table, now_ms: int) -> None:
        """From now on no file goes that a snapshot has. Called before the log's head is read."""
        ...

    def learn(self, paths: Iterable[str]) -> None:
        """Be told of landed files, which `path` may then find; not of one that has gone."""
        ...

    def show(self, paths: Iterable[str], location: str) -> dict[str, str]:
        """The URLs by which to show landed files, which can be opened from now on, by their paths in the log.

        Args:
            location: the Iceberg table's own directory, a URL.
        """
        ...

    def path(self, url: str, location: str) -> str:
        """The path in the log of a file that is shown; a stranger's is its URL."""
        ...

    def old(self, table: Table) -> tuple[str, ...]:
        """What may be let go of, unless a snapshot has it: nothing that a commit under way can be about to name."""
        ...

    def let_go(self, candidates: tuple[str, ...], table: Table) -> int:
        """Take those candidates away that no snapshot of the table, loaded after they were chosen, has; how many."""
        ...

    def drop(self, table: Table) -> None:
        """Let go of a table that is no more."""
        ...


class Links:
    """On a local disk each shown file gets a hard link below the Iceberg table's own directory, in a folder named by the day.

    It costs no space until the log gives the file up. Where the catalog keeps its tables elsewhere, places are shown.
    """

    def __init__(self, store: LocalStore, url: str) -> None:
        """`url`: of the landed table's directory."""
        self._store, self._url = store, url

    def hold(self, table: Table, now_ms: int) -> None:
        """A link holds by itself."""

    def learn(self, paths: Iterable[str]) -> None:
        """A link's name has the path in it."""

    def show(self, paths: Iterable[str], location: str) -> dict[str, str]:
        wanted = tuple(paths)
        if (directory := self._directory(location)) is None:
            return {path: f"{self._url}/{path}" for path in wanted}
        day = _day(self._store.now_ms())
        links = {path: f"{directory}/{day}/{path}" for path in wanted}
        self._store.link(links)
        return {path: f"{self._url}/{link}" for path, link in links.items()}

    def path(self, url: str, location: str) -> str:
        below = url.removeprefix(f"{self._url}/")
        if (directory := self._directory(location)) is None:
            return below
        _, _, path = below.removeprefix(f"{directory}/").partition("/")
        return path if below.startswith(f"{directory}/") else url

    def old(self, table: Table) -> tuple[str, ...]:
        directory = self._directory(table.location())
        return () if directory is None else carry_out(_old_links(directory), self._store)

    def let_go(self, candidates: tuple[str, ...], table: Table) -> int:
        named = {url.removeprefix(f"{self._url}/") for url in data_files(table)}
        doomed = tuple(path for path in candidates if path not in named)
        for path in doomed:
            self._store.delete(path)
        return len(doomed)

    def drop(self, table: Table) -> None:
        if (directory := self._directory(table.location())) is not None:
            carry_out(_delete_all(directory), self._store)

    def _directory(self, location: str) -> str | None:
        """Where the links are, as a path of the store; None where the catalog keeps its tables elsewhere."""
        below = location.removeprefix(f"{self._url}/")
        return None if below == location else f"{below}/{_DATA}"


class Places:
    """On object stores the place itself is shown, and files stay there by a lease."""

    def __init__(self, store: Store, url: str) -> None:
        self._store, self._url = store, url

    def hold(self, table: Table, now_ms: int) -> None:
        carry_out(self._leases(table).extend(now_ms), self._store)

    def learn(self, paths: Iterable[str]) -> None:
        """A place is the path."""

    def show(self, paths: Iterable[str], location: str) -> dict[str, str]:  # noqa: ARG002 - where the table is says nothing
        return {path: f"{self._url}/{path}" for path in paths}

    def path(self, url: str, location: str) -> str:  # noqa: ARG002 - as above
        return url.removeprefix(f"{self._url}/")

    def old(self, table: Table) -> tuple[str, ...]:
        return carry_out(self._leases(table).old_files(), self._store)

    def let_go(self, candidates: tuple[str, ...], table: Table) -> int:
        named = {self.path(url, "") for url in data_files(table)}
        return carry_out(self._leases(table).take_away(candidates, named), self._store)

    def drop(self, table: Table) -> None:
        carry_out(self._leases(table).end(), self._store)

    @staticmethod
    def _leases(table: Table) -> Leases:
        return Leases(names.SHOWN, str(table.metadata.table_uuid))


def shown_files(store: Store, url: str) -> ShownFiles:
    """How the files of a landed table, whose directory is at `url`, are shown."""
    if isinstance(store, LocalStore):
        return Links(store, url)
    if url.startswith("hdfs:"):
        from headrace.sinks.iceberg.shown_by_inode import ShownByInode

        return ShownByInode(store, url)
    return Places(store, url)


def _old_links(directory: str) -> StoreSteps[tuple[str, ...]]:
    now_ms: int = yield StoreNow()
    listed: tuple[Entry, ...] = yield List(directory, recursive=True)
    newest = _day(now_ms - _KEPT_DAYS * DAY_MS)
    return tuple(f"{directory}/{entry.name}" for entry in listed if entry.name.partition("/")[0] < newest)


def _delete_all(directory: str) -> StoreSteps[None]:
    listed: tuple[Entry, ...] = yield List(directory, recursive=True)
    yield Delete(tuple(f"{directory}/{entry.name}" for entry in listed))


def _day(at_ms: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms):%Y-%m-%d}"


def data_files(table: Table) -> set[str]:
    """The URLs of the files of all snapshots."""
    manifests = {one.manifest_path: one for snapshot in table.metadata.snapshots for one in snapshot.manifests(table.io)}
    return {
        entry.data_file.file_path
        for manifest in manifests.values()
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }
