"""Rows sorted by directory and partition: in memory, or in a temporary file when memory is short, and merged at the end.

A run holds the rows of all partitions of thousands of directories that were read in one stretch, each partition's in the order
in which they came. So the runs of an attempt, in their order, merge into files sorted by partition and offset by going through
the partitions and, of each, through the runs; only one batch of each run is in memory.
Temporary files have no name: they are gone with the process, however it ends.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from headrace.errors import StorageError

BATCH_ROWS: Final = 32_768
_FEW_ROWS: Final = 4096
"""Chunks of fewer rows are joined: what is done by chunk costs as much for few rows as for many."""
PIECE_BYTES: Final = 32 << 20
"""Rows that are merged are handed on in pieces of about this size: a row group, where files have such."""


class Run(Protocol):
    """Sorted rows; directories are numbers."""

    def batches(self, directory: int) -> Iterator[pa.Table]:
        """The rows of a directory, by partition."""
        ...


class HeldRun:
    """A run in memory."""

    def __init__(self, rows: pa.Table, directories: np.ndarray) -> None:
        partitions = rows.column("_partition").to_numpy()
        if not _is_sorted(directories, partitions):
            order = np.lexsort((partitions, directories))
            directories, rows = directories[order], rows.take(pa.array(order))
        self._rows = in_large_chunks(rows)
        starts = np.flatnonzero(np.diff(directories, prepend=-1))
        ends = np.append(starts[1:], len(directories))
        self._spans = {int(directories[start]): (int(start), int(end)) for start, end in zip(starts, ends, strict=True)}

    @property
    def directories(self) -> list[int]:
        return list(self._spans)

    def batches(self, directory: int) -> Iterator[pa.Table]:
        if directory in self._spans:
            start, end = self._spans[directory]
            yield self._rows.slice(start, end - start)


def in_large_chunks(rows: pa.Table) -> pa.Table:
    """The rows in chunks that are worth working on."""
    return rows.combine_chunks() if rows.num_rows < rows.column(0).num_chunks * _FEW_ROWS else rows


def _is_sorted(directories: np.ndarray, partitions: np.ndarray) -> bool:
    step = np.diff(directories)
    return bool(np.all((step > 0) | ((step == 0) & (np.diff(partitions) >= 0))))


class SpilledRun:
    """A run in a temporary file.

    Raises (all methods):
        StorageError: the temporary directory's disk failed or is full.
    """

    def __init__(self, held: HeldRun, schema: pa.Schema) -> None:
        self._at: dict[int, list[int]] = {}
        try:
            self._file = tempfile.TemporaryFile(prefix="headrace-spill-")  # noqa: SIM115 - closed by close()
            count = 0
            with pa.ipc.new_file(self._file, schema) as writer:
                for directory in held.directories:
                    for rows in held.batches(directory):
                        for batch in rows.to_batches(BATCH_ROWS):
                            writer.write_batch(batch)
                            self._at.setdefault(directory, []).append(count)
                            count += 1
            self._file.flush()
            self._reader = pa.ipc.open_file(self._file)
        except OSError as error:
            raise _failed(error) from error

    def batches(self, directory: int) -> Iterator[pa.Table]:
        try:
            for number in self._at.get(directory, ()):
                yield pa.Table.from_batches([self._reader.get_batch(number)])
        except OSError as error:
            raise _failed(error) from error

    def close(self) -> None:
        self._file.close()


def _failed(error: OSError) -> StorageError:
    return StorageError(
        f"{tempfile.gettempdir()}: {error.strerror or error}; rows that do not fit in memory wait there (TMPDIR)"
    )


class _Cursor:
    """Where the merge stands in one run's rows of a directory."""

    def __init__(self, batches: Iterator[pa.Table]) -> None:
        self._batches = batches
        self.partition: int | None = None
        """Of the next row; None at the end."""
        self._next()

    def _next(self) -> None:
        self._rows = next(self._batches, None)
        self._at = 0
        self._partitions = np.empty(0, np.int32) if self._rows is None else self._rows.column("_partition").to_numpy()
        self.partition = int(self._partitions[0]) if len(self._partitions) else None

    def take(self, partition: int) -> Iterator[pa.Table]:
        """All rows of the partition that the cursor stands at."""
        while self.partition == partition:
            assert self._rows is not None
            end = int(np.searchsorted(self._partitions, partition, side="right"))
            yield self._rows.slice(self._at, end - self._at)
            if end == len(self._partitions):
                self._next()
            else:
                self._at, self.partition = end, int(self._partitions[end])


def merged(runs: Sequence[Run], directory: int) -> Iterator[pa.Table]:
    """The rows of a directory by partition, and of a partition in the order of the runs; in pieces."""
    if len(runs) == 1:
        yield from runs[0].batches(directory)
        return
    pieces: list[pa.Table] = []
    size_bytes = 0
    for rows in _slices([_Cursor(run.batches(directory)) for run in runs]):
        pieces.append(rows)
        size_bytes += rows.nbytes
        if size_bytes >= PIECE_BYTES:
            yield in_large_chunks(pa.concat_tables(pieces))
            pieces, size_bytes = [], 0
    if pieces:
        yield in_large_chunks(pa.concat_tables(pieces))


def _slices(cursors: Sequence[_Cursor]) -> Iterator[pa.Table]:
    while partitions := [cursor.partition for cursor in cursors if cursor.partition is not None]:
        lowest = min(partitions)
        for cursor in cursors:
            yield from cursor.take(lowest)
