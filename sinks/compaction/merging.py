"""One merge of a compaction: files into one, under the table's columns where theirs differ, and the proof of its rows.

The content hash covers columns, so rows under other columns have another. Where files differ the proof has two halves: what was
read of each, under its own columns, sums up to what the log says; and what those rows are under the table's columns is what was
written, read back from the store. The log keeps both sums (`merged_hash`, `content_hash`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Final, cast

import pyarrow as pa

from headrace.audit import HASH_MODULUS
from headrace.errors import CorruptError
from headrace.schemas.unified import IncompatibleError, fit, project
from headrace.sinks.compaction.merge import merged
from headrace.sinks.config import FormatName, Output
from headrace.sinks.content_hash import content_hash
from headrace.sinks.data_file import LandingFile
from headrace.sinks.formats.catalog import SUFFIXES, LandedRows
from headrace.sinks.table.reader import opened
from headrace.sinks.table.record import DataFile, OffsetRange
from headrace.sinks.table.store import Store, landing, missing

_WRITTEN_ROWS: Final = 65_536


def opened_rows(store: Store, file: DataFile) -> LandedRows:
    """A live file's rows, wherever it has moved to."""
    if (data := opened(store, file.path)) is None:
        raise missing(file.path)
    return LandedRows(data, file.format, file.path)


def holds(columns: pa.Schema, schema: pa.Schema) -> bool:
    """Whether rows of a schema go under a table's columns as they are, every value unchanged."""
    try:
        found = fit(columns, schema, aside=False)
    except IncompatibleError:
        return False
    return bool(found.columns.equals(columns, check_metadata=True) and found.names == tuple(schema.names))


class Merge:
    """Some files of one directory and format, which have the same columns or go under `columns`."""

    def __init__(
        self,
        store: Store,
        files: Sequence[DataFile],
        output: Output,
        columns: pa.Schema | None,
        progress: Callable[[int], object],
        *,
        is_ordered: bool,
    ) -> None:
        """`output` has the settings of the format; `progress` is told of rows as they are written.

        `is_ordered`: whether rows have offsets, and lie in their order; those that jobs write have none.
        """
        self.store, self.files, self._progress = store, files, progress
        self._output = output.model_copy(update={"format": cast(FormatName, files[0].format)})  # it has been opened by it
        self._columns, self._is_ordered = columns, is_ordered
        self._read_hash: int | None = None
        """Of the rows read, under the columns of their own files; None where all have the same."""
        self._expected = sum(int(file.content_hash, 16) for file in files) % HASH_MODULUS

    def write(self, name: str) -> DataFile:
        """Write the rows of all files, in order, to one that is named by the attempt."""
        with ExitStack() as stack:
            sources = [stack.enter_context(opened_rows(self.store, file)) for file in self.files]
            schema = sources[0].schema
            if any(not rows.schema.equals(schema, check_metadata=True) for rows in sources):
                assert self._columns is not None, "files that differ are merged under the table's columns alone"
                schema, self._read_hash = self._columns, 0
            directory = self.files[0].path.rpartition("/")[0]
            path = f"{directory}/{name}-0{SUFFIXES[self._output.format]}"
            output = LandingFile(self.store, path, schema, self._output)
            try:
                batches = (self._batches(rows, schema) for rows in sources)
                self._copy(merged(batches) if self._is_ordered else chain.from_iterable(batches), schema, output)
                made: DataFile = output.close({each for file in self.files for each in file.schema_ids})
            except BaseException:
                output.discard()
                raise
        return made if self._read_hash is None else replace(made, merged_hash=f"{self._read_hash:016x}")

    def _batches(self, rows: LandedRows, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in rows.batches():
            if self._read_hash is None:
                yield batch
                continue
            self._read_hash = (self._read_hash + content_hash(batch)) % HASH_MODULUS
            yield from project(pa.Table.from_batches([batch]), schema).combine_chunks().to_batches()

    def _copy(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, output: LandingFile) -> None:
        first, last = min(file.min_event_time_ms for file in self.files), max(file.max_event_time_ms for file in self.files)
        bounds = pa.chunked_array([[first, last]], pa.int64())
        ranges = [OffsetRange(each.incarnation, each.partition, each.start, each.end) for f in self.files for each in f.ranges]
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            held.append(batch)
            rows += batch.num_rows
            if rows >= _WRITTEN_ROWS:
                output.append(pa.Table.from_batches(held, schema).combine_chunks(), bounds, ranges)
                self._progress(rows)
                held, rows = [], 0
        if held:
            output.append(pa.Table.from_batches(held, schema).combine_chunks(), bounds, ranges)
            self._progress(rows)

    def prove(self, made: DataFile) -> None:
        """Read the new file back, and compare rows and hashes with what the log says of the old ones.

        Raises:
            CorruptError: they differ.
        """
        rows = total = 0
        with LandedRows(self.store.open(landing(self.store, made.path)), made.format, made.path) as written:
            for batch in written.batches():
                rows, total = rows + batch.num_rows, (total + content_hash(batch)) % HASH_MODULUS
        if self._read_hash is not None and total == int(made.content_hash, 16):
            total = self._read_hash
        if rows != sum(file.rows for file in self.files) or total != self._expected:
            directory = made.path.rpartition("/")[0]
            raise CorruptError(
                f"{directory}: merged, its {len(self.files)} files hold {rows} rows with the hash {total:016x}, the log says"
                f" {sum(file.rows for file in self.files)} and {self._expected:016x}; nothing was changed; run: headrace check"
                " --deep"
            )
