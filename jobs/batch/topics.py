"""Beam's source of topics: the records of offset ranges, as Arrow batches, in the columns that the loader would land.

What the paper calls its input format for MapReduce. A splittable DoFn: a runner may give the rest of a range to another worker
at any time, and no record is read twice or left out (claims.py). Bounded: what is read is fixed when the pipeline is built, and
is the same when it runs again.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.pvalue import PCollection
from apache_beam.transforms.core import RestrictionProvider

from headrace.clock import SystemClock
from headrace.errors import CorruptError, PeerError, UsageError
from headrace.jobs.batch.claims import claimed
from headrace.jobs.batch.partition_reading import Fetched, PartitionReader
from headrace.jobs.batch.tables import Time, between, rows_of_batch
from headrace.jobs.batch.topic_plan import Cluster, OffsetSpan, cluster_of, plan_topic
from headrace.schemas.registry_keys import RegistryKeys
from headrace.sinks.config import Keep, Output
from headrace.sinks.fetching.batches import UnreadableError
from headrace.sinks.registered import Input, Schemas
from headrace.sinks.values import Bad, decode

Undecodable = Literal["fail", "keep"]
UNDECODABLE: Final = "_undecodable"
_PATIENCE_S: Final = 30.0
"""For the registry."""


class ReadTopic(beam.PTransform[Any, Any]):
    """The records of a topic as `pyarrow.RecordBatch`es, each of one schema; `rows=True`: as dicts.

    Args:
        kafka: bootstrap servers, or librdkafka's settings; write secrets as `${env:NAME}` or `${file:/path}`.
        offsets: [start, end) by partition. Otherwise all partitions are read:
        since, until: from the first record with that Kafka time or a later one, to before the first of the other; None: from
            the log's start, and to where it ends for readers of committed records when the pipeline is built.
        registry: a schema registry's URL, or a section as `headrace load` has it; then values are decoded by their schemas.
        values: what they are: `json` is text that must be JSON, `bytes` anything. Default: what the registry has for the topic;
            without a registry `bytes`.
        keep: what beside the value is read, as `load.keep`: `key`, `key_fields`, `headers`, `tombstones`.
        undecodable: what becomes of records that cannot be decoded: `fail`, or `keep` in batches of their own, as bytes, with
            the reason in `_undecodable`.
    Raises:
        UsageError: no such topic, or offsets that are not there; when the pipeline is built. ArgumentError (a ValueError,
            too): `since` is after `until`.
        PeerError, StorageError: nobody answers, or retention was faster than a worker.
    """

    def __init__(
        self,
        kafka: str | Mapping[str, Any],
        topic: str,
        *,
        offsets: Mapping[int, tuple[int, int]] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        registry: str | Mapping[str, Any] | None = None,
        values: Input | None = None,
        keep: Keep = ("key",),
        undecodable: Undecodable = "fail",
        rows: bool = False,
    ) -> None:
        super().__init__()
        if offsets is not None and (since is not None or until is not None):
            raise UsageError("offsets and times say the same; give the one or the other")
        cluster, self._rows = cluster_of(kafka), rows
        self._topic, self._servers = topic, str(cluster.settings.get("bootstrap.servers"))
        times = between(since, until)
        self._spans, topic_id = plan_topic(cluster, topic, offsets, times)
        decoding = Decoding(topic, registry, values, keep, undecodable)
        self._read = _ReadSpan(cluster, topic, topic_id, decoding)

    def expand(self, begin: Any) -> PCollection[Any]:
        spans = begin | "Offsets" >> beam.Create(self._spans) | "Spread offsets" >> beam.Reshuffle()
        batches: PCollection[Any] = spans | "Records" >> beam.ParDo(self._read).with_output_types(pa.RecordBatch)
        return batches | "Rows" >> beam.FlatMap(rows_of_batch) if self._rows else batches

    def display_data(self) -> dict[str, Any]:
        return {"bootstrap.servers": self._servers, "topic": self._topic}


class _Offsets(RestrictionProvider):
    """A span's offsets as a restriction."""

    def initial_restriction(self, element: OffsetSpan) -> OffsetRange:
        return OffsetRange(element.start, element.end)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: OffsetSpan, restriction: OffsetRange) -> int:  # noqa: ARG002 - Beam's signature
        return int(restriction.size())


