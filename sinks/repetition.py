"""Whether a column's values repeat, told from a few of them. Pure."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_SAMPLE: Final = 1024


def repeats(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether a value is there twice or more, on average; False for types whose values cannot be counted."""
    kind = column.type
    if (
        pa.types.is_nested(kind)
        or pa.types.is_dictionary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_null(kind)
    ):
        return False
    if len(column) > _SAMPLE:
        column = column.take(pa.array(range(0, len(column), len(column) // _SAMPLE)))
    return bool(pc.count_distinct(column).as_py() * 2 <= len(column))
