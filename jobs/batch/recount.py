"""The job `recount`: what `headrace audit --recount` says of a time, its files counted by many workers, as a table.

Workers count files (`count_of`); what is made of the counts, and of what agents have announced, is the audit's own
(jobs/audit/recounting.py), so that both give the same verdict of the same windows.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import pyarrow as pa

from headrace.clock import SystemClock
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.recount import FileCount, count_of
from headrace.jobs.audit.recount_report import said
from headrace.jobs.audit.recounting import TopicRecount, files_of_time
from headrace.jobs.batch.event_rows import UTC_MICROS, Span
from headrace.jobs.batch.job import Job, Scene, column
from headrace.sinks.table.audit_totals import AuditTotal
from headrace.sinks.table.reader import LiveFile

_COUNTS: Final = ("sent", "recorded", "counted")


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A file to be counted."""

    root: str
    topic: str
    file: LiveFile


class Recount(Job):
    """Landed files counted again, beside what the tables' records and the agents say."""

    name: ClassVar = "recount"
    version: ClassVar = 2
    does: ClassVar = "landed files counted again by agent and ten-minute window, and the verdict of headrace audit --recount"
    reads: ClassVar = False
    group: ClassVar = ("topic",)
    order: ClassVar = ("topic", "window_start", "agent")
    schema: ClassVar = pa.schema(
        [
            column("topic", pa.string(), "the topic"),
            column("window_start", UTC_MICROS, "when the ten minutes of event time begin, UTC; null: says is of the topic"),
            column("agent", pa.string(), "the agent; null for rows that are no events of an agent's"),
            column("host", pa.string(), "its host"),
            column("sent", pa.int64(), "events that it says it has sent; null for rows of nobody"),
            column("recorded", pa.int64(), "rows that have landed by the table's records; null where these tell days only"),
            column("counted", pa.int64(), "rows that are there; null where they do not say whose they are"),
            column("state", pa.string(), "same, differs, unknown (more may be announced yet), or expired; hashes count, too"),
            column("says", pa.list_(pa.string()), "what differs, and where"),
        ]
    )

    def columns(self) -> tuple[str, ...]:
        return ()

    def parts(self, scene: Scene) -> pa.Table:
        """The audit's rows."""
        topics = [
            table.topic for table in scene.tables
        ]  # before the audit's own look: what is read is no older than the inputs
        auditor, now_ms = Auditor(scene.root), SystemClock().wall_ms()
        since_ms = -math.inf if scene.span.start_us is None else scene.span.start_us / 1000
        until_ms = math.inf if scene.span.end_us is None else scene.span.end_us / 1000
        verdicts = [auditor.judge(topic, now_ms=now_ms, since_ms=since_ms, until_ms=until_ms) for topic in topics]
        tables = [table for topic in topics if (table := auditor.table(topic)) is not None]
        work = [
            Uncounted(scene.root, table.topic, file) for table in tables for file in files_of_time(table, since_ms, until_ms)
        ]
        counts: dict[str, dict[str, FileCount]] = {topic: {} for topic in topics}
        for found in scene.spread(work, counted, self.name):
            counts[found["topic"]][found["name"]] = _decoded(found)
        done = [
            auditor.recount(verdict, since_ms=since_ms, until_ms=until_ms, counts=counts[verdict.topic]) for verdict in verdicts
        ]
        return pa.Table.from_pylist([row for one in done for row in _rows(one)], schema=self.schema)

    def merge(self, parts: pa.Table) -> pa.Table:
        return parts

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:  # noqa: ARG002
        return parts


def counted(one: Uncounted) -> dict[str, Any]:
    """A file's counts, as JSON can say them."""
    found = count_of(one.root, one.topic, one.file)
    return {
        "topic": one.topic,
        "name": one.file.name,
        "sums": [[*key, total.count, total.bytes, total.hash] for key, total in found.sums.items()],
        "named": [[*key, count] for key, count in found.named.items()],
        "wrong": found.wrong,
        "unread": found.unread,
    }


def _decoded(found: Mapping[str, Any]) -> FileCount:
    """The inverse."""
    sums = {(agent, start_ms): AuditTotal(*total) for agent, start_ms, *total in found["sums"]}
    named = Counter({(agent, start_ms): count for agent, start_ms, count in found["named"]})
    return FileCount(sums, named, tuple(found["wrong"]), found["unread"])


def _rows(done: TopicRecount) -> Iterator[dict[str, Any]]:
    """One of each agent's window, and one of what is wrong with the topic's files and records."""
    places: dict[tuple[str, int], list[str]] = {}
    for place in done.places:
        places.setdefault((place.agent, place.window_start_ms), []).append(said(place))
    for row in done.rows:
        counts = {name: getattr(row, name) for name in _COUNTS}
        yield {
            "topic": row.topic,
            "window_start": row.window_start_ms * 1000,
            "agent": row.agent,
            "host": row.host,
            **counts,
            "state": row.state,
            "says": None if row.agent is None else places.get((row.agent, row.window_start_ms)),
        }
    if done.remarks:
        yield {"topic": done.topic, "state": done.state, "says": done.remarks}
