"""The job `compact`: the small files of many tables and hours merged at once, each directory by a worker of its own.

A worker does to its directory what `headrace compact` does to a table, and commits by the table's log as that does: workers,
loaders and other compactions need not know of each other (sinks/compaction/compact.py).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import pyarrow as pa
from pydantic import Field

from headrace.clock import SystemClock
from headrace.config import load_config
from headrace.jobs.batch.event_rows import Span
from headrace.jobs.batch.job import Chore, Runner, column
from headrace.jobs.batch.runners import run_pipeline
from headrace.jobs.batch.steps import spread
from headrace.sinks.compaction.compact import DEFAULT_OUTPUT, compact_quarantine, compact_table
from headrace.sinks.compaction.plan import Limits, small_files
from headrace.sinks.config import LoadConfig, Output
from headrace.sinks.layout import Layout
from headrace.sinks.maintenance_arguments import chosen_tables
from headrace.sinks.measures import Duration, Size
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.reader import head

_COUNTS: Final = ("files_before", "files_after", "rows", "overtaken")


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a table, to be compacted."""

    root: str
    table: str
    path: str
    limits: Limits
    output: dict[str, Any]


class Compact(Chore):
    """Small files of hours that are over, merged."""

    name: ClassVar = "compact"
    does: ClassVar = "the small files of many tables and hours merged at once"
    schema: ClassVar = pa.schema(
        [
            column("table", pa.string(), "the table"),
            column("directory", pa.string(), "the directory; null for all quarantine files of the table"),
            column("files_before", pa.int64(), "files that were merged"),
            column("files_after", pa.int64(), "files that they have become"),
            column("rows", pa.int64(), "their rows, or records"),
            column("overtaken", pa.int64(), "merges that came to nothing, because others had changed these files"),
        ]
    )

    target: Size = Field("128MiB", validate_default=True, description="bytes of a merged file, at most")
    closed_for: Duration = Field("1h", validate_default=True, description="how long an hour is over")
    config: Path | None = Field(None, description="the loader's configuration, for the layout and formats of its tables")

    def run(self, root: str, topics: Sequence[str], span: Span, runner: Runner) -> pa.Table:
        """Compact the tables asked for, derived ones too, or all: the directories that have rows of the span."""
        tables = chosen_tables(root, list(topics))
        work = [directory for table in tables for directory in self.directories(root, table, span)]
        rows = run_pipeline(spread(work, compacted), runner.name, runner.options, label=self.name) if work else []
        for table in tables:
            done = compact_quarantine(open_root(root).table(table), self._limits, SystemClock())
            rows.append(_row(table, None, (done.quarantine_before, done.quarantine_after, done.quarantined, done.overtaken)))
        told = [row for row in rows if row["files_before"] or row["overtaken"]]
        return pa.Table.from_pylist(told, schema=self.schema).sort_by([("table", "ascending"), ("directory", "ascending")])

    def directories(self, root: str, table: str, span: Span) -> list[Directory]:
        """What there is to merge of a table."""
        output = self._output(table)
        small = small_files(head(open_root(root), table), self._limits, Layout(output.layout), SystemClock().wall_ms())
        meets = [file for file in small if span.meets(file.min_event_time_ms, file.max_event_time_ms)]
        paths = dict.fromkeys(file.path.rpartition("/")[0] for file in meets)
        return [Directory(root, table, path, self._limits, output.model_dump()) for path in paths]

    @property
    def _limits(self) -> Limits:
        return Limits(self.target, round(self.closed_for * 1000))

    def _output(self, table: str) -> Output:
        if self.config is None:
            return DEFAULT_OUTPUT
        return load_config(LoadConfig, self.config, overrides=(), environment=os.environ).load.output_of(table)


def compacted(one: Directory) -> dict[str, Any]:
    """Merge the small files of a directory, and tell what was done."""
    output = Output.model_validate(one.output)
    done = compact_table(
        one.root, one.table, one.limits, SystemClock(), progress=lambda _: None, output=output, directory=one.path
    )
    return _row(one.table, one.path, (done.before, done.after, done.rows, done.overtaken))


def _row(table: str, directory: str | None, counts: tuple[int, ...]) -> dict[str, Any]:
    return {"table": table, "directory": directory, **dict(zip(_COUNTS, counts, strict=True))}
