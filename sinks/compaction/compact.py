"""Compaction of one table: read small files in order, write few, prove them equal, and swap by one record of the log.

Rows and content hash of what was written, as read back from the store, must be the sums of what the log says of the files
that go. Readers are never blocked: they have what their snapshot names, in place or in `removed/`.
"""

import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import pyarrow as pa

from headrace.audit import HASH_MODULUS
from headrace.clock import Clock
from headrace.errors import CorruptError, StorageError
from headrace.sinks.compaction.merge import merged
from headrace.sinks.compaction.plan import Candidate, Limits, merges, small_files
from headrace.sinks.config import FormatName, Output
from headrace.sinks.content_hash import content_hash
from headrace.sinks.data_file import LandingFile
from headrace.sinks.formats.catalog import SUFFIXES, LandedRows
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import upkeep
from headrace.sinks.table.commit import Won, commit, give_up, read_head
from headrace.sinks.table.reader import opened
from headrace.sinks.table.record import CommitRecord, DataFile, OffsetRange
from headrace.sinks.table.store import Store, carry_out, landing

logger = logging.getLogger(__name__)

STREAMED_BYTES: Final = 24 << 20
"""What a file that is read a batch at a time takes at most (measured with 18 columns)."""
_EXPANSION: Final = 6
"""Bytes in memory for each byte of a file, guessed high; only small files are held whole."""
_WRITTEN_ROWS: Final = 65_536


@dataclass(slots=True)
class Outcome:
    """What a run did: files that went and came, their rows, merges that others overtook."""

    before: int = 0
    after: int = 0
    rows: int = 0
    overtaken: int = 0


def compact_table(root: Path | str, topic: str, limits: Limits, clock: Clock, *, progress: Callable[[int], object]) -> Outcome:
    """Merge small files until there are none worth merging.

    Args:
        progress: told of rows as they are written.
    Raises:
        CorruptError: files do not hold what the log says; nothing has been swapped for them.
        StorageError: the store failed.
    """
    outcome, store = Outcome(), open_root(root).table(topic)
    while True:
        started_ms = clock.monotonic_ms()
        fold = carry_out(read_head(), store)
        carry_out(upkeep.finish_moves(fold), store)
        planned = merges(_candidates(store, small_files(fold, limits, clock.wall_ms())), limits)
        if not planned:
            break
        for merge in planned:
            files = [one.file for one in merge]
            if not all(file.path in fold.files for file in files):
                break
            draft = _draft(store, files, clock, progress)
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
    return outcome


def _candidates(store: Store, files: Sequence[DataFile]) -> list[Candidate]:
    found = []
    for file in files:
        with _open(store, file) as rows:
            family = f"{file.format} {rows.schema.serialize().to_pybytes()!r}"
        found.append(Candidate(file, family, min(file.bytes * _EXPANSION, STREAMED_BYTES)))
    return found


def _open(store: Store, file: DataFile) -> LandedRows:
    """A live file's rows, wherever it has moved to."""
    if (data := opened(store, file.path)) is None:
        raise StorageError(f"{file.path}: the log names this file, and it is missing; run: headrace check")
    return LandedRows(data, file.format, file.path)


def _draft(store: Store, files: Sequence[DataFile], clock: Clock, progress: Callable[[int], object]) -> CommitRecord:
    """Merge files into one, prove it equal to them, and say so in a record."""
    name = str(uuid.uuid4())
    made = _merge(store, files, name, progress)
    draft = CommitRecord(
        "compact",
        name,
        f"{socket.gethostname()}:{os.getpid()}",
        clock.wall_ms(),
        add=(made,),
        remove=tuple(file.path for file in files),
    )
    try:
        _prove(store, made, files)
    except CorruptError as error:
        carry_out(give_up(draft, str(error)), store)
        raise
    return draft


def _merge(store: Store, files: Sequence[DataFile], name: str, progress: Callable[[int], object]) -> DataFile:
    with ExitStack() as stack:
        sources = [stack.enter_context(_open(store, file)) for file in files]
        schema, format_ = sources[0].schema, cast(FormatName, files[0].format)  # it has been opened by it
        directory = files[0].path.rpartition("/")[0]
        path = f"{directory}/{name}-0{SUFFIXES[format_]}"
        output = LandingFile(store, path, schema, Output(format=format_))
        try:
            _write(output, merged(rows.batches() for rows in sources), schema, files, progress)
            made: DataFile = output.close({each for file in files for each in file.schema_ids})
            return made
        except BaseException:
            output.discard()
            raise


def _write(
    output: LandingFile,
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    files: Sequence[DataFile],
    progress: Callable[[int], object],
) -> None:
    bounds = pa.chunked_array([[min(f.min_event_time_ms for f in files), max(f.max_event_time_ms for f in files)]], pa.int64())
    ranges = [OffsetRange(span.incarnation, span.partition, span.start, span.end) for file in files for span in file.ranges]
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= _WRITTEN_ROWS:
            output.append(pa.Table.from_batches(held, schema).combine_chunks(), bounds, ranges)
            progress(rows)
            held, rows = [], 0
    if held:
        output.append(pa.Table.from_batches(held, schema).combine_chunks(), bounds, ranges)
        progress(rows)


def _prove(store: Store, made: DataFile, files: Sequence[DataFile]) -> None:
    """Read the new file back, and compare it with what the log says of the old ones.

    Raises:
        CorruptError: they differ.
    """
    rows = total = 0
    with LandedRows(store.open(landing(store, made.path)), made.format, made.path) as written:
        for batch in written.batches():
            rows, total = rows + batch.num_rows, (total + content_hash(batch)) % HASH_MODULUS
    expected = sum(int(file.content_hash, 16) for file in files) % HASH_MODULUS
    if rows != sum(file.rows for file in files) or total != expected:
        directory = made.path.rpartition("/")[0]
        raise CorruptError(
            f"{directory}: merged, its {len(files)} files hold {rows} rows with the hash {total:016x}, the log says"
            f" {sum(file.rows for file in files)} and {expected:016x}; nothing was changed; run: headrace check --deep"
        )
