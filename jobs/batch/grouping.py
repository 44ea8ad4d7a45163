"""Groups of an Arrow table's rows, as whole columns: a step in Python for each row would cost more than all else. Pure."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def numbered(rows: pa.Table, names: Sequence[str]) -> np.ndarray:
    """A number from 0 on for each row, equal where all these columns are; null is a value like others."""
    numbers: np.ndarray = np.zeros(rows.num_rows, np.int64)
    for name in names:
        coded = pc.dictionary_encode(one_chunk(rows[name]), null_encoding="encode")
        both = numbers * max(1, len(coded.dictionary)) + coded.indices.to_numpy()
        numbers = np.asarray(pa.array(both).dictionary_encode().indices).astype(np.int64)
    return numbers


def starts_of(numbers: np.ndarray) -> np.ndarray:
    """Where each run of equal numbers begins."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    return np.concatenate((np.zeros(1, np.int64), changes))


def ranks(starts: np.ndarray, count: int) -> np.ndarray:
    """The place of each of `count` rows in its run, from 0 on."""
    lengths = np.diff(np.append(starts, count))
    found: np.ndarray = np.arange(count) - np.repeat(starts, lengths)
    return found


def summed(rows: pa.Table, names: Sequence[str], sums: Sequence[str]) -> pa.Table:
    """One row for each group, with the sums of these columns; the columns are `names`, then `sums`."""
    grouped = pa.TableGroupBy(rows, list(names), use_threads=False).aggregate([(name, "sum") for name in sums])
    return grouped.select([*names, *(f"{name}_sum" for name in sums)]).rename_columns([*names, *sums])


def counted(rows: pa.Table, name: str) -> pa.Table:
    """One row for each distinct row, and in the column `name` how many there are (int64)."""
    names = rows.column_names
    grouped = pa.TableGroupBy(rows, names, use_threads=False).aggregate([([], "count_all")])
    return grouped.select([*names, "count_all"]).rename_columns([*names, name])


def ordered(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows sorted by these columns, null last."""
    return rows.take(pc.sort_indices(rows, [(name, "ascending") for name in names])) if rows.num_rows else rows


def integers(rows: pa.Table, name: str) -> np.ndarray:
    """A column of int64 without nulls."""
    found: np.ndarray = rows[name].to_numpy()
    return found


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