class _ReadSpan(beam.DoFn):
    def __init__(self, cluster: Cluster, topic: str, topic_id: str | None, decoding: "Decoding") -> None:
        self._cluster, self._topic, self._topic_id, self._decoding = cluster, topic, topic_id, decoding
        self._reader: PartitionReader | None = None

    def process(
        self,
        element: OffsetSpan,
        tracker: Any = beam.DoFn.RestrictionParam(_Offsets()),  # noqa: B008 - how Beam is told
    ) -> Iterator[pa.RecordBatch]:
        restriction = tracker.current_restriction()
        if self._reader is None:
            self._reader = PartitionReader(self._cluster.resolved(), self._topic, SystemClock())
        self._reader.begin(element.partition, restriction.start, restriction.stop, self._topic_id)
        try:
            for batch in claimed(tracker, self._reader.fetch):
                yield from self._decoding.batches(element.partition, batch)
        finally:
            self._reader.end()

    def teardown(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class Decoding:
    """Records to Arrow, as the loader does it.

    Raises:
        UsageError: the registry has no schema for the topic.
    """

    def __init__(
        self, topic: str, registry: str | Mapping[str, Any] | None, values: Input | None, keep: Keep, undecodable: Undecodable
    ) -> None:
        self._topic, self._registry, self._undecodable = topic, registry, undecodable
        self._shape = Output(keep=keep).shape
        self._schemas: Schemas | None = None
        self._input: Input = values or self._input_of_topic()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_schemas": None}  # a worker has its own

    def _input_of_topic(self) -> Input:
        if self._registry is None:
            return "bytes"
        found = self._asked.input_of(self._topic)
        if found is None:
            raise UsageError(f"the registry has no subject {self._topic}-value; say what the values are: values='avro' …")
        return found

    @property
    def _asked(self) -> Schemas:
        if self._schemas is None:
            registry = None if self._registry is None else RegistryKeys.model_validate(self._registry)
            self._schemas = Schemas(None if registry is None else registry.client())
        return self._schemas

    def batches(self, partition: int, fetched: Fetched) -> Iterator[pa.RecordBatch]:
        """The rows of some records.

        Raises:
            CorruptError: a record cannot be decoded, and that is to fail. PeerError: the registry does not answer.
        """
        messages, until = fetched.records(), time.monotonic() + _PATIENCE_S
        while True:
            now_ms = SystemClock().monotonic_ms()
            try:
                decoded, bad = decode(
                    self._topic, self._input, messages, self._asked, 0, partition, shape=self._shape, now_ms=now_ms
                )
                break
            except UnreadableError as error:
                raise CorruptError(f"topic {self._topic} partition {partition}: {error}; see what has written it") from error
            except PeerError:  # also that another registry may know a schema already
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        for one in decoded:
            for batch in one.rows.drop_columns(["_incarnation"]).combine_chunks().to_batches():
                if batch.num_rows:
                    yield batch
        if bad:
            yield self._kept(partition, bad)

    def _kept(self, partition: int, bad: Sequence[Bad]) -> pa.RecordBatch:
        if self._undecodable == "fail":
            first = bad[0]
            where = f"topic {self._topic} partition {partition} offset {first.message.offset()}"
            raise CorruptError(f"{where}: {first.reason}; undecodable='keep' yields such records as bytes")
        whole, _ = decode(
            self._topic, "bytes", [one.message for one in bad], self._asked, 0, partition, shape=Output(keep=("key",)).shape,
            now_ms=SystemClock().monotonic_ms(),
        )  # fmt: skip
        rows = whole[0].rows.drop_columns(["_incarnation"])
        rows = rows.append_column(pa.field(UNDECODABLE, pa.string(), nullable=False), pa.array([one.reason for one in bad]))
        return rows.combine_chunks().to_batches()[0]
