"""One table on a local disk, landed attempt after attempt without Kafka."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

from headrace.clock import MonotonicMs, WallMs
from headrace.sinks.attempt import Attempt
from headrace.sinks.config import Output
from headrace.sinks.registered import Schemas
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord
from tests.unit.sinks.messages import Message


class OneTable:
    """The topic `t` with partition 0."""

    def __init__(self, directory: Path, schemas: Schemas, **output: Any) -> None:
        self.directory, self.output, self.fold, self.schemas = directory, Output(**output), Fold(), schemas
        self.records: list[CommitRecord] = []
        self.begin()

    def begin(self) -> None:
        name = f"attempt-{len(self.records)}"
        self.attempt = Attempt("t", LocalStore(self.directory), self.fold, self.output, name=name, started_ms=MonotonicMs(0))
        self.attempt.start(0, 0, "id")

    def take(self, *messages: Message, now_ms: int = 5) -> None:
        self.attempt.take(0, messages, self.schemas, why=lambda _, end: (end, "control"), now_ms=MonotonicMs(now_ms))

    def land(self, *messages: Message) -> CommitRecord:
        if messages:
            self.take(*messages)
        draft = replace(self.attempt.close(WallMs(7)), seq=self.fold.seq + 1, prev=self.fold.attempt)
        assert all(landed.balances for landed in draft.ranges)
        self.fold.apply(draft)
        self.records.append(draft)
        self.begin()
        return draft

    def rows(self, landed: CommitRecord, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of a record's files, each file in its own order."""
        tables = [pq.read_table(self.directory / names.staged(file.path)) for file in landed.add]
        return [tuple(row.get(name) for name in ("_offset", *columns)) for table in tables for row in table.to_pylist()]


def quarantined(table: OneTable, landed: CommitRecord) -> list[dict[str, Any]]:
    """The quarantine file's entries of a record."""
    assert landed.quarantine is not None
    packed = (table.directory / landed.quarantine.path).read_bytes()
    return [json.loads(line) for line in zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines()]
