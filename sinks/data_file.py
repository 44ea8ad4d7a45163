"""One landed file: counted and hashed on its way into the store, durable when closed."""

import io
from collections.abc import Iterable
from typing import IO, Final, cast

import crc32c
import pyarrow as pa
import pyarrow.compute as pc

from headrace.audit import HASH_MODULUS
from headrace.errors import StorageError
from headrace.sinks.config import Output
from headrace.sinks.content_hash import content_hash
from headrace.sinks.formats.catalog import encoder
from headrace.sinks.table.arrow_schema import encode_schema, fingerprint
from headrace.sinks.table.record import DataFile, OffsetRange
from headrace.sinks.table.store import NewFile, Store, landing

_PER_MS: Final = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
_PIECE_BYTES: Final = 1 << 20


class _Sink(io.RawIOBase):
    """A new file of the store that knows its size and checksum so far."""

    def __init__(self, file: NewFile) -> None:
        self.file = file
        self.size_bytes = 0
        self.checksum = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]  # pyarrow's buffers are
        self.file.write(view)
        self.checksum = crc32c.crc32c(view, self.checksum)
        self.size_bytes += view.nbytes
        return view.nbytes


def checksum_of(data: IO[bytes]) -> str:
    """The checksum of what is left to read, as records have it."""
    checksum = 0
    while piece := data.read(_PIECE_BYTES):
        checksum = crc32c.crc32c(piece, checksum)
    return _told(checksum)


def _told(checksum: int) -> str:
    return f"crc32c:{checksum:08x}"


class LandingFile:
    """A file of rows of one schema, sorted as they are appended.

    Raises (all methods):
        StorageError: the store failed or is full.
    """

    def __init__(self, store: Store, path: str, schema: pa.Schema, output: Output) -> None:
        self.path, self._format = path, output.format
        self.rows = 0
        self._hash = 0
        self._min_ms: int | None = None
        self._max_ms: int | None = None
        self._ranges: dict[tuple[int, int], tuple[int, int]] = {}
        self._columns = fingerprint(encode_schema(schema))
        self._times = [(field.name, *_PER_MS[field.type.unit]) for field in schema if pa.types.is_timestamp(field.type)]
        self._bounds: dict[str, tuple[int, int]] = {}
        self._sink = _Sink(store.create(landing(store, path)))
        try:
            self._encoder = encoder(cast(IO[bytes], self._sink), schema, output)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path}: {error.strerror or error}")

    @property
    def size_bytes(self) -> int:
        return self._sink.size_bytes

    def append(self, rows: pa.Table, event_time_ms: pa.ChunkedArray, ranges: Iterable[OffsetRange]) -> None:
        """Append rows.

        Args:
            event_time_ms: the rows' event times, int64.
            ranges: the offsets that the rows lie in.
        """
        try:
            self._encoder.write(rows)
        except OSError as error:
            raise self._failed(error) from error
        self.rows += rows.num_rows
        self._hash = (self._hash + content_hash(rows)) % HASH_MODULUS
        bounds = pc.min_max(event_time_ms).as_py()
        self._min_ms = bounds["min"] if self._min_ms is None else min(self._min_ms, bounds["min"])
        self._max_ms = bounds["max"] if self._max_ms is None else max(self._max_ms, bounds["max"])
        for name, factor, divisor in self._times:
            self._widen(name, pc.min_max(rows.column(name)), factor, divisor)
        for one in ranges:
            key = (one.incarnation, one.partition)
            start, end = self._ranges.get(key, (one.start, one.end))
            self._ranges[key] = (min(start, one.start), max(end, one.end))

    def _widen(self, name: str, bounds: pa.StructScalar, factor: int, divisor: int) -> None:
        if bounds["min"].is_valid:
            first, last = (bounds[side].value * factor // divisor for side in ("min", "max"))
            known = self._bounds.get(name, (first, last))
            self._bounds[name] = min(first, known[0]), max(last, known[1])

    def close(self, schema_ids: Iterable[int]) -> DataFile:
        """Finish the file: it is whole and durable in the store."""
        try:
            self._encoder.close()
        except OSError as error:
            raise self._failed(error) from error
        self._sink.file.finish()
        assert self._min_ms is not None, "a file has rows"
        assert self._max_ms is not None, "a file has rows"
        return DataFile(
            path=self.path,
            format=self._format,
            rows=self.rows,
            bytes=self._sink.size_bytes,
            checksum=_told(self._sink.checksum),
            content_hash=f"{self._hash:016x}",
            min_event_time_ms=self._min_ms,
            max_event_time_ms=self._max_ms,
            schema_ids=tuple(sorted(schema_ids)),
            ranges=tuple(OffsetRange(*key, *span) for key, span in sorted(self._ranges.items())),
            columns=self._columns,
            bounds=self._bounds or None,
        )

    def discard(self) -> None:
        """Give the file up; it is deleted, unless the store refuses even that."""
        self._sink.file.discard()
