"""Rows of a landed table as a job sees them: columns by name or by a key within one, event times, and the order of the log."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import UsageError
from headrace.jobs.batch.grouping import one_chunk
from headrace.sinks.event_time import EPOCH, event_times

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
UTC_MICROS: Final = pa.timestamp("us", "UTC")
ORDER: Final = ("_incarnation", "_partition", "_offset")
"""What tells rows of one topic apart, and orders those of one moment."""
_KEY: Final = re.compile(r"([^.\[\]]+)(?:\.(.+)|\[(?:'([^']*)'|\"([^\"]*)\")\])?")


@dataclass(frozen=True, slots=True)
class Span:
    """Event times [start_us, end_us), microseconds since 1970; None: all there are, on that side."""

    start_us: int | None = None
    end_us: int | None = None

    @classmethod
    def of_day(cls, day: str) -> "Span":
        """A UTC day, YYYY-MM-DD."""
        start_us = int((datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000
        return cls(start_us, start_us + DAY_US)

    def back(self, reach_us: int) -> "Span":
        """The same, begun earlier."""
        return self if self.start_us is None else Span(self.start_us - reach_us, self.end_us)

    def holds(self, times_us: np.ndarray) -> np.ndarray:
        """Which of these times lie in it."""
        inside = np.ones(len(times_us), bool)
        if self.start_us is not None:
            inside &= times_us >= self.start_us
        if self.end_us is not None:
            inside &= times_us < self.end_us
        return inside

    def meets(self, first_ms: int, last_ms: int) -> bool:
        """Whether times of milliseconds from `first_ms` to `last_ms`, both rounded down, may lie in it."""
        begun = self.end_us is None or first_ms * 1000 < self.end_us
        return begun and (self.start_us is None or last_ms * 1000 + 999 >= self.start_us)

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Whether all times of milliseconds from `first_ms` to `last_ms`, both rounded down, lie in it."""
        begun = self.start_us is None or first_ms * 1000 >= self.start_us
        return begun and (self.end_us is None or last_ms * 1000 + 999 < self.end_us)


@dataclass(frozen=True, slots=True)
class Place:
    """A column, or a key of the map or record in it: `host`, `fields.user`, `fields['user.name']`."""

    column: str
    key: str | None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises ValueError: it is none."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise ValueError("write a column as host, or a key of a map as fields.user or fields['user']")
        column, *keys = match.groups()
        return cls(column, next((key for key in keys if key is not None), None))


class Rows:
    """Some rows of one table.

    Args:
        table: the columns that are asked for, as far as the table has them, and those of times; for a job, those of order.
    """

    def __init__(self, topic: str, table: pa.Table) -> None:
        self.topic, self.table = topic, table
        self.found: set[str] = set()
        """Of the texts that were asked for those that some row has."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def times_us(self) -> np.ndarray:
        """Event times, microseconds since 1970: the column `event_time`, else the record's Kafka timestamp."""
        kafka_ms = one_chunk(self.table["_timestamp"]).cast(pa.int64()).to_numpy(zero_copy_only=False)
        times_ms = event_times(self.table, kafka_ms)
        if times_ms is kafka_ms:
            return kafka_ms * 1000
        column = one_chunk(self.table["event_time"])
        raw = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
        if column.type.unit == "ns":
            raw = raw // 1000
        elif column.type.unit != "us":
            return times_ms * 1000
        return np.where(raw // 1000 == times_ms, raw, times_ms * 1000)

    @cached_property
    def hours_us(self) -> np.ndarray:
        """The starts of the UTC hours that the rows lie in, microseconds since 1970."""
        return self.times_us // HOUR_US * HOUR_US

    @cached_property
    def places(self) -> np.ndarray:
        """Incarnation and partition of each row as one number, which orders them."""
        incarnation, partition = (self.table[name].to_numpy().astype(np.int64) for name in ORDER[:2])
        both: np.ndarray = (incarnation << 32) | partition
        return both

    @cached_property
    def offsets(self) -> np.ndarray:
        """The offset of each row."""
        found: np.ndarray = self.table["_offset"].to_numpy().astype(np.int64)
        return found

    @property
    def topics(self) -> pa.Array:
        """The topic, once a row."""
        return pa.repeat(pa.scalar(self.topic, pa.string()), len(self))

    def within(self, span: Span) -> "Rows":
        """Those that lie in a span."""
        inside = span.holds(self.times_us)
        return self if inside.all() else Rows(self.topic, self.table.filter(pa.array(inside)))

    def texts(self, name: str, most: int | None = None) -> pa.Array:
        """A column, or a key within one, as text; null where there is none.

        Args:
            most: characters that are kept of each.
        Raises:
            UsageError: its values are lists, maps or records, and no text.
        """
        place = Place.parse(name)
        if place.column not in self.table.column_names:
            return pa.nulls(len(self), pa.string())
        found = _within(one_chunk(self.table[place.column]), place.key)
        texts = _as_texts(found, name)
        if texts.null_count < len(texts):
            self.found.add(name)
        return texts if most is None else pc.utf8_slice_codeunits(texts, 0, most)


def hours_of(parts: pa.Table) -> pa.Array:
    """The column `hour` of parts, in microseconds since 1970, as times."""
    return one_chunk(parts["hour"]).cast(UTC_MICROS)


def _within(column: pa.Array, key: str | None) -> pa.Array:
    kind = column.type
    if key is None:
        return column
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
        return pc.map_lookup(column, key, "last")
    if pa.types.is_struct(kind) and kind.get_field_index(key) >= 0:
        return pc.struct_field(column, key)
    return pa.nulls(len(column), pa.string())


def _as_texts(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_nested(kind):
        raise UsageError(f"{name}: its values are of type {kind}, no texts; name a key within, as {name}.KEY")
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:  # bytes that are no text
        return pa.array([None if value is None else value.decode("utf-8", "backslashreplace") for value in column.to_pylist()])
