"""Verdicts asked at random times of agents that crash, whose clocks step, that come late, are retired or live for a moment.

Held under every seed (audit.md, "Is it all there, is it the same"):

    without a fault nothing is ever incomplete, and in the end all is complete
    complete is said only of a window of which each line that was written in time has landed, once, as it was written
    a row that lands in a window after it was complete is counted late, if its agent was known
    one event lost, doubled, altered or moved, or one message of the audit lost, is found, in its window and of its agent
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest import mock

from headrace.agents import windows
from headrace.agents.windows import Windows
from headrace.audit import HASH_MODULUS, WINDOW_MS, State
from headrace.jobs.audit import announced, faults
from headrace.jobs.audit.announced import LATENESS_MS, Agent, fold
from headrace.jobs.audit.case import Case
from headrace.jobs.audit.evidence import Landed, Recount, WindowSum
from headrace.jobs.audit.judged import TopicVerdict
from headrace.jobs.audit.sent_windows import SentWindows, _Window
from headrace.jobs.audit.totals import Totals
from headrace.jobs.audit.unknowns import Unknowns
from headrace.jobs.audit.verdict import excesses, judge
from tests.sim.audit.world import HOUR_MS, PARTITIONS, TOPIC, Line, World
from tests.sim.harness import Guard, each_guard, run_seeds


@dataclass(frozen=True)
class Said:
    """That a window was complete: which agents were known then, and how many rows each of them had there."""

    known: frozenset[str]
    rows: dict[str, int]


class Auditing:
    """A world whose verdicts are taken, and held against what is true and what came later."""

    def __init__(self, rng: random.Random, world: World) -> None:
        self.rng, self.world = rng, world
        self.complete: dict[int, list[Said]] = defaultdict(list)
        self.tampering: Callable[[Sums], Sums] | None = None

    def agents(self) -> dict[str, Agent]:
        return fold(self.world.audit_log[: self.world.audit_end])

    def judge(self) -> TopicVerdict:
        world, agents = self.world, self.agents()
        rows: dict[tuple[str, int], list[tuple[Line, int, int]]] = defaultdict(list)
        for row in world.rows:
            rows[row[0].window].append(row)
        sums = {key: WindowSum(total.count, total.hash, total.duplicates) for key, total in world.fold.audit.windows.items()}
        if self.tampering is not None:
            sums = self.tampering(sums)
        landed = Landed(ends=dict(world.ends), sums=sums)
        recounts = {key: _recount(rows[key]) for key in excesses(TOPIC, agents, landed)}
        return judge(TOPIC, agents, landed, recounts, now_ms=world.now_ms)

    def ask(self, *, is_faultless: bool = True) -> None:
        world = self.world
        for window in self.judge().windows:
            start_ms = window.window_start_ms
            assert window.state != "incomplete" or not is_faultless, window
            if window.state == "complete":
                assert world.is_complete(start_ms) or not is_faultless, f"{window} is not true"
                assert not world.unread(start_ms), f"{window}: {world.unread(start_ms)}"
                here = [line.agent for line, _, _ in world.rows if line.start_ms == start_ms]
                self.complete[start_ms].append(Said(frozenset(world.known()), {name: here.count(name) for name in here}))

    def check_late(self) -> None:
        """What landed in a window after it was complete was counted late."""
        agents = self.agents()
        for start_ms, times in self.complete.items():
            here = [line.agent for line, _, _ in self.world.rows if line.start_ms == start_ms]
            for said in times:
                for name in sorted(said.known - self.world.given_up):
                    came = here.count(name) - said.rows.get(name, 0)
                    sent = agents[name].sent_of(TOPIC, start_ms) if name in agents else None
                    assert came <= (sent.late if sent else 0), f"{came} rows of {name} came into a complete window"
        for name, agent in agents.items():
            for start_ms, sent in agent.sent.get(TOPIC, {}).items():
                lines = [line for line in self.world.agents[name].read.values() if line.start_ms == start_ms]
                after = sum(line.written_ms > start_ms + WINDOW_MS + LATENESS_MS for line in lines)
                assert sent.late <= after, f"{sent.late} of {name} are late, and {after} were written late"


def _recount(rows: list[tuple[Line, int, int]]) -> Recount:
    ends: dict[int, int] = {}
    for _, partition, offset in rows:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return Recount(len(rows), len({line.identity for line, _, _ in rows}), ends)


def step(world: World, *, clocks: bool, ends: bool) -> None:
    """Time passes, and one thing happens."""
    rng = world.rng
    world.now_ms += rng.choice((1, 500, 20_000, 60_000, 240_000))
    name = rng.choice(sorted(set(world.agents) - world.given_up - world.finished()))
    agent = world.agents[name]
    what = rng.random()
    if what < 0.2:
        world.write(name)
    elif what < 0.3:
        world.look(name)
    elif what < 0.5:
        world.send(name)
    elif what < 0.6:
        world.acknowledge(name)
    elif what < 0.7:
        world.announce(name)
    elif what < 0.82:
        world.deliver(name)
    elif what < 0.9:
        world.load()
    elif what < 0.96:
        world.land_audit()
    elif what < 0.98:
        world.crash(name)
    elif clocks and what < 0.99:
        agent.clock_off_ms = rng.choice((0, 0, -HOUR_MS, HOUR_MS, -700_000, agent.clock_off_ms - 120_000))
    elif ends and len(world.given_up) + len(world.finished()) < len(world.agents) - 1:
        world.retire(name) if rng.random() < 0.5 else finish(world, name)


def ship_all(world: World, name: str) -> None:
    world.look(name)
    for _ in range(10_000):
        if not world.agents[name].unsaved():
            break
        world.send(name)
        world.acknowledge(name)
    world.look(name)
    world.acknowledge(name)


def heartbeat(world: World, name: str, state: State = "active") -> None:
    for _ in range(2):  # a round that was under way, and one of now
        world.announce(name, state)
        while world.announcers[name].busy:
            world.deliver(name, everything=True)


def finish(world: World, name: str) -> None:
    """It was a finite input, and all of it is shipped."""
    ship_all(world, name)
    heartbeat(world, name, "finished")
    world.agents[name].is_finished = True


def settle(world: World) -> None:
    """All is read, shipped, claimed and landed; then time passes until each window can be claimed by the slowest clock."""
    alive = sorted(set(world.agents) - world.given_up - world.finished())
    for _ in range(4):
        for name in alive:
            ship_all(world, name)
            heartbeat(world, name)
        slowest_ms = min(0, *(agent.clock_off_ms for agent in world.agents.values()))
        world.now_ms += HOUR_MS + 3 * WINDOW_MS + LATENESS_MS - slowest_ms
    world.load(everything=True)
    world.land_audit(everything=True)


Sums = dict[tuple[str, int], WindowSum]


def live(rng: random.Random, world: World, auditing: Auditing, *, clocks: bool = True, ends: bool = True) -> None:
    if clocks and rng.random() < 0.3:
        for agent in world.agents.values():
            agent.clock_off_ms = rng.choice((0, HOUR_MS, -HOUR_MS))
    for _ in range(rng.randint(20, 150)):
        step(world, clocks=clocks, ends=ends)
        if rng.random() < 0.15:
            auditing.ask()


@contextmanager
def few_windows(rng: random.Random) -> Iterator[None]:
    """Agents that let go of nearly all windows, or of none."""
    with mock.patch.object(windows, "MOST_WINDOWS", rng.choice((1, 3, 4000))):
        yield


def verdicts_are_true(rng: random.Random) -> None:
    with few_windows(rng):
        world = World(rng, ["a", "b", "c"][: rng.choice((1, 2, 3))])
        auditing = Auditing(rng, world)
        live(rng, world, auditing)
        settle(world)
        auditing.ask()
        if rng.random() < 0.3 and set(world.agents) - world.given_up - world.finished():  # then some come late
            live(rng, world, auditing, clocks=False, ends=False)
            settle(world)
            auditing.ask()
        states = {window.state for window in auditing.judge().windows}
        assert states <= {"complete"}, auditing.judge()
        auditing.check_late()


def test_without_a_fault_nothing_is_incomplete_complete_is_true_and_what_comes_later_is_late() -> None:
    run_seeds(verdicts_are_true, count=80)


# ---- one fault


class Fault:
    """Befalls one record on its way to the broker's log, or to the files; or one message of the audit."""

    def __init__(self, rng: random.Random, world: World, *tiers: str) -> None:
        self.rng, self.world = rng, world
        self.left = rng.randint(0, 25)
        self.what = rng.choice(("lost", "doubled", "altered", "another window", "another agent", "another partition"))
        self.where = rng.choice(tiers)
        self.kind = rng.choice(("sent/", "sent/", "agent/"))
        self.window: tuple[str, int] | None = None
        self.swallowed_ms = 0
        self.tampered: tuple[tuple[str, int], WindowSum] | None = None
        match self.where:
            case "broker":
                world.append = self.befall
            case "loader":
                world.land = self.befall_row
            case "audit":
                world.lose = self.lose_one
            case "audit and rows":
                world.append, world.lose = self.swallow, self.lose_all

    def _is_its_turn(self) -> bool:
        self.left -= 1
        return self.left == -1

    def befall(self, line: Line, partition: int) -> list[tuple[Line | None, int]]:
        if not self._is_its_turn():
            return [(line, partition)]
        if self.what == "another partition":
            return [(line, (partition + 1) % PARTITIONS), (None, partition)]
        return [(record, partition) for record in self.befallen(line) or [None]]

    def tamper(self, sums: Sums) -> Sums:
        """From some moment on a record says of one window what is not so."""
        if self.tampered is None and sums and self._is_its_turn():
            key = self.rng.choice(sorted(sums))
            more, other = self.rng.choice(((1, 5), (-1, 7), (0, 3)))
            self.tampered = key, WindowSum(more, other)
        if self.tampered is None:
            return sums
        key, by = self.tampered
        one = sums[key]
        return sums | {key: WindowSum(one.count + by.count, (one.content_hash + by.content_hash) % HASH_MODULUS)}

    def befall_row(self, line: Line) -> list[Line]:
        return self.befallen(line) if self._is_its_turn() else [line]

    def befallen(self, line: Line) -> list[Line]:
        assert line.event_ms is not None
        others = [name for name in self.world.agents if name != line.agent]
        match self.what:
            case "lost":
                return []
            case "doubled":
                return [line, line]
            case "another window":
                return [replace(line, event_ms=line.event_ms + self.rng.choice((-1, 1, 3)) * WINDOW_MS)]
            case "another agent" if others:
                return [replace(line, agent=self.rng.choice(others))]
        return [replace(line, text="altered")]

    def lose_one(self, key: str) -> bool:
        return key.startswith(self.kind) and self._is_its_turn()

    def swallow(self, line: Line, partition: int) -> list[tuple[Line | None, int]]:
        """From some record on, each of its agent's window."""
        if self.window is None and self._is_its_turn() and self.is_new(line):
            self.window, self.swallowed_ms = line.window, self.world.now_ms
        return [(None if line.window == self.window else line, partition)]

    def is_new(self, line: Line) -> bool:
        found = [each for each in self.world.agents[line.agent].read.values() if each.window == line.window]
        return len(found) == 1

    def lose_all(self, key: str) -> bool:
        kind, *rest = key.split("/")
        return kind == "sent" and self.window == (rest[1], int(rest[3]))


