"""Groups under a broken network, dying clients and dying brokers: first safety, then, once all is healed, progress."""

import random

from headrace.broker.groups.group import Group
from tests.sim.groups.group_world import World
from tests.sim.harness import first_failing_seed, mutated, run_seeds


def groups_keep_their_promises(source: random.Random) -> None:
    """In every generation each partition has one owner and all members one leader; healed, all members share everything."""
    world = World(source, chaos=source.choice([0.0, 0.05, 0.2]))
    for _ in range(source.choice([50, 600])):
        world.step()
    world.heal()


def test_groups_keep_their_promises() -> None:
    run_seeds(groups_keep_their_promises, count=400)


def test_commits_of_past_generations_are_noticed_without_their_guard() -> None:
    with mutated(Group, "check_commit", "if generation != self.generation:", "if False:"):
        assert first_failing_seed(groups_keep_their_promises, count=400) is not None


def test_an_assignment_of_a_past_generation_is_noticed_without_its_guard() -> None:
    with mutated(Group, "_check_sync", "if request.generation != self.generation:", "if False:"):
        assert first_failing_seed(groups_keep_their_promises, count=400) is not None
