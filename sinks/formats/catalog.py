"""The formats by name, as configuration and commit records call them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self

import pyarrow as pa
import zstandard

from headrace.errors import CorruptError
from headrace.sinks.config import FormatName, Output

if TYPE_CHECKING:
    from headrace.sinks.formats.parquet import ParquetReader

SUFFIXES: Final[dict[FormatName, str]] = {"parquet": ".parquet", "avro": ".avro", "json": ".json.zst"}

_DAMAGE: Final = (ValueError, KeyError, TypeError, IndexError, ArithmeticError, RecursionError, StopIteration)
"""What reading bytes that are no file of ours may raise, beside the errors of Arrow, of zstd and of the system."""


class Encoder(Protocol):
    """Rows on their way into an open file."""

    def write(self, rows: pa.Table) -> None:
        """Append rows of the file's schema."""

    def close(self) -> None:
        """Write what belongs to the end; the file itself stays open."""


class Reader(Protocol):
    """An open landed file."""

    schema: pa.Schema

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]: ...
    def close(self) -> None: ...


def encoder(sink: IO[bytes], schema: pa.Schema, output: Output) -> Encoder:
    """Begin a file of rows of one schema."""
    if output.format == "avro":
        from headrace.sinks.formats.avro import AvroEncoder

        return AvroEncoder(sink, schema, output.avro.codec)
    if output.format == "json":
        from headrace.sinks.formats.json_lines import JsonEncoder

        return JsonEncoder(sink, schema, output.json_lines.compression_level)
    from headrace.sinks.formats.parquet import ParquetEncoder

    return ParquetEncoder(sink, schema, output.parquet)


class LandedRows:
    """The rows of an open landed file, which is closed with them; a context manager.

    Args:
        name: what errors call the file. do: what they say is to be done, with a semicolon before it.
    Raises (all methods):
        CorruptError: it cannot be read.
    """

    def __init__(self, file: BufferedReader, format_: str, name: str, do: str = "") -> None:
        self._name, self._file, self._do = name, file, do
        with self._damage_named():
            self._reader = _reader(file, format_, name)
        self.schema = self._reader.schema

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, in order, in the columns named and in their order."""
        yield from self._selected(columns, self._reader.batches(columns))

    def row_groups(self, bounds: Any) -> list[int]:
        """The row groups of a Parquet file that may have rows which fulfil an Arrow expression (None: all)."""
        with self._damage_named():
            return self._parquet.row_groups(bounds)

    def batches_of(self, row_groups: Sequence[int], columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of some row groups of a Parquet file, at most so many at once."""
        yield from self._selected(columns, self._parquet.batches(columns, row_groups, batch_rows))

    def _selected(self, columns: Sequence[str] | None, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self._damage_named():
            for batch in batches:
                yield batch if columns is None else batch.select(list(columns))

    @property
    def _parquet(self) -> "ParquetReader":
        from headrace.sinks.formats.parquet import ParquetReader

        assert isinstance(self._reader, ParquetReader), "other formats have no row groups"
        return self._reader

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows at once."""
        names = self.schema.names if columns is None else columns
        return pa.Table.from_batches(self.batches(columns), pa.schema([self.schema.field(name) for name in names]))

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, EOFError, *_DAMAGE, zstandard.ZstdError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise CorruptError(f"{self._name} cannot be read: {said}{self._do}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._file.close()


def _reader(file: BufferedReader, format_: str, name: str) -> Reader:
    if format_ == "parquet":
        from headrace.sinks.formats.parquet import ParquetReader

        return ParquetReader(file)
    if format_ == "avro":
        from headrace.sinks.formats.avro import AvroReader

        return AvroReader(file)
    if format_ == "json":
        from headrace.sinks.formats.json_lines import JsonReader

        return JsonReader(file)
    raise CorruptError(f"{name} is said to be of format {format_!r}, which this headrace does not know")
