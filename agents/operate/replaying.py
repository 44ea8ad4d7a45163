"""Rejected records sent again, as their topic's schema and bound are by now, while the agent stands still (ADR 0053).

A record goes under its old identity, so that it lands once however often it is sent; what is counted, and when, is in
agents/replays.py. Records that were only refused go as they were; lines are encoded anew, from what their event said.
"""

import sqlite3
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from headrace.agents.configuration import AgentConfig
from headrace.agents.effects import Shipped
from headrace.agents.events.containers import stderr_stream_id
from headrace.agents.events.encoded import Encoded, Headers, Rows, Tally, Told, Whence
from headrace.agents.events.lines import UTF_8
from headrace.agents.events.own_records import OwnRecords
from headrace.agents.events.records import EnvelopeRecords
from headrace.agents.events.schemas.choice import OWN
from headrace.agents.events.schemas.columns import columns_of
from headrace.agents.events.schemas.own import own_schema
from headrace.agents.inputs import schema_of
from headrace.agents.operate.resending import Resender
from headrace.agents.operate.state_file import StateFile
from headrace.agents.rejected import rows_in, without
from headrace.agents.replays import Name, Replay, Replays
from headrace.agents.state_rows import read_chunks
from headrace.audit import window_start_ms
from headrace.schemas.envelope import HEAD
from headrace.schemas.framing import HEADER_LENGTH, header

MOST_RECORDS, MOST_BYTES = 500, 8 << 20
"""Sent at a time."""
REPLAYED: Final = "replayed"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


@dataclass(slots=True)
class Report:
    """How many records came to what, by (topic, what, why); `failed` says why it ended early."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failed: str = ""

    def tell(self, topic: str, outcome: str, why: str = "") -> None:
        self.counts[topic, outcome, why] += 1


class _CannotError(Exception):
    """A record cannot be sent; the message says why."""


def replay(config: AgentConfig, wanted: Callable[[Row], bool], *, patience_s: float) -> Report:
    """Send again what is wanted of `rejected/`, and take out of it what is acknowledged; `patience_s`: for a silent broker.

    Raises:
        UsageError: there is no state, or an agent runs on it.
        PeerError: the registry does not answer. StorageError: the disk refuses.
    """
    directory, report = config.agent.state_dir / "rejected", Report()
    with StateFile(config.agent.state_dir).changing() as db:
        replays = Replays(db)
        try:
            _Replaying(config, db, replays, report, Resender(config.kafka, patience_s)).run(filter(wanted, rows_in(directory)))
        finally:
            _take_out(directory, replays)
    return report


def _take_out(directory: Path, replays: Replays) -> None:
    """Rows of what was acknowledged, now or by a replay that was killed."""
    for topic in replays.topics_done():
        done = replays.done(topic)
        without(directory, topic, lambda row, done=done: name_of(row) in done)  # type: ignore[misc] # bound now
        replays.forget(done)


def name_of(row: Row) -> Name:
    """What names a rejected record of one agent."""
    return str(row["topic"]), str(row["stream_id"]), int(row["position"]), int(row["part"])


class _Replaying:
    def __init__(self, config: AgentConfig, db: sqlite3.Connection, replays: Replays, report: Report, sender: Resender) -> None:
        self._config, self._replays, self._report = config, replays, report
        ((self._agent_id,),) = db.execute("SELECT value FROM meta WHERE name = 'agent_id'").fetchall()
        self._unfinished = [
            (stream_id, chunk.start, chunk.end)
            for chunk in read_chunks(db)
            for stream_id in (chunk.stream_id, stderr_stream_id(chunk.stream_id))
        ]
        self._sender = sender
        self._headers: dict[str, bytes] = {}
        """What each value begins with, by topic."""
        self._sent_before: set[Name] = set()
        """By a replay that heard nothing of them: they may be there, whatever the broker says now."""

    def run(self, rows: Iterator[Row]) -> None:
        try:
            for batch in _batches(self._encoded(rows)):
                self._send(batch)
                if self._report.failed:
                    return
        finally:
            self._sender.close()

    def _encoded(self, rows: Iterator[Row]) -> Iterator[Replay]:
        for row in rows:
            try:
                name = self._name(row)
                if not self._replays.is_done(name):
                    known = self._replays.find(name)
                    if known is not None:
                        self._sent_before.add(name)
                    yield known or self._made(name, row)
            except _CannotError as error:
                self._report.tell(row["topic"], "left", str(error))

    def _name(self, row: Row) -> Name:
        """What names a row of ours that the agent has passed."""
        if "window_start_ms" not in row:
            raise _CannotError("kept by an earlier headrace, which did not keep enough of it")
        if row["agent_id"] != self._agent_id:
            raise _CannotError(f"of agent {row['agent_id']}; this state is agent {self._agent_id}'s, which cannot count it")
        name = name_of(row)
        if any(stream_id == name[1] and start <= name[2] < end for stream_id, start, end in self._unfinished):
            raise _CannotError("the agent has not passed it: let it run until it has")
        return name

    def _made(self, name: Name, row: Row) -> Replay:
        value, headers, gains = _refused(row) if row["content"] == "record" else self._fitted(row)
        return Replay(name, row["partition"], row["timestamp_ms"], row["window_start_ms"], headers, gains, value)

    def _fitted(self, row: Row) -> tuple[bytes, Headers, Mapping[int, Tally]]:
        """A line under its topic's schema of now."""
        topic, told, read_time_us = row["topic"], Told(**row["told"]), row["timestamp_ms"] * 1000
        schema, encoded = schema_of(self._config, topic), Encoded([], Shipped(row["since"]))
        if topic not in self._headers:
            self._headers[topic] = header(self._config.registry.client().register(f"{topic}-value", schema.text))
        writer: OwnRecords | EnvelopeRecords
        if schema.type == OWN:
            writer = OwnRecords(self._headers[topic], read_time_us, own_schema(schema.avro), encoded)
        else:
            writer = EnvelopeRecords(self._headers[topic], read_time_us, columns_of(schema.type), encoded)
        writer.write(_rows(row, told, read_time_us))
        for misfit in encoded.misfits:
            raise _CannotError(f"still does not fit: {misfit.reason}")
        return encoded.values[0], encoded.headers[0] if encoded.headers else [], encoded.windows

    def _send(self, replays: Sequence[Replay]) -> None:
        self._replays.begin(replays)
        sent = self._sender.send(replays)
        self._replays.settle(sent.acknowledged, [replay for replay, _ in sent.refused if replay.name not in self._sent_before])
        for replay, _ in sent.acknowledged:
            self._report.tell(replay.name[0], REPLAYED)
        for replay, why in sent.refused:
            self._report.tell(replay.name[0], "left", f"refused again: {why}")
        self._report.failed = sent.failed


