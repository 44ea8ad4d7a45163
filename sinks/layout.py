"""Which directory of a table each row lies in: a period of time in some time zone, and columns where the template names them.

Pure. In a time zone with summer time the hour that is repeated in autumn is one partition.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.sinks.audit_sums import runs
from headrace.sinks.config import LayoutKeys
from headrace.sinks.event_time import EPOCH, FIRST_HOUR, HOUR_MS, LAST_HOUR, times_of
from headrace.sinks.path_template import MISSING, TIMES, escape, parse_path, times_in, zone

_MOST_OFFSETS: Final = 100_000


class Layout:
    """Where the rows of one table go."""

    def __init__(self, keys: LayoutKeys) -> None:
        self._by = keys.by
        self._zone: tzinfo | None = None if keys.time_zone == "UTC" else zone(keys.time_zone)
        self._segments = parse_path(keys.path)
        names = [name for segment in self._segments for name in segment.names]
        self._columns = [name for name in names if name not in TIMES]
        self._period_hours = 1 if "hour" in names else 24
        self._offsets: dict[int, int | None] = {}

    def split(self, rows: pa.Table, event_ms: np.ndarray) -> list[tuple[str, np.ndarray | None]]:
        """(directory, indexes of its rows, ascending) for each directory; None for all rows, where there is one only.

        Args:
            event_ms: the rows' event times, ms, of the years 1 to 9999.
        """
        periods = self._local(self._times(rows, event_ms)) // (HOUR_MS * self._period_hours)
        if not self._columns:
            first = int(periods[0])
            if bool(np.all(periods == first)):
                return [(self._directory(first, {}), None)]
            return [(self._directory(int(periods[part[0]]), {}), part) for part in runs(periods)]
        texts = {name: _texts(rows, name) for name in self._columns}
        codes = _numbered(periods)
        for text in texts.values():
            coded = text.dictionary_encode()
            codes = _numbered(codes * len(coded.dictionary) + coded.indices.to_numpy())
        parts = runs(codes)
        directories = [
            self._directory(int(periods[part[0]]), {name: text[int(part[0])].as_py() for name, text in texts.items()})
            for part in parts
        ]
        return [(directories[0], None)] if len(parts) == 1 else list(zip(directories, parts, strict=True))

    def end_ms(self, directory: str) -> int | None:
        """When the hour or day of a directory is over, ms since 1970; None where the template has no such directory.

        The end of an hour that clocks skip, or show twice, is the first moment at which they do not show that hour any more.
        """
        if (told := times_in(self._segments, directory)) is None:
            return None
        try:
            start = datetime(told["year"], told["month"], told["day"], told.get("hour", 0), tzinfo=UTC)
            end = (start + timedelta(hours=self._period_hours)).replace(tzinfo=self._zone or UTC)
            return (end.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            return None

    def _directory(self, period: int, columns: dict[str, str]) -> str:
        moment = EPOCH + timedelta(hours=period * self._period_hours)
        year, month, day = f"{moment.year:04d}", f"{moment.month:02d}", f"{moment.day:02d}"
        times = {"date": f"{year}-{month}-{day}", "year": year, "month": month, "day": day, "hour": f"{moment.hour:02d}"}
        values = {**columns, **times}
        return "/".join(segment.filled(values) for segment in self._segments)

    def _times(self, rows: pa.Table, event_ms: np.ndarray) -> np.ndarray:
        if self._by == "event_time":
            return event_ms
        column = _column(rows, "_timestamp" if self._by == "read_time" else self._by)
        return event_ms if column is None else _as_times(column, event_ms)

    def _local(self, times: np.ndarray) -> np.ndarray:
        """The times as clocks in the time zone show them."""
        if self._zone is None:
            return times
        local = np.empty_like(times)
        for part in runs(times // HOUR_MS):
            own = times[part]
            offset = self._offset_of_hour(int(own[0]) // HOUR_MS)
            local[part] = own + (offset if offset is not None else np.array([self._offset(int(each)) for each in own]))
        clipped: np.ndarray = np.clip(local, FIRST_HOUR * HOUR_MS, (LAST_HOUR + 1) * HOUR_MS - 1)
        return clipped

    def _offset_of_hour(self, hour: int) -> int | None:
        """The zone's offset from UTC in an hour, ms; None where it changes within it."""
        if hour not in self._offsets:
            if len(self._offsets) >= _MOST_OFFSETS:
                self._offsets.clear()
            first, last = self._offset(hour * HOUR_MS), self._offset((hour + 1) * HOUR_MS - 1)
            self._offsets[hour] = first if first == last else None
        return self._offsets[hour]

    def _offset(self, time_ms: int) -> int:
        try:
            offset = (EPOCH + timedelta(milliseconds=time_ms)).astimezone(self._zone).utcoffset()
        except (OverflowError, ValueError):  # the calendar's first and last day
            return 0
        assert offset is not None
        return offset // timedelta(milliseconds=1)


def _numbered(values: np.ndarray) -> np.ndarray:
    """Values as numbers from 0 on, equal ones alike."""
    return np.asarray(pa.array(values).dictionary_encode().indices).astype(np.int64)


def _column(rows: pa.Table, name: str) -> pa.Array | None:
    """A column, or a field of a record in one; None where there is none."""
    if name in rows.column_names:
        return _one_chunk(rows.column(name))
    outer, _, inner = name.partition(".")
    if not inner or outer not in rows.column_names:
        return None
    found = _one_chunk(rows.column(outer))
    for part in inner.split("."):
        if not pa.types.is_struct(found.type) or found.type.get_field_index(part) < 0:
            return None
        found = pc.struct_field(found, part)
    return found


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _as_times(column: pa.Array, otherwise: np.ndarray) -> np.ndarray:
    kind = column.type
    if pa.types.is_date(kind):
        return times_of(column.cast(pa.date64()).view(pa.timestamp("ms")), otherwise)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return times_of(column.cast(pa.int64()).view(pa.timestamp("ms")), otherwise)
    if pa.types.is_string(kind):
        return times_of(pa.array([_parsed(text) for text in column.to_pylist()], pa.timestamp("ms")), otherwise)
    return times_of(column, otherwise) if pa.types.is_timestamp(kind) else otherwise


def _parsed(text: str | None) -> int | None:
    """ISO 8601 text as ms; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text or "")
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def _texts(rows: pa.Table, name: str) -> pa.Array:
    """A column's values as they stand in a path."""
    column = _column(rows, name)
    try:
        texts = pa.nulls(rows.num_rows, pa.string()) if column is None else column.cast(pa.string())
    except (pa.ArrowException, ValueError):  # lists, maps, records, bytes that are no text
        texts = pa.nulls(rows.num_rows, pa.string())
    coded = texts.dictionary_encode()
    escaped = pa.array([escape(value) for value in coded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(pc.take(escaped, coded.indices), MISSING)
