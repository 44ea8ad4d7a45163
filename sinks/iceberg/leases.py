"""On stores without links files stay as long as an Iceberg snapshot has them, by a lease (table/shown.py).

Where a store moves nothing in one step, engines that read the directory are promised nothing, so a file that the log has given
up may stay in its place. On HDFS it is moved away like any other, and stays in `removed/`, as Iceberg names it by its inode.
Each Iceberg table puts a lease of the day, before it reads the log's head: whoever takes a file out later finds it. What no
fold and no snapshot names is moved to `removed/`, or deleted from there, by the table that has just committed. That is safe
from commits under way: one that was decided on an older snapshot is refused, and a later one reads a head that has given the
file up for good.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.errors import StorageError
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.generations import sync
from headrace.sinks.table.shown import LEASE_MS
from headrace.sinks.table.store import Delete, Entry, List, Move, Put, PutIfAbsent, Steps, StoreNow


@dataclass(frozen=True, slots=True)
class Leases:
    """Those of an Iceberg table, by its UUID, in `names.SHOWN` or `names.HELD`."""

    directory: str
    table: str

    def extend(self, now_ms: int) -> Steps[None]:
        """Put today's lease; it lasts for a week.

        Raises:
            StorageError: it is not known to be there.
        """
        day = datetime.fromtimestamp(now_ms / 1000, UTC)
        path = f"{self.directory}/{self.table}.{day:%Y-%m-%d}"
        answer: Put = yield PutIfAbsent(path, b"")
        if answer is Put.UNKNOWN:
            raise StorageError(f"{path}: it is not known whether it was put")

    def end(self) -> Steps[None]:
        """Give up all leases of a table that is no more."""
        leases: tuple[Entry, ...] = yield List(self.directory)
        yield Delete(tuple(f"{self.directory}/{lease.name}" for lease in leases if _table(lease) == self.table))

    def old_files(self) -> Steps[tuple[str, ...]]:
        """Files, by their paths in the log, to be taken away unless somebody names them; none where other tables show them too.

        In their places those that are a week old, in `removed/` those that have been there for a day.
        """
        now_ms: int = yield StoreNow()
        leases: tuple[Entry, ...] = yield List(self.directory)
        ended = [lease for lease in leases if lease.changed_ms <= now_ms - LEASE_MS]
        if ended:
            yield Delete(tuple(f"{self.directory}/{lease.name}" for lease in ended))
        if {_table(lease) for lease in leases if lease not in ended} != {self.table}:
            return ()
        if self.directory == names.SHOWN:
            return tuple((yield from upkeep.old_in_place(now_ms)))
        return tuple(path for path in (yield from upkeep.old_removed(now_ms)) if not names.is_quarantine(path))

    def take_away(self, candidates: tuple[str, ...], named: Collection[str]) -> Steps[int]:
        """Move candidates that no snapshot names, nor the log, to `removed/`, or delete them there; how many.

        Args:
            named: paths of the files of all snapshots, as they were after the candidates were chosen.
        """
        folds = yield from upkeep.read_folds()
        gone = [path for path in candidates if path not in named and not any(fold.names(path) for fold in folds)]
        if gone:
            yield from sync(folds[0])
            if self.directory == names.SHOWN:
                yield Move(tuple((path, names.removed(path)) for path in gone))
            else:
                yield Delete(tuple(map(names.removed, gone)))
        return len(gone)


def _table(lease: Entry) -> str:
    return lease.name.partition(".")[0]
