"""Which directories of a table have changed since: what a nightly batch has to read again, late data included.

It follows from the commit records, so nothing has to be marked. A load and an expiry change the directories of the files that
they add and remove; a compaction changes none, because its rows are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import filterfalse
from typing import Final

from headrace.errors import StorageError
from headrace.sinks.table import names, record
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.store import Entry, Get, List, Steps

_KEEPS_ROWS: Final = ("compact",)


@dataclass(frozen=True, slots=True)
class Change:
    """A directory that has changed; `seq` and `changed_ms` (the loader's clock) are those of the last record that did it."""

    directory: str
    seq: int
    changed_ms: int
    rows_added: int
    files_removed: int


def changed_since(*, seq: int | None = None, since_ms: int | None = None) -> Steps[tuple[Change, ...]]:
    """The directories that records after `seq`, or made from `since_ms` on, have changed; by directory.

    Raises (from the generator):
        StorageError: records after `seq` are gone, or lie in an earlier generation: what has changed cannot be said.
    """
    assert (seq is None) != (since_ms is None), "one of them"
    fold: Fold = yield from read_head()
    records = yield from _records(fold)
    first = records[0].seq if records else fold.seq + 1
    if seq is not None and seq + 1 < first:
        raise StorageError(f"records {seq + 1} to {first - 1} are gone or of an earlier generation; take every hour as changed")
    if since_ms is not None and first > 0 and (not records or records[0].created_ms >= since_ms):
        raise StorageError(f"the records kept, from {first} on, do not reach back so far; take every hour as changed")
    after = -1 if seq is None else seq
    return _changes(one for one in records if one.seq > after and (since_ms is None or one.created_ms >= since_ms))


def _records(fold: Fold) -> Steps[list[CommitRecord]]:
    """The newest records of the generation that are kept without a hole, up to the fold's."""
    listed: tuple[Entry, ...] = yield List(names.log_directory(fold.generation))
    seqs = {names.seq_of(entry.name, names.RECORD_SUFFIX) for entry in listed}
    first = fold.seq + 1
    while first - 1 in seqs:
        first -= 1
    paths = tuple(names.record_path(fold.generation, seq) for seq in range(first, fold.seq + 1))
    found: tuple[bytes | None, ...] = yield Get(paths)
    return [record.decode(data, path) for path, data in zip(paths, found, strict=True) if data is not None]


def _changes(records: Iterable[CommitRecord]) -> tuple[Change, ...]:
    changes: dict[str, Change] = {}
    for one in records:
        if one.kind in _KEEPS_ROWS:
            continue
        added: dict[str, int] = {}
        removed: dict[str, int] = {}
        for file in one.add:
            added[_directory(file.path)] = added.get(_directory(file.path), 0) + file.rows
        for path in filterfalse(names.is_quarantine, one.remove):
            removed[_directory(path)] = removed.get(_directory(path), 0) + 1
        for directory in added.keys() | removed.keys():
            before = changes.get(directory, Change(directory, 0, 0, 0, 0))
            rows, files = before.rows_added + added.get(directory, 0), before.files_removed + removed.get(directory, 0)
            changes[directory] = Change(directory, one.seq, one.created_ms, rows, files)
    return tuple(changes[directory] for directory in sorted(changes))


def _directory(path: str) -> str:
    return path.rpartition("/")[0]