def differing(world: World) -> set[tuple[str, int]]:
    """The windows of agents of which not that has landed, or was announced, which the agent has counted."""
    counted, landed = defaultdict(list), defaultdict(list)
    for agent in world.agents.values():
        for line in agent.read.values():
            counted[line.window].append(line)
    for line, _, _ in world.rows:
        landed[line.window].append(line)
    agents = fold(world.audit_log)
    found = set()
    for name, start_ms in counted.keys() | landed.keys():
        key = (name, start_ms)
        sent = agents[name].sent_of(TOPIC, start_ms) if name in agents else None
        same = sorted(map(repr, counted[key])) == sorted(map(repr, landed[key]))
        if not same or (sent.count if sent else 0) != len(counted[key]):
            found.add(key)
    return found


def one_fault_is_found(rng: random.Random, *tiers: str) -> None:
    with few_windows(rng):
        world = World(rng, ["a", "b", "c"][: rng.choice((1, 2, 3))])
        fault, auditing = Fault(rng, world, *tiers), Auditing(rng, world)
        if fault.where == "sums":
            fault.left, auditing.tampering = rng.randint(0, 4), fault.tamper
        for _ in range(rng.randint(20, 150)):
            step(world, clocks=True, ends=False)
            if rng.random() < 0.1:
                auditing.ask(is_faultless=False)
        settle(world)
        judged = auditing.judge()
        expected = differing(world)
        if fault.tampered is not None:
            expected.add(fault.tampered[0])
        blamed = {(reason.agent, window.window_start_ms) for window in judged.windows for reason in window.reasons}
        if fault.where == "audit and rows":
            everywhere = {agent for reason in judged.reasons if (agent := reason.agent)}
            if fault.window and not -WINDOW_MS - LATENESS_MS <= fault.window[1] - fault.swallowed_ms <= 0:
                everywhere |= {agent for agent, _ in blamed}  # late, or ahead: nothing that is left tells of which window
            assert all(key in blamed or key[0] in everywhere for key in expected), (expected, judged)
            return
        assert blamed == expected, (fault.where, fault.what, expected, judged)
        assert {window.window_start_ms for window in judged.windows if window.state == "incomplete"} == {
            at for _, at in expected
        }
        assert all(window.state != "unknown" for window in judged.windows)


