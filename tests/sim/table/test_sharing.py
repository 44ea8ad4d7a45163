"""Loaders that share partitions, under every accident: each offset lands once, and nobody's partition is forgotten."""

import random
from collections.abc import Callable
from types import ModuleType

import pytest

from headrace.sinks.claims import Claims
from headrace.sinks.table import commit
from headrace.sinks.table.store import Put, PutIfAbsent
from headrace.sinks.tenure import Tenure
from tests.sim.harness import Scenario, first_failing_seed, mutated, run_seeds
from tests.sim.table.group import PARTITIONS, SESSION_MS
from tests.sim.table.test_commit import heal, is_complete
from tests.sim.table.world import HOUR, Process, World

SOON_MS = 5_000
"""How long a partition may be without anybody who reads it, beyond the session of one who has died or been paused: until the
group has spoken, the loser has committed what he has, and the winner has looked and folded (a second or two on a fast store).
"""


def table_log_shared(rng: random.Random) -> None:
    """A group that gives and takes without asking, or is not heard; afterwards everybody finds his place again."""
    world = shared(rng)
    if rng.random() < 0.3:
        world.start_loader()  # `--once`, which reads all
    if rng.random() < 0.3:
        world.start_compactor()
    if rng.random() < 0.3:
        world.start_rewinder()
    for _ in range(rng.choice([400, 1000, 2000])):
        step(world)
        if rng.random() < 0.02:
            world.check()
    heal(world)
    everybody_reads_what_is_his_alone(world)


def shared(rng: random.Random) -> World:
    """Some loaders in a group, with more or fewer accidents: they take long to get anywhere."""
    world = World(rng, chaos=rng.choice([0.03, 0.1, 0.3]), refusals=rng.choice([0.002, 0.02]), pace=(1, 20, 300))
    world.group.is_eager = rng.random() < 0.3
    for _ in range(rng.choice([2, 3, 4])):
        world.start_sharer()
    return world


def step(world: World) -> None:
    if world.rng.random() < 0.02:
        world.topic.ends[world.rng.choice(PARTITIONS)] += world.rng.randint(1, 5)
    world.step()


def everybody_reads_what_is_his_alone(world: World) -> None:
    """Once nothing goes wrong any more: nobody races anybody, and what is begun from now on is not in vain."""
    world.processes = [process for process in world.processes if process.name == "sharer"]
    run_until(world, lambda: is_settled(world))
    since_ms = world.store.clock_ms
    world.topic.ends = [end + 3 for end in world.topic.ends]
    run_until(world, lambda: all(world.won_ms.get(member, 0) > since_ms for member in world.group.wanted.values()))
    begun = world.names
    for _ in range(30):
        world.topic.ends[world.rng.choice(PARTITIONS)] += 1
        run(world, 10)
    assert is_settled(world)
    outcomes = {outcome for attempt, outcome in world.over.items() if int(attempt.removeprefix("attempt-")) > begun}
    assert outcomes <= {"won"}, outcomes


def is_settled(world: World) -> bool:
    """Whether each partition is read by the one who has it in the group, and by nobody else."""
    if not world.group.is_settled:
        return False
    readers = {partition: [one.member for one in world.sharers() if one.reads(partition)] for partition in PARTITIONS}
    return readers == {partition: [member] for partition, member in world.group.wanted.items()}


def run(world: World, steps: int) -> None:
    for _ in range(steps):
        world.step()


def run_until(world: World, what: Callable[[], bool], *, steps: int = 6000) -> None:
    for _ in range(steps):
        if what():
            return
        world.step()
    raise AssertionError("it does not come to that")


def orderly(rng: random.Random) -> World:
    """No accidents, and steps that take some ms."""
    world = World(rng)
    world.calm, world.pace = True, (1, 5, 10)
    world.group.is_eager = rng.random() < 0.3
    world.start_sharer()
    return world