def _rows(row: Row, told: Told, read_time_us: int) -> Rows:
    """The one event of a rejected line."""
    line = b64decode(row["value"])
    message = line if told.encoding == UTF_8 else line.decode(told.encoding).encode()
    whence = Whence.of(row["agent_id"], row["stream_id"], read_time_us, told.host, told.service, told.source)
    return Rows(
        [line], [message], [told.encoding], [told.event_time_us], [told.fields], [row["position"]], [row["since"]],
        [row["part"]], [told.is_part], [row["end"] - row["position"]], [whence],
    )  # fmt: skip


def _refused(row: Row) -> tuple[bytes, Headers, Mapping[int, Tally]]:
    """A record that the broker refused: as it was."""
    value = message = b64decode(row["value"])
    headers: Headers = []
    start_ms, tally = row["window_start_ms"], Tally()
    if row["in_headers"]:
        names = ("agent_id", "stream_id", "position", "since", "part", "end", "timestamp")
        headers = [(name, str((row | {"timestamp": row["timestamp_ms"]})[name])) for name in names]
        start_ms = window_start_ms(row["timestamp_ms"])
    else:
        import fastavro  # 3 MB

        event: Any = fastavro.schemaless_reader(BytesIO(value[HEADER_LENGTH:]), dict(HEAD), None)
        message = event["message"].encode(event["encoding"])
    tally.add(row["agent_id"], row["stream_id"], row["position"], row["part"], message)
    return value, headers, {start_ms: tally}


def _batches(replays: Iterator[Replay]) -> Iterator[list[Replay]]:
    batch: list[Replay] = []
    size = 0
    for replay in replays:
        batch.append(replay)
        size += len(replay.value)
        if len(batch) >= MOST_RECORDS or size >= MOST_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
