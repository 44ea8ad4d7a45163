"""Old snapshots are forgotten, and the metadata that only they needed is deleted: what grows with every commit stays bounded.

Only metadata: data files are our log's. A snapshot is worth keeping about as long as files that the log has removed, a day;
an unnamed file of a commit in flight is safe for as long as the log's own (landing.md: time bounds, generous and few).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from pyiceberg.table import Table, Transaction
from pyiceberg.table.update.snapshot import ExpireSnapshots

from headrace.sinks.table.store import Delete, Entry, List, StoreNow
from headrace.sinks.table.store import Steps as StoreSteps
from headrace.sinks.table.upkeep import SWEEP_UNNAMED_MS

SLACK_MS: Final = 3_600_000
"""Snapshots are forgotten by the hour, so that not every commit looks for files to delete."""


def forget_snapshots(transaction: Transaction, keep_s: float, now_ms: int) -> bool:
    """Within a commit, forget snapshots older than `keep_s`, if there is one by an hour older; whether there was."""
    snapshots = transaction.table_metadata.snapshots
    oldest_ms = now_ms - int(keep_s * 1000)
    if not snapshots or min(one.timestamp_ms for one in snapshots) > oldest_ms - SLACK_MS:
        return False
    ExpireSnapshots(transaction).older_than(datetime.fromtimestamp(oldest_ms / 1000, UTC)).commit()
    return True


def old_metadata(directory: str) -> StoreSteps[tuple[str, ...]]:
    """Metadata files in `directory`, the table's own, whose time is over unless the table names them."""
    now_ms: int = yield StoreNow()
    listed: tuple[Entry, ...] = yield List(directory)
    return tuple(f"{directory}/{entry.name}" for entry in listed if entry.changed_ms <= now_ms - SWEEP_UNNAMED_MS)


def delete_metadata(candidates: tuple[str, ...], table: Table) -> StoreSteps[int]:
    """Delete those candidates that the table, loaded after they were chosen, does not name; how many."""
    named = {url.rpartition("/")[2] for url in _named(table)}
    doomed = tuple(path for path in candidates if path.rpartition("/")[2] not in named)
    if doomed:
        yield Delete(doomed)
    return len(doomed)


def _named(table: Table) -> Iterator[str]:
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    yield from (file.statistics_path for file in table.metadata.statistics)
    yield from (file.statistics_path for file in table.metadata.partition_statistics)
    for snapshot in table.metadata.snapshots:
        yield snapshot.manifest_list
        yield from (manifest.manifest_path for manifest in snapshot.manifests(table.io))
