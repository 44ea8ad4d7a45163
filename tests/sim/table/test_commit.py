"""The table log's commit under every accident that the simulator knows: exactly once, then progress; its guards are needed."""

import random

import pytest

from headrace.sinks.table import commit
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.table.world import World


def table_log(rng: random.Random) -> None:
    world = World(rng)
    theme = rng.choice(["loading", "loading", "rewriting", "rewinding", "all"])  # fewer processes meet more often
    for _ in range(rng.choice([1, 2, 2, 3])):
        world.start_loader()
    for _ in range({"loading": rng.choice([0, 0, 1]), "rewriting": 2, "rewinding": rng.choice([0, 1]), "all": 1}[theme]):
        world.start_compactor()
    if theme == "all" or (theme == "rewriting" and rng.random() < 0.5):
        world.start_expirer()
    for _ in range({"loading": 0, "rewriting": 0, "rewinding": rng.choice([1, 2]), "all": 1}[theme]):
        world.start_rewinder()
    if theme != "loading" and rng.random() < 0.4:
        world.start_reader()
    if rng.random() < 0.7:
        world.start_sweeper()
    for _ in range(rng.choice([200, 500, 900])):
        world.step()
        if rng.random() < 0.03:
            world.check()
    heal(world)


def heal(world: World) -> None:
    """No more accidents: everything written to the topic as it is now has landed after some time."""
    world.calm, world.compacts = True, False
    for process in world.processes:
        process.sleeps_until_ms = 0
    for _ in range(6000):
        world.step()
        if not world.rng.randrange(50) and is_complete(world):
            break
    fold = world.check()
    assert is_complete(world), f"no progress: {fold.ends}, {world.topic}"
    world.check_at_rest()


def is_complete(world: World) -> bool:
    fold = world.head()
    for partition, end in enumerate(world.topic.ends):
        known = fold.ends.get((fold.incarnation(partition), partition))
        if end and (known is None or known.topic_id != world.topic.topic_id or known.offset != end):
            return False
    return True


def test_every_offset_lands_once_and_loading_goes_on_after_any_accident() -> None:
    run_seeds(table_log, count=100)


GUARDS = {
    # Commit, step 4 and 5.
    "columns that others have changed": (commit, "commit", "if _columns_moved(", "if False and _columns_moved("),
    "the topic is still what was read": (commit, "commit", "if not (yield Verify()):", "if not ((yield Verify()) or True):"),
    "an attempt lives an hour": (commit, "commit", "now_ms - started_ms >= ATTEMPT_LIFETIME_MS", "False"),
    "fencing": (commit, "commit", "if moved := _fenced_by(draft, fold):", "if moved := '':"),
    "a range starts at the fold's end": (commit, "_fenced_by", "if end != landed.start:", "if False:"),
}


def test_without_both_looks_for_an_earlier_win_some_seed_deletes_what_has_landed() -> None:
    held = "return held is not None and record.decode(held, path).attempt == mine.attempt"
    with (
        mutated(commit, "_put", held, "return False"),
        mutated(commit, "give_up", "if _shows(draft, fold):", "if False:"),
    ):
        assert first_failing_seed(table_log, count=400) is not None


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_some_seed_loses_repeats_or_shows_too_much(guard: str) -> None:
    module, function, old, new = GUARDS[guard]
    with mutated(module, function, old, new):
        assert first_failing_seed(table_log, count=400) is not None
