"""A real broker, a real registry and real loaders in one directory, and what has landed there."""

import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import fastavro
import pyarrow.parquet as pq
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from headrace.audit import event_hash
from headrace.schemas.client import RegistryClient
from headrace.schemas.envelope import ENVELOPE, ENVELOPE_JSON
from headrace.schemas.framing import frame
from headrace.sinks.check import check_root
from headrace.sinks.table import reader
from tests.processes import Part, broker, registry

AGENT = "11111111-2222-3333-4444-555555555555"
STREAM = "99999999-8888-7777-6666-555555555555"
START_MS = 1_790_000_000_000
_SCHEMA = fastavro.parse_schema(ENVELOPE)


@dataclass(frozen=True)
class Line:
    """One record of an agent."""

    position: int
    since: int
    message: str
    part: int = 0
    encoding: str = "utf-8"
    stream: str = STREAM
    event_time_ms: int = START_MS

    @property
    def hash(self) -> int:
        return event_hash(AGENT, self.stream, self.position, self.part, self.message.encode(self.encoding))

    def encode(self, schema_id: int) -> bytes:
        out = io.BytesIO()
        event = {
            "event_time": self.event_time_ms * 1000, "event_time_source": "line", "read_time": START_MS * 1000,
            "agent_id": AGENT, "stream_id": self.stream, "position": self.position, "since": self.since, "part": self.part,
            "host": "web-1", "service": "shop", "source": "/var/log/shop.log", "message": self.message,
            "encoding": self.encoding, "fields": {"status": "200"},
        }  # fmt: skip
        fastavro.schemaless_writer(out, _SCHEMA, event)
        return frame(schema_id, out.getvalue())


def lines(count: int, *, stream: str = STREAM, start: int = 0, step_ms: int = 0) -> Iterator[Line]:
    """Terminated lines of one stream, as an agent ships them."""
    position = 0
    for number in range(start + count):
        message = f"line {number} of {stream[:4]} says grüezi"
        if number >= start:
            yield Line(position, position, message, stream=stream, event_time_ms=START_MS + number * step_ms)
        position += len(message.encode()) + 1


class Pipeline:
    """Broker and registry run from the start; loaders are started by the test."""

    def __init__(self, directory: Path, *, on: str = "", **broker_config: Any) -> None:
        """`on`: the bootstrap address of a broker that runs already; then ours is not started."""
        self.directory = directory
        self.root = directory / "landed"
        self.broker = broker(directory, **broker_config)
        self.bootstrap = on or f"127.0.0.1:{self.broker.start().ports['kafka']}"
        self.registry = registry(directory, self.bootstrap).start()
        self.registry_url = f"http://127.0.0.1:{self.registry.ports['http']}"
        self.client = RegistryClient(self.registry_url)
        self.producer = self._new_producer()
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        self.parts: list[Part] = []

    def _new_producer(self) -> Producer:
        return Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5, "message.timeout.ms": 30_000, "log_level": 0})

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for part in [*self.parts, self.registry, self.broker]:
            part.stop()

    def loader(self, *arguments: str, name: str = "", kafka: dict[str, Any] | None = None, **load: Any) -> Part:
        """A loader, not started; `load` adds keys to its section, `kafka` to the client's."""
        config = {
            "load": {"root": str(self.root), **load},
            "kafka": {"bootstrap.servers": self.bootstrap, **(kafka or {})},
            "registry": self.registry_url,
        }
        part = Part("load", self.directory / name if name else self.directory, config, *arguments)
        self.parts.append(part)
        return part

    def load_once(self, **load: Any) -> None:
        part = self.loader("--once", **load).start(wait=False)
        assert part.wait(60) == 0, part.log_tail()

    def create_topic(self, topic: str, partitions: int = 1, **config: str) -> None:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        (future,) = self.admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values()
        future.result(30)

    def delete_topic(self, topic: str) -> None:
        (future,) = self.admin.delete_topics([topic]).values()
        future.result(30)
        self.producer = self._new_producer()  # the old one remembers the topic's partitions

    def ship(self, topic: str, events: Iterable[Line], *, partition: int = 0) -> int:
        """Produce records of the envelope; how many."""
        schema_id = self.client.register(f"{topic}-value", ENVELOPE_JSON)
        return self.produce(topic, (event.encode(schema_id) for event in events), partition=partition)

    def produce(self, topic: str, values: Iterable[bytes | None], *, partition: int = 0, key: bytes | None = None) -> int:
        refused: list[Any] = []
        count = 0
        for value in values:
            self.producer.produce(
                topic, value, key, partition, on_delivery=lambda error, _: refused.append(error) if error else None
            )
            self.producer.poll(0)
            count += 1
        assert self.producer.flush(30) == 0
        assert not refused, refused[0]
        return count

    def end(self, topic: str, partition: int = 0) -> int:
        """Where the log of a partition that is there ends."""
        (found,) = self.admin.list_offsets({TopicPartition(topic, partition): OffsetSpec.latest()}).values()
        return int(found.result(10).offset)

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """The committed rows, in order of partition, incarnation and offset."""
        files = reader.snapshot(self.root, topic).files
        found = [row for file in files for row in pq.read_table(file.path).to_pylist()]
        return sorted(found, key=lambda row: (row["_partition"], row["_incarnation"], row["_offset"]))

    def wait_for_rows(self, topic: str, count: int, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            landed = 0
            if self.root.exists() and topic in reader.tables(self.root):
                landed = sum(file.rows for file in reader.snapshot(self.root, topic).files)
            if landed >= count:
                return
            assert time.monotonic() < deadline, f"{landed} of {count} rows: {self.parts[-1].log_tail()}"
            time.sleep(0.05)

    def assert_sound(self, *, was_killed: bool = False) -> None:
        """`headrace check --deep`, and nothing left in staging, unless somebody was killed between writing and putting."""
        for report in check_root(str(self.root), deep=True):
            assert not report.broken, report.broken
            staging = self.root / report.topic / "_headrace" / "staging"
            assert was_killed or not [path for path in staging.rglob("*") if path.is_file()]


def records_of(root: Path, topic: str) -> list[dict[str, Any]]:
    """The table's commit records as they lie on disk."""
    return [json.loads(path.read_text()) for path in sorted((root / topic / "_headrace/log/g000001").glob("*.json"))]
