"""Rules of the audit that no seed of the random histories was seen to need, each in a history of its own that needs it."""

import random
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError

from headrace.agents.announcing import Announcer
from headrace.audit import WINDOW_MS, window_start_ms
from headrace.jobs.audit import announced
from headrace.jobs.audit.announced import LATENESS_MS
from headrace.jobs.audit.sent_windows import SentWindows, _Window
from headrace.jobs.audit.totals import Gap, Totals
from headrace.jobs.audit.unknowns import Unknowns
from tests.sim.audit.test_audit_sim import Auditing, heartbeat, settle, ship_all
from tests.sim.audit.world import HOUR_MS, Acked, Line, World
from tests.sim.harness import Guard, Scenario

MINUTE_MS = 60_000


class Directed:
    """One agent, and a verdict whenever it is asked for, which is held against the truth."""

    def __init__(self, rng: random.Random) -> None:
        self.world = World(rng, ["a"])
        self.auditing = Auditing(rng, self.world)
        heartbeat(self.world, "a")

    def ship(self, event_ms: int | None = None) -> int:
        """A line is written, shipped and acknowledged; its event time."""
        agent, now_ms = self.world.agents["a"], self.world.now_ms
        event_ms = now_ms if event_ms is None else event_ms
        agent.written.append(Line("a", "a0", 10 * len(agent.written), event_ms, now_ms))
        ship_all(self.world, "a")
        return event_ms

    def announce(self, *, after_ms: int = 0) -> None:
        self.world.now_ms += after_ms
        self.world.look("a")
        self.world.acknowledge("a")
        heartbeat(self.world, "a")

    def ask(self, *, is_loaded: bool = True) -> dict[int, str]:
        """The states of windows by their starts, with all of `_audit` heard, and all that is in the log landed, or not."""
        if is_loaded:
            self.world.load(everything=True)
        self.world.land_audit(everything=True)
        self.auditing.ask()
        return self.states()

    def states(self) -> dict[int, str]:
        return {window.window_start_ms: window.state for window in self.auditing.judge().windows}


def once(is_it: Callable[[str], bool]) -> Callable[[str], bool]:
    """True for the first key that is meant, and never again."""
    left = [1]
    return lambda key: is_it(key) and bool(left) and bool(left.pop())


def a_message_that_was_lost_is_not_missed_once_a_later_one_repeats_it(rng: random.Random) -> None:
    history = Directed(rng)
    history.world.lose = once(lambda key: key.startswith("sent/"))
    event_ms = history.ship()
    history.announce()
    history.ship(event_ms)
    settle(history.world)
    history.ask()
    assert history.auditing.judge().state == "complete"


def a_message_that_was_lost_with_its_events_blames_no_hour_but_its_own(rng: random.Random) -> None:
    history = Directed(rng)
    world, starts = history.world, []
    for number in range(5):
        if number == 2:
            world.append, world.lose = lambda _, partition: ((None, partition),), once(lambda key: key.startswith("sent/"))
        starts.append(window_start_ms(history.ship()))
        history.announce()
        world.append = lambda line, partition: ((line, partition),)
        history.announce(after_ms=HOUR_MS)
    settle(world)
    world.load(everything=True)
    world.land_audit(everything=True)
    states = history.states()
    assert [states[start] for start in starts] == ["complete", "complete", "incomplete", "complete", "complete"]
    assert all(starts[1] < start < starts[3] for start, state in states.items() if state == "incomplete")


def a_claim_does_not_overtake_a_window_that_was_refused(rng: random.Random) -> None:
    history = Directed(rng)
    world = history.world
    history.ship()
    world.now_ms += 20 * MINUTE_MS
    world.look("a")
    world.acknowledge("a")
    world.announce("a")
    world.producers["a"].queue.pop(0).heard(KafkaError(KafkaError._MSG_TIMED_OUT), Acked(world.now_ms))
    world.deliver("a", everything=True)
    history.ask()


