"""The job `top`: the most frequent values of each hour, exactly, in memory that does not grow with the number of values.

Two readings. The first keeps, for each hour and group, at most m = `one_in` counters by the algorithm of Misra and Gries, in
the form that can be merged: counts are added, and where there are more than m counters the (m+1)-th largest count is taken off
all of them. What was taken off (`cut`) at least m+1 counters have lost, so cut × (m+1) ≤ n, and

    count kept ≤ true count ≤ count kept + cut

Every value that is at least one in m of an hour's is therefore kept, however the rows are split and merged. The second reading
counts those that may be among the answer, and nothing else. The answer is that of SQL, the same for every split:

    the first k by (events descending, value) of the values with events × one_in ≥ all events of the hour and group

Source: Agarwal, Cormode, Huang, Phillips, Wei, Yi: Mergeable Summaries (PODS 2012), §3.
"""

from typing import ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from headrace.jobs.batch.event_rows import UTC_MICROS, Place, Rows, Span, hours_of
from headrace.jobs.batch.grouping import counted, integers, numbered, one_chunk, ranks, starts_of, summed
from headrace.jobs.batch.job import Job, Scene, column
from headrace.jobs.batch.option_types import ColumnName

MOST_CHARACTERS: Final = 1_000
"""Of a value; longer ones that begin alike count as one."""
_GROUP: Final = ("topic", "hour", "group")
_VALUE: Final = (*_GROUP, "value")
_PARTS: Final = (*_VALUE, "is_total", "events", "cut")


class Candidates(Job):
    """The first reading: values that may be among the answer."""

    name: ClassVar = "top_candidates"
    does: ClassVar = "values that may be the most frequent ones"
    group: ClassVar = _GROUP
    order: ClassVar[tuple[str, ...]] = _VALUE
    schema: ClassVar = pa.schema([("topic", pa.string()), ("hour", pa.int64()), ("group", pa.string()), ("value", pa.string())])

    by: ColumnName = Field("service", description="what is counted: a column, or a key of a map as fields.client")
    per: ColumnName | None = Field(None, description="values are compared within each value of this column, too")
    k: int = Field(10, ge=1, le=10_000, description="how many values of each hour, at most")
    one_in: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="values rarer than one in so many are left out; memory grows with it",
    )

    def columns(self) -> tuple[str, ...]:
        return tuple(Place.parse(name).column for name in self.needs())

    def needs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.by, self.per) if name is not None)

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        return self.merge(counts_and_totals(self.counts(rows)))

    def counts(self, rows: Rows) -> pa.Table:
        """How often each value is there, exactly; rows without one do not count."""
        groups = pa.nulls(len(rows), pa.string()) if self.per is None else rows.texts(self.per, MOST_CHARACTERS)
        values = rows.texts(self.by, MOST_CHARACTERS)
        found = pa.table([rows.topics, pa.array(rows.hours_us), groups, values], _VALUE)
        return counted(found.filter(values.is_valid()), "events")

    def merge(self, parts: pa.Table) -> pa.Table:
        parts = summed(parts, [*_VALUE, "is_total"], ["events", "cut"])
        groups, counts = numbered(parts, _GROUP), integers(parts, "events").copy()
        is_total = parts["is_total"].to_numpy()
        order = np.lexsort((-counts, ~is_total, groups))  # of each group its total, then its counts, the largest first
        starts = starts_of(groups[order])
        ends = np.append(starts[1:], len(order))
        is_full = ends - starts - 1 > self.one_in
        taken = np.zeros(len(starts), np.int64)
        taken[is_full] = counts[order][starts[is_full] + 1 + self.one_in]
        lengths = ends - starts
        cut = integers(parts, "cut").copy()
        cut[order[starts]] += taken
        loss = np.empty(len(order), np.int64)
        loss[order] = np.repeat(taken, lengths)
        counts -= np.where(is_total, 0, loss)
        merged = parts.set_column(5, "events", pa.array(counts)).set_column(6, "cut", pa.array(cut))
        return merged.filter(pa.array(is_total | (counts > 0)))

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        groups, counts, cut = numbered(parts, _GROUP), integers(parts, "events"), integers(parts, "cut")
        order = np.lexsort((-counts, ~parts["is_total"].to_numpy(), groups))
        starts = starts_of(groups[order])
        lengths = np.diff(np.append(starts, len(order)))
        totals, cuts = (np.repeat(values[order[starts]], lengths) for values in (counts, cut))
        at_least = np.zeros(len(starts), np.int64)  # the k-th value of a group is as frequent at least
        at_least[lengths > self.k] = counts[order][starts[lengths > self.k] + self.k]
        at_most = counts[order] + cuts
        may_be = (at_most * self.one_in >= totals) & (at_most >= np.repeat(at_least, lengths))
        may_be[starts] = False
        return parts.take(pa.array(order[may_be])).select(list(_VALUE))


