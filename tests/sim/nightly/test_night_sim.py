"""Nights that are killed, run at once, stopped, wrong about the time, while lines land late, are lost, expire and change.

Of every output that a night makes: it is one whole run's, over a snapshot no older than the gate's word and no older than the
output that it replaces; the word was complete, unless people want it otherwise; nothing has gone from it that had gone when the
night looked; nothing is run again for nothing, or that is too old, or of another version unasked. When all is quiet, a night
leaves every day done, or says why not; and the next has nothing to do.
"""

import math
import random
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from headrace.jobs.nightly import plan
from headrace.jobs.nightly.config import Nightly
from headrace.jobs.nightly.course import Course, Output
from headrace.jobs.nightly.report import Entry
from headrace.sinks.derived.slices import day
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.nightly.world import DAY_MS, Night, Sums, World

MOVES = 400


def nights(rng: random.Random) -> None:
    """Some weeks of one root."""
    world = World(rng)
    keys: dict[str, Any] = {
        "root": "/landed",
        "after": rng.choice(("00:00", "03:00")),
        "catch_up": rng.randint(2, 6),
        "rerun": rng.randint(0, 4),
        "wait": rng.choice(("1s", "2h")),
        "on_incomplete": rng.choice(("hold", "hold", "run", "skip", "fail")),
        "retries": rng.randint(0, 2),
        "keep_going": rng.random() < 0.7,
        "jobs": [{"job": "counts"}],
    }
    config = Nightly.model_validate(keys)
    outputs = [Output("sums", Sums(), table, topics) for table, topics in (("a", ("web",)), ("b", ("shop", "web")))]
    poisoned = rng.choice(("", "", "a", "b"))
    running: list[Night] = []
    for _ in range(MOVES):
        world.move()
        if len(running) < 2 and rng.random() < 0.15:
            skew_ms = rng.choice((0, 0, 0, -3 * DAY_MS, 2 * DAY_MS))
            running.append(Night(world, config, outputs, skew_ms, poisoned, outdated=rng.random() < 0.1))
        if rng.random() < 0.01:
            outputs = [Output("sums", Sums(scale=rng.randint(1, 3)), each.table, each.topics) for each in outputs]
        for night in list(running):
            if rng.random() < 0.02:
                night.life.close()  # kill -9
            if night.entries is not None or not all(_goes_on(night) for _ in range(rng.randint(0, 6))):
                running.remove(night)
    for night in running:
        night.life.close()
    world.land(everything=True)
    world.now_ms += DAY_MS // 4
    quiet(world, config, outputs, poisoned)


def _goes_on(night: Night) -> bool:
    return next(night.life, "end") != "end"


def quiet(world: World, config: Nightly, outputs: list[Output], poisoned: str) -> None:
    """Nothing fails any more but a job of a user's own; everything that was sent has landed, or never will."""
    config = config.model_copy(update={"keep_going": True})
    ledgers = {output.table: world.owners(output.table) for output in outputs}
    night = whole_night(world, config, outputs, poisoned)
    told = {(entry.table, entry.day): entry for entry in night.entries or []}
    for output in outputs:
        for date in to_be_told(ledgers[output.table], night):
            check_day(world, config, output, told[output.table, date], poisoned, night)
    assert not whole_night(world, config, outputs, poisoned).ran, "a second night has run something"


def whole_night(world: World, config: Nightly, outputs: list[Output], poisoned: str) -> Night:
    """One without an accident."""
    night = Night(world, config, outputs, 0, poisoned, faults=0)
    for _ in night.life:
        pass
    return night


def to_be_told(ledger: Iterable[str], night: Night) -> list[str]:
    """The days that are looked at, and those of the month before them that were left out since the first run."""
    window = [plan.date_of(of.directory) for of in night.days]
    ran = [plan.date_of(each) for each in ledger]
    month = [window[0] - timedelta(days=ago) for ago in range(1, 32)]
    return [str(date) for date in [*month, *window] if date in window or (ran and min(ran) < date and date not in ran)]


def check_day(world: World, config: Nightly, output: Output, entry: Entry, poisoned: str, night: Night) -> None:
    """What became of a day is what had to become of it."""
    of = day(entry.day)
    made = world.ledgers[output.table].get(of.directory)
    age = night.days.index(of) - len(night.days) + 1 if of in night.days else -math.inf
    match entry.outcome:
        case "ran" | "done":
            assert made is not None, "nothing is there"
            assert made.rows == world.rows(of, output.topics), "it is not what has landed"
            assert not plan.difference(made.owner.job, output.job), "it is outdated"
        case "held" | "skipped":
            assert world.judge(of, output.topics).word.state != "complete", "a complete day was held"
        case "failed":
            assert output.table == poisoned or config.on_incomplete == "fail", "it failed"
        case "missing":
            assert of not in night.days, "it was left out"
        case "changed":
            assert -age >= config.rerun, "it was not run again"
        case "shrunk" | "outdated":
            assert made is not None
        case _:
            raise AssertionError(f"a quiet night leaves a day {entry.outcome}")


def test_each_output_is_one_whole_run_over_what_the_gate_has_seen_and_no_day_is_skipped() -> None:
    run_seeds(nights, count=70)


@each_guard(
    (plan, "decide", 'if verdict == "complete":', "if True:"),
    (plan, "decide", "not is_over", "False"),
    (plan, "compare", "if any(one.rows >", "if any(one.rows < 0 and one.rows >"),
    (plan, "compare", "one.content_hash == was.content_hash", "one.rows == was.rows"),
    (plan, "standing", "and age < rerun", ""),
    (plan, "standing", 'and state == "done"', "and False"),
    (plan, "days", "minutes >= config.after_minutes", "True"),
    (plan, "pause_s", "failures > retries", "False"),
    (plan, "forgotten", "not in ran", "in ()"),
    (Course, "_due", '(self.outdated and of.state == "outdated")', 'of.state == "outdated"'),
    (Course, "_due", "sorted(found, key=lambda each: each[1].date)", "found"),
    (Course, "_round", "waiting.append((output, of))", "return pending[at:], why"),
    (Course, "_run", "None if came.is_final else", ""),
    (Course, "_run", 'self._is_over = came.outcome == "stopped"', "pass"),
    (Course, "_run", "self._is_over = True", "pass"),
    (Course, "_tell", "and not self.config.keep_going", "and False"),
    (Course, "steps", "self._is_over = now_s is None", "pass"),
)
def test_without_a_guard_some_seed_notices(guard: Guard) -> None:
    assert guard.is_noticed(nights, count=300)
