"""Rows of several sorted files in one order, a run at a time: no more than a batch of each file is held."""

import heapq
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from headrace.errors import CorruptError

Key = tuple[int, int, int]  # (partition, incarnation, offset): the order of rows in every landed file
_KEY_COLUMNS = ("_partition", "_incarnation", "_offset")


class _Cursor:
    """Where one file is read."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._at = 0
        self._next_batch()

    def _next_batch(self) -> None:
        self._batch = next((batch for batch in self._batches if batch.num_rows), None)
        self._at = 0
        if self._batch is not None:
            self._keys = [self._batch.column(name).to_numpy(zero_copy_only=False) for name in _KEY_COLUMNS]

    @property
    def key(self) -> Key | None:
        """The key of the next row; None at the end."""
        if self._batch is None:
            return None
        partition, incarnation, offset = (int(column[self._at]) for column in self._keys)
        return partition, incarnation, offset

    def take(self, bound: Key | None) -> pa.RecordBatch:
        """The rows of this batch from here on whose keys are below `bound`; at least the next one is."""
        assert self._batch is not None, "there is a next row"
        end = self._batch.num_rows if bound is None else self._below(bound)
        rows = self._batch.slice(self._at, end - self._at)
        self._at = end
        if end == self._batch.num_rows:
            self._next_batch()
        return rows

    def _below(self, bound: Key) -> int:
        low, high = self._at, len(self._keys[0])
        for column, value in zip(self._keys, bound, strict=True):
            part = column[low:high]
            low, high = low + int(np.searchsorted(part, value, "left")), low + int(np.searchsorted(part, value, "right"))
        return low


def merged(files: Iterable[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """The rows of all files, each sorted, in order.

    Raises:
        CorruptError: a row is in two files, or a file is not sorted.
    """
    heap: list[tuple[Key, int, _Cursor]] = []
    for number, batches in enumerate(files):
        cursor = _Cursor(batches)
        if cursor.key is not None:
            heapq.heappush(heap, (cursor.key, number, cursor))
    last: Key = (-1, -1, -1)
    while heap:
        key, number, cursor = heapq.heappop(heap)
        if key <= last:
            raise CorruptError(f"row {key} (partition, incarnation, offset) does not follow {last}: repeated, or out of order")
        bound = heap[0][0] if heap else None
        if key == bound:
            raise CorruptError(f"row {key} (partition, incarnation, offset) is in two files")
        rows = cursor.take(bound)
        yield rows
        final = rows.slice(rows.num_rows - 1)
        last = tuple(int(final.column(name)[0].as_py()) for name in _KEY_COLUMNS)  # type: ignore[assignment]  # three columns
        if cursor.key is not None:
            heapq.heappush(heap, (cursor.key, number, cursor))
