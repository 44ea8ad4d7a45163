"""On HDFS, which has no links, a file is shown by its inode: a name that HDFS opens wherever the file has been moved to.

So what the log gives up leaves the directory, as other engines are promised, and can be read by Iceberg's readers as long as
`removed/` has it: the sweeper leaves it there while a lease is fresh. Where a router or a view stands before HDFS, an inode may
lead nowhere, or to another file: there the place is shown, and its readers miss what has been moved.
"""

import logging
import threading
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from pyiceberg.table import Table

from headrace.sinks.iceberg.leases import Leases
from headrace.sinks.iceberg.shown_files import data_files
from headrace.sinks.stores.hdfs_clients import LibhdfsClient
from headrace.sinks.stores.hdfs_inodes import Inodes
from headrace.sinks.table import names
from headrace.sinks.table.store import Store, carry_out, missing

logger = logging.getLogger(__name__)

_THREAD: Final = threading.local()
_warned: Final[set[str]] = set()


class ShownByInode:
    """The names of one table's files in Iceberg (shown_files.py)."""

    def __init__(self, store: Store, url: str) -> None:
        parts = urlsplit(url)
        self._store, self._url, self._directory = store, url, parts.path
        self._name_node = f"hdfs://{parts.netloc}"
        self._urls: dict[str, str] = {}
        self._paths: dict[str, str] = {}

    def hold(self, table: Table, now_ms: int) -> None:
        carry_out(self._leases(table).extend(now_ms), self._store)

    def learn(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path not in self._urls:
                found = self._found((path, names.removed(path)))  # it has left staging, or was taken out
                if found is not None:
                    self._urls[path] = found or f"{self._url}/{path}"
                    self._paths[self._urls[path]] = path
                if found == "":
                    self._warn()

    def show(self, paths: Iterable[str], location: str) -> dict[str, str]:  # noqa: ARG002 - where the table is says nothing
        wanted = tuple(paths)
        self.learn(wanted)
        for path in wanted:
            if path not in self._urls:
                raise missing(f"{self._url}/{path}")
        return {path: self._urls[path] for path in wanted}

    def path(self, url: str, location: str) -> str:  # noqa: ARG002 - as above
        return self._paths.get(url, url.removeprefix(f"{self._url}/"))

    def old(self, table: Table) -> tuple[str, ...]:
        return carry_out(self._leases(table).old_files(), self._store)

    def let_go(self, candidates: tuple[str, ...], table: Table) -> int:
        shown = {*data_files(table), None}  # what is nowhere has gone already
        named = {path for path in candidates if self._found((names.removed(path),)) in shown}
        return carry_out(self._leases(table).take_away(candidates, named), self._store)

    def drop(self, table: Table) -> None:
        carry_out(self._leases(table).end(), self._store)

    @staticmethod
    def _leases(table: Table) -> Leases:
        return Leases(names.HELD, str(table.metadata.table_uuid))

    def _warn(self) -> None:
        """Once a process for each HDFS."""
        if self._name_node not in _warned:
            _warned.add(self._name_node)
            logger.warning(
                "%s does not find files by inode (it is a router or a view); after `compact`, `expire` and rewinds readers of "
                "iceberg tables miss files until the next sync: run `headrace iceberg sync` at once after them",
                self._name_node,
            )

    def _found(self, places: Iterable[str]) -> str | None:
        """The URL of a file's inode, wherever it is of some places; empty if none can be opened, None if it is nowhere."""
        for place in places:
            try:
                name = _inodes(self._name_node).name(f"{self._directory}/{place}")
            except FileNotFoundError:
                continue
            return f"{self._name_node}{name}" if name else ""
        return None


def _inodes(name_node: str) -> Inodes:
    """As the thread's references to Java's classes are never given back, a thread has them once."""
    known: dict[str, Inodes] = _THREAD.__dict__
    if name_node not in known:
        known[name_node] = LibhdfsClient("" if name_node == "hdfs://" else name_node).inodes()
    return known[name_node]
