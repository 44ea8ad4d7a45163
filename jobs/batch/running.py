"""Runs one job: over all that has landed, for its rows, or for one day, whose slice of the job's table its rows then are.

What is read of each topic is one snapshot of its table. A day's rows become visible by one record of the table's log, which
replaces those of the run before; a run that dies, or is overtaken by another, changes nothing (sinks/derived/table.py).
"""

import difflib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from headrace.clock import SystemClock
from headrace.errors import UsageError
from headrace.jobs.batch.conditions import Conditions
from headrace.jobs.batch.event_rows import ORDER, Place, Span
from headrace.jobs.batch.exchange import Exchange
from headrace.jobs.batch.grouping import ordered
from headrace.jobs.batch.job import IN_PROCESS, Job, Runner, options_of, table_of
from headrace.jobs.batch.runners import run_pipeline
from headrace.jobs.batch.steps import Build, Plan, Seen, built, encoded, rows_of, spread
from headrace.jobs.batch.table_scan import Piece, Scan
from headrace.jobs.batch.tables import columns_of
from headrace.jobs.landed_rows import open_rows
from headrace.sinks.derived.slices import Slice, input_of
from headrace.sinks.derived.staging import Staging
from headrace.sinks.derived.table import DerivedTable
from headrace.sinks.places import landed_topics, unknown_table
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.arrow_schema import encode_schema
from headrace.sinks.table.reader import TableSnapshot, snapshot, tables
from headrace.sinks.table.record import DataFile, JobInput, from_json
from headrace.sinks.table.record import Job as RanJob

