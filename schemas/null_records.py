"""Records that are null, above fields that may not be."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def with_values_below(records: pa.StructArray) -> pa.StructArray:
    """The same records, with some value in the required fields of those that are null: Parquet's writer refuses a null even
    there, and decoders leave one."""
    if not records.null_count or all(field.nullable for field in records.type):
        return records
    empty = pa.array([None], records.type)  # pyarrow gives it such values
    positions = pc.if_else(records.is_null(), len(records), pa.array(np.arange(len(records))))
    return pa.concat_arrays([records, empty]).take(positions)
