"""Retention of landed data by age: whole files, whose newest event is older than that, are taken out by one record."""

import os
import socket
import uuid
from pathlib import Path

from headrace.clock import Clock
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import upkeep
from headrace.sinks.table.commit import Won, commit, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, DataFile
from headrace.sinks.table.store import carry_out


def expired_files(fold: Fold, before_ms: int) -> list[DataFile]:
    """Live files of which every row is from before then; none that a rewind in progress keeps."""
    old = [file for file in fold.files.values() if file.max_event_time_ms < before_ms and not fold.is_pinned(file.path)]
    return sorted(old, key=lambda file: file.path)


def expire_table(root: Path | str, topic: str, before_ms: int, clock: Clock, *, dry_run: bool) -> list[DataFile]:
    """Take out what is older than `before_ms`, and sweep what was taken out a day ago; the files that went, or would go.

    Offsets, audit sums and quarantined records stay: the table still knows that all of it had landed.

    Raises:
        StorageError, CorruptError: the table's store failed, or its log is damaged.
    """
    store = open_root(root).table(topic)
    while True:
        started_ms = clock.monotonic_ms()
        fold = carry_out(read_head(), store)
        old = expired_files(fold, before_ms)
        if dry_run:
            return old
        carry_out(upkeep.finish_moves(fold), store)  # of an expiry that was killed
        if old:
            draft = CommitRecord(
                "expire",
                str(uuid.uuid4()),
                f"{socket.gethostname()}:{os.getpid()}",
                clock.wall_ms(),
                remove=tuple(file.path for file in old),
            )
            if not isinstance(carry_out(commit(draft, fold, started_ms=started_ms), store, clock), Won):
                continue  # a compaction was faster: what it made of these files is looked at anew
        carry_out(upkeep.sweep(stages=store.stages), store)
        return old
