"""Two agents, a log of two partitions, a loader and the landing of `_audit`, interleaved at random: what may a verdict say?

    complete    only of a window whose lines have all landed, once and unchanged
    incomplete  never, without a fault; and at the end, of every window that a fault has touched

One seed decides a history (tests/sim/harness.py).
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field, replace

import pytest

from headrace.audit import HASH_MODULUS, WINDOW_MS, AgentMessage, SentMessage, event_hash, window_start_ms
from headrace.jobs.audit import faults, settled_days
from headrace.jobs.audit.announced import LATENESS_MS, Announcement, fold
from headrace.jobs.audit.evidence import Landed, Recount, WindowSum
from headrace.jobs.audit.unknowns import Unknowns
from headrace.jobs.audit.verdict import excesses, judge
from headrace.sinks.table.audit_totals import KEEP_WINDOWS_MS, AuditTotal, AuditTotals
from tests.sim.harness import first_failing_seed, mutated, run_seeds

START = 1_763_900_400_000 // WINDOW_MS * WINDOW_MS
TOPIC = "logs"


@dataclass(frozen=True)
class Line:
    agent: str
    stream: str
    position: int
    event_ms: int
    written_ms: int
    text: str = "as written"

    @property
    def identity(self):
        return self.agent, self.stream, self.position, 0

    @property
    def window(self):
        return self.agent, window_start_ms(self.event_ms)

    @property
    def hash(self):
        return event_hash(*self.identity, self.text.encode())


@dataclass
class TailedAgent:
    """An agent that follows two streams; its saved state survives a crash, what is in flight does not."""

    name: str
    run: int = 0
    written: list[Line] = field(default_factory=list)
    in_flight: list[tuple[Line, int, int]] = field(default_factory=list)
    saved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    acked: dict[int, int] = field(default_factory=dict)
    sent: dict[int, list[Line]] = field(default_factory=lambda: defaultdict(list))
    window_acked: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    changed: set[int] = field(default_factory=set)
    drained_to_ms: int | None = None


class History:
    """The world; every step moves the clock and does one thing."""

    def __init__(self, source: random.Random, fault: str | None = None) -> None:
        self.source, self.fault, self.now_ms = source, fault, START
        self.agents = [TailedAgent("a"), TailedAgent("b")]
        self.log: dict[int, list[Line]] = {0: [], 1: []}
        self.audit_log: list[Announcement] = []
        self.ends = {0: 0, 1: 0}
        self.rows: list[tuple[Line, tuple[int, int]]] = []
        self.audit_end = 0
        self.faulty: Line | None = None
        for agent in self.agents:
            self.announce(agent)

    def step(self) -> None:
        self.now_ms += self.source.randrange(1, 240_000)
        agent = self.source.choice(self.agents)
        twice = [self.write, self.send, self.acknowledge, self.load]
        action = self.source.choice(
            [*twice, *twice, self.announce, self.announce, self.crash, self.land_audit, self.land_audit]
        )
        action(agent)

    def write(self, agent: TailedAgent) -> None:
        for _ in range(self.source.randrange(1, 4)):
            stream = f"{agent.name}{self.source.randrange(2)}"
            age_ms = self.source.choice([0, 0, 5_000, 200_000, 3_000_000])
            agent.written.append(Line(agent.name, stream, len(agent.written), self.now_ms - age_ms, self.now_ms))

    def send(self, agent: TailedAgent) -> None:
        """Read on where each stream was saved or is in flight; appended to the log, not yet acknowledged."""
        flying = {line.identity for line, _, _ in agent.in_flight}
        unsent = [line for line in agent.written if line.position >= agent.saved[line.stream] and line.identity not in flying]
        for line in unsent[: self.source.randrange(1, 6)]:
            partition = int(line.stream[1])
            self.log[partition].append(line)
            agent.in_flight.append((line, partition, len(self.log[partition])))

    def acknowledge(self, agent: TailedAgent) -> None:
        """Acks come in order; position, count and acknowledged end are saved in one transaction."""
        for _ in range(self.source.randrange(0, 5)):
            if not agent.in_flight:
                break
            line, partition, end = agent.in_flight.pop(0)
            agent.saved[line.stream] = line.position + 1
            start_ms = line.window[1]
            agent.sent[start_ms].append(line)
            agent.changed.add(start_ms)
            for ends in (agent.acked, agent.window_acked[start_ms]):
                ends[partition] = max(ends.get(partition, 0), end)
        if all(line.position < agent.saved[line.stream] for line in agent.written):
            agent.drained_to_ms = self.now_ms

    def announce(self, agent: TailedAgent, state: str = "active") -> None:
        """Windows first, then the heartbeat that claims them."""
        run, acked = f"{agent.name}-{agent.run}", {TOPIC: dict(agent.acked)} if agent.acked else {}
        for start_ms in sorted(agent.changed):
            lines = agent.sent[start_ms]
            content_hash = sum(line.hash for line in lines) % HASH_MODULUS
            self.audit_log.append(
                Announcement(
                    self.now_ms,
                    SentMessage(
                        TOPIC, agent.name, run, start_ms, len(lines), 0, content_hash, dict(agent.window_acked[start_ms])
                    ),
                )
            )
        agent.changed.clear()
        drained_to_ms = None if state == "finished" else agent.drained_to_ms
        heartbeat = AgentMessage(agent.name, run, "host", "0.1.0", state, drained_to_ms, acked)
        self.audit_log.append(Announcement(self.now_ms, heartbeat))

    def crash(self, agent: TailedAgent) -> None:
        agent.in_flight.clear()
        agent.changed = set(agent.sent)
        agent.run += 1

    def load(self, _: object = None, *, everything: bool = False) -> None:
        """Land more of each partition; repeats are dropped by identity; the fault befalls one line."""
        for partition, records in self.log.items():
            end = len(records) if everything else min(len(records), self.ends[partition] + self.source.randrange(0, 5))
            for offset, line in enumerate(records[self.ends[partition] : end], start=self.ends[partition]):
                if line.identity not in {landed.identity for landed, _ in self.rows} and line != self.faulty:
                    self.rows += self.befall(line, (partition, offset))
            self.ends[partition] = end

    def befall(self, line: Line, at: tuple[int, int]) -> list[tuple[Line, tuple[int, int]]]:
        if self.fault is None or self.faulty is not None or self.source.random() > 0.2:
            return [(line, at)]
        self.faulty = line
        altered = replace(line, text="altered")
        return {"lost": [], "doubled": [(line, at)] * 2, "altered": [(altered, at)]}[self.fault]

    def land_audit(self, _: object = None, *, everything: bool = False) -> None:
        self.audit_end = (
            len(self.audit_log) if everything else min(len(self.audit_log), self.audit_end + self.source.randrange(0, 30))
        )

    def settle(self) -> None:
        """All is read, sent, acknowledged, announced and landed."""
        for agent in self.agents:
            while any(line.position >= agent.saved[line.stream] for line in agent.written):
                self.now_ms += 1_000
                self.send(agent)
                self.acknowledge(agent)
            self.announce(agent, "finished")
        self.load(everything=True)
        self.land_audit(everything=True)

    def verdicts(self, *, is_settled: bool = False) -> dict[int, str]:
        """What the audit says of each window now, from what has landed; if so, where the log keeps the sum of the day alone."""
        agents = fold(self.audit_log[: self.audit_end])
        rows: dict[tuple[str, int], list[tuple[Line, tuple[int, int]]]] = defaultdict(list)
        for line, at in self.rows:
            rows[line.window].append((line, at))
        sums = {key: WindowSum(len(them), sum(line.hash for line, _ in them) % HASH_MODULUS) for key, them in rows.items()}
        landed = Landed(ends=self.ends, sums=sums)
        if is_settled:
            totals = AuditTotals()
            for key, total in sums.items():
                totals.add(key, AuditTotal(total.count, 0, total.content_hash), 1)
            totals.settle(KEEP_WINDOWS_MS + 2)
            unlike = settled_days.unlike_days(TOPIC, agents, totals.settled(), self.ends, LATENESS_MS)
            landed = Landed(ends=self.ends, settled=frozenset(totals.settled()), unlike=unlike)
        recounts = {
            key: Recount(len(rows[key]), len({line.identity for line, _ in rows[key]}), _ends(rows[key]))
            for key in excesses(TOPIC, agents, landed)
        }
        judged = judge(TOPIC, agents, landed, recounts, now_ms=self.now_ms)
        return {window.window_start_ms: window.state for window in judged.windows}

    def is_complete(self, start_ms: int) -> bool:
        """The truth, of agents that the audit can know: each line written in time has landed, once, as it was written."""
        known = {said.message.agent_id for said in self.audit_log[: self.audit_end]} | {line.agent for line, _ in self.rows}
        landed = [line for line, _ in self.rows if line.window[1] == start_ms]
        written = [line for agent in self.agents for line in agent.written if line.window[1] == start_ms]
        in_time = {line for line in written if line.written_ms <= start_ms + WINDOW_MS + LATENESS_MS and line.agent in known}
        return len(landed) == len(set(landed)) and in_time <= set(landed) <= set(written)


def _ends(rows):
    return {partition: max(offset for _, (of, offset) in rows if of == partition) + 1 for _, (partition, _) in rows}


def faultless(source: random.Random) -> None:
    history = History(source)
    for _ in range(source.randrange(10, 70)):
        history.step()
        for start_ms, state in history.verdicts().items():
            assert state != "incomplete"
            assert state != "complete" or history.is_complete(start_ms)
    history.settle()
    assert set(history.verdicts().values()) <= {"complete"}


def faulty(source: random.Random) -> None:
    history = History(source, source.choice(["lost", "doubled", "altered"]))
    for _ in range(source.randrange(10, 70)):
        history.step()
        assert all(history.is_complete(start_ms) for start_ms, state in history.verdicts().items() if state == "complete")
    history.settle()
    verdicts = history.verdicts()
    for start_ms, state in verdicts.items():
        touched = history.faulty is not None and history.faulty.window[1] == start_ms
        assert state == ("incomplete" if touched else "complete")


def test_without_a_fault_nothing_is_incomplete_and_complete_is_true_and_comes() -> None:
    run_seeds(faultless, count=1000)


def test_an_event_lost_doubled_or_altered_by_the_loader_is_found_and_complete_stays_true() -> None:
    run_seeds(faulty, count=500)


def settled(source: random.Random) -> None:
    """A day of which the log keeps a sum: what is said is never more than of its windows, nor wrong; and comes as well."""
    fault = source.choice([None, None, "lost", "doubled", "altered"])
    history = History(source, fault)
    for _ in range(source.randrange(10, 70)):
        history.step()
        for start_ms, state in history.verdicts(is_settled=True).items():
            assert state != "complete" or history.is_complete(start_ms)
            assert state != "incomplete" or history.faulty is not None
    history.settle()
    expected = "complete" if history.faulty is None else "unknown" if fault == "doubled" else "incomplete"
    assert set(history.verdicts(is_settled=True).values()) <= {expected}


def test_a_day_of_which_windows_are_not_told_apart_is_complete_when_all_of_it_adds_up() -> None:
    run_seeds(settled, count=300)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("landed.count > sent[day_ms].count or ", ""),
        (" or day_ms in is_behind", ""),
        ("Total(total.count, total.hash)", "Total(total.count, sent[day_ms].content_hash)"),
    ],
)
def test_without_one_of_the_rules_of_days_the_verdict_is_wrong_for_some_history(old, new) -> None:
    with mutated(settled_days, "unlike_days", old, new):
        assert first_failing_seed(settled, count=500) is not None


def with_a_message_removed(source: random.Random) -> None:
    history = History(source)
    for _ in range(source.randrange(30, 70)):
        history.step()
    history.settle()
    before = history.verdicts()
    removed = history.audit_log.pop(source.randrange(len(history.audit_log)))
    history.audit_end -= 1
    message, after = removed.message, history.verdicts()
    if isinstance(message, AgentMessage):
        drained_to_ms = fold(history.audit_log)[message.agent_id].drained_to_ms(TOPIC)
        assert all(start + WINDOW_MS + LATENESS_MS < drained_to_ms for start, state in after.items() if state == "complete")
        return
    others = [said.message for said in history.audit_log if said.message.key.split("/")[:3] == message.key.split("/")[:3]]
    same = [other for other in others if isinstance(other, SentMessage) and other.window_start_ms == message.window_start_ms]
    superseded = any(other.count >= message.count for other in same)
    assert after == before if superseded else after[message.window_start_ms] == "incomplete"


def test_a_message_of_the_audit_is_missed_unless_a_later_one_says_the_same() -> None:
    run_seeds(with_a_message_removed, count=500)


@pytest.mark.parametrize(
    ("target", "name", "old", "new"),
    [
        (Unknowns, "_unlanded", "end > ends.get(partition, 0)", "False"),
        (Unknowns, "_frontier", "> needed_ms", "> -1"),
        (Unknowns, "_is_excess", "agent.frontier_ms >= max(known_ms)", "True"),
        (faults, "differences", "sent.content_hash != landed.content_hash", "False"),
    ],
)
def test_without_one_of_its_rules_the_verdict_is_wrong_for_some_history(target, name, old, new) -> None:
    with mutated(target, name, old, new):
        assert first_failing_seed(faultless, count=300) is not None or first_failing_seed(faulty, count=300) is not None
