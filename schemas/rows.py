"""Rows as Python values to Arrow, proved right; a row that does not fit costs no other."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

Bad = list[tuple[int, str]]
Part = tuple[pa.Table, list[int] | None]
"""Rows of one set of columns, and the indexes of the payloads that they come from; None: all."""
DECODE_ERRORS: Final = (ValueError, TypeError, IndexError, KeyError, OverflowError, EOFError, MemoryError, ArithmeticError)
_LATEST: Final = {"us": 2**63 - 2, "ms": (2**63 - 2) // 1000}
"""The largest distance from the epoch; one microsecond more means infinity to DuckDB."""


def to_batch(kind: pa.StructType, rows: list[Any], where: list[int], bad: Bad) -> tuple[pa.RecordBatch, list[int]]:
    """Rows as one batch; if one does not fit its type, each is tried alone.

    Args:
        kind: the columns.
        where: an index for each row, ascending; what does not fit is added to `bad` under its index.
    Returns:
        the batch, and the indexes of its rows.
    """
    try:
        return _build(kind, rows), where
    except DECODE_ERRORS:
        good, kept = [], []
        for index, row in zip(where, rows, strict=True):
            try:
                _build(kind, [row])
            except DECODE_ERRORS as error:
                bad.append((index, f"a value does not fit its type: {error}"))
            else:
                good.append(row)
                kept.append(index)
        bad.sort()
        return _build(kind, good), kept


def _build(kind: pa.StructType, rows: list[Any]) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_struct_array(pa.array(rows, kind))
    batch = pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(list(kind)))
    batch.validate(full=True)
    check_times(batch)
    return batch


def check_times(batch: pa.RecordBatch) -> None:
    """See that readers which count microseconds can read all timestamps: one that they cannot makes DuckDB refuse a query.

    Raises:
        ValueError: one is out of that range.
    """
    for column in batch.columns:
        _check_times(column)


def _check_times(array: pa.Array) -> None:
    kind = array.type
    if pa.types.is_timestamp(kind) and kind.unit in _LATEST:
        bounds = pc.min_max(array.view(pa.int64())).as_py()
        latest = _LATEST[kind.unit]
        if bounds["min"] is not None and not -latest <= bounds["min"] <= bounds["max"] <= latest:
            raise ValueError(f"a {kind} beyond the years that microseconds reach")
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            _check_times(child)
    elif pa.types.is_map(kind):
        _check_times(array.items)
    elif pa.types.is_list(kind):
        _check_times(array.flatten())