_BUCKET_BYTES: Final = 256 << 20
_MOST_BUCKETS: Final = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has made: the slice `day` of `table` is what its `attempt` says; `replaced` is the attempt before, if any."""

    job: str
    table: str
    day: str
    attempt: str
    replaced: str | None
    rows: int
    files: int
    inputs: tuple[JobInput, ...]
    seconds: float
    warnings: tuple[str, ...] = ()


def run_job(
    job: Job,
    root: Path | str,
    of: Slice,
    *,
    topics: Sequence[str] = (),
    into: str | None = None,
    runner: Runner = IN_PROCESS,
    gate: dict[str, Any] | None = None,
) -> Outcome:
    """Run a job for a slice, and put its rows into the slice's place.

    Args:
        topics: all that have landed, if none is named.
        into: the table; None: `table_of(job)`.
        gate: what the audit said of the inputs, kept with the run.
    Raises:
        UsageError: an option, a topic or a runner is none. OvertakenError: another run was faster; nothing has changed.
        HeadraceError: the pipeline failed; nothing has changed.
    """
    began = time.monotonic()
    table = into or table_of(job)
    run = DerivedTable(root, table, SystemClock()).begin(of, job.schema)
    reading = Reading(root, topics, Span(of.start_ms * 1000, of.end_ms * 1000), table, runner, of, writes=True)
    reading.check(job)
    files = [from_json(DataFile, each) for each in reading.elements(job, run.staging)]
    inputs = reading.inputs(job)
    made = run.commit(files, RanJob(job.name, str(job.version), inputs, options_of(job), gate, of.start_ms, of.end_ms))
    replaced = run.replaced.attempt if run.replaced else None
    return Outcome(
        job.name,
        table,
        of.directory,
        made.attempt,
        replaced,
        made.rows,
        made.files,
        inputs,
        time.monotonic() - began,
        reading.warnings,
    )


def rows_of_job(
    job: Job,
    root: Path | str,
    span: Span = Span(),  # noqa: B008 - frozen
    *,
    topics: Sequence[str] = (),
    runner: Runner = IN_PROCESS,
    of: Slice | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> pa.Table:
    """The rows of a job over a span of time, in memory; nothing is written. Raises as `run_job`.

    Args:
        warn: told what may be mistaken, a line each.
    """
    reading = Reading(root, topics, span, table_of(job), runner, of, writes=False)
    reading.check(job)
    rows = reading.rows(job)
    for warning in reading.warnings:
        warn(warning)
    return rows


class Reading:
    """The snapshots that one run reads, whatever a job asks of them: the scene of job.py."""

    def __init__(
        self,
        root: Path | str,
        topics: Sequence[str],
        span: Span,
        table: str,
        runner: Runner,
        of: Slice | None,
        *,
        writes: bool,
    ) -> None:
        self.root, self.span = str(open_root(root)), span
        self._topics, self._table, self._runner, self._of, self._writes = topics, table, runner, of, writes
        self.warnings: tuple[str, ...] = ()
        """Of the last pipeline: what may be mistaken."""

    @cached_property
    def tables(self) -> list[TableSnapshot]:
        """The tables of the topics that are asked for.

        Raises:
            UsageError: one is not there, or is no topic's.
        """
        known = landed_topics(self.root)
        for topic in self._topics:
            if topic in known:
                continue
            if topic in tables(self.root):
                raise UsageError(f"{topic} is no landed topic's table; a job reads those: {', '.join(known) or 'none'}")
            raise unknown_table(topic, known)
        return [snapshot(self.root, topic, is_whole=False) for topic in dict.fromkeys(self._topics or known)]

    @cached_property
    def columns(self) -> dict[str, pa.Schema]:
        """The columns of the tables, by topic."""
        return {
            table.topic: columns_of(self.root, table.topic, table.arrow_schema, {file.name: file for file in table.files})
            for table in self.tables
        }

    def check(self, job: Job) -> None:
        """See that the columns which a job cannot do without are there in some table.

        Raises:
            UsageError: one is in none.
        """
        if not job.needs() or not any(table.files for table in self.tables):
            return
        known = {name for columns in self.columns.values() for name in columns.names}
        for name in (Place.parse(needed).column for needed in job.needs()):
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"; did you mean {close[0]}?" if close else ""
                raise UsageError(f"job {job.name}: no table has a column {name}{meant} (columns: {', '.join(sorted(known))})")

    def inputs(self, job: Job) -> tuple[JobInput, ...]:
        """What has been read of each topic, as the run's record says it."""
        assert self._of is not None, "only a slice's run has a record"
        of = Slice(self._of.directory, self._of.start_ms - job.reach_us() // 1000, self._of.end_ms)
        return tuple(input_of(table, of) for table in self.tables)

    def elements(self, job: Job, staging: Staging | None) -> list[Any]:
        """What the job's pipeline yields; where no rows are read there is nothing to spread, and it runs in this process."""
        plan, work = self.planned(job, staging)
        if not work:
            return []
        found = self._run(built(plan, work), job.name, self._runner if plan.scans else IN_PROCESS)
        self.warnings = tuple(
            f"all {seen.rows} rows that were read have no {name}"
            for seen in map(Seen.of, found)
            if seen is not None and seen.rows
            for name in job.needs()
            if name not in seen.names
        )
        return [element for element in found if Seen.of(element) is None]

    def planned(self, job: Job, staging: Staging | None) -> tuple[Plan, list[Piece | bytes]]:
        """What workers need to know, and what there is to do: pieces to read, and parts from elsewhere."""
        given, others = job.prepare(self), job.parts(self)
        read = self.tables if job.reads else ()
        scans = {table.topic: self._scan(job, table.topic) for table in read}
        found = [piece for table in read for piece in scans[table.topic].pieces({file.name: file for file in table.files})]
        size = sum(piece.bytes for piece in found)
        work: list[Piece | bytes] = [*found, *([] if others is None else [encoded(others)])]
        plan = Plan(
            f"{type(job).__module__}:{type(job).__qualname__}",
            options_of(job),
            scans,
            self.span,
            None if given is None else encoded(given),
            min(_MOST_BUCKETS, 1 + size // _BUCKET_BYTES),
            staging,
        )
        return plan, work

    def _run(self, build: Build, label: str, runner: Runner) -> list[Any]:
        exchange = Exchange.below(self.root, self._table) if self._writes else None
        return run_pipeline(build, runner.name, runner.options, label=label, exchange=exchange)

    def _scan(self, job: Job, topic: str) -> Scan:
        columns = self.columns[topic]
        wanted = dict.fromkeys((*job.columns(), "event_time", "_timestamp", *ORDER))
        read = tuple(name for name in wanted if name in columns.names)
        return Scan(self.root, topic, encode_schema(columns), read, self.span.back(job.reach_us()), Conditions())

    def rows(self, job: Job) -> pa.Table:
        found = [rows_of(element) for element in self.elements(job, None)]
        return ordered(pa.concat_tables([job.schema.empty_table(), *found]), job.order)

    def spread(self, work: Sequence[Any], each: Callable[[Any], Any], label: str) -> list[Any]:
        return self._run(spread(work, each), label, self._runner) if work else []

    def earlier(self, days: int, columns: pa.Schema) -> tuple[pa.Table, int]:
        if self._of is None or self._table not in tables(self.root):
            return columns.empty_table(), 0
        last = date.fromisoformat(self._of.directory.removeprefix("dt="))
        wanted = {f"dt={last - timedelta(days=number)}" for number in range(1, days + 1)}
        table = snapshot(self.root, self._table)
        found = [columns.empty_table()]
        for file in table.files:
            if file.name.partition("/")[0] in wanted:
                with open_rows(self.root, self._table, file) as landed:
                    found.append(landed.read(columns.names).cast(columns))
        distinct = pa.TableGroupBy(pa.concat_tables(found), columns.names).aggregate([])
        return distinct, len(wanted & set(table.slices))
