"""What is read for a job: files of table snapshots, some of them a piece of work, and the parts of each piece."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from headrace.jobs.batch.event_rows import ORDER, Rows, Span
from headrace.jobs.batch.job import Job
from headrace.jobs.landed_rows import open_rows
from headrace.sinks.formats.catalog import LandedRows
from headrace.sinks.table.reader import LiveFile, TableSnapshot

_PIECE_BYTES: Final = 32 << 20
_PIECE_FILES: Final = 100
_BATCH_ROWS: Final = 131_072
"""Many enough for Arrow's functions, which cost some hundred microseconds each time, few enough to hold."""
_BATCH_BYTES: Final = 64 << 20
_FEWEST_MERGED: Final = 65_536


@dataclass(frozen=True, slots=True)
class Piece:
    """Some files of one table, that one worker reads."""

    root: str
    topic: str
    files: tuple[LiveFile, ...]


def pieces(root: str, tables: Iterable[TableSnapshot], span: Span) -> list[Piece]:
    """The files that may have rows of a span, small ones together."""
    found: list[Piece] = []
    for table in tables:
        held: list[LiveFile] = []
        held_bytes = 0
        for file in table.files:
            if not span.meets(file.min_event_time_ms, file.max_event_time_ms):
                continue
            if held and (held_bytes + file.bytes > _PIECE_BYTES or len(held) == _PIECE_FILES):
                found.append(Piece(root, table.topic, tuple(held)))
                held, held_bytes = [], 0
            held.append(file)
            held_bytes += file.bytes
        if held:
            found.append(Piece(root, table.topic, tuple(held)))
    return found


def read(piece: Piece, job: Job, span: Span, given: pa.Table | None) -> pa.Table | None:
    """The merged parts of a piece; None where it has no row of the span.

    Raises:
        StorageError: a file is nowhere. CorruptError: it cannot be read.
    """
    gathered = Gathered(job)
    wanted = dict.fromkeys((*job.columns(), "event_time", "_timestamp", *ORDER))
    for file in piece.files:
        with open_rows(piece.root, piece.topic, file) as landed:
            for table in _batches(landed, [name for name in wanted if name in landed.schema.names]):
                rows = Rows(piece.topic, table).within(span.back(job.reach_us()))
                if len(rows):
                    gathered.add(job.partial(rows, given))
    return gathered.parts()


def _batches(landed: LandedRows, names: Sequence[str]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = held_bytes = 0
    for batch in landed.batches(names):
        held.append(batch)
        rows, held_bytes = rows + batch.num_rows, held_bytes + batch.nbytes
        if rows >= _BATCH_ROWS or held_bytes >= _BATCH_BYTES:
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows, held_bytes = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held).combine_chunks()


class Gathered:
    """Parts as they come, merged when they have doubled: what is held is bounded by what merging leaves."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._held: list[pa.Table] = []
        self._rows, self._bound = 0, _FEWEST_MERGED

    def add(self, parts: pa.Table) -> None:
        """Take some in."""
        self._held.append(parts)
        self._rows += parts.num_rows
        if self._rows > self._bound:
            self._merge()

    def parts(self) -> pa.Table | None:
        """All of them, merged; None if there were none."""
        if not self._held:
            return None
        self._merge()
        return self._held[0]

    def _merge(self) -> None:
        self._held = [self._job.merge(pa.concat_tables(self._held).combine_chunks())]
        self._rows = self._held[0].num_rows
        self._bound = max(_FEWEST_MERGED, 2 * self._rows)