class Top(Candidates):
    """The most frequent values of each hour."""

    name: ClassVar = "top"
    does: ClassVar = "the most frequent values of each hour, exactly"
    order: ClassVar = (*_GROUP, "rank")
    schema: ClassVar = pa.schema(
        [
            column("topic", pa.string(), "the topic"),
            column("hour", UTC_MICROS, "when the hour of event time begins, UTC"),
            column("group", pa.string(), "the value of `per`; null without it"),
            column("rank", pa.int32(), "1 for the most frequent; of equally frequent ones the smaller comes first"),
            column("value", pa.string(), f"the value of `by`, its first {MOST_CHARACTERS} characters"),
            column("events", pa.int64(), "rows of that hour and group that have it"),
            column("total", pa.int64(), "rows of that hour and group that have any"),
        ]
    )

    def prepare(self, scene: Scene) -> pa.Table | None:
        return scene.rows(Candidates(by=self.by, per=self.per, k=self.k, one_in=self.one_in))

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:
        assert given is not None, "the candidates"
        parts = counts_and_totals(self.counts(rows))
        wanted = pa.concat_tables([parts.select(list(_VALUE)), given])
        numbers = numbered(wanted, _VALUE)
        is_wanted = np.isin(numbers[: parts.num_rows], numbers[parts.num_rows :])
        return parts.filter(pa.array(is_wanted | parts["is_total"].to_numpy()))

    def merge(self, parts: pa.Table) -> pa.Table:
        return summed(parts, [*_VALUE, "is_total"], ["events", "cut"])

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        is_total = parts["is_total"].to_numpy()
        groups, counts = numbered(parts, _GROUP), integers(parts, "events")
        totals = np.zeros(groups.max(initial=-1) + 1, np.int64)
        totals[groups[is_total]] = counts[is_total]
        frequent = ~is_total & (counts * self.one_in >= totals[groups])
        rows, groups = parts.filter(pa.array(frequent)), groups[frequent]
        by_value = pc.rank(one_chunk(rows["value"]), tiebreaker="dense").to_numpy() if rows.num_rows else np.zeros(0)
        order = np.lexsort((by_value, -counts[frequent], groups))
        place = ranks(starts_of(groups[order]), len(order))
        rows, groups = rows.take(pa.array(order[place < self.k])), groups[order[place < self.k]]
        rank = pa.array(place[place < self.k] + 1, pa.int32())
        columns = [rows["topic"], hours_of(rows), rows["group"], rank, rows["value"], rows["events"], pa.array(totals[groups])]
        return pa.table(columns, schema=self.schema)


def counts_and_totals(counts: pa.Table) -> pa.Table:
    """Parts of exact counts: each value of a group, and one row for all of them."""
    totals = summed(counts, _GROUP, ["events"])
    both = []
    for table, values, is_total in ((counts, counts["value"], False), (totals, pa.nulls(totals.num_rows, pa.string()), True)):
        columns = [table[name] for name in _GROUP]
        flag = pa.repeat(pa.scalar(is_total), table.num_rows)
        both.append(pa.table([*columns, values, flag, table["events"], pa.array(np.zeros(table.num_rows, np.int64))], _PARTS))
    return pa.concat_tables(both)
