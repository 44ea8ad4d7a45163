"""Parquet: the default, and what every query engine reads best."""

from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.sinks.config import ParquetKeys
from headrace.sinks.repetition import repeats

_BATCH_ROWS: Final = 8192
_BUFFER_BYTES: Final = 256 << 10
"""Of each column: without it a reader holds whole row groups, and compaction has many files open."""


class ParquetEncoder:
    """Rows of one schema into an open file."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema, keys: ParquetKeys) -> None:
        self._sink, self._schema, self._keys = sink, schema, keys
        self._writer: pq.ParquetWriter | None = None

    def _begin(self, rows: pa.Table) -> pq.ParquetWriter:
        keys = self._keys
        return pq.ParquetWriter(
            self._sink,
            self._schema,
            compression=keys.compression,
            compression_level=keys.compression_level if keys.compression == "zstd" else None,
            use_dictionary=repeating(rows) if keys.dictionary else False,
            write_statistics=compared(self._schema) if keys.statistics else False,
        )

    def write(self, rows: pa.Table) -> None:
        """Append rows as one or more row groups."""
        if self._writer is None:
            self._writer = self._begin(rows)
        self._writer.write_table(rows, self._keys.row_group_rows)

    def close(self) -> None:
        (self._writer or self._begin(self._schema.empty_table())).close()


def repeating(rows: pa.Table) -> list[str]:
    """Paths of the columns that are worth a dictionary, as far as these rows tell: those below nested ones always are.

    One for values that hardly repeat is built, found too large and given up, and takes more than all else that is done to them.
    """
    return [
        path
        for field, column in zip(rows.schema, rows.columns, strict=True)
        if pa.types.is_nested(field.type) or repeats(column)
        for path, _ in _leaves(field.name, field.type)
    ]


def compared(schema: pa.Schema) -> list[str]:
    """Paths of the columns whose least and greatest value are written: floats have none, because they would leave NaN out.

    A reader that takes NaN for a value (the greatest, in DuckDB, Spark and PostgreSQL) loses its rows by them.
    """
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    floats = {path for path, kind in leaves if pa.types.is_floating(kind)}
    return [path for path, _ in leaves if path not in floats]  # two columns may have one path: `m.x`, and `x` within `m`


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The columns of a Parquet file below a field, as the format's specification names them, and their types."""
    if isinstance(kind, pa.BaseExtensionType):
        yield from _leaves(path, kind.storage_type)
    elif pa.types.is_dictionary(kind):
        yield from _leaves(path, kind.value_type)
    elif pa.types.is_struct(kind):
        for child in kind:
            yield from _leaves(f"{path}.{child.name}", child.type)
    elif pa.types.is_map(kind):
        yield from _leaves(f"{path}.key_value.key", kind.key_type)
        yield from _leaves(f"{path}.key_value.value", kind.item_type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


class ParquetReader:
    """The rows of a Parquet file."""

    def __init__(self, file: BufferedReader) -> None:
        self._source = file
        self._file = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
        self.schema: pa.Schema = self._file.schema_arrow

    def batches(
        self, columns: Sequence[str] | None = None, row_groups: Sequence[int] | None = None, batch_rows: int = _BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(batch_rows, row_groups, None if columns is None else list(columns))

    def row_groups(self, bounds: pc.Expression | None) -> list[int]:
        """The numbers of the row groups whose statistics leave it open that rows fulfil `bounds`."""
        if bounds is None:
            return list(range(self._file.num_row_groups))
        import pyarrow.dataset as ds

        fragment = ds.ParquetFileFormat().make_fragment(self._source)
        return [group.id for group in fragment.subset(bounds, schema=self.schema).row_groups]

    def close(self) -> None:
        self._file.close()
