"""When a row happened, and the calendar that every event time lies in. Pure."""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HOUR_MS: Final = 3_600_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_HOUR: Final = int((datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) // 3600
LAST_HOUR: Final = int((datetime(9999, 12, 31, 23, tzinfo=UTC) - EPOCH).total_seconds()) // 3600


def event_times(rows: pa.Table | pa.RecordBatch, kafka_times: np.ndarray) -> np.ndarray:
    """Event times, ms: the column `event_time`, or the record's Kafka timestamp where that is missing or no calendar's."""
    if "event_time" not in rows.schema.names or not pa.types.is_timestamp(rows.schema.field("event_time").type):
        return kafka_times
    return times_of(rows.column("event_time"), kafka_times)


def times_of(column: pa.ChunkedArray | pa.Array, otherwise: np.ndarray) -> np.ndarray:
    """A column of timestamps as ms, rounded down; `otherwise` where it is null or outside the years 1 to 9999."""
    per_unit = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}[column.type.unit]
    raw = column.cast(pa.int64())
    missing = raw.is_null().to_numpy(zero_copy_only=False) if isinstance(raw, pa.Array) else raw.is_null().to_numpy()
    values = np.asarray(pc.fill_null(raw, 0))
    if per_unit[0] > 1:
        seconds = values
        impossible = (seconds < FIRST_HOUR * 3600) | (seconds >= (LAST_HOUR + 1) * 3600)
        times = np.where(impossible, 0, seconds) * per_unit[0]
    else:
        times = values // per_unit[1]
        impossible = (times < FIRST_HOUR * HOUR_MS) | (times >= (LAST_HOUR + 1) * HOUR_MS)
    return np.where(missing | impossible, otherwise, times)