def a_host_whose_clock_is_ahead_claims_no_time_that_has_not_come(rng: random.Random) -> None:
    history = Directed(rng)
    history.world.agents["a"].clock_off_ms = HOUR_MS
    event_ms = history.ship()
    history.announce()
    history.ask()
    history.ship(event_ms)
    history.announce()
    history.ask()
    history.auditing.check_late()


def what_was_acknowledged_before_a_claim_is_waited_for(rng: random.Random) -> None:
    history = Directed(rng)
    history.ship()
    history.announce()
    history.announce(after_ms=30 * MINUTE_MS)
    history.ask(is_loaded=False)


def what_comes_late_is_waited_for(rng: random.Random) -> None:
    history = Directed(rng)
    event_ms = history.ship()
    history.announce()
    history.announce(after_ms=30 * MINUTE_MS)
    assert set(history.ask().values()) == {"complete"}
    history.ship(event_ms)
    history.announce()
    assert set(history.ask(is_loaded=False).values()) == {"unknown"}
    assert set(history.ask().values()) == {"complete"}
    history.auditing.check_late()


def what_is_written_within_the_lateness_is_not_late(rng: random.Random) -> None:
    history = Directed(rng)
    event_ms = history.ship()
    end_ms = window_start_ms(event_ms) + WINDOW_MS
    history.announce(after_ms=end_ms + LATENESS_MS // 2 - event_ms)
    history.ship(event_ms)
    history.announce(after_ms=LATENESS_MS)
    history.ask()
    history.auditing.check_late()


RULES: list[tuple[Scenario, Guard]] = [
    (a_message_that_was_lost_is_not_missed_once_a_later_one_repeats_it, Guard(Totals, "on_heartbeat", "gaps.clear()", "pass")),
    (
        a_message_that_was_lost_with_its_events_blames_no_hour_but_its_own,
        Guard(Gap, "starts", "int(self.after_ms) - lateness_ms", "int(self.after_ms) - 100 * WINDOW_MS"),
    ),
    (
        a_message_that_was_lost_with_its_events_blames_no_hour_but_its_own,
        Guard(Gap, "starts", "window_start_ms(self.until_ms) + 1", "window_start_ms(self.until_ms) + 100 * WINDOW_MS"),
    ),
    (a_claim_does_not_overtake_a_window_that_was_refused, Guard(Announcer, "announce", "if not windows:", "if True:")),
    (
        a_host_whose_clock_is_ahead_claims_no_time_that_has_not_come,
        Guard(Announcer, "bounded", ", append_ms + complete.monotonic_ms - heard_ms", ""),
    ),
    (
        what_was_acknowledged_before_a_claim_is_waited_for,
        Guard(announced.Agent, "acknowledged", "else claim.ends", "else {}"),
    ),
    (what_comes_late_is_waited_for, Guard(Unknowns, "_acknowledged", "sent.acked.items() if sent else ()", "()")),
    (what_comes_late_is_waited_for, Guard(SentWindows, "say", "else message.acked", "else {}")),
    (what_comes_late_is_waited_for, Guard(_Window, "is_plain", " and self.on_time == first.count", "")),
    (
        what_is_written_within_the_lateness_is_not_late,
        Guard(announced, "_is_past", "window_start_ms + WINDOW_MS + lateness_ms", "window_start_ms + WINDOW_MS"),
    ),
]


@pytest.mark.parametrize(
    "scenario", list(dict.fromkeys(scenario for scenario, _ in RULES)), ids=lambda scenario: scenario.__name__
)
def test_it_holds(scenario: Scenario) -> None:
    for seed in range(3):
        scenario(random.Random(seed))


@pytest.mark.parametrize(("scenario", "guard"), RULES, ids=lambda one: one.function if isinstance(one, Guard) else one.__name__)
def test_without_its_rule_it_does_not_hold(scenario: Scenario, guard: Guard) -> None:
    assert guard.is_noticed(scenario, count=3)
