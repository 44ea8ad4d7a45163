"""Newline-delimited JSON in zstd: one object a row, written by column, and read back as the rows that they were.

| Arrow | JSON |
|---|---|
| null, bool, integers, floats | as they are; NaN and infinities as strings, which JSON has no numbers for |
| string | string |
| binary | base64 |
| timestamp | `2026-11-22T13:00:00.000000Z`, without zone no Z; outside the years 1 to 9999 the number |
| date, time | `2026-11-22`, `13:00:00.000`; outside those years the number |
| decimal | string, so that no reader rounds it |
| list, struct, map | array, object, object (keys that are no strings as their text) |

JSON has no types, so the Arrow schema stands at the file's end in a skippable zstd frame: every decoder passes over it, and our
readers find it from the end. Layout: magic 0x184D2A5E and length (RFC 8878, 3.1.2), the schema, its length, `HRJ1`.
"""

import base64
import io
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from io import BufferedReader
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from headrace.sinks.formats.plain import in_pieces, is_bytes

SKIPPABLE: Final = 0x184D2A5E
_MARK: Final = b"HRJ1"
_TRAILER: Final = struct.Struct("<I4s")
_FRAME: Final = struct.Struct("<II")
_MAX_SCHEMA_BYTES: Final = 64 << 20
_READ_ROWS: Final = 8192
Restore = Callable[[Any], Any]
_SPECIAL: Final = pa.array(["nan", "inf", "-inf", "-0"])
"""No numbers of JSON; and what a parser of JSON takes for the integer 0."""
_DAY_SECONDS: Final = 86_400
_FIRST_DAY: Final = -719_162
"""0001-01-01, in days since the epoch; the last is 9999-12-31."""
_LAST_DAY: Final = 2_932_896
_PER_SECOND: Final = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


