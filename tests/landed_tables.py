"""Landed tables made by hand through the table log's own protocol, for tests of those who read tables. No broker, no loader."""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.audit import HASH_MODULUS, AgentMessage, SentMessage, event_hash, window_start_ms
from headrace.clock import SystemClock
from headrace.schemas.unified import fit
from headrace.sinks.content_hash import content_hash
from headrace.sinks.data_file import checksum_of
from headrace.sinks.formats.parquet import compared
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.arrow_schema import decode_schema, encode_schema, fingerprint
from headrace.sinks.table.commit import Won, commit, read_head
from headrace.sinks.table.record import AuditSum, CommitRecord, DataFile, Gap, LandedRange, OffsetRange, Quarantine, WindowCount
from headrace.sinks.table.store import carry_out
from headrace.sinks.values import OWN_COLUMNS

_UTC_MICROS = pa.timestamp("us", tz="UTC")
ENVELOPE = pa.schema(
    [
        ("event_time", _UTC_MICROS),
        ("event_time_source", pa.string()),
        ("read_time", _UTC_MICROS),
        ("agent_id", pa.string()),
        ("stream_id", pa.string()),
        ("position", pa.int64()),
        ("since", pa.int64()),
        ("part", pa.int32()),
        ("host", pa.string()),
        ("service", pa.string()),
        ("source", pa.string()),
        ("message", pa.string()),
        ("encoding", pa.string()),
        ("fields", pa.map_(pa.string(), pa.string())),
        ("_incarnation", pa.int32()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_timestamp", pa.timestamp("ms", tz="UTC")),
    ]
)
TEXT = pa.schema(
    [("_key", pa.binary()), ("value", pa.string()), *((field.name, field.type) for field in ENVELOPE if field.name[0] == "_")]
)


@dataclass(frozen=True)
class Event:
    """One shipped line; `read_ms` defaults to the event's time."""

    agent: str
    position: int
    event_ms: int
    message: str = "GET / 200"
    host: str = "web-1"
    read_ms: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> int:
        return event_hash(self.agent, f"{self.agent}-s", self.position, 0, self.message.encode())

    def row(self) -> dict[str, Any]:
        read_ms = self.event_ms if self.read_ms is None else self.read_ms
        return {
            "event_time": self.event_ms * 1000,
            "event_time_source": "line",
            "read_time": read_ms * 1000,
            "agent_id": self.agent,
            "stream_id": f"{self.agent}-s",
            "position": self.position,
            "since": self.position,
            "part": 0,
            "host": self.host,
            "service": "web",
            "source": "/var/log/web.log",
            "message": self.message,
            "encoding": "utf-8",
            "fields": list(self.fields.items()),
            "_timestamp": read_ms,
            "_event_ms": self.event_ms,
        }


class TableWriter:
    """Commits rows to `<root>/<topic>`, each call one load record; offsets go on where the partition ended.

    With `says_columns` the log says of files and of the table what a loader says: which columns there are, and bounds of times.
    """

    def __init__(self, root: Path, topic: str, schema: pa.Schema = ENVELOPE, *, says_columns: bool = False) -> None:
        self.directory, self.schema, self.says_columns = root / topic, schema, says_columns
        self.store = LocalStore(self.directory)

    def land_events(self, events: Sequence[Event], *, partition: int = 0, **record: Any) -> list[Path]:
        """Land envelopes, with the audit sums that a loader would give."""
        counted = record.pop("counted", events)
        sums: dict[tuple[str, int], list[Event]] = defaultdict(list)
        for event in counted:
            sums[event.agent, window_start_ms(event.event_ms)].append(event)
        audit = tuple(
            AuditSum(
                agent,
                start,
                len(them),
                sum(len(e.message) for e in them),
                f"{sum(e.hash for e in them) % HASH_MODULUS:016x}",
                0,
            )
            for (agent, start), them in sums.items()
        )
        return self.land([event.row() for event in events], partition=partition, audit=audit, **record)

    def land(
        self,
        rows: Sequence[dict[str, Any]],
        *,
        partition: int = 0,
        incarnation: int = 0,
        gaps: tuple[Gap, ...] = (),
        quarantined: Sequence[int] = (),
        audit: tuple[AuditSum, ...] = (),
        schema: pa.Schema | None = None,
        staged: bool = False,
        created_ms: int = 1_763_900_000_000,
    ) -> list[Path]:
        """Commit rows, one file an hour of `_event_ms` (default `_timestamp`); `gaps` and times `quarantined` follow the rows.

        With `staged`, the files are put back to staging afterwards, as if the loader had died before it moved them.
        """
        fold = carry_out(read_head(), self.store)
        start, attempt = fold.end(incarnation, partition), str(uuid.uuid4())
        for offset, row in enumerate(rows, start):
            row.update(_incarnation=incarnation, _partition=partition, _offset=offset)
        files = [self._write(attempt, n, hour, schema or self.schema) for n, hour in enumerate(_by_hour(rows))]
        end = start + len(rows) + len(quarantined) + sum(gap.end - gap.start for gap in gaps)
        last_ms = max([row["_timestamp"] for row in rows] + list(quarantined), default=None)
        windows: dict[int, int] = defaultdict(int)
        for at_ms in quarantined:
            windows[window_start_ms(at_ms)] += 1
        draft = CommitRecord(
            "load",
            attempt,
            "test:1",
            created_ms,
            (LandedRange(incarnation, partition, start, end, len(rows), len(quarantined), 0, gaps, end - 1, 0, last_ms, "f"),),
            tuple(files),
            quarantine=Quarantine(
                f"{names.QUARANTINE}/{attempt}.jsonl.zst",
                len(quarantined),
                tuple(WindowCount(*item) for item in windows.items()),
            )
            if quarantined
            else None,
            audit=audit,
            arrow_schema=self._news(fold.arrow_schema, schema or self.schema) if self.says_columns and rows else None,
        )
        clock = SystemClock()
        done = carry_out(commit(draft, fold, started_ms=clock.monotonic_ms()), self.store, clock)
        assert isinstance(done, Won)
        for file in files if staged else ():
            self.store.move(file.path, names.staged(file.path))
        return [self.directory / (names.staged(file.path) if staged else file.path) for file in files]

    def _write(self, attempt: str, n: int, rows: list[dict[str, Any]], schema: pa.Schema) -> DataFile:
        times = [_event_ms(row) for row in rows]
        hour = datetime.fromtimestamp(times[0] / 1000, UTC)
        path = f"dt={hour:%Y-%m-%d}/hour={hour:%H}/{attempt}-{n}.parquet"
        target = self.directory / names.staged(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist([{**row} for row in rows], schema=schema)
        pq.write_table(table, target, write_statistics=compared(schema))
        size, hashed = target.stat().st_size, f"{content_hash(table):016x}"
        with target.open("rb") as data:
            checksum = checksum_of(data)
        file = DataFile(path, "parquet", len(rows), size, checksum, hashed, min(times), max(times))
        if not self.says_columns:
            return file
        offsets = OffsetRange(rows[0]["_incarnation"], rows[0]["_partition"], rows[0]["_offset"], rows[-1]["_offset"] + 1)
        said = {"columns": fingerprint(encode_schema(schema)), "bounds": _bounds(table)}
        return replace(file, ranges=(offsets,), **said)  # type: ignore[arg-type]  # mypy takes it for one type

    @staticmethod
    def _news(known: str | None, schema: pa.Schema) -> str | None:
        said = encode_schema(
            fit(None if known is None else decode_schema(known), schema, aside=False, last=OWN_COLUMNS).columns
        )
        return None if said == known else said

    def take_out(self, *names_: str) -> None:
        """Have some files expire, whatever their age and whoever needs them."""
        fold, clock = carry_out(read_head(), self.store), SystemClock()
        draft = CommitRecord("expire", str(uuid.uuid4()), "test:1", fold.created_ms, remove=names_)
        assert isinstance(carry_out(commit(draft, fold, started_ms=clock.monotonic_ms()), self.store, clock), Won)

    def remove_record(self, seq: int) -> None:
        """Take a record out of the log with the files it added, as no one may."""
        path = self.directory / names.record_path(1, seq)
        for file in json.loads(path.read_bytes())["add"]:
            (self.directory / file["path"]).unlink()
        path.unlink()


class AuditWriter:
    """Lands messages of `_audit`, each call one record of the table's log."""

    def __init__(self, root: Path) -> None:
        self.table = TableWriter(root, "_audit", TEXT)

    def land(self, *messages: tuple[int, AgentMessage | SentMessage], **record: Any) -> None:
        """Land (append time in ms, message) pairs."""
        self.table.land(
            [
                {"_key": message.key.encode(), "value": message.encode().decode(), "_timestamp": at_ms}
                for at_ms, message in messages
            ],
            **record,
        )


def announce(
    topic: str, events: Iterable[Event], at_ms: int, *, run: str = "r1", acked: Mapping[int, int], **state: Any
) -> list[Any]:
    """What one agent says after these events: its windows, then a heartbeat (`finished` unless `state` says otherwise)."""
    windows: dict[int, list[Event]] = defaultdict(list)
    agents = {event.agent for event in events}
    assert len(agents) == 1
    agent = agents.pop()
    for event in events:
        windows[window_start_ms(event.event_ms)].append(event)
    said: list[Any] = [
        (
            at_ms,
            SentMessage(
                topic,
                agent,
                run,
                start,
                len(them),
                sum(len(e.message) for e in them),
                sum(e.hash for e in them) % HASH_MODULUS,
                acked,
            ),
        )
        for start, them in windows.items()
    ]
    heartbeat = AgentMessage(agent, run, f"host-{agent}", "0.1.0", "finished", None, {topic: dict(acked)})
    return [*said, (at_ms + 1, replace(heartbeat, **state))]


def _bounds(table: pa.Table) -> dict[str, tuple[int, int]]:
    found = {}
    for column in table.schema:
        if pa.types.is_timestamp(column.type) and table[column.name].null_count < table.num_rows:
            bounds = pc.min_max(table[column.name])
            per_ms = {"ms": 1, "us": 1000}[column.type.unit]
            found[column.name] = (bounds["min"].value // per_ms, bounds["max"].value // per_ms)
    return found


def _event_ms(row: Mapping[str, Any]) -> int:
    return int(row.get("_event_ms", row["_timestamp"]))


def _by_hour(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    hours: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        hours[_event_ms(row) // 3_600_000].append(row)
    return [hours[hour] for hour in sorted(hours)]