def one_event_is_found(rng: random.Random) -> None:
    one_fault_is_found(rng, "broker", "loader", "sums")


def one_message_is_found(rng: random.Random) -> None:
    one_fault_is_found(rng, "audit", "audit and rows")


def test_one_event_lost_doubled_altered_or_moved_is_found_and_placed() -> None:
    run_seeds(one_event_is_found, count=70)


def test_one_message_of_the_audit_lost_is_found_and_placed_also_with_all_its_events() -> None:
    run_seeds(one_message_is_found, count=70)


@each_guard(
    (_Window, "joined", "count=whole.count + other.count", "count=whole.count"),
    (announced, "_is_past", "drained_to_ms > window_start_ms + WINDOW_MS + lateness_ms", "True"),
    (SentWindows, "close", "window.on_time = window.count", "pass"),
    (Unknowns, "_unlanded", "end > ends.get(partition, 0)", "False"),
    (Unknowns, "_frontier", "> needed_ms", "> -1"),
    (Unknowns, "_is_excess", "agent.frontier_ms >= max(known_ms)", "True"),
    (faults, "differences", "sent.content_hash != landed.content_hash", "False"),
    (Case, "is_retired", "agent.retired_ms is not None", "False"),
    (Case, "_starts", "here is None", "True"),
    (Totals, "on_heartbeat", "elif missed != before:", "elif False:"),
    (Windows, "said", "if self._get(row.topic, row.window_start_ms) == row:", "if True:"),
    (Windows, "_let_go", "self._db.executemany(_LET_GO, last.items())", "pass"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    scenarios = (verdicts_are_true, one_event_is_found, one_message_is_found)
    assert any(guard.is_noticed(scenario, count=0) for scenario in scenarios) or any(
        guard.is_noticed(scenario, count=150) for scenario in scenarios
    )