class Watch:
    """How long each partition has been without anybody awake who reads it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since_ms = dict.fromkeys(PARTITIONS, world.store.clock_ms)
        self.longest_ms = 0

    def forget(self) -> None:
        """From now on it counts anew: something has happened to somebody."""
        self._since_ms = dict.fromkeys(PARTITIONS, self._world.store.clock_ms)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._world.step()
            now_ms = self._world.store.clock_ms
            awake = self._world.sharers(awake=True)
            for partition in PARTITIONS:
                if not awake or any(sharer.reads(partition) for sharer in awake):
                    self._since_ms[partition] = now_ms
                self.longest_ms = max(self.longest_ms, now_ms - self._since_ms[partition])


def members_come_and_go(rng: random.Random) -> None:
    """All hand over before they answer and before they leave: no work is lost, and no partition waits for a session."""
    world = orderly(rng)
    watch = Watch(world)
    for _ in range(15):
        world.topic.ends[rng.choice(PARTITIONS)] += rng.randint(1, 9)
        there = [sharer for sharer in world.sharers() if not sharer.is_leaving]
        chance = rng.random()
        if chance < 0.3 and len(there) < 4:
            world.start_sharer()
        elif chance < 0.6 and len(there) > 1:
            rng.choice(there).is_leaving = True
        elif chance < 0.8:
            world.group.rebalance()
        watch.run(rng.choice([20, 200, 600]))
    assert set(world.over.values()) <= {"won"}, world.over
    assert set(world.taken.values()) <= {1}, "something has been read twice"
    assert watch.longest_ms < SOON_MS
    world.check()


def members_die_and_sleep(rng: random.Random) -> None:
    """What one who has died or sleeps had is read by others a session later, whatever he believes when he wakes up."""
    world = orderly(rng)
    for _ in range(rng.choice([1, 2])):
        world.start_sharer()
    watch = Watch(world)
    for _ in range(8):
        world.topic.ends[rng.choice(PARTITIONS)] += rng.randint(1, 9)
        victim = rng.choice(world.processes)
        if rng.random() < 0.5:
            world.kill(victim)
        elif len(world.sharers(awake=True)) > 1:
            victim.sleeps_until_ms = world.store.clock_ms + rng.choice([SESSION_MS // 2, 3 * SESSION_MS])
        watch.forget()
        watch.run(rng.choice([20, 300, 4000]))
    assert watch.longest_ms < SESSION_MS + SOON_MS
    world.check()
    run_until(world, lambda: is_settled(world))


def what_comes_after_idle_hours_lands(rng: random.Random) -> None:
    """An attempt lives an hour from its fold, and may wait for its first record for longer."""
    world = orderly(rng)
    run_until(world, lambda: is_settled(world))
    world.store.clock_ms += 2 * HOUR
    world.group.members[1].heard_ms = world.store.clock_ms  # it has been awake
    world.topic.ends = [5, 7]
    run_until(world, lambda: bool(world.over) and is_complete(world))
    assert set(world.over.values()) == {"won"}


def what_was_not_decided_is_not_deleted(rng: random.Random) -> None:
    """A put is not answered, and the next is refused: the loader gives up, and its record comes all the same."""
    world = orderly(rng)
    run_until(world, lambda: is_settled(world))
    world.topic.ends = [5, 7]
    (process,) = world.processes
    run_until(world, lambda: isinstance(process.pending, PutIfAbsent))
    put = process.pending
    process.answer, process.pending = Put.UNKNOWN, None
    world.run(process)
    assert process.pending == put
    world.refuse(process)
    run_until(world, lambda: bool(world.over))
    world.store.put_if_absent(put.path, put.data)
    world.check()
    run_until(world, lambda: is_complete(world))
    world.check()


@pytest.mark.parametrize("scenario", [what_comes_after_idle_hours_lands, what_was_not_decided_is_not_deleted])
def test_the_scenario_holds(scenario: Scenario) -> None:
    run_seeds(scenario, count=3)


def test_loaders_that_share_land_every_offset_once_whoever_still_believes_in_a_partition_that_was_taken() -> None:
    run_seeds(table_log_shared, count=60)


def test_loaders_that_come_and_go_hand_over_without_losing_work() -> None:
    run_seeds(members_come_and_go, count=20)


def test_no_partition_waits_for_longer_than_a_session_and_some_seconds() -> None:
    run_seeds(members_die_and_sleep, count=10)


# At every step of a hand-over.


def _dies(world: World, process: Process) -> None:
    world.kill(process)


def _sleeps(world: World, process: Process) -> None:
    """It is expelled, and wakes up where it was."""
    process.sleeps_until_ms = world.store.clock_ms + 2 * SESSION_MS


def _is_expelled(world: World, process: Process) -> None:
    """And never hears of what it was to hand over, but that it is lost."""
    assert process.sharer is not None
    world.group.expel(process.sharer.member)


def _is_refused(world: World, process: Process) -> None:
    """The store does not do what it is asked."""
    world.refuse(process)


def _topic_is_made_again(world: World, process: Process) -> None:
    world.make_topic_again()


ACCIDENTS = (_dies, _sleeps, _is_expelled, _is_refused, _topic_is_made_again)


def handed_over(accident: Callable[[World, Process], None], at: int) -> bool:
    """One of two loaders has read what it has not committed, and loses a partition; the accident comes `at` its nth step.

    Returns:
        Whether it came before the end.
    """
    world = orderly(random.Random(at))
    world.group.is_eager = False
    world.start_sharer()
    run_until(world, lambda: is_settled(world))
    world.topic.ends = [5, 7]
    loser = next(process for process in world.processes if process.sharer and process.sharer.reads(0))
    assert loser.sharer is not None
    attempt = loser.sharer.tenure.attempt
    run_until(world, lambda: not attempt.is_empty or loser.sharer.tenure.attempt is not attempt)
    other = next(number for number in world.group.members if number != loser.sharer.member)
    world.group.wanted = dict.fromkeys(PARTITIONS, other)
    comes = False
    for _ in range(at):
        comes = loser.sharer.claims.holds("topic", 0) or not world.group.members[loser.sharer.member].is_quiet
        if not comes:
            break
        world.run(loser)
        world.step_group()
    else:
        accident(world, loser)
        comes = True
    run_until(world, lambda: is_settled(world) and is_complete(world))
    world.check()
    world.check_at_rest()
    return comes


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.__name__[1:])
def test_whatever_comes_at_any_step_of_a_hand_over_each_offset_lands_once(accident: Callable[[World, Process], None]) -> None:
    at = 1
    while handed_over(accident, at):
        at += 1
    assert at > 15, "it takes many steps"


# What the guards are for.


def test_the_seeds_bring_about_what_they_are_for() -> None:
    """Two who believe in one partition, hand-overs in which somebody dies, losses that are heard of late, all at once."""
    seen: set[str] = set()
    for seed in range(60):
        world = shared(random.Random(seed))
        for _ in range(1000):
            step(world)
            seen |= _happening(world)
            if len(seen) == 4:
                return
    raise AssertionError(seen)


def _happening(world: World) -> set[str]:
    readers = [partition for sharer in world.sharers() for partition in PARTITIONS if sharer.reads(partition)]
    members = world.group.members.values()
    found = {
        "two read one partition": len(readers) > len(set(readers)),
        "died before it answered": any(member.is_dead and member.told for member in members),
        "lost, and not told": any(not member.is_in and member.deaf_until_ms > world.store.clock_ms for member in members),
        "late and failing": bool(world.late) and any(process.fails for process in world.processes),
    }
    return {what for what, is_so in found.items() if is_so}


GUARDS: dict[str, tuple[Scenario, type | ModuleType, str, str, str]] = {
    "the log fences whoever still believes": (table_log_shared, commit, "_fenced_by", "if end != landed.start:", "if False:"),
    "what was not decided is not deleted": (
        what_was_not_decided_is_not_deleted,
        Tenure,
        "_commit",
        "self._begin_attempt(self.fold, now_ms)  # its record may come yet: its files are the sweeper's",
        "pass",
    ),
    "hand over, then answer": (members_come_and_go, Claims, "on_revoke", "HandOver(), Answer()", "Answer(), HandOver()"),
    "what is lost is let go of": (members_come_and_go, Tenure, "share", "(loses or gains)", "gains"),
    "what is gained is folded afresh": (members_come_and_go, Tenure, "share", "(loses or gains)", "loses"),
    "what was read is committed first": (members_come_and_go, Tenure, "share", "yield from self.commit()", "yield from ()"),
    "and nothing is read afterwards": (members_come_and_go, Tenure, "share", 'self.start_over("", rest_ms=0)', "()"),
    "the group's first word ends having all": (table_log_shared, Claims, "on_assign", "self.has_all = False", "pass"),
    "what the group takes is not ours": (table_log_shared, Claims, "on_revoke", "self._held -= set(partitions)", "pass"),
    "who is fenced starts over": (table_log_shared, Tenure, "commit", 'yield from self.start_over("")', "yield from ()"),
    "who starts over reads nothing of before": (table_log_shared, Tenure, "stop_reading", "self._reads.clear()", "pass"),
    "nor what was on its way": (
        table_log_shared,
        Tenure,
        "stop_reading",
        "yield StopReading(tuple(self._reads))",
        "yield from ()",
    ),
    "what fails is tried again": (members_die_and_sleep, Tenure, "start_over", "self.is_open = False", "pass"),
    "old folds are renewed": (
        what_comes_after_idle_hours_lands,
        Tenure,
        "keep_fresh",
        "if not self.attempt.is_empty or now_ms - self.attempt.started_ms < STALE_FOLD_MS:",
        "if True:",
    ),
    "a generation that is closed is left": (table_log_shared, Tenure, "_go_on_from", "not fold.is_closed and ", ""),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_some_seed_loses_repeats_wastes_or_waits(guard: str) -> None:
    scenario, target, function, old, new = GUARDS[guard]
    with mutated(target, function, old, new):
        assert first_failing_seed(scenario, count=100) is not None
