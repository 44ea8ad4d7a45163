"""Under which names an Iceberg table shows landed files: names that last as long as a snapshot that has them.

A landed file does not stay where it is: a compaction takes it away, and only then puts the merged one in its place, so that
engines which read the directory see no row twice. Iceberg's readers open files by the names that a snapshot gave them, hours
later. The two cannot share a name. On a local disk each shown file therefore gets a second one, a hard link below the Iceberg
table's own directory, in a folder named by the day on which it was made; it costs no space until the log gives the file up, and
goes when no snapshot has it any more. Stores elsewhere know no links: there the place itself is shown (see leases.py).
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table

from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table.store import Delete, Entry, List, Store, StoreNow
from headrace.sinks.table.store import Steps as StoreSteps
from headrace.sinks.table.upkeep import DAY_MS

ATTEMPT_MS: Final = 3_600_000
"""How long a commit may take from the reading of the table on: a link that it has made is safe for a day at least."""
_KEPT_DAYS: Final = 1
_DATA: Final = "data"


class ShownFiles:
    """The names of one table's files in Iceberg."""

    def __init__(self, store: Store, url: str) -> None:
        """`url`: of the landed table's directory."""
        self._store, self._url = store, url

    def show(self, paths: Iterable[str], location: str) -> dict[str, str]:
        """The URLs by which to show landed files, which can be opened from now on, by their paths in the log.

        Args:
            location: the Iceberg table's own directory, a URL.
        Raises:
            StorageError: the store failed, or has no such file.
        """
        wanted = tuple(paths)
        if not isinstance(self._store, LocalStore) or (directory := self._directory(location)) is None:
            return {path: f"{self._url}/{path}" for path in wanted}
        day = _day(self._store.now_ms())
        links = {path: f"{directory}/{day}/{path}" for path in wanted}
        self._store.link(links)
        return {path: f"{self._url}/{link}" for path, link in links.items()}

    def path(self, url: str, location: str) -> str:
        """The path in the log of a file that is shown; a stranger's is its URL."""
        below = url.removeprefix(f"{self._url}/")
        if not isinstance(self._store, LocalStore) or (directory := self._directory(location)) is None:
            return below
        _, _, path = below.removeprefix(f"{directory}/").partition("/")
        return path if below.startswith(f"{directory}/") else url

    def old_links(self, location: str) -> StoreSteps[tuple[str, ...]]:
        """Links that no commit under way can be about to name."""
        directory = self._directory(location)
        if directory is None:
            return ()
        now_ms: int = yield StoreNow()
        listed: tuple[Entry, ...] = yield List(directory, recursive=True)
        newest = _day(now_ms - _KEPT_DAYS * DAY_MS)
        return tuple(f"{directory}/{entry.name}" for entry in listed if entry.name.partition("/")[0] < newest)

    def delete_links(self, candidates: tuple[str, ...], table: Table) -> StoreSteps[int]:
        """Delete those candidates that no snapshot of the table, loaded after they were chosen, has; how many."""
        named = {url.removeprefix(f"{self._url}/") for url in data_files(table)} if candidates else set()
        doomed = tuple(path for path in candidates if path not in named)
        if doomed:
            yield Delete(doomed)
        return len(doomed)

    def delete_all_links(self, location: str) -> StoreSteps[None]:
        """Delete every link of a table that is no more."""
        if (directory := self._directory(location)) is not None:
            listed: tuple[Entry, ...] = yield List(directory, recursive=True)
            yield Delete(tuple(f"{directory}/{entry.name}" for entry in listed))

    def _directory(self, location: str) -> str | None:
        """Where the links are, as a path of the store; None where the catalog keeps its tables elsewhere."""
        below = location.removeprefix(f"{self._url}/")
        return None if below == location else f"{below}/{_DATA}"


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
