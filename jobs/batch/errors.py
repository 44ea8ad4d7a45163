"""The job `errors`: events per service and hour by level and HTTP status, and what the bad ones say, as patterns.

Every event is in exactly one row, so rates are sums over rows. Rows of a level that is bad enough have a pattern; `new` says of
it that this table has it on none of the days before.
"""

from typing import ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from headrace.jobs.batch.event_rows import ORDER, UTC_MICROS, Rows, Span, hours_of
from headrace.jobs.batch.grouping import integers, numbered, one_chunk, ranks, starts_of
from headrace.jobs.batch.job import Job, Scene, column
from headrace.jobs.batch.levels import FIELDS, LEVELS, STATUS, levels_of, statuses
from headrace.jobs.batch.patterns import patterns_of

MOST_SHOWN: Final = 500
REST: Final = "…"
TEXTS: Final = ("fields.message", "fields.msg")
"""Where lines that are records (JSON, logfmt) say what others say in words; the rest of them would be masked, key by key."""
_HOUR: Final = ("topic", "service", "hour")
_GRAIN: Final = (*_HOUR, "level", "status", "pattern")
_FIRST: Final = ("first", "place", "offset", "example")
_KNOWN: Final = ("topic", "service", "pattern")


class Errors(Job):
    """Events per service and hour by level and status, and patterns of the bad ones."""

    name: ClassVar = "errors"
    version: ClassVar = 2
    does: ClassVar = "events per service and hour by level and HTTP status, and new patterns of errors"
    group: ClassVar = _HOUR
    order: ClassVar = _GRAIN
    schema: ClassVar = pa.schema(
        [
            column("topic", pa.string(), "the topic"),
            column("service", pa.string(), "the service; null where rows do not say"),
            column("hour", UTC_MICROS, "when the hour of event time begins, UTC"),
            column("level", pa.string(), f"{', '.join(LEVELS)}; null where nothing says"),
            column("status", pa.int32(), "the HTTP status, fields['status']; null without one"),
            column("pattern", pa.string(), f"what it says, masked; null below `level`; {REST} are all beyond `most`"),
            column("events", pa.int64(), "rows of all that"),
            column("total", pa.int64(), "all rows of that service and hour, so that a rate is sum(events) / any_value(total)"),
            column("new", pa.bool_(), "no day of the `days` before has the pattern; null if this table has none of those days"),
            column("first", UTC_MICROS, "the event time of the first"),
            column("example", pa.string(), f"the message of the first, its first {MOST_SHOWN} characters"),
        ]
    )

    level: Literal["fatal", "error", "warning", "info", "debug"] = Field(
        "error", description="events of this level and of worse ones get a pattern"
    )
    days: int = Field(14, ge=1, le=400, description="how many days before are looked through for a pattern")
    most: int = Field(1_000, ge=1, le=100_000, description="patterns of a service in an hour; the rarer ones are summed up")

    def columns(self) -> tuple[str, ...]:
        return ("service", "message", "fields", *ORDER)

    def prepare(self, scene: Scene) -> pa.Table | None:
        earlier, days = scene.earlier(self.days, pa.schema([(name, pa.string()) for name in _KNOWN]))
        return earlier if days else None

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        messages, status = rows.texts("message"), statuses(rows.texts(f"fields.{STATUS}"))
        levels = levels_of([rows.texts(f"fields.{name}") for name in FIELDS], status, messages)
        is_bad = pc.fill_null(pc.is_in(levels, pa.array(LEVELS[: LEVELS.index(self.level) + 1])), False)
        nothing = pa.nulls(len(rows), pa.string())
        texts = pc.coalesce(*(rows.texts(name) for name in TEXTS), messages)
        patterns, examples = (
            pc.replace_with_mask(nothing, is_bad, found)
            for found in (patterns_of(texts.filter(is_bad)), pc.utf8_slice_codeunits(messages.filter(is_bad), 0, MOST_SHOWN))
        )
        hours, times, places, offsets = map(pa.array, (rows.hours_us, rows.times_us, rows.places, rows.offsets))
        grain = [rows.topics, rows.texts("service"), hours, levels, status, patterns]
        ones = pa.array(np.ones(len(rows), np.int64))
        return self.merge(pa.table([*grain, ones, times, places, offsets, examples], [*_GRAIN, "events", *_FIRST]))

    def merge(self, parts: pa.Table) -> pa.Table:
        if not parts.num_rows:
            return parts
        groups = numbered(parts, _GRAIN)
        order = np.lexsort((*(integers(parts, name) for name in ("offset", "place", "first")), groups))
        starts = starts_of(groups[order])
        events = np.add.reduceat(integers(parts, "events")[order], starts)
        return parts.take(pa.array(order[starts])).set_column(len(_GRAIN), "events", pa.array(events))

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        parts = self.merge(self._with_rest(parts))
        groups, events = numbered(parts, _HOUR), integers(parts, "events")
        totals = np.zeros(groups.max(initial=-1) + 1, np.int64)
        np.add.at(totals, groups, events)
        named = {
            **{name: parts[name] for name in parts.column_names},
            "hour": hours_of(parts),
            "first": parts["first"].cast(UTC_MICROS),
            "total": pa.array(totals[groups]),
            "new": _are_new(parts, given),
        }
        return pa.table([named[name] for name in self.schema.names], schema=self.schema)

    def _with_rest(self, parts: pa.Table) -> pa.Table:
        """The parts, of which those beyond the most frequent patterns of each service and hour have none of their own."""
        has_one = parts["pattern"].is_valid().to_numpy()
        if not has_one.any():
            return parts
        groups = np.where(has_one, numbered(parts, _HOUR), -1)
        by_grain = np.empty(parts.num_rows, np.int64)
        by_grain[pc.sort_indices(parts, [(name, "ascending") for name in _GRAIN]).to_numpy()] = np.arange(parts.num_rows)
        order = np.lexsort((by_grain, -integers(parts, "events"), groups))
        is_rest = np.zeros(parts.num_rows, bool)
        is_rest[order] = ranks(starts_of(groups[order]), len(order)) >= self.most
        rest = pc.if_else(pa.array(is_rest & has_one), pa.scalar(REST), one_chunk(parts["pattern"]))
        return parts.set_column(len(_HOUR) + 2, "pattern", rest)


def _are_new(parts: pa.Table, known: pa.Table | None) -> pa.Array:
    count = parts.num_rows
    if known is None:
        return pa.nulls(count, pa.bool_())
    numbers = numbered(pa.concat_tables([parts.select(list(_KNOWN)), known.select(list(_KNOWN))]), _KNOWN)
    is_new = ~np.isin(numbers[:count], numbers[count:])
    has_none = parts["pattern"].is_null().to_numpy() | pc.equal(parts["pattern"], REST).fill_null(False).to_numpy()
    return pa.array(is_new, mask=has_none)
