"""A hash of landed rows that does not depend on their order or on how they are cut into files (landing.md, content_hash).

    content_hash = Σ xxh64(canonical bytes of the row) mod 2⁶⁴

The canonical bytes of a row are one cell of 9 bytes a column, in schema order: a byte 1 and then 8 bytes of value, or nine
zero bytes for null. The 8 bytes are, little-endian:

    boolean, integers, dates, times, timestamps   the number (in its own unit), two's complement, 64 bits
    floating point                                the IEEE 754 double
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

CELL_BYTES: Final = 9
_SAMPLE: Final = 64
_BATCH_ROWS: Final = 8192
"""Few enough for the cells to stay in the processor's cache."""


def content_hash(rows: pa.Table | pa.RecordBatch) -> int:
    """The sum over all rows."""
    total = 0
    for batch in rows.to_batches(_BATCH_ROWS) if isinstance(rows, pa.Table) else [rows]:
        total += sum(_hash_rows(_side_by_side([_cells(column) for column in batch.columns], batch.num_rows)))
    return total % HASH_MODULUS


def _side_by_side(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    return np.concatenate(columns, axis=1) if columns else np.zeros((rows, 0), np.uint8)


def _hash_rows(cells: np.ndarray) -> list[int]:
    """xxh64 of each row of a matrix of bytes."""
    width = cells.shape[1]
    view = memoryview(np.ascontiguousarray(cells).tobytes())
    digest = xxhash.xxh64_intdigest
    return [digest(view[at : at + width]) for at in range(0, len(view), width)] if width else [digest(b"")] * len(cells)


def _cells(array: pa.Array) -> np.ndarray:
    """The cells of an array: a matrix of bytes, one row of 9 each."""
    cells = np.zeros((len(array), CELL_BYTES), np.uint8)
    if pa.types.is_null(array.type) or not len(array):
        return cells
    cells[:, 0] = 1
    cells[:, 1:] = _values(array).astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
    if array.null_count:
        cells[np.asarray(array.is_null().to_numpy(zero_copy_only=False), dtype=bool)] = 0
    return cells


def _values(array: pa.Array) -> np.ndarray:
    kind = array.type
    if pa.types.is_dictionary(kind):
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        known = _values(array.dictionary) if len(array.dictionary) else np.zeros(1, np.uint64)
        return known[indices]  # type: ignore[no-any-return]  # pyarrow has no types
    if pa.types.is_struct(kind):
        fields = [_cells(child) for child in array.flatten()]
        return np.array(_hash_rows(_side_by_side(fields, len(array))), np.uint64)
    if pa.types.is_map(kind):
        entries = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _list_values(array.cast(pa.list_(entries)), CELL_BYTES * 2)
    if pa.types.is_nested(kind):
        return _list_values(array, CELL_BYTES)
    if pa.types.is_floating(kind):
        return array.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)  # type: ignore[no-any-return]  # pyarrow has no types
    if pa.types.is_boolean(kind):
        return array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint64)  # type: ignore[no-any-return]  # pyarrow has no types
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return _integers(array)
    return _text_values(array)


def _integers(array: pa.Array) -> np.ndarray:
    if pa.types.is_date32(array.type) or pa.types.is_time32(array.type):
        array = array.view(pa.int32())
    elif pa.types.is_temporal(array.type):
        array = array.view(pa.int64())
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return values if values.dtype == np.uint64 else values.astype(np.int64).view(np.uint64)  # type: ignore[no-any-return]  # pyarrow has no types


def _text_values(array: pa.Array) -> np.ndarray:
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    if _repeats_itself(array):  # hash each distinct value once
        return _values(array.dictionary_encode())
    target = pa.large_binary() if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else pa.binary()
    texts = array.cast(target).fill_null(b"").to_pylist()
    return np.fromiter(map(xxhash.xxh64_intdigest, texts), np.uint64, len(texts))


def _repeats_itself(array: pa.Array) -> bool:
    if len(array) <= _SAMPLE or pa.types.is_fixed_size_binary(array.type):
        return False
    step = len(array) // _SAMPLE
    sample = array.take(pa.array(range(0, len(array), step)))
    return bool(pc.count_distinct(sample).as_py() * 2 < len(sample))


def _list_values(array: pa.Array, item_bytes: int) -> np.ndarray:
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    items = array.flatten()  # leaves out what stands behind a null
    if item_bytes == CELL_BYTES:
        cells = _cells(items)
    else:
        cells = np.concatenate([_cells(items.field(0)), _cells(items.field(1))], axis=1)
    view = memoryview(np.ascontiguousarray(cells).tobytes())
    ends = np.cumsum(lengths, dtype=np.int64) * item_bytes
    starts = ends - lengths * item_bytes
    digest = xxhash.xxh64_intdigest
    hashes = [digest(view[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return np.array(hashes, np.uint64)
