"""Retention of landed data by age: whole files, whose newest event is older than that, are taken out by one record.

Quarantined records have an age of their own, since they were quarantined: who mends what was wrong has that long to replay
them, whatever time they say they are of.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path

from headrace.audit import AUDIT_TOPIC
from headrace.clock import Clock
from headrace.process import process_name
from headrace.sinks.compaction.quarantine import written_files
from headrace.sinks.expire_audit import not_needed
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import upkeep
from headrace.sinks.table.commit import Won, commit, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, DataFile, Quarantine
from headrace.sinks.table.store import Store, carry_out


@dataclass(frozen=True, slots=True)
class Ages:
    """What is older than this (ms since the epoch) goes; None: nothing does.

    `events`: the newest event of a file of rows. `quarantined`: when the newest record of a quarantine file came there.
    """

    events: int | None = None
    quarantined: int | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """Files that went, or would go; and how many are as old and stay, because a verdict of the audit needs them."""

    files: list[DataFile]
    quarantine: list[Quarantine]
    kept: int = 0


def expired_files(fold: Fold, before_ms: int) -> list[DataFile]:
    """Live files of which every row is from before then; none that a rewind in progress keeps."""
    old = [file for file in fold.files.values() if file.max_event_time_ms < before_ms and not fold.is_pinned(file.path)]
    return sorted(old, key=lambda file: file.path)


def expire_table(root: Path | str, topic: str, before: Ages, clock: Clock, *, dry_run: bool) -> Expired:
    """Take out what is older, and sweep what was taken out a day ago; the files that went, or would go.

    Offsets, audit sums and counts of quarantined records stay: the table still knows that all of it had landed.

    Raises:
        StorageError, CorruptError: the table's store failed, or its log is damaged.
    """
    where = open_root(root)
    store = where.table(topic)
    while True:
        started_ms = clock.monotonic_ms()
        fold = carry_out(read_head(), store)
        aged = files = [] if before.events is None else expired_files(fold, before.events)
        if topic == AUDIT_TOPIC and aged:
            files = not_needed(where, fold, aged)
        quarantine = [] if before.quarantined is None else _expired_quarantine(store, fold, before.quarantined)
        old = Expired(files, quarantine, kept=len(aged) - len(files))
        if dry_run:
            return old
        carry_out(upkeep.finish_moves(fold), store)  # of an expiry that was killed
        if old.files or old.quarantine:
            draft = CommitRecord(
                "expire",
                str(uuid.uuid4()),
                process_name(),
                clock.wall_ms(),
                remove=(*(file.path for file in old.files), *(one.path for one in old.quarantine)),
            )
            if not isinstance(carry_out(commit(draft, fold, started_ms=started_ms), store, clock), Won):
                continue  # a compaction was faster: what it made of these files is looked at anew
        carry_out(upkeep.sweep(stages=store.stages), store)
        return old


def _expired_quarantine(store: Store, fold: Fold, before_ms: int) -> list[Quarantine]:
    return [one.quarantine for one in written_files(store, fold) if one.last_ms < before_ms]
