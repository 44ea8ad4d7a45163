"""Agents, a broker, a loader and the landing of `_audit`: what the audit's verdicts are taken from, and the truth beside it.

The agents' counts and messages are the product's (`Windows`, `Announcer`); simulated are what they read and ship, their clocks,
the broker's logs, and a loader that lands records and drops repeats. The world's time is the broker's.
"""

import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from headrace.agents.announcing import Announcer
from headrace.agents.effects import Now
from headrace.agents.events.encoded import Tally
from headrace.agents.state_tables import bring_up
from headrace.agents.windows import ChunkResult, Windows
from headrace.audit import AUDIT_TOPIC, WINDOW_MS, RetiredMessage, State, event_hash, parse_message, window_start_ms
from headrace.jobs.audit.announced import LATENESS_MS, Announcement

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
        self.audit_log: list[Announcement] = []
        self.audit_end = 0
        self.ends = dict.fromkeys(range(PARTITIONS), 0)
        self.rows: list[tuple[Line, int, int]] = []
        self.landed: set[tuple[str, str, int]] = set()
        self.duplicates = 0
        self.given_up: set[str] = set()
        self.lose: Callable[[str], bool] = lambda _: False
        self.append: Callable[[Line], Sequence[Line | None]] = lambda line: (line,)
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
            agent.written.append(Line(name, stream, len(agent.written), event_ms, self.now_ms))

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
            for record in self.append(line):
                self.log[partition].append(record)
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

    def load(self, *, everything: bool = False) -> None:
        for partition, records in self.log.items():
            end = len(records) if everything else min(len(records), self.ends[partition] + self.rng.randint(0, 5))
            for offset in range(self.ends[partition], end):
                line = records[offset]
                if line is None:
                    continue
                if line.identity in self.landed:
                    self.duplicates += 1
                    continue
                self.landed.add(line.identity)
                self.rows += [(row, partition, offset) for row in self.land(line)]
            self.ends[partition] = end

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