class JsonEncoder:
    """Rows of one schema into an open file."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema, level: int) -> None:
        self._sink, self._schema = sink, schema
        self._frame = zstandard.ZstdCompressor(level=level).compressobj()

    def write(self, rows: pa.Table) -> None:
        """Append rows."""
        for batch in in_pieces(rows):
            self._write(batch)

    def _write(self, rows: pa.RecordBatch) -> None:
        text = _objects(rows.columns, rows.schema, "}\n")
        ends = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
        data = memoryview(text.buffers()[2])[ends[0] : ends[-1]]
        self._sink.write(self._frame.compress(data))

    def close(self) -> None:
        """End the frame, and say the schema."""
        schema = self._schema.serialize().to_pybytes()
        frame = _FRAME.pack(SKIPPABLE, len(schema) + _TRAILER.size)
        self._sink.write(self._frame.flush() + frame + schema + _TRAILER.pack(len(schema), _MARK))


def _objects(columns: list[pa.Array], fields: pa.Schema | pa.DataType, end: str) -> pa.Array:
    """Columns side by side as one object a row."""
    if not columns:
        raise ValueError("rows without columns")
    pieces: list[Any] = []
    for number, (column, field) in enumerate(zip(columns, fields, strict=True)):
        pieces += [("{" if number == 0 else ",") + json.dumps(field.name, ensure_ascii=False) + ":", _json(column)]
    return pc.binary_join_element_wise(*pieces, end, "")


def _json(array: pa.Array) -> pa.Array:
    """Each value as JSON text."""
    if array.offset:
        array = pa.concat_arrays([array, array.slice(0, 0)])
    return pc.fill_null(_texts(array), "null")


def _texts(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return _floats(array.cast(pa.string()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _strings(array.cast(pa.string()))
    if is_bytes(kind):
        return pa.array(
            [None if data is None else f'"{base64.b64encode(data).decode()}"' for data in array.to_pylist()], pa.string()
        )
    if pa.types.is_decimal(kind):
        return _quoted(array.cast(pa.string()))
    if pa.types.is_temporal(kind):
        return _times(array)
    return _nested(array)


def _quoted(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', texts, '"', "")


def _floats(texts: pa.Array) -> pa.Array:
    special = pc.is_in(texts, _SPECIAL)
    if not pc.any(special).as_py():
        return texts
    return pc.if_else(pc.equal(texts, "-0"), "-0.0", pc.if_else(special, _quoted(texts), texts))


def _strings(texts: pa.Array) -> pa.Array:
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    quoted = _quoted(escaped)
    control = pc.fill_null(pc.match_substring_regex(texts, "[\\x00-\\x1f]"), False)
    if not pc.any(control).as_py():
        return quoted
    rest = [json.dumps(text, ensure_ascii=False) for text in texts.filter(control).to_pylist()]
    return pc.replace_with_mask(quoted, control, pa.array(rest, pa.string()))


def _times(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_date32(kind):
        numbers, per_day = array.view(pa.int32()), 1
    elif pa.types.is_timestamp(kind):
        numbers, per_day = array.view(pa.int64()), _DAY_SECONDS * _PER_SECOND[kind.unit]
    else:
        return _quoted(array.cast(pa.string()))
    first, last = max(_FIRST_DAY * per_day, -(2**63)), min((_LAST_DAY + 1) * per_day, 2**63) - 1
    limit = pa.scalar(last, pa.int64()), pa.scalar(first, pa.int64())
    known = pc.and_(pc.less_equal(numbers, limit[0]), pc.greater_equal(numbers, limit[1]))
    text = pc.if_else(known, array, None)
    if pa.types.is_timestamp(kind):
        text = pc.binary_replace_slice(
            text.cast(pa.timestamp(kind.unit, "UTC" if kind.tz else None)).cast(pa.string()), 10, 11, "T"
        )
    else:
        text = text.cast(pa.string())
    return pc.if_else(known, _quoted(text), numbers.cast(pa.string()))


def _nested(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_struct(kind):
        children = [array.field(index) for index in range(kind.num_fields)]
        return _where_valid(array, _objects(children, kind, "}") if children else pa.array(["{}"] * len(array)))
    if pa.types.is_map(kind):
        keys = array.keys if pa.types.is_string(array.keys.type) else array.keys.cast(pa.string())
        items = pc.binary_join_element_wise(_strings(keys), _json(array.items), ":")
        return _joined(array, items, "{", "}")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _joined(array, _json(array.values), "[", "]")
    raise NotImplementedError(f"columns of type {kind} cannot be written as JSON")


def _joined(array: pa.Array, items: pa.Array, start: str, end: str) -> pa.Array:
    lists = pa.ListArray.from_arrays(array.offsets.cast(pa.int32()), items)
    return _where_valid(array, pc.binary_join_element_wise(start, pc.binary_join(lists, ","), end, ""))


def _where_valid(array: pa.Array, texts: pa.Array) -> pa.Array:
    return pc.if_else(array.is_valid(), texts, None) if array.null_count else texts


class JsonReader:
    """The rows of a file that `JsonEncoder` wrote.

    Raises (all methods):
        ValueError, OSError, zstandard.ZstdError: it is no such file, or damaged.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.schema = _schema_at_end(self._file)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, in order, in the columns named."""
        self._file.seek(0)
        wanted = [(field, _restore(field.type)) for field in self.schema if columns is None or field.name in columns]
        rows: list[dict[str, Any]] = []
        with zstandard.ZstdDecompressor().stream_reader(self._file, closefd=False) as raw:
            for line in io.BufferedReader(raw, 1 << 20):
                rows.append(dict(json.loads(line, object_pairs_hook=list)))
                if len(rows) == _READ_ROWS:
                    yield _batch(wanted, rows)
                    rows = []
        if rows:
            yield _batch(wanted, rows)

    def close(self) -> None:
        self._file.close()


def _batch(wanted: list[tuple[pa.Field, Restore]], rows: list[dict[str, Any]]) -> pa.RecordBatch:
    columns = [pa.array([restore(row[field.name]) for row in rows], field.type) for field, restore in wanted]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([field for field, _ in wanted]))


def _schema_at_end(file: IO[bytes]) -> pa.Schema:
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _TRAILER.size))
    trailer = file.read()
    length, mark = _TRAILER.unpack(trailer) if len(trailer) == _TRAILER.size else (0, b"")
    if mark != _MARK or not 0 < length <= min(_MAX_SCHEMA_BYTES, size - _TRAILER.size):
        raise ValueError("not a file of JSON lines that this loader wrote: no schema at its end")
    file.seek(size - _TRAILER.size - length)
    return pa.ipc.read_schema(pa.py_buffer(file.read(length)))


def _restore(kind: pa.DataType) -> Restore:
    """From what `json.loads` makes of a value, objects as lists of pairs, to what pyarrow takes for the type."""
    convert = _converter(kind)
    return lambda value: None if value is None else convert(value)


def _converter(kind: pa.DataType) -> Restore:
    if pa.types.is_struct(kind):
        fields = {field.name: _restore(field.type) for field in kind}
        return lambda pairs: {name: fields[name](value) for name, value in pairs}
    if pa.types.is_map(kind):
        key, item = _key(kind.key_type), _restore(kind.item_type)
        return lambda pairs: [(key(name), item(value)) for name, value in pairs]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        each = _restore(kind.value_type)
        return lambda values: [each(value) for value in values]
    if pa.types.is_floating(kind):
        return float
    if is_bytes(kind):
        return base64.b64decode
    if pa.types.is_temporal(kind):
        return lambda value: value if isinstance(value, int) else _number(value, kind)
    if pa.types.is_decimal(kind):
        return Decimal
    return lambda value: value


def _key(kind: pa.DataType) -> Restore:
    if pa.types.is_string(kind):
        return lambda text: text
    return lambda text: pa.scalar(text).cast(kind).as_py()


_WHEN: Final = re.compile(r"(?:(\d{4})-(\d\d)-(\d\d))?T?(?:(\d\d):(\d\d):(\d\d)(?:\.(\d+))?)?Z?")


def _number(text: str, kind: pa.DataType) -> int:
    """A date or time as the number that Arrow keeps, exact to the nanosecond (which Python's datetime is not)."""
    parts = _WHEN.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is no time")
    year, month, day, hour, minute, second, fraction = parts.groups()
    days = date(int(year), int(month), int(day)).toordinal() - 719_163 if year else 0
    if pa.types.is_date32(kind):
        return days
    seconds = days * _DAY_SECONDS + int(hour) * 3600 + int(minute) * 60 + int(second)
    per_second = _PER_SECOND[kind.unit]
    digits = len(str(per_second)) - 1
    return seconds * per_second + (int(fraction[:digits].ljust(digits, "0")) if fraction else 0)
