"""The job `counts`: events per topic, host and hour."""

from typing import ClassVar

import pyarrow as pa

from headrace.jobs.batch.event_rows import UTC_MICROS, Rows, Span, hours_of
from headrace.jobs.batch.grouping import counted, summed
from headrace.jobs.batch.job import Job, column

_GROUP = ("topic", "host", "hour")


class Counts(Job):
    """Events per topic, host and hour of event time."""

    name: ClassVar = "counts"
    does: ClassVar = "events per topic, host and hour"
    group: ClassVar = ("topic", "hour")
    order: ClassVar = ("topic", "hour", "host")
    schema: ClassVar = pa.schema(
        [
            column("topic", pa.string(), "the topic"),
            column("host", pa.string(), "the host; null where a topic's rows do not say"),
            column("hour", UTC_MICROS, "when the hour of event time begins, UTC"),
            column("events", pa.int64(), "rows of that hour"),
        ]
    )

    def columns(self) -> tuple[str, ...]:
        return ("host",)

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        return counted(pa.table([rows.topics, rows.texts("host"), pa.array(rows.hours_us)], _GROUP), "events")

    def merge(self, parts: pa.Table) -> pa.Table:
        return summed(parts, _GROUP, ["events"])

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        return parts.set_column(2, "hour", hours_of(parts)).cast(self.schema)
