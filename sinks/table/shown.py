"""Whether files that the log has given up stay, for readers that find them by the names that a snapshot gave them.

Whoever shows them so (an Iceberg table, on a store without links) holds a lease, and takes the files away when no reader has
them any more: where names are places, those stay in their places (`names.SHOWN`); where a file has a name beside its place, as
on HDFS, they are moved, and stay in `removed/` (`names.HELD`). A lease ends by itself: who has not been there for a week is not
waited for.
"""

from collections.abc import Iterable
from typing import Final

from headrace.sinks.table import names
from headrace.sinks.table.store import Entry, List, Steps, StoreNow

LEASE_MS: Final = 7 * 24 * 3_600_000


def is_shown(leases_in: str = names.SHOWN) -> Steps[bool]:
    """Whether somebody holds a lease. Asked after the fold that gave a file up: who puts one later reads a later head."""
    leases: tuple[Entry, ...] = yield List(leases_in)
    if not leases:
        return False
    now_ms: int = yield StoreNow()
    return any(lease.changed_ms > now_ms - LEASE_MS for lease in leases)


def moves_away(gone: Iterable[str]) -> Steps[list[tuple[str, str]]]:
    """How to move files that the log has given up to `removed/`, wherever they are.

    A file only ever moves forward (staging, place, removed): looking in that order misses no mover. Quarantine is shown to
    nobody, and never staged.
    """
    paths = list(gone)
    data = [path for path in paths if not names.is_quarantine(path)]
    pairs = [(path, names.removed(path)) for path in paths if names.is_quarantine(path)]
    if data and not (yield from is_shown()):
        pairs += [(source, names.removed(path)) for path in data for source in (names.staged(path), path)]
    return pairs
