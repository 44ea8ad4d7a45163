"""Parquet: the default, and what every query engine reads best."""

from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.sinks.config import ParquetKeys

_BATCH_ROWS: Final = 8192
_BUFFER_BYTES: Final = 256 << 10
"""Of each column: without it a reader holds whole row groups, and compaction has many files open."""


class ParquetEncoder:
    """Rows of one schema into an open file."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema, keys: ParquetKeys) -> None:
        self._row_group_rows = keys.row_group_rows
        self._writer = pq.ParquetWriter(
            sink,
            schema,
            compression=keys.compression,
            compression_level=keys.compression_level if keys.compression == "zstd" else None,
            use_dictionary=keys.dictionary,
            write_statistics=keys.statistics,
        )

    def write(self, rows: pa.Table) -> None:
        """Append rows as one or more row groups."""
        self._writer.write_table(rows, self._row_group_rows)

    def close(self) -> None:
        self._writer.close()


class ParquetReader:
    """The rows of a Parquet file."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
        self.schema: pa.Schema = self._file.schema_arrow

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(_BATCH_ROWS, columns=None if columns is None else list(columns))

    def close(self) -> None:
        self._file.close()
