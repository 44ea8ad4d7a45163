"""Whether a column's values repeat, told from a few of them. Pure."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SAMPLE: Final = 512
_UNCOUNTED: Final = (pa.types.is_nested, pa.types.is_dictionary, pa.types.is_fixed_size_binary, pa.types.is_null)


def repeats(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether there are few distinct values, some thousands at most; False for types whose values cannot be counted.

    Of 512 values taken at random from 4096 equally frequent ones a sixteenth is expected to have been taken before.
    """
    if any(is_such(column.type) for is_such in _UNCOUNTED):
        return False
    if len(column) > _SAMPLE:
        column = column.take(pa.array(np.arange(0, len(column), len(column) // _SAMPLE)))
    return bool(pc.count_distinct(column).as_py() * 16 <= len(column) * 15)
