"""Avro object container files: Arrow rows written in bulk, and read back as the rows that they were.

Every reader of Avro finds the schema in the header, as usual. Beside it the header has the Arrow schema (`ARROW:schema`, in
base64, as Parquet files of Arrow have it), so that what Avro has no word for comes back as it was: names, narrow integers.
Bytes are written by pyruhvro, which knows no bytes but strings; on the wire they are the same.

Source: Avro 1.12 specification, Object Container Files.
"""

import base64
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from typing import IO, Any, Final

import fastavro
import numpy as np
import pyarrow as pa

from headrace.sinks.formats.avro_schema import avro_names, avro_schema
from headrace.sinks.formats.plain import from_plain, in_pieces, plain_type, to_plain
from headrace.varints import zigzag

BLOCK_BYTES: Final = 256 << 10
"""Before compression. Readers hold a block in memory, and split files at blocks."""
_MAGIC: Final = b"Obj\x01"
_ARROW_SCHEMA: Final = "ARROW:schema"
_SYNC_BYTES: Final = 16
_READ_ROWS: Final = 8192
_MAX_BLOCK_BYTES: Final = 1 << 30


class AvroEncoder:
    """Rows of one schema into an open file."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema, codec: str) -> None:
        self._sink, self._schema = sink, schema
        self._compress = _COMPRESS[codec]
        self._sync = os.urandom(_SYNC_BYTES)
        self._wire = json.dumps(avro_schema(schema, "writing"))
        header = {
            "avro.schema": json.dumps(avro_schema(schema)).encode(),
            "avro.codec": codec.encode(),
            _ARROW_SCHEMA: base64.b64encode(schema.serialize().to_pybytes()),
        }
        entries = b"".join(_text(key.encode()) + _text(value) for key, value in header.items())
        sink.write(_MAGIC + zigzag(len(header)) + entries + zigzag(0) + self._sync)

    def write(self, rows: pa.Table) -> None:
        """Append rows as whole blocks."""
        import pyruhvro  # only those who write need it

        names = avro_names(self._schema)
        for batch in in_pieces(rows):
            columns = [_as_text(to_plain(column)) for column in batch.columns]
            plain = pa.RecordBatch.from_arrays(columns, names=names)
            for encoded in pyruhvro.serialize_record_batch(plain, self._wire, 1):
                self._write_blocks(encoded)

    def _write_blocks(self, encoded: pa.Array) -> None:
        offsets = np.frombuffer(encoded.buffers()[1], np.int32)[encoded.offset : encoded.offset + len(encoded) + 1]
        data = memoryview(encoded.buffers()[2])
        at = 0
        while at < len(encoded):
            end = max(at + 1, int(np.searchsorted(offsets, offsets[at] + BLOCK_BYTES, side="right")) - 1)
            block = self._compress(data[offsets[at] : offsets[end]])
            self._sink.write(zigzag(end - at) + zigzag(len(block)) + block + self._sync)
            at = end

    def close(self) -> None:
        """Nothing stands at the end of such a file."""


def _deflate(data: Any) -> bytes:
    packer = zlib.compressobj(1, wbits=-15)
    return packer.compress(data) + packer.flush()


def _zstd(data: Any) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(data)


def _unzstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_BLOCK_BYTES)


def _inflate(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data, _MAX_BLOCK_BYTES)


_COMPRESS: Final[dict[str, Callable[[Any], bytes]]] = {"null": bytes, "deflate": _deflate, "zstandard": _zstd}
_EXPAND: Final[dict[str, Callable[[bytes], bytes]]] = {"null": bytes, "deflate": _inflate, "zstandard": _unzstd}


def _text(data: bytes) -> bytes:
    return zigzag(len(data)) + data


def _as_text(array: pa.Array) -> pa.Array:
    """Binary as string without looking at it: pyruhvro copies the bytes of either, and knows only one."""
    kind = array.type
    if pa.types.is_binary(kind):
        return array.view(pa.string())
    if pa.types.is_map(kind):
        items = _as_text(array.items)
        return pa.MapArray.from_arrays(array.offsets, array.keys, items, mask=_nulls(array))
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, _as_text(array.values), mask=_nulls(array))
    if pa.types.is_struct(kind):
        children = [_as_text(array.field(index)) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, names=avro_names(kind), mask=_nulls(array))
    return array


def _nulls(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


class AvroReader:
    """The rows of a file that `AvroEncoder` wrote.

    Raises (all methods):
        ValueError, EOFError, OSError: it is no such file, or damaged.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        if self._file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("not an Avro object container file")
        header = fastavro.schemaless_reader(self._file, fastavro.parse_schema({"type": "map", "values": "bytes"}), None)
        assert isinstance(header, dict)
        if _ARROW_SCHEMA not in header:
            raise ValueError("an Avro file of another writer: its header has no Arrow schema")
        self._expand = _EXPAND[header["avro.codec"].decode()]
        self._sync = self._file.read(_SYNC_BYTES)
        self._begin = self._file.tell()
        self.schema: pa.Schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(header[_ARROW_SCHEMA])))

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, in order, in the columns named."""
        self._file.seek(self._begin)
        wire = fastavro.parse_schema(avro_schema(self.schema, "reading"))
        named = zip(self.schema, avro_names(self.schema), strict=True)
        wanted = [(field, name) for field, name in named if columns is None or field.name in columns]
        rows: list[Any] = []
        for count, block in self._blocks():
            stream = io.BytesIO(block)
            rows += [fastavro.schemaless_reader(stream, wire, None) for _ in range(count)]
            if stream.tell() != len(block):
                raise ValueError("a block is longer than its rows")
            if len(rows) >= _READ_ROWS:
                yield _batch(wanted, rows)
                rows = []
        if rows:
            yield _batch(wanted, rows)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        long = fastavro.parse_schema({"type": "long"})
        while self._file.peek(1):
            count, size = (fastavro.schemaless_reader(self._file, long, None) for _ in range(2))
            assert isinstance(count, int)
            assert isinstance(size, int)
            if not 0 <= size <= _MAX_BLOCK_BYTES or count < 0:
                raise ValueError(f"a block of {count} rows and {size} bytes")
            block = self._file.read(size)
            if len(block) != size or self._file.read(_SYNC_BYTES) != self._sync:
                raise ValueError("a block does not end with the file's sync marker")
            yield count, self._expand(block)

    def close(self) -> None:
        self._file.close()


def _batch(wanted: list[tuple[pa.Field, str]], rows: list[Any]) -> pa.RecordBatch:
    columns = []
    for field, name in wanted:
        plain = plain_type(field.type)
        columns.append(from_plain(pa.array([_python(row[name], plain) for row in rows], plain), field.type))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([field for field, _ in wanted]))


def _python(value: Any, kind: pa.DataType) -> Any:
    """What fastavro read as pyarrow takes it: the fields of a record by their own names, not Avro's."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _python(value[name], field.type) for field, name in zip(kind, avro_names(kind), strict=True)}
    if pa.types.is_map(kind):
        return [(entry["key"], _python(entry["value"], kind.item_type)) for entry in value]
    if pa.types.is_list(kind):
        return [_python(item, kind.value_type) for item in value]
    return value
