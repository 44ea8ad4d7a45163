"""Quarantine files, few instead of many: those of one day become one, whose records are proved to be theirs.

The day is that on which files were written, by the store: records that could not be decoded may say they are of any time. So
`headrace expire` takes a day's records out together.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from headrace.audit import HASH_MODULUS
from headrace.clock import Clock
from headrace.errors import CorruptError
from headrace.process import process_name
from headrace.sinks.compaction.plan import HOUR_MS, Limits
from headrace.sinks.quarantine import QuarantineFile, line_hash
from headrace.sinks.quarantined import entries
from headrace.sinks.table import names
from headrace.sinks.table.commit import give_up
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, Quarantine
from headrace.sinks.table.store import Store, carry_out
from headrace.sinks.table.upkeep import DAY_MS

MOST_FILES: Final = 10_000
"""Of one merge: a record that names so many has 0.7 MB."""


@dataclass(frozen=True, slots=True)
class Written:
    """A live quarantine file, its size, and when the newest of its records was quarantined."""

    quarantine: Quarantine
    size_bytes: int
    last_ms: int


def written_files(store: Store, fold: Fold) -> list[Written]:
    """The live quarantine files that no rewind keeps. One that is missing is left out: `headrace check` tells of it."""
    found = [
        Written(quarantine, entry.size_bytes, entry.changed_ms if quarantine.last_ms is None else quarantine.last_ms)
        for entry in store.list(names.QUARANTINE, after="", recursive=False)
        if (quarantine := fold.quarantined.get(f"{names.QUARANTINE}/{entry.name}")) and not fold.is_pinned(quarantine.path)
    ]
    committed = {path: at for at, path in enumerate(fold.quarantined)}
    return sorted(found, key=lambda one: (one.last_ms, committed[one.quarantine.path]))  # a store may count whole seconds


def merges(written: Iterable[Written], limits: Limits, now_ms: int) -> list[list[Written]]:
    """Small files of hours that are over, in merges of two at least: each of one day, and at most the target's size."""
    by_day: dict[int, list[Written]] = defaultdict(list)
    for one in written:
        hour_end_ms = (one.last_ms // HOUR_MS + 1) * HOUR_MS
        if one.size_bytes * 2 < limits.target_bytes and hour_end_ms + limits.closed_for_ms <= now_ms:
            by_day[one.last_ms // DAY_MS].append(one)
    planned: list[list[Written]] = []
    for _, day in sorted(by_day.items()):
        merge: list[Written] = []
        held_bytes = 0
        for one in day:
            if merge and (held_bytes + one.size_bytes > limits.target_bytes or len(merge) == MOST_FILES):
                planned.append(merge)
                merge, held_bytes = [], 0
            merge.append(one)
            held_bytes += one.size_bytes
        planned.append(merge)
    return [merge for merge in planned if len(merge) > 1]


def merged(store: Store, merge: Sequence[Written], fold: Fold, clock: Clock) -> CommitRecord:
    """Write the records of some files to one, prove it equal to them, and say so in a draft.

    Raises:
        CorruptError: files do not hold what the log says; nothing has been swapped for them.
        StorageError: the store failed.
    """
    name = str(uuid.uuid4())
    output = QuarantineFile(store, name, fold.created_ms)
    try:
        read_hash = _copy(store, merge, output)
        made = output.close()
    except BaseException:
        output.discard()
        raise
    assert made is not None, "a file that the log names has a record"
    draft = CommitRecord(
        "compact",
        name,
        process_name(),
        clock.wall_ms(),
        remove=tuple(one.quarantine.path for one in merge),
        quarantine=replace(made, windows=(), last_ms=max(one.last_ms for one in merge)),
    )
    try:
        _prove(store, made, sum(one.quarantine.count for one in merge), read_hash)
    except CorruptError as error:
        carry_out(give_up(draft, str(error)), store)
        raise
    return draft


def _copy(store: Store, merge: Sequence[Written], output: QuarantineFile) -> int:
    """Copy the records; the sum of their hashes, which the log has of each file (`entries` compares it)."""
    total = 0
    for one in merge:
        for entry in entries(store, one.quarantine):
            output.add_line(entry.line, entry.timestamp_ms)
            total += line_hash(entry.line)
    return total % HASH_MODULUS


def _prove(store: Store, made: Quarantine, count: int, read_hash: int) -> None:
    """Read the new file back: it holds as many records as the log says of the old ones, and those that were read.

    Raises:
        CorruptError: it does not.
    """
    for _ in entries(store, replace(made, count=count, content_hash=f"{read_hash:016x}")):
        pass
