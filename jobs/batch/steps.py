"""The pipeline that all jobs share: pieces of work → parts → grouped by a key of bytes → finished → files, or rows.

    Pieces | Parts | GroupByKey | Finish     one leaf, of values that JSON can say

What is grouped are whole Arrow tables, a few for each piece, not rows. A job goes to workers by its name and options.

Where a job's options name columns or keys, what has been seen of them is grouped, too, under a key of its own.
"""

import base64
import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
_SEEN: Final = b""


@dataclass(frozen=True, slots=True)
class Seen:
    """How many rows a job was shown, and which of the names that it `needs` some row has."""

    rows: int
    names: frozenset[str]

    @classmethod
    def of(cls, element: Any) -> "Seen | None":
        """What `Finish` has yielded, if it is that."""
        is_seen = isinstance(element, dict) and element.keys() == {"rows", "names"}
        return cls(element["rows"], frozenset(element["names"])) if is_seen else None

    def plain(self) -> dict[str, Any]:
        """The inverse: values that JSON can say."""
        return {"rows": self.rows, "names": sorted(self.names)}


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
        if isinstance(work, bytes):
            parts: pa.Table | None = decoded(work)
        else:
            parts, seen = _parts(plan.scans[work.topic], work, job, given)
            if job.needs():
                yield _SEEN, json.dumps(seen.plain()).encode()
        if parts is None or not parts.num_rows:
            return
        buckets = bucket_of(parts.select(list(job.group)), plan.buckets)
        for bucket in np.unique(buckets).tolist():
            yield bucket.to_bytes(2), encoded(parts.filter(pa.array(buckets == bucket)))


def _parts(scan: Scan, piece: Piece, job: Job, given: pa.Table | None) -> tuple[pa.Table | None, Seen]:
    gathered, count, names = Gathered(job), 0, set[str]()
    for batch in scan.batches(piece):
        rows = Rows(piece.topic, pa.Table.from_batches([batch]))
        gathered.add(job.partial(rows, given))
        count += len(rows)
        names |= rows.found
    return gathered.parts(), Seen(count, frozenset(job.needs()) & names)


class Finish(beam.DoFn):
    """The rows of the groups of one bucket, as a file or as themselves."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, bucket: tuple[bytes, Iterable[bytes]]) -> Iterator[Any]:
        """Yields what the log says of a file, or an Arrow table as text; of what was seen, the sum."""
        plan, job = self._plan, self._plan.made()
        if bucket[0] == _SEEN:
            seen = [json.loads(some) for some in bucket[1]]
            yield Seen(sum(one["rows"] for one in seen), frozenset(name for one in seen for name in one["names"])).plain()
            return
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
