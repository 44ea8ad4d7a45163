"""On stores without links: files stay in their place as long as an Iceberg snapshot has them, by a lease (table/shown.py).

Where a store moves nothing in one step, engines that read the directory are promised nothing, so a file that the log has given
up may stay. Each Iceberg table puts a lease of the day, before it reads the log's head: whoever takes a file out later finds
it. What no fold and no snapshot names is moved to `removed/` by the table that has just committed. That is safe from commits
under way: one that was decided on an older snapshot is refused, and a later one reads a head that has given the file up for
good.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from headrace.errors import StorageError
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.generations import sync
from headrace.sinks.table.shown import LEASE_MS
from headrace.sinks.table.store import Delete, Entry, List, Move, Put, PutIfAbsent, Steps, StoreNow


def extend(table: str, now_ms: int) -> Steps[None]:
    """Put the lease of an Iceberg table, by its UUID; it lasts for a week.

    Raises:
        StorageError: it is not known to be there.
    """
    day = datetime.fromtimestamp(now_ms / 1000, UTC)
    path = f"{names.SHOWN}/{table}.{day:%Y-%m-%d}"
    answer: Put = yield PutIfAbsent(path, b"")
    if answer is Put.UNKNOWN:
        raise StorageError(f"{path}: it is not known whether it was put")


def end(table: str) -> Steps[None]:
    """Give up all leases of an Iceberg table that is no more."""
    leases: tuple[Entry, ...] = yield List(names.SHOWN)
    yield Delete(tuple(f"{names.SHOWN}/{lease.name}" for lease in leases if _table(lease) == table))


def old_files(table: str) -> Steps[tuple[str, ...]]:
    """Files a week old in their places, to be taken away unless somebody names them; none where other tables show them too."""
    now_ms: int = yield StoreNow()
    leases: tuple[Entry, ...] = yield List(names.SHOWN)
    ended = [lease for lease in leases if lease.changed_ms <= now_ms - LEASE_MS]
    if ended:
        yield Delete(tuple(f"{names.SHOWN}/{lease.name}" for lease in ended))
    if {_table(lease) for lease in leases if lease not in ended} != {table}:
        return ()
    return tuple((yield from upkeep.old_in_place(now_ms)))


def take_away(candidates: tuple[str, ...], named: Collection[str]) -> Steps[int]:
    """Move those candidates to `removed/` that no snapshot names, nor the log; how many.

    Args:
        named: paths of the files of all snapshots, as they were after the candidates were chosen.
    """
    folds = yield from upkeep.read_folds()
    gone = [path for path in candidates if path not in named and not any(fold.names(path) for fold in folds)]
    if gone:
        yield from sync(folds[0])
        yield Move(tuple((path, names.removed(path)) for path in gone))
    return len(gone)


def _table(lease: Entry) -> str:
    return lease.name.partition(".")[0]
