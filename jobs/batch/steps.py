"""The pipeline that all jobs share: pieces of work → parts → grouped by a key of bytes → finished → files, or rows.

    Pieces | Parts | GroupByKey | Finish     one leaf, of values that JSON can say

What is grouped are whole Arrow tables, a few for each piece, not rows. A job goes to workers by its name and options.
"""

import base64
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection

from headrace.jobs.batch.event_rows import Rows, Span
from headrace.jobs.batch.gathered import Gathered
from headrace.jobs.batch.grouping import ordered
from headrace.jobs.batch.job import Job
from headrace.jobs.batch.table_scan import Piece, Scan
from headrace.jobs.batch.tables import Pieces
from headrace.sinks.content_hash import row_hashes
from headrace.sinks.derived.staging import Staging
from headrace.sinks.table.record import as_json

Build = Callable[[beam.Pipeline], PCollection[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """One reading of a job, as workers need to know it.

    `job` is `module:Class`, `options` its fields as JSON; `scans` what it reads, by topic; `given` an Arrow table for all of
    them; groups are spread over `buckets` keys, each of which becomes a file of `staging`, or rows that go to the driver where
    that is None.
    """

    job: str
    options: dict[str, Any]
    scans: Mapping[str, Scan]
    span: Span
    given: bytes | None
    buckets: int
    staging: Staging | None

    def made(self) -> Job:
        """The job itself."""
        module, _, name = self.job.partition(":")
        made: Job = getattr(importlib.import_module(module), name).model_validate(self.options)
        return made


def built(plan: Plan, work: Sequence[Piece | bytes]) -> Build:
    """The pipeline of one reading; of `work` what is no piece to read are parts already, encoded."""

    def build(pipeline: beam.Pipeline) -> PCollection[Any]:
        leaf: PCollection[Any] = (
            pipeline
            | "Pieces" >> Pieces(plan.scans, work)
            | "Parts" >> beam.ParDo(Parts(plan))
            | "Group" >> beam.GroupByKey()
            | "Finish" >> beam.ParDo(Finish(plan))
        )
        return leaf

    return build


def spread(work: Sequence[Any], each: Callable[[Any], Any]) -> Build:
    """The pipeline that gives what a function makes of each piece of work."""

    def build(pipeline: beam.Pipeline) -> PCollection[Any]:
        pieces = pipeline | "Work" >> beam.Create(work, reshuffle=False) | "Spread" >> beam.Reshuffle()
        leaf: PCollection[Any] = pieces | "Each" >> beam.Map(each)
        return leaf

    return build


class Parts(beam.DoFn):
    """The parts of a piece, by the bucket that their group falls into."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, work: Piece | bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields (bucket, Arrow table) pairs."""
        plan, job = self._plan, self._plan.made()
        given = None if plan.given is None else decoded(plan.given)
        parts = decoded(work) if isinstance(work, bytes) else _parts(plan.scans[work.topic], work, job, given)
        if parts is None or not parts.num_rows:
            return
        buckets = bucket_of(parts.select(list(job.group)), plan.buckets)
        for bucket in np.unique(buckets).tolist():
            yield bucket.to_bytes(2), encoded(parts.filter(pa.array(buckets == bucket)))


def _parts(scan: Scan, piece: Piece, job: Job, given: pa.Table | None) -> pa.Table | None:
    gathered = Gathered(job)
    for batch in scan.batches(piece):
        gathered.add(job.partial(Rows(piece.topic, pa.Table.from_batches([batch])), given))
    return gathered.parts()


class Finish(beam.DoFn):
    """The rows of the groups of one bucket, as a file or as themselves."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, bucket: tuple[bytes, Iterable[bytes]]) -> Iterator[Any]:
        """Yields what the log says of a file, or an Arrow table as text."""
        plan, job = self._plan, self._plan.made()
        gathered = Gathered(job)
        for some in bucket[1]:
            gathered.add(decoded(some))
        parts = gathered.parts()
        assert parts is not None, "a bucket has parts"
        rows = ordered(job.finish(parts, plan.span, None if plan.given is None else decoded(plan.given)), job.order)
        if plan.staging is None:
            yield base64.b64encode(encoded(rows)).decode()
        elif (file := plan.staging.write([rows])) is not None:
            yield as_json(file)


def bucket_of(groups: pa.Table, buckets: int) -> np.ndarray:
    """Which of so many buckets each row falls into: the same for equal rows, in any process."""
    if buckets == 1:
        return np.zeros(groups.num_rows, np.int64)
    hashes = [row_hashes(batch) for batch in groups.to_batches()]
    spread: np.ndarray = (np.concatenate(hashes) % np.uint64(buckets)).astype(np.int64)
    return spread


def encoded(table: pa.Table) -> bytes:
    """A table as Arrow's IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decoded(data: bytes) -> pa.Table:
    """The inverse."""
    return pa.ipc.open_stream(data).read_all()


def rows_of(element: str) -> pa.Table:
    """The rows that `Finish` has yielded as text."""
    return decoded(base64.b64decode(element))
