"""Rows on their way into files: held as they were read, sorted into files by directory and schema when the attempt ends.

Small topics make few files: the rows of all partitions of a directory share one, sorted by partition and offset. When memory
is short, what is held goes to a temporary file as a sorted run, and the runs are merged at the end: thousands of directories
and partitions may be open at once, and each directory still gets one file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.formats.catalog import SUFFIXES
from headrace.sinks.sorted_runs import HeldRun, Run, SpilledRun, merged
from headrace.sinks.table.record import DataFile, OffsetRange
from headrace.sinks.table.store import Store

GUESSED_RATIO: Final = 0.2
"""Of a file's bytes to the same rows in memory, before one was written."""
_COLUMN_BYTES: Final = 1024
"""What a column of a batch takes beside its values (measured: 20 KB for the 18 columns of a table of four rows)."""
_EVENT_TIME: Final = "\0event_time_ms"
"""The column of event times while rows wait; no column of a topic has a NUL in its name."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one partition in offset order, with the columns that we add; the rest is of equal length.

    `directories` (int32) are positions in `paths`; `event_time_ms` is int64.
    """

    rows: pa.Table
    event_time_ms: np.ndarray
    directories: np.ndarray
    paths: tuple[str, ...]
    schema_ids: frozenset[int]

    @property
    def partition(self) -> int:
        found: int = self.rows.column("_partition")[0].as_py()
        return found

    @property
    def held_bytes(self) -> int:
        """What holding them takes: for few rows, far more than their values."""
        held: int = self.rows.nbytes + 12 * self.rows.num_rows + self.rows.num_columns * _COLUMN_BYTES
        return held


@dataclass(slots=True)
class _Count:
    """What waits for one file."""

    rows: int = 0
    size_bytes: float = 0.0
    """In memory, not in the file."""
    schema_ids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Shelf:
    """All rows of one schema; `counts` by number of the directory."""

    schema: pa.Schema
    held: list[Rows] = field(default_factory=list)
    held_bytes: int = 0
    runs: list[SpilledRun] = field(default_factory=list)
    counts: dict[int, _Count] = field(default_factory=dict)


