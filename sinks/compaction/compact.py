"""Compaction of one table: read small files in order, write few, prove them equal, and swap by one record of the log.

Readers are never blocked: they have what their snapshot names, in place or in `removed/`.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from headrace.clock import Clock
from headrace.errors import CorruptError
from headrace.process import process_name
from headrace.sinks.compaction import quarantine
from headrace.sinks.compaction.merging import Merge, holds, opened_rows
from headrace.sinks.compaction.plan import Candidate, Limits, merges, small_files
from headrace.sinks.config import Output
from headrace.sinks.layout import Layout
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import upkeep
from headrace.sinks.table.arrow_schema import decode_schema
from headrace.sinks.table.commit import Won, commit, give_up, read_head
from headrace.sinks.table.record import CommitRecord, DataFile
from headrace.sinks.table.store import Store, carry_out

logger = logging.getLogger(__name__)

STREAMED_BYTES: Final = 24 << 20
"""What a file that is read a batch at a time takes at most (measured with 18 columns)."""
_EXPANSION: Final = 6
"""Bytes in memory for each byte of a file, guessed high; only small files are held whole."""
DEFAULT_OUTPUT: Final = Output()


@dataclass(slots=True)
class Outcome:
    """What a run did: files that went and came, their rows, merges that others overtook; the same of quarantine files."""

    before: int = 0
    after: int = 0
    rows: int = 0
    overtaken: int = 0
    quarantine_before: int = 0
    quarantine_after: int = 0
    quarantined: int = 0


def compact_table(
    root: Path | str,
    topic: str,
    limits: Limits,
    clock: Clock,
    *,
    progress: Callable[[int], object],
    output: Output = DEFAULT_OUTPUT,
    directory: str | None = None,
) -> Outcome:
    """Merge small files until there are none worth merging.

    Args:
        progress: told of rows as they are written.
        output: how the loader writes the table: the settings of each format, and which hours its directories are.
        directory: the only one to look at; then quarantine files are left alone, too.
    Raises:
        CorruptError: files do not hold what the log says; nothing has been swapped for them.
        StorageError: the store failed.
    """
    outcome, store, layout = Outcome(), open_root(root).table(topic), Layout(output.layout)
    while True:
        started_ms = clock.monotonic_ms()
        fold = carry_out(read_head(), store)
        carry_out(upkeep.finish_moves(fold), store)
        columns = decode_schema(fold.arrow_schema) if fold.arrow_schema is not None else None
        small = [
            file
            for file in small_files(fold, limits, layout, clock.wall_ms())
            if directory is None or file.path.rpartition("/")[0] == directory
        ]
        planned = merges(_candidates(store, small, columns), limits)
        if not planned:
            break
        for merge in planned:
            files = [one.file for one in merge]
            if not all(file.path in fold.files for file in files):
                break
            draft = _draft(Merge(store, files, output, columns, progress, is_ordered=not fold.is_derived), clock)
            done = carry_out(commit(draft, fold, started_ms=started_ms), store, clock)
            fold = done.fold
            if not isinstance(done, Won):
                outcome.overtaken += 1
                logger.warning("a merge came to nothing: %s", done.why)
                break
            outcome.before, outcome.after = outcome.before + len(files), outcome.after + len(draft.add)
            outcome.rows += sum(file.rows for file in files)
            if upkeep.checkpoint_is_due(fold):
                carry_out(upkeep.write_checkpoint(fold), store)
    return outcome if directory is not None else compact_quarantine(store, limits, clock, outcome)


def compact_quarantine(store: Store, limits: Limits, clock: Clock, so_far: Outcome | None = None) -> Outcome:
    """Merge the quarantine files of closed days; `so_far` is gone on from. Raises as `compact_table`."""
    outcome = so_far or Outcome()
    while True:
        started_ms = clock.monotonic_ms()
        fold = carry_out(read_head(), store)
        planned = quarantine.merges(quarantine.written_files(store, fold), limits, clock.wall_ms())
        if not planned:
            return outcome
        merge = planned[0]
        draft = quarantine.merged(store, merge, fold, clock)
        done = carry_out(commit(draft, fold, started_ms=started_ms), store, clock)
        if not isinstance(done, Won):
            outcome.overtaken += 1
            logger.warning("a merge of quarantine files came to nothing: %s", done.why)
            continue
        outcome.quarantine_before, outcome.quarantine_after = (
            outcome.quarantine_before + len(merge),
            outcome.quarantine_after + 1,
        )
        outcome.quarantined += sum(one.quarantine.count for one in merge)
        if upkeep.checkpoint_is_due(done.fold):
            carry_out(upkeep.write_checkpoint(done.fold), store)


def _candidates(store: Store, files: Sequence[DataFile], columns: pa.Schema | None) -> list[Candidate]:
    """The files by their columns; all of a directory are one family where its files differ and go under the table's columns."""
    schemas = []
    for file in files:
        with opened_rows(store, file) as rows:
            schemas.append(rows.schema)
    families = [f"{file.format} {schema.serialize().to_pybytes()!r}" for file, schema in zip(files, schemas, strict=True)]
    directories = [file.path.rpartition("/")[0] for file in files]
    own: dict[str, set[str]] = defaultdict(set)
    for directory, family, schema in zip(directories, families, schemas, strict=True):
        if columns is not None and holds(columns, schema):
            own[directory].add(family)
    return [
        Candidate(
            file,
            f"{file.format} unified" if len(own[directory]) > 1 and family in own[directory] else family,
            min(file.bytes * _EXPANSION, STREAMED_BYTES),
        )
        for file, directory, family in zip(files, directories, families, strict=True)
    ]


def _draft(merge: Merge, clock: Clock) -> CommitRecord:
    """Merge files into one, prove it equal to them, and say so in a record."""
    name = str(uuid.uuid4())
    made = merge.write(name)
    draft = CommitRecord(
        "compact",
        name,
        process_name(),
        clock.wall_ms(),
        add=(made,),
        remove=tuple(file.path for file in merge.files),
    )
    try:
        merge.prove(made)
    except CorruptError as error:
        carry_out(give_up(draft, str(error)), merge.store)
        raise
    return draft
