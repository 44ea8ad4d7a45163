"""What an agent is to deliver, and what is known of each record: the oracle of the delivery."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace.agents.effects import Shipped
from headrace.agents.events.encoded import Encoded, Misfit, Tally, Told
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.audit import event_hash, window_start_ms
from tests.sim.delivery.client import INVALID, LARGE, LOCAL, NO_LETTER

AGENT = "agent-1"
READ_MS = 1_795_424_400_123
_PLAIN = definition(parse={"type": "plain"})
MISFIT = b"misfit"
TOLD = Told(None, "utf-8", "h", "web", "/var/log/web.log", {}, is_part=False)
TAGS = (LOCAL, LARGE, INVALID, LARGE + b" " + NO_LETTER, LOCAL + b" " + NO_LETTER)
WAITS, GIVEN, HELD, ACKED, REFUSED = "waits", "given", "held", "acknowledged", "refused"


@dataclass(slots=True, eq=False)
class Record:
    """One record of a chunk: what is known of it in this run."""

    line: bytes
    position: int
    value: bytes = b""
    state: str = WAITS
    client: Any = None
    offset: int = -1
    letter: str = WAITS
    letter_offset: int = -1

    @property
    def is_bad(self) -> bool:
        return any(tag in self.line for tag in (LOCAL, LARGE, INVALID, MISFIT))


@dataclass(slots=True, eq=False)
class Chunk:
    """A chunk's row, durable before it is sent, and its records in this run."""

    stream: StreamRow
    row: ChunkRow
    lines: list[bytes]
    records: list[Record] = field(default_factory=list)

    def encoded(self) -> Encoded:
        """Anew for each run; equal each time."""
        positions, at = [], self.row.start
        for line in self.lines:
            positions.append(at)
            at += len(line) + 1
        self.records = [Record(line, position) for line, position in zip(self.lines, positions, strict=True)]
        encoded = self._own() if self.stream.topic == "own" else self._envelopes()
        values = iter(encoded.values)
        for record in self.records:
            if MISFIT in record.line:
                record.state = REFUSED
            else:
                record.value = next(values)
        return encoded

    def _envelopes(self) -> Encoded:
        data = b"".join(line + b"\n" for line in self.lines)
        return ChunkEncoder(AGENT, b"\0\0\0\0\1").encode(self.stream, self.row, data)

    def _own(self) -> Encoded:
        """As under a user's own schema: the identity is in headers, and some lines have no form."""
        encoded = Encoded([], Shipped(self.row.end))
        for record in self.records:
            position, end = record.position, record.position + len(record.line)
            if MISFIT in record.line:
                identity = (self.stream.stream_id, position, position, 0, end)
                encoded.misfits.append(Misfit(identity, record.line, 0, "does not fit", TOLD))
                continue
            encoded.values.append(b"\0\0\0\0\2" + record.line)
            encoded.headers.append(
                [
                    ("agent_id", AGENT), ("stream_id", self.stream.stream_id), ("position", str(position)),
                    ("since", str(position)), ("part", "0"), ("end", str(end)), ("timestamp", str(self.row.read_time_ms)),
                ]
            )  # fmt: skip
            start_ms = window_start_ms(self.row.read_time_ms)
            encoded.windows.setdefault(start_ms, Tally()).add(AGENT, self.stream.stream_id, position, 0, encoded.values[-1])
        return encoded

    def counted(self, record: Record) -> bytes:
        """What counts of a record: its line, or its value under a user's own schema."""
        return record.value if self.stream.topic == "own" else record.line

    def hash_of(self, record: Record) -> int:
        return event_hash(AGENT, self.stream.stream_id, record.position, 0, self.counted(record))


class Source:
    """One stream: lines without end, in chunks."""

    def __init__(self, rng: random.Random, number: int, topic: str, partition: int) -> None:
        self._rng, self._numbers = rng, iter(range(10**6))
        self.row = StreamRow(f"s-{number}", topic, partition, "h", "web", "/web.log", "/web.log", 1, number, 0)
        self.bad_rate = rng.choice((0.0, 0.05, 0.4))
        self.chunks: list[Chunk] = []  # all that were read, in order
        self.sent = 0  # how many of them this run has given
        self.durable = 0  # up to which the position is

    def next_chunk(self, *, new: bool) -> Chunk | None:
        """What this run gives next: a repeat, or, if `new` ones are read, one that was just read."""
        if self.sent == len(self.chunks):
            if not new:
                return None
            self._read()
        self.sent += 1
        return self.chunks[self.sent - 1]

    def _read(self) -> None:
        rng, start = self._rng, self.chunks[-1].row.end if self.chunks else 0
        lines = []
        for _ in range(rng.choice((1, 2, 5, 12))):
            tags = (*TAGS, MISFIT) if self.row.topic == "own" else TAGS
            tag = rng.choice(tags) if rng.random() < self.bad_rate else b"good"
            lines.append(b"%s %d %s" % (self.row.stream_id.encode(), next(self._numbers), tag))
        end = start + sum(len(line) + 1 for line in lines)
        row = ChunkRow(self.row.stream_id, start, end, start, start, READ_MS, _PLAIN, 500_000, "")
        self.chunks.append(Chunk(self.row, row, lines))

    def given(self) -> Iterator[Chunk]:
        """Those that this run has given, and that may not be done."""
        return iter(self.chunks[self.durable : self.sent])
