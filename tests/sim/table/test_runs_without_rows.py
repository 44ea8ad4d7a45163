"""A run without rows has no files by which a fold could show it: rules that no seed was seen to need, each in its history."""

import random
from collections.abc import Callable

import pytest

from headrace.clock import MonotonicMs, WallMs
from headrace.sinks.table import commit, upkeep
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, Job
from headrace.sinks.table.store import Put, carry_out
from tests.sim.harness import Guard, Scenario
from tests.sim.table.store import SimStore

ONE, OTHER = "dt=2026-01-01", "dt=2026-01-02"


class Standing:
    """A clock that stands still."""

    def wall_ms(self) -> WallMs:
        return WallMs(0)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(0)


class Interrupted(SimStore):
    """A store whose first put is answered late: `meanwhile` comes between the put and its answer."""

    def __init__(self, meanwhile: Callable[["Interrupted"], object], answer: Put) -> None:
        super().__init__()
        self._meanwhile: Callable[[Interrupted], object] | None = meanwhile
        self._answer = answer

    def put_if_absent(self, path: str, data: bytes) -> Put:
        answer = super().put_if_absent(path, data)
        if self._meanwhile is None:
            return answer
        meanwhile, self._meanwhile = self._meanwhile, None
        meanwhile(self)
        return self._answer


def run(store: SimStore, name: str, directory: str) -> commit.Won | commit.Fenced:
    """A run without rows, from its look to its end."""
    fold: Fold = carry_out(commit.read_head(), store)
    owner = fold.slices.get(directory)
    replaces = owner.attempt if owner else None
    draft = CommitRecord("replace", name, "sim", 0, slice=directory, replaces=replaces, job=Job("sim", "1"))
    done: commit.Won | commit.Fenced = carry_out(commit.commit(draft, fold, started_ms=0), store, Standing())
    return done


def another_with_a_checkpoint(store: SimStore) -> None:
    carry_out(upkeep.write_checkpoint(run(store, "another", OTHER).fold), store)


def a_run_has_won_though_a_checkpoint_covers_its_record_before_it_looks(_: random.Random) -> None:
    done = run(Interrupted(another_with_a_checkpoint, Put.CREATED), "mine", ONE)
    assert isinstance(done, commit.Won)
    assert done.fold.slices[ONE].attempt == "mine"


def a_run_whose_answer_was_lost_has_won_though_another_has_replaced_it_since(_: random.Random) -> None:
    done = run(Interrupted(lambda store: run(store, "another", ONE), Put.UNKNOWN), "mine", ONE)
    assert isinstance(done, commit.Won)
    assert done.fold.slices[ONE].attempt == "another"


RULES: list[tuple[Scenario, Guard]] = [
    (
        a_run_has_won_though_a_checkpoint_covers_its_record_before_it_looks,
        Guard(commit, "_shows", "owner.attempt == mine.attempt:", "False:"),
    ),
    (
        a_run_whose_answer_was_lost_has_won_though_another_has_replaced_it_since,
        Guard(commit, "_put", "return held is not None and record.decode(held, path).attempt == mine.attempt", "return False"),
    ),
]


@pytest.mark.parametrize("scenario", [scenario for scenario, _ in RULES], ids=lambda scenario: scenario.__name__)
def test_it_holds(scenario: Scenario) -> None:
    scenario(random.Random(0))


@pytest.mark.parametrize(("scenario", "guard"), RULES, ids=lambda one: one.function if isinstance(one, Guard) else one.__name__)
def test_without_its_rule_it_does_not_hold(scenario: Scenario, guard: Guard) -> None:
    assert guard.is_noticed(scenario, count=1)
