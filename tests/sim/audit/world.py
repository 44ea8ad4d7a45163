"""Agents, a broker, a loader and the landing of `_audit`: what the audit's verdicts are taken from, and the truth beside it.

The agents' counts and messages are the product's (`Windows`, `Announcer`), and so is what the loader knows: repeats, sums, and
the fold of its records through checkpoints. Simulated are what agents read and ship, their clocks, the broker's logs, and files
(real ones, and a loader that reads Kafka: tests/e2e/test_faults_are_placed.py). The world's time is the broker's.
"""

import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from headrace.agents.announcing import Announcer
from headrace.agents.effects import Now
from headrace.agents.events.encoded import Tally
from headrace.agents.state_tables import bring_up
from headrace.agents.windows import ChunkResult, Windows
from headrace.audit import AUDIT_TOPIC, WINDOW_MS, RetiredMessage, State, event_hash, parse_message, window_start_ms
from headrace.jobs.audit.announced import LATENESS_MS, Announcement
from headrace.sinks.audit_sums import Messages, add_events, window_starts
from headrace.sinks.identities import of_named
from headrace.sinks.messages import Headers
from headrace.sinks.repeats import Repeats
from headrace.sinks.table import checkpoint
from headrace.sinks.table.audit_totals import AuditTotal
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import AuditSum, CommitRecord, LandedRange

START_MS = 1_763_900_400_000 // WINDOW_MS * WINDOW_MS
TOPIC = "logs"
PARTITIONS = 3
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Line:
    """`event_ms` is None until it is read where the line has no time of its own."""

    agent: str
    stream: str
    position: int
    event_ms: int | None
    written_ms: int
    text: str = "as written"

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.agent, self.stream, self.position

    @property
    def headers(self) -> Headers:
        """As of a record of a user's own schema: who it is, and when it counts."""
        numbers = {"position": self.position, "since": self.position, "part": 0, "end": self.position + 9}
        named = {"agent_id": self.agent, "stream_id": self.stream, **numbers, "timestamp": self.event_ms}
        return [(name, str(value).encode()) for name, value in named.items()]

    @property
    def start_ms(self) -> int:
        assert self.event_ms is not None
        return window_start_ms(self.event_ms)

    @property
    def window(self) -> tuple[str, int]:
        return self.agent, self.start_ms

    @property
    def content_hash(self) -> int:
        return event_hash(self.agent, self.stream, self.position, 0, self.text.encode())


@dataclass(frozen=True, slots=True)
class Written:
    """A message on its way to `_audit`, and who is told what became of it."""

    key: str
    value: bytes
    heard: Callable[[KafkaError | None, Any], None]


@dataclass(frozen=True, slots=True)
class Acked:
    """What librdkafka says of a delivered message."""

    append_ms: int

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, self.append_ms


class Producer:
    """What an agent writes to `_audit` with: one partition, in order."""

    def __init__(self) -> None:
        self.queue: list[Written] = []

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={AUDIT_TOPIC: SimpleNamespace(partitions={0: None})})

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, on_delivery: Any) -> None:
        self.queue.append(Written(key.decode(), value, on_delivery))


