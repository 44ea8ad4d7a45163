"""The job `counts`: events per topic, host and hour, over exactly the files that the table logs name.

An Apache Beam pipeline: files as an explicit list (a glob would match uncommitted ones), counted by Arrow inside the reading
step, so that one element per file, host and hour is shuffled and not one per event. `hour` is the UTC hour of the event time,
however the files are laid out; `host` is null for topics without that column.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from headrace.jobs.batch.runners import run_pipeline
from headrace.jobs.landed_rows import hours_by_row, open_rows
from headrace.sinks.event_time import EPOCH
from headrace.sinks.places import landed_topics
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.reader import LiveFile, snapshot

NAMES: Final = ("topic", "host", "hour", "events")


@dataclass(frozen=True, slots=True)
class Source:
    """One live file, as a pipeline's element."""

    root: str
    topic: str
    file: LiveFile


def sources(root: Path | str) -> list[Source]:
    """Every live file of every topic that is not internal."""
    return [Source(str(open_root(root)), topic, file) for topic in landed_topics(root) for file in snapshot(root, topic).files]


def count_hosts(source: Source) -> Iterator[tuple[str, int]]:
    """Count one file's rows by host and hour: ([topic, host, hour] as JSON, events): keys are texts for every runner."""
    with open_rows(source.root, source.topic, source.file) as landed:
        names = [name for name in ("host", "event_time", "_timestamp") if name in landed.schema.names]
        for batch in landed.batches(names):
            hours = hours_by_row(source.file, batch)
            hosts = batch["host"] if "host" in names else pa.nulls(batch.num_rows, pa.string())
            pairs = pa.table({"host": hosts, "hour": hours}).group_by(["host", "hour"]).aggregate([([], "count_all")])
            for row in pairs.to_pylist():
                yield json.dumps([source.topic, row["host"], _hour(row["hour"])]), row["count_all"]


def _hour(hour: int) -> str:
    return f"{(EPOCH + timedelta(hours=hour)).isoformat()[:13]}:00:00Z"


def run(root: Path | str, runner: str = "inprocess", options: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """Run the pipeline and return its rows, in order.

    Args:
        runner, options: see `headrace.jobs.batch.runners`.
    Raises:
        UsageError: there is no such runner. HeadraceError: the pipeline failed.
    """

    def build(pipeline: beam.Pipeline) -> PCollection[Any]:
        rows: PCollection[Any] = (
            pipeline
            | "Files" >> beam.Create(sources(root), reshuffle=True)
            | "Count hosts" >> beam.FlatMap(count_hosts)
            | "Sum" >> beam.CombinePerKey(sum)
            | "Rows" >> beam.MapTuple(lambda key, events: [*json.loads(key), events])
        )
        return rows

    counted = run_pipeline(build, runner, options, label="counts")
    return sorted(map(tuple, counted), key=lambda row: (row[0], row[2], row[1] is None, row[1]))
