"""Rows on their way into files: gathered by directory and schema, spilled to staging when memory is short.

Small topics make few files: the rows of all partitions of an hour share one, sorted by partition and offset. An hour that
outgrows memory is spilled: its partitions go on in a file each, row group by row group, which keeps every file sorted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa

from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.formats.catalog import SUFFIXES
from headrace.sinks.table.record import DataFile, OffsetRange
from headrace.sinks.table.store import Store

MAX_OPEN_FILES: Final = 200
FEW_ROWS: Final = 256
"""Fewer rows than this are joined with those that follow: in a batch over thousands of hours each hour has a handful."""
_COLUMN_BYTES: Final = 1024
"""What a column takes beside its values (measured: 20 KB for the 18 columns of a table of four rows)."""
_GUESSED_RATIO: Final = 0.2
"""Of a file's bytes to the same rows in memory, before one was written."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one partition and directory, in offset order; `event_time_ms` is int64, of equal length."""

    incarnation: int
    partition: int
    directory: str
    rows: pa.Table
    event_time_ms: pa.ChunkedArray
    first_offset: int
    last_offset: int
    schema_ids: frozenset[int]

    @property
    def range(self) -> OffsetRange:
        return OffsetRange(self.incarnation, self.partition, self.first_offset, self.last_offset + 1)

    @property
    def held_bytes(self) -> int:
        """What holding it takes: for few rows, far more than their values."""
        return int(self.rows.nbytes) + int(self.rows.num_columns) * _COLUMN_BYTES

    def takes(self, later: "Rows") -> bool:
        """Whether `later` rows of the same bucket and partition are worth joining to these: these are few."""
        return self.incarnation == later.incarnation and self.rows.num_rows < FEW_ROWS

    def joined(self, later: "Rows") -> "Rows":
        """These rows and the later ones, in one piece of memory."""
        return replace(
            self,
            rows=pa.concat_tables([self.rows, later.rows]).combine_chunks(),
            event_time_ms=pa.chunked_array([*self.event_time_ms.chunks, *later.event_time_ms.chunks]),
            last_offset=later.last_offset,
            schema_ids=self.schema_ids | later.schema_ids,
        )


@dataclass(slots=True)
class _Bucket:
    directory: str
    schema: pa.Schema
    held: dict[int, list[Rows]] = field(default_factory=dict)
    """By partition, in offset order."""
    held_bytes: int = 0
    rows: int = 0
    files: dict[int, LandingFile] = field(default_factory=dict)
    schema_ids: set[int] = field(default_factory=set)


class Buckets:
    """All rows of one attempt that have been read and not yet committed."""

    def __init__(self, store: Store, attempt: str, output: Output) -> None:
        self._store, self._attempt, self._output = store, attempt, output
        self._buckets: dict[tuple[str, pa.Schema], _Bucket] = {}
        self._closed: list[DataFile] = []
        self._number = 0
        self._ratio = _GUESSED_RATIO
        self.held_bytes = 0

    def add(self, rows: Rows) -> None:
        """Hold rows in memory."""
        bucket = self._buckets.setdefault((rows.directory, rows.rows.schema), _Bucket(rows.directory, rows.rows.schema))
        before = bucket.held_bytes
        held = bucket.held.setdefault(rows.partition, [])
        if held and held[-1].takes(rows):
            last = held.pop()
            bucket.held_bytes -= last.held_bytes
            held.append(last.joined(rows))
        else:
            held.append(rows)
        bucket.held_bytes += held[-1].held_bytes
        bucket.rows += rows.rows.num_rows
        bucket.schema_ids |= rows.schema_ids
        self.held_bytes += bucket.held_bytes - before

    def project(self, onto: Callable[[pa.Table], pa.Table]) -> None:
        """Bring the rows held in memory under other columns; what was spilled stays in files of its own."""
        before = [rows for bucket in self._buckets.values() for held in bucket.held.values() for rows in held]
        for bucket in self._buckets.values():
            bucket.rows -= sum(rows.rows.num_rows for held in bucket.held.values() for rows in held)
            self._empty(bucket)
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.files}
        before.reverse()
        while before:
            rows = before.pop()
            self.add(replace(rows, rows=onto(rows.rows)))

    def is_due(self, *, bytes_: int, rows: int) -> bool:
        """Whether a file has reached one of the limits."""
        return any(bucket.rows >= rows or self._size_bytes(bucket) >= bytes_ for bucket in self._buckets.values())

    def _size_bytes(self, bucket: _Bucket) -> int:
        return sum(file.size_bytes for file in bucket.files.values()) + int(bucket.held_bytes * self._ratio)

    def spill(self) -> None:
        """Write the fullest bucket to its files in staging, so that it holds nothing in memory."""
        bucket = max(self._buckets.values(), key=lambda bucket: bucket.held_bytes)
        for partition, rows in sorted(bucket.held.items()):
            if partition not in bucket.files:
                self._make_room()
                bucket.files[partition] = self._new_file(bucket)
            self._write(bucket.files[partition], rows)
        self._empty(bucket)

    def _make_room(self) -> None:
        """Close the largest open file if there are too many: an attempt over very many hours makes more files."""
        open_files = [(file.size_bytes, key, p) for key, b in self._buckets.items() for p, file in b.files.items()]
        if len(open_files) >= MAX_OPEN_FILES:
            _, key, partition = max(open_files, key=lambda item: item[0])
            bucket = self._buckets[key]
            self._closed.append(bucket.files.pop(partition).close(bucket.schema_ids))

    def _new_file(self, bucket: _Bucket) -> LandingFile:
        name = f"{bucket.directory}/{self._attempt}-{self._number}{SUFFIXES[self._output.format]}"
        self._number += 1
        return LandingFile(self._store, name, bucket.schema, self._output)

    def _write(self, file: LandingFile, rows: list[Rows]) -> None:
        before = file.size_bytes
        table = pa.concat_tables(one.rows for one in rows)
        times = pa.chunked_array([chunk for one in rows for chunk in one.event_time_ms.chunks], pa.int64())
        file.append(table, times, [one.range for one in rows])
        if table.nbytes:
            self._ratio = (file.size_bytes - before) / table.nbytes

    def _empty(self, bucket: _Bucket) -> None:
        self.held_bytes -= bucket.held_bytes
        bucket.held.clear()
        bucket.held_bytes = 0

    def close(self) -> tuple[DataFile, ...]:
        """Finish all files; every row that was added is in one of them, durable in the store."""
        for key, bucket in list(self._buckets.items()):
            shared: list[Rows] = []
            for partition, rows in sorted(bucket.held.items()):
                if partition in bucket.files:
                    self._write(bucket.files[partition], rows)
                else:
                    shared += rows
            if shared:
                file = self._new_file(bucket)
                bucket.files[-1] = file
                self._write(file, shared)
            self._empty(bucket)
            self._closed += [file.close(bucket.schema_ids) for file in bucket.files.values()]
            del self._buckets[key]
        return tuple(self._closed)

    def discard(self) -> None:
        """Give up whatever is still open (closed files are the commit protocol's to delete)."""
        for bucket in self._buckets.values():
            for file in bucket.files.values():
                file.discard()
        self._buckets.clear()
        self.held_bytes = 0

    @property
    def closed(self) -> tuple[DataFile, ...]:
        return tuple(self._closed)
