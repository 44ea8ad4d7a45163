"""The job `sessions`: runs of events of one key between which no more than a gap passes.

A session ends with its last event, and is known to have ended when the gap after that is over. It belongs to the day in which
that moment lies: so each session belongs to one day, rows of that day and of days before are all that is needed to see it
whole, and nothing of the day after, which may not have landed yet. Events exactly a gap apart are one session.

Its beginning may lie before the day, and what is read is bounded: `longest` and a gap before midnight. A session that may have
begun still earlier is marked `cut`, and is there from the first event that was read.
"""

from typing import ClassVar, Final

import numpy as np
import pyarrow as pa
from pydantic import Field

from headrace.jobs.batch.event_rows import ORDER, UTC_MICROS, Place, Rows, Span
from headrace.jobs.batch.grouping import integers, numbered, starts_of
from headrace.jobs.batch.job import Job, column
from headrace.jobs.batch.option_types import ColumnName
from headrace.sinks.measures import Duration

MOST_SHOWN: Final = 500
"""Characters of a session's first and last value that are kept."""
_FIRST: Final = ("start", "first_place", "first_offset", "first")
_LAST: Final = ("end", "last_place", "last_offset", "last")


class Sessions(Job):
    """Sessions by a key and a gap."""

    name: ClassVar = "sessions"
    does: ClassVar = "runs of events of one key, between which no more than a gap passes"
    group: ClassVar = ("topic", "key")
    order: ClassVar = ("topic", "key", "start")
    schema: ClassVar = pa.schema(
        [
            column("topic", pa.string(), "the topic: a session is of one"),
            column("key", pa.string(), "the value of `by` that its events have in common; rows without one are in none"),
            column("start", UTC_MICROS, "the event time of its first event"),
            column("end", UTC_MICROS, "the event time of its last event; the gap after it lies in this day"),
            column("events", pa.int64(), "its events"),
            column("first", pa.string(), f"`show` of its first event, the first {MOST_SHOWN} characters"),
            column("last", pa.string(), "`show` of its last event, likewise"),
            column("cut", pa.bool_(), "it may have begun before what was read: longer than `longest` before this day"),
        ]
    )

    by: ColumnName = Field("host", description="the key: a column, or a key of a map as fields.user")
    gap: Duration = Field("30m", validate_default=True, description="how long nothing comes after a session's last event")
    longest: Duration = Field(
        "24h", validate_default=True, description="how long before a day sessions that end in it may have begun"
    )
    show: ColumnName = Field("message", description="the column of which the first and the last value are kept")

    @property
    def gap_us(self) -> int:
        """The gap, microseconds."""
        return round(self.gap * 1_000_000)

    def columns(self) -> tuple[str, ...]:
        return (Place.parse(self.by).column, Place.parse(self.show).column, *ORDER)

    def needs(self) -> tuple[str, ...]:
        return (self.by,)

    def reach_us(self) -> int:
        return self.gap_us + round(self.longest * 1_000_000)

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        times, places, offsets = (pa.array(values) for values in (rows.times_us, rows.places, rows.offsets))
        shown = rows.texts(self.show, MOST_SHOWN)
        ones = pa.array(np.ones(len(rows), np.int64))
        parts = pa.table(
            [rows.topics, rows.texts(self.by), ones, times, places, offsets, shown, times, places, offsets, shown],
            ["topic", "key", "events", *_FIRST, *_LAST],
        )
        keyed = parts.filter(parts["key"].is_valid())
        return self.merge(keyed)

    def merge(self, parts: pa.Table) -> pa.Table:
        if not parts.num_rows:
            return parts
        keys = numbered(parts, ("topic", "key"))
        begun = [integers(parts, name) for name in _FIRST[:3]]
        order = np.lexsort((*begun[::-1], keys))
        sessions = _sessions(keys[order], begun[0][order], integers(parts, "end")[order], self.gap_us)
        starts = starts_of(sessions)
        ended = [integers(parts, name)[order] for name in _LAST[:3]]
        lasts = np.lexsort((*ended[::-1], sessions))[np.append(starts[1:], len(sessions)) - 1]
        found = parts.take(pa.array(order[starts]))
        events = np.add.reduceat(integers(parts, "events")[order], starts)
        last = parts.select(list(_LAST)).take(pa.array(order[lasts]))
        return pa.table(
            [found["topic"], found["key"], pa.array(events), *(found[name] for name in _FIRST), *last.columns],
            parts.column_names,
        )

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        over = parts.filter(pa.array(span.holds(integers(parts, "end") + self.gap_us)))
        begun = span.back(round(self.longest * 1_000_000)).start_us
        is_cut = np.zeros(over.num_rows, bool) if begun is None else integers(over, "start") < begun
        times = {name: over[name].cast(UTC_MICROS) for name in ("start", "end")}
        named = {**{name: over[name] for name in over.column_names}, **times, "cut": pa.array(is_cut)}
        return pa.table([named[name] for name in self.schema.names], schema=self.schema)


def _sessions(keys: np.ndarray, starts: np.ndarray, ends: np.ndarray, gap_us: int) -> np.ndarray:
    """The number of each part's session; parts are sorted by key and start.

    A part may end before one that began earlier, so what counts is the latest end so far of the same key. Keys and ends are put
    into one number, by the ends' ranks, for which the running maximum of all parts is that of each key.
    """
    count = len(keys)
    by_end = np.argsort(ends, kind="stable")
    rank = np.empty(count, np.int64)
    rank[by_end] = np.arange(count)
    is_other = keys[1:] != keys[:-1]
    base = np.concatenate((np.zeros(1, np.int64), np.cumsum(is_other))) * count
    latest = ends[by_end][np.maximum.accumulate(base + rank) - base]
    begins = np.ones(count, bool)
    begins[1:] = is_other | (starts[1:] - latest[:-1] > gap_us)
    return np.cumsum(begins)