class Buckets:
    """All rows of one attempt that have been read and not yet committed.

    Args:
        ratio: of a file's bytes to the same rows in memory, as far as is known.
    """

    def __init__(self, store: Store, attempt: str, output: Output, *, ratio: float = GUESSED_RATIO) -> None:
        self._store, self._attempt, self._output, self.ratio = store, attempt, output, ratio
        self._shelves: dict[pa.Schema, _Shelf] = {}
        self._paths: list[str] = []
        self._numbers: dict[str, int] = {}
        self._open: LandingFile | None = None
        self._closed: list[DataFile] = []
        self._most_rows, self._most_bytes = 0, 0.0
        self.held_bytes = 0

    def add(self, rows: Rows) -> None:
        """Hold rows in memory."""
        shelf = self._shelves.setdefault(rows.rows.schema, _Shelf(rows.rows.schema))
        shelf.held.append(rows)
        shelf.held_bytes += rows.held_bytes
        self.held_bytes += rows.held_bytes
        row_bytes = rows.rows.nbytes / rows.rows.num_rows
        for position, count in enumerate(np.bincount(rows.directories, minlength=len(rows.paths)).tolist()):
            waiting = shelf.counts.setdefault(self._number(rows.paths[position]), _Count())
            waiting.rows += count
            waiting.size_bytes += count * row_bytes
            waiting.schema_ids |= rows.schema_ids
            self._most_rows, self._most_bytes = max(self._most_rows, waiting.rows), max(self._most_bytes, waiting.size_bytes)

    def _number(self, path: str) -> int:
        number = self._numbers.setdefault(path, len(self._paths))
        if number == len(self._paths):
            self._paths.append(path)
        return number

    def project(self, onto: Callable[[pa.Table], pa.Table]) -> None:
        """Bring the rows held in memory under other columns; what was spilled stays in files of its own."""
        before = [rows for shelf in self._shelves.values() for rows in shelf.held]
        for schema, shelf in list(self._shelves.items()):
            self._empty(shelf)
            if not shelf.runs:
                del self._shelves[schema]
        for rows in before:
            self.add(Rows(onto(rows.rows), rows.event_time_ms, rows.directories, rows.paths, rows.schema_ids))

    def _empty(self, shelf: _Shelf) -> None:
        self.held_bytes -= shelf.held_bytes
        shelf.held, shelf.held_bytes = [], 0

    def is_due(self, *, bytes_: int, rows: int) -> bool:
        """Whether a file has reached one of the limits."""
        return self._most_rows >= rows or self._most_bytes * self.ratio >= bytes_

    def spill(self) -> None:
        """Write the rows held of the schema that holds most to a temporary file."""
        shelf = max(self._shelves.values(), key=lambda shelf: shelf.held_bytes)
        held = self._sorted(shelf)
        shelf.runs.append(SpilledRun(held, _with_times(shelf.schema)))

    def _sorted(self, shelf: _Shelf) -> HeldRun:
        """What a shelf holds, which it holds no longer."""
        if all(len(rows.paths) == 1 for rows in shelf.held):  # nearly always: then whole batches are sorted, not rows
            shelf.held.sort(key=lambda rows: (self._number(rows.paths[0]), rows.partition))
        numbers = [np.array([self._number(path) for path in rows.paths], np.int32)[rows.directories] for rows in shelf.held]
        times = pa.chunked_array([pa.array(rows.event_time_ms) for rows in shelf.held], pa.int64())
        table = pa.concat_tables(rows.rows for rows in shelf.held).append_column(_EVENT_TIME, times)
        self._empty(shelf)
        return HeldRun(table, np.concatenate(numbers))

    def close(self) -> tuple[DataFile, ...]:
        """Finish all files; every row that was added is in one of them, durable in the store."""
        before, after = 0.0, 0
        for schema, shelf in list(self._shelves.items()):
            runs: list[Run] = [*shelf.runs, *([self._sorted(shelf)] if shelf.held else [])]
            for number in sorted(shelf.counts, key=self._paths.__getitem__):
                closed = self._written(shelf, number, merged(runs, number))
                before, after = before + shelf.counts[number].size_bytes, after + closed.bytes
            for run in shelf.runs:
                run.close()
            del self._shelves[schema]
        if before:
            self.ratio = after / before
        return tuple(self._closed)

    def _written(self, shelf: _Shelf, number: int, pieces: Iterator[pa.Table]) -> DataFile:
        name = f"{self._paths[number]}/{self._attempt}-{len(self._closed)}{SUFFIXES[self._output.format]}"
        self._open = LandingFile(self._store, name, shelf.schema, self._output)
        for piece in pieces:
            self._open.append(piece.drop_columns(_EVENT_TIME), piece.column(_EVENT_TIME), _ranges(piece))
        self._closed.append(self._open.close(shelf.counts[number].schema_ids))
        self._open = None
        return self._closed[-1]

    def discard(self) -> None:
        """Give up whatever is still open (closed files are the commit protocol's to delete)."""
        if self._open is not None:
            self._open.discard()
            self._open = None
        for shelf in self._shelves.values():
            for run in shelf.runs:
                run.close()
        self._shelves.clear()
        self.held_bytes = 0

    @property
    def closed(self) -> tuple[DataFile, ...]:
        return tuple(self._closed)


def _with_times(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(_EVENT_TIME, pa.int64()))


def _ranges(rows: pa.Table) -> list[OffsetRange]:
    """The offsets that rows lie in which are sorted by partition and offset."""
    incarnations, partitions, offsets = (rows.column(name).to_numpy() for name in ("_incarnation", "_partition", "_offset"))
    starts = np.flatnonzero(np.diff(partitions, prepend=-1))
    ends = np.append(starts[1:], len(partitions)) - 1
    return [
        OffsetRange(int(incarnations[start]), int(partitions[start]), int(offsets[start]), int(offsets[end]) + 1)
        for start, end in zip(starts, ends, strict=True)
    ]
