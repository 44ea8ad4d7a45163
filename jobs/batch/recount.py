"""The job `recount`: what the landed rows themselves sum up to by agent and window, beside what the tables' records say of it.

The same sums as `headrace audit --recount` compares (jobs/audit/recount.py), spread over workers. Where the two differ, that
command says which events.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
import pyarrow as pa

from headrace.jobs.audit.recount import Key, identified, is_ours
from headrace.jobs.batch.event_rows import UTC_MICROS, Rows, Span
from headrace.jobs.batch.grouping import summed
from headrace.jobs.batch.job import Job, Scene, column
from headrace.sinks.audit_sums import EVENT_COLUMNS, add_events, window_starts
from headrace.sinks.table.audit_totals import AuditTotal, WindowKey

_KEY: Final = ("topic", "window_start", "agent")
_SUMS: Final = tuple(f"{side}_{name}" for side in ("counted", "recorded") for name in ("events", "bytes", "hash"))
_PARTS: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("window_start", pa.int64()),
        ("agent", pa.string()),
        *((name, pa.uint64() if name.endswith("hash") else pa.int64()) for name in _SUMS),
    ]
)


class Recount(Job):
    """Sums of landed rows by agent and window, beside those of the tables' records."""

    name: ClassVar = "recount"
    does: ClassVar = "landed rows counted again by agent and ten-minute window, beside what the tables' records say"
    group: ClassVar = _KEY[:2]
    order: ClassVar = _KEY
    schema: ClassVar = pa.schema(
        [
            column("topic", pa.string(), "the topic"),
            column("window_start", UTC_MICROS, "when the ten minutes of event time begin, UTC"),
            column("agent", pa.string(), "the agent; null for rows that are no events of an agent's"),
            column("events", pa.int64(), "rows that are there"),
            column("bytes", pa.int64(), "bytes of their messages; 0 for rows of nobody"),
            column("recorded_events", pa.int64(), "rows that the table's records say have landed; null for rows of nobody"),
            column("recorded_bytes", pa.int64(), "bytes of their messages, likewise"),
            column("agrees", pa.bool_(), "events, bytes and hashes are the same; null where rows do not say whose they are"),
        ]
    )

    def columns(self) -> tuple[str, ...]:
        return EVENT_COLUMNS

    def parts(self, scene: Scene) -> pa.Table:
        """What the records say."""
        found = []
        for table in scene.tables:
            sums: dict[Key, AuditTotal] = {
                key: total for key, total in table.audit.items() if total.count and _starts_in(scene.span, key[1])
            }
            found.append(_parts(table.topic, sums, "recorded"))
        return pa.concat_tables([_PARTS.empty_table(), *found])

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        ours, starts = is_ours(rows.table), window_starts(rows.times_us // 1000)
        totals: dict[WindowKey, AuditTotal] = {}
        if ours.any():
            events, messages = identified(rows.table.filter(pa.array(ours)))
            add_events(totals, events, messages, starts[ours])
        of_nobody = zip(*(each.tolist() for each in np.unique(starts[~ours], return_counts=True)), strict=True)
        sums: dict[Key, AuditTotal] = {(None, start_ms): AuditTotal(count) for start_ms, count in of_nobody}
        return _parts(rows.topic, sums | totals, "counted")

    def merge(self, parts: pa.Table) -> pa.Table:
        return summed(parts, _KEY, _SUMS)

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        is_nobody = parts["agent"].is_null().to_numpy()
        sides = ([parts[name].to_numpy() for name in _SUMS[at : at + 3]] for at in (0, 3))
        counted, recorded = sides
        same = np.logical_and.reduce([one == other for one, other in zip(counted, recorded, strict=True)])
        starts = parts["window_start"].cast(pa.timestamp("ms", "UTC")).cast(UTC_MICROS)
        windows = list(zip(parts["topic"].to_pylist(), parts["window_start"].to_pylist(), strict=True))
        unnamed = {windows[row] for row in np.flatnonzero(is_nobody)}
        # Under a user's own schema an agent's rows are among those of nobody.
        is_unclear = is_nobody | ((counted[0] == 0) & np.array([window in unnamed for window in windows], bool))
        told = [*(pa.array(values, mask=is_nobody) for values in recorded[:2]), pa.array(same, mask=is_unclear)]
        columns = [parts["topic"], starts, parts["agent"], *map(pa.array, counted[:2]), *told]
        return pa.table(columns, schema=self.schema)


def _starts_in(span: Span, start_ms: int) -> bool:
    return bool(span.holds(np.array([start_ms * 1000]))[0])


def _parts(topic: str, sums: Mapping[Key, AuditTotal], side: str) -> pa.Table:
    rows = [
        {
            **dict.fromkeys(_SUMS, 0),
            "topic": topic,
            "window_start": start_ms,
            "agent": agent,
            f"{side}_events": total.count,
            f"{side}_bytes": total.bytes,
            f"{side}_hash": total.hash,
        }
        for (agent, start_ms), total in sums.items()
    ]
    return pa.Table.from_pylist(rows, schema=_PARTS)