class Counts:
    """An agent's counts: the product's tables, durable with each transaction."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        db = sqlite3.connect(":memory:", isolation_level=None)
        bring_up(db, 0)
        self._windows = Windows(db)
        self.unsaid_windows, self.said = self._windows.unsaid, self._windows.said
        self.ends, self.totals = self._windows.ends, self._windows.totals
        self.count = self._windows.count


@dataclass(slots=True)
class Tailing:
    """What an agent reads, and what of it survives a crash: what is in flight does not."""

    name: str
    clock_off_ms: int = 0
    written: list[Line] = field(default_factory=list)
    read: dict[int, Line] = field(default_factory=dict)
    """Lines by index in `written`, as they were first read."""
    saved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    in_flight: list[tuple[int, int, int]] = field(default_factory=list)
    """(index, partition, offset + 1), in the order in which they were sent."""
    marks: list[tuple[Now, int]] = field(default_factory=list)
    """Looks of this run: the moment, and how many lines were there."""
    complete: Now | None = None
    run: int = 0
    is_finished: bool = False

    def unsaved(self) -> list[int]:
        return [index for index, line in enumerate(self.written) if line.position >= self.saved[line.stream]]


class World:
    """All of it. `lose` is asked of each message of an agent, once appended, whether it is lost all the same."""

    def __init__(self, rng: random.Random, names: Sequence[str]) -> None:
        self.rng, self.now_ms, self._booted_ms = rng, START_MS, START_MS - 5 * HOUR_MS
        self.agents = {name: Tailing(name) for name in names}
        self.states = {name: Counts(name) for name in names}
        self.producers: dict[str, Producer] = {}
        self.announcers: dict[str, Announcer] = {}
        self.log: dict[int, list[Line | None]] = {partition: [] for partition in range(PARTITIONS)}
        self.appended_ms: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
        self.audit_log: list[Announcement] = []
        self.audit_end = 0
        self.fold = Fold()
        self.rows: list[tuple[Line, int, int]] = []
        self.given_up: set[str] = set()
        self.lose: Callable[[str], bool] = lambda _: False
        self.append: Callable[[Line, int], Sequence[tuple[Line | None, int]]] = lambda line, partition: ((line, partition),)
        self.land: Callable[[Line], Sequence[Line]] = lambda line: (line,)
        for name in names:
            self.start(name)

    # ---- an agent

    def now(self, agent: Tailing) -> Now:
        return Now(self.now_ms - self._booted_ms, self.now_ms + agent.clock_off_ms)

    def start(self, name: str) -> None:
        agent = self.agents[name]
        agent.run += 1
        agent.in_flight, agent.marks, agent.complete = [], [], None
        self.producers[name] = Producer()
        announcer = Announcer({}, self.states[name], lambda: [TOPIC], host=f"host-{name}", run=f"{name}-{agent.run}")  # type: ignore[arg-type]
        announcer.prepare(self.producers[name])  # type: ignore[arg-type]
        self.announcers[name] = announcer

    def crash(self, name: str) -> None:
        """kill -9: what was on its way to `_audit` arrives as far as it does."""
        queue = self.producers[name].queue
        for message in queue[: self.rng.randint(0, len(queue))]:
            self._append_message(message)
        self.start(name)

    def write(self, name: str) -> None:
        agent, rng = self.agents[name], self.rng
        for _ in range(rng.randint(1, 4)):
            stream = f"{name}{rng.randrange(2)}"
            age_ms = rng.choice((None, 0, 0, 200_000, 1_500_000, 3_000_000))
            event_ms = None if age_ms is None else self.now_ms - age_ms
            if agent.written and rng.random() < 0.25:  # as old as some other
                event_ms = rng.choice(agent.written).event_ms
            number = sum(line.stream == stream for line in agent.written)
            agent.written.append(Line(name, stream, 10 * number, event_ms, self.now_ms))

    def look(self, name: str) -> None:
        agent = self.agents[name]
        agent.marks.append((self.now(agent), len(agent.written)))

    def send(self, name: str) -> None:
        """Read on, and have records appended; none of it is acknowledged yet. A stream keeps to its partition."""
        agent, rng = self.agents[name], self.rng
        flying = {index for index, _, _ in agent.in_flight}
        for index in [index for index in agent.unsaved() if index not in flying][: rng.randint(1, 6)]:
            line = agent.written[index]
            if line.event_ms is None:
                line = replace(line, event_ms=self.now(agent).wall_ms)
            line = agent.read.setdefault(index, line)
            partition = (ord(line.stream[0]) + int(line.stream[1])) % PARTITIONS
            for record, where in self.append(line, partition):
                self.log[where].append(record)
                self.appended_ms[where].append(self.now_ms)
            agent.in_flight.append((index, partition, len(self.log[partition])))

    def acknowledge(self, name: str, most: int = 5) -> None:
        """Word of some records, in order; positions and counts become durable in one transaction."""
        agent, state = self.agents[name], self.states[name]
        for _ in range(self.rng.randint(0, most)):
            if not agent.in_flight:
                break
            index, partition, end = agent.in_flight.pop(0)
            line = agent.read[index]
            tally = Tally(1, len(line.text), line.content_hash)
            state.count(ChunkResult(TOPIC, partition, end, {line.start_ms: tally}, {}, 1))
            agent.saved[line.stream] = line.position + 1
        unsaved = min(agent.unsaved(), default=len(agent.written))
        while agent.marks and agent.marks[0][1] <= unsaved:
            agent.complete = agent.marks.pop(0)[0]

    def announce(self, name: str, state: State = "active") -> None:
        agent, announcer = self.agents[name], self.announcers[name]
        if not announcer.busy:
            complete = agent.complete
            announcer.announce(self.producers[name], state, complete, self.now(agent))  # type: ignore[arg-type]

    def deliver(self, name: str, *, everything: bool = False) -> None:
        """The broker takes some messages for `_audit`; now and then one fails, appended or not."""
        producer, rng = self.producers[name], self.rng
        for _ in range(len(producer.queue) if everything else rng.randint(0, 4)):
            if not producer.queue:
                break
            message = producer.queue.pop(0)
            failed = not everything and rng.random() < 0.15
            if not failed or rng.random() < 0.5:
                self._append_message(message)
            message.heard(KafkaError(KafkaError._MSG_TIMED_OUT) if failed else None, Acked(self.now_ms))
        self.announcers[name].settle(self.now(self.agents[name]))

    def _append_message(self, message: Written) -> None:
        if not self.lose(message.key):
            self._append_audit(message.key.encode(), message.value)

    def _append_audit(self, key: bytes, value: bytes) -> None:
        message = parse_message(key, value)
        assert message is not None
        self.audit_log.append(Announcement(self.now_ms, message))

    def retire(self, name: str) -> None:
        """An operator gives up an agent, which is gone."""
        self.given_up.add(name)
        message = RetiredMessage(name, None)
        self._append_audit(message.key.encode(), message.encode())

    def finished(self) -> set[str]:
        return {name for name, agent in self.agents.items() if agent.is_finished}

    # ---- the loader

    @property
    def ends(self) -> dict[int, int]:
        return {partition: self.fold.end(0, partition) for partition in self.log}

    def load(self, *, everything: bool = False) -> None:
        """Read on, and commit, or die before that; begin anew from a checkpoint now and then."""
        repeats, sums = Repeats(self.fold.streams), dict[tuple[str, int], AuditTotal]()
        rows: list[tuple[Line, int, int]] = []
        ranges = []
        for partition, records in self.log.items():
            start = self.fold.end(0, partition)
            end = len(records) if everything else min(len(records), start + self.rng.randint(0, 5))
            found = [(line, partition, offset) for offset in range(start, end) if (line := records[offset]) is not None]
            landed = self._land(partition, found, repeats, sums)
            rows += landed
            ranges.append(LandedRange(0, partition, start, end, len(landed), 0, len(found) - len(landed)))
        if not everything and self.rng.random() < 0.2:
            return
        audit = [AuditSum(*key, one.count, one.bytes, f"{one.hash:016x}", one.duplicates) for key, one in sums.items()]
        seq = self.fold.seq + 1
        self.fold.apply(
            CommitRecord(
                "load", f"n{seq}", "l", self.now_ms, ranges=tuple(ranges), audit=tuple(audit), streams=repeats.streams(),
                seq=seq, prev=self.fold.attempt,
            )
        )  # fmt: skip
        self.rows += rows
        if self.rng.random() < 0.2:
            self.fold = checkpoint.decode(checkpoint.encode(self.fold), "checkpoint")

    def _land(
        self, partition: int, found: list[tuple[Line, int, int]], repeats: Repeats, sums: dict[tuple[str, int], AuditTotal]
    ) -> list[tuple[Line, int, int]]:
        if (named := of_named([line.headers for line, _, _ in found])) is None:
            return []
        fresh = repeats.keep_named(partition, named[1])
        new = [one for one, is_new in zip(found, fresh, strict=True) if is_new]
        rows = [(row, partition, offset) for line, _, offset in new for row in self.land(line)]
        if (named := of_named([line.headers for line, _, _ in rows])) is not None:
            texts = [line.text.encode() for line, _, _ in rows]
            messages = Messages(texts, np.array(list(map(len, texts))))
            assert named[1].timestamp is not None, "they are of headers"
            add_events(sums, named[1], messages, window_starts(named[1].timestamp))
        return rows

    def land_audit(self, *, everything: bool = False) -> None:
        left = len(self.audit_log) - self.audit_end
        self.audit_end += left if everything else min(left, self.rng.randint(0, 30))

    # ---- the truth

    def known(self) -> set[str]:
        """The agents that the audit can know."""
        said = {announcement.message.agent_id for announcement in self.audit_log[: self.audit_end]}
        return said | {line.agent for line, _, _ in self.rows}

    def is_complete(self, start_ms: int) -> bool:
        """Whether each line of a window that a known agent wrote in time has landed, once, as it was written."""
        landed = [line for line, _, _ in self.rows if line.start_ms == start_ms]
        known = self.known() - self.given_up
        read = {line for agent in self.agents.values() for line in agent.read.values() if line.start_ms == start_ms}
        return len(landed) == len(set(landed)) and self._in_time(start_ms, known) <= set(landed) <= read

    def unread(self, start_ms: int) -> list[Line]:
        """What known agents had in the log of a window, however it got there, when its lateness was over, and is not landed."""
        known, until_ms = self.known() - self.given_up, start_ms + WINDOW_MS + LATENESS_MS
        return [
            line
            for partition, end in self.ends.items()
            for line, at_ms in zip(self.log[partition][end:], self.appended_ms[partition][end:], strict=True)
            if line is not None and at_ms <= until_ms and line.agent in known and line.start_ms == start_ms
        ]

    def _in_time(self, start_ms: int, known: set[str]) -> set[Line]:
        found = set()
        for agent in self.agents.values():
            lines = agent.written if agent.name in known else ()
            for index, line in enumerate(lines):
                line = agent.read.get(index, line)
                if (
                    line.event_ms is not None
                    and line.start_ms == start_ms
                    and line.written_ms <= start_ms + WINDOW_MS + LATENESS_MS
                ):
                    found.add(line)
        return found
