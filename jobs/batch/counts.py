"""The job `counts`: events per topic, host and hour, over exactly the files that the table logs name.

An Apache Beam pipeline: files as an explicit list (a glob would match uncommitted ones), counted by Arrow inside the reading
step, so that one element per file, host and hour is shuffled and not one per event. `hour` is the UTC hour of the event time,
however the files are laid out; `host` is null for topics without that column.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import create_runner

from headrace.errors import HeadraceError, UsageError
from headrace.jobs.landed_rows import hours_by_row, open_rows
from headrace.sinks.event_time import EPOCH
from headrace.sinks.places import landed_topics
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.reader import LiveFile, snapshot

NAMES: Final = ("topic", "host", "hour", "events")

Key = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class Source:
    """One live file, as a pipeline's element."""

    root: str
    topic: str
    file: LiveFile


def sources(root: Path | str) -> list[Source]:
    """Every live file of every topic that is not internal."""
    return [Source(str(open_root(root)), topic, file) for topic in landed_topics(root) for file in snapshot(root, topic).files]


def count_hosts(source: Source) -> Iterator[tuple[Key, int]]:
    """Count one file's rows by host and hour: ((topic, host, hour), events)."""
    with open_rows(source.root, source.topic, source.file) as landed:
        names = [name for name in ("host", "event_time", "_timestamp") if name in landed.schema.names]
        for batch in landed.batches(names):
            hours = hours_by_row(source.file, batch)
            hosts = batch["host"] if "host" in names else pa.nulls(batch.num_rows, pa.string())
            pairs = pa.table({"host": hosts, "hour": hours}).group_by(["host", "hour"]).aggregate([([], "count_all")])
            for row in pairs.to_pylist():
                yield (source.topic, row["host"], _hour(row["hour"])), row["count_all"]


def _hour(hour: int) -> str:
    return f"{(EPOCH + timedelta(hours=hour)).isoformat()[:13]}:00:00Z"


def run(root: Path | str, runner: str) -> list[tuple[Any, ...]]:
    """Run the pipeline and return its rows, in order.

    Args:
        runner: Beam's name of it. FnApiRunner runs in this process; DirectRunner would try to download another. One whose
            workers are elsewhere must see `root` and this machine's temporary folder.
    Raises:
        UsageError: Beam knows no such runner.
        HeadraceError: the pipeline failed.
    """
    try:
        create_runner(runner)
    except (ValueError, ImportError) as error:
        raise UsageError(f"--runner {runner}: {error}") from error
    options = PipelineOptions(["--runner", runner])
    with tempfile.TemporaryDirectory(prefix="headrace-counts-") as folder:
        result = Path(folder) / "counts.json"
        try:
            with beam.Pipeline(options=options) as pipeline:
                _ = (
                    pipeline
                    | "Files" >> beam.Create(sources(root), reshuffle=True)
                    | "Count hosts" >> beam.FlatMap(count_hosts)
                    | "Sum" >> beam.CombinePerKey(sum)
                    | "Encode" >> beam.Map(json.dumps)
                    | "Gather" >> beam.io.WriteToText(str(result), num_shards=1, shard_name_template="")
                )
        except RuntimeError as error:  # Beam's, with the worker's traceback as text
            raise HeadraceError(f"counts: {str(error).strip().splitlines()[-1]}") from error
        counted = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines() if line]
    return sorted(((*key, events) for key, events in counted), key=lambda row: (row[0], row[2], row[1] is None, row[1]))
