"""A hash of landed rows that does not depend on their order or on how they are cut into files (landing.md, content_hash).

    content_hash = Σ xxh64(canonical bytes of the row) mod 2⁶⁴

The canonical bytes of a row are one cell of 9 bytes a column, in schema order: a byte 1 and then 8 bytes of value, or nine
zero bytes for null. The 8 bytes are, little-endian:

    boolean, integers, dates, times, timestamps   the number (in its own unit), two's complement, 64 bits
    floating point                                the IEEE 754 double; of what is not a number 0x7FF8000000000000, whatever
                                                  its sign and payload, which JSON and Python do not keep
    strings, bytes, decimals (as decimal text)    xxh64 of the bytes
    lists, maps, structs                          xxh64 of the cells of their items, in order (a map: key, value, key, value …)

So narrow and wide integers, string and large_string hash alike, and a file read back agrees with what was written.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from headrace.audit import HASH_MODULUS
from headrace.sinks.cell_hash import PRESENT, Cells, hash_rows
from headrace.sinks.repetition import repeats

_MANY: Final = 64
"""Of fewer texts it is not worth looking whether they repeat."""
_BATCH_ROWS: Final = 65_536
"""Many enough for texts that repeat to be hashed seldom."""
_CACHED_ROWS: Final = 8192
"""Few enough for what is computed of a row's cells to stay in the processor's cache."""
_ROWS_A_CELL: Final = 128
"""With so many rows for each of their cells, hashing all rows at once is faster than one after another."""


def content_hash(rows: pa.Table | pa.RecordBatch) -> int:
    """The sum over all rows."""
    total = 0
    for batch in rows.to_batches(_BATCH_ROWS) if isinstance(rows, pa.Table) else [rows]:
        total += int(row_hashes(batch).sum(dtype=np.uint64))
    return total % HASH_MODULUS


def row_hashes(rows: pa.RecordBatch) -> np.ndarray:
    """The hash of each row, uint64."""
    columns = [_cells(column) for column in rows.columns]
    hashes = np.empty(rows.num_rows, np.uint64)
    for start in range(0, rows.num_rows, _CACHED_ROWS):
        end = min(start + _CACHED_ROWS, rows.num_rows)
        hashes[start:end] = hash_rows([cells.between(start, end) for cells in columns], end - start)
    return hashes


def _cells(array: pa.Array) -> Cells:
    count = len(array)
    if not count or array.null_count == count:
        return Cells(np.zeros(count, np.uint64), np.zeros(count, np.uint64))
    if not array.null_count:
        return Cells(PRESENT, _values(array))
    present = array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False).astype(np.uint64)
    return Cells(present, _values(array) * present)


def _values(array: pa.Array) -> np.ndarray:
    """What cells hold, anything where the array is null."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary)[_filled(array.indices, 0)]  # type: ignore[no-any-return]  # pyarrow has no types
    if pa.types.is_struct(kind):
        return hash_rows([_cells(child) for child in array.flatten()], len(array))
    if pa.types.is_map(kind):
        entries = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        items = entries.flatten()
        return _list_values(entries, [_cells(items.field(0)), _cells(items.field(1))])
    if pa.types.is_nested(kind):
        return _list_values(array, [_cells(array.flatten())])  # leaves out what stands behind a null
    if pa.types.is_floating(kind):
        doubles = _filled(array.cast(pa.float64()), 0)
        is_none = np.isnan(doubles)
        return (np.where(is_none, np.nan, doubles) if is_none.any() else doubles).view(np.uint64)
    if pa.types.is_boolean(kind):
        return _filled(array, False).astype(np.uint64)
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return _integers(array)
    return _text_values(array)


def _filled(array: pa.Array, value: object) -> np.ndarray:
    filled: np.ndarray = (array.fill_null(value) if array.null_count else array).to_numpy(zero_copy_only=False)
    return filled


def _integers(array: pa.Array) -> np.ndarray:
    if pa.types.is_date32(array.type) or pa.types.is_time32(array.type):
        array = array.view(pa.int32())
    elif pa.types.is_temporal(array.type):
        array = array.view(pa.int64())
    values = _filled(array, 0)
    return values if values.dtype == np.uint64 else values.astype(np.int64, copy=False).view(np.uint64)


def _text_values(array: pa.Array) -> np.ndarray:
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    if len(array) >= _MANY and repeats(array):  # hash each distinct value once
        return _values(array.dictionary_encode())
    target = pa.large_binary() if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else pa.binary()
    texts = _filled(array.cast(target), b"")
    return np.fromiter(map(xxhash.xxh64_intdigest, texts.tolist()), np.uint64, len(texts))


def _list_values(array: pa.Array, columns: Sequence[Cells]) -> np.ndarray:
    """The hash of each list, whose items are the rows of `columns`."""
    lengths = _filled(pc.list_value_length(array), 0).astype(np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    values = np.empty(len(lengths), np.uint64)
    left = np.ones(len(lengths), bool)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        if len(rows) >= _ROWS_A_CELL * length * len(columns):
            values[rows] = hash_rows([cells.taken(starts[rows] + at) for at in range(length) for cells in columns], len(rows))
            left[rows] = False
    if left.any():
        view = memoryview(np.concatenate([cells.as_bytes() for cells in columns], axis=1).tobytes())
        size = len(view) // max(1, int(lengths.sum()))
        spans = zip((starts[left] * size).tolist(), (ends[left] * size).tolist(), strict=True)
        values[left] = np.fromiter((xxhash.xxh64_intdigest(view[start:end]) for start, end in spans), np.uint64)
    return values
