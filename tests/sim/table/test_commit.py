"""The table log's commit under every accident that the simulator knows: exactly once, then progress; its guards are needed."""

import random

import pytest

from headrace.sinks.table import commit, generations, names, shown, upkeep
from headrace.sinks.table.fold import Fold, Fork
from tests.sim.harness import Scenario, first_failing_seed, mutated, run_seeds
from tests.sim.table.world import World


def table_log(rng: random.Random) -> None:
    _run(World(rng))


def table_log_with_poison(rng: random.Random) -> None:
    """Some records cannot be decoded."""
    _run(World(rng, poisons=True))


def _run(world: World) -> None:
    rng = world.rng
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


def table_log_on_objects(rng: random.Random) -> None:
    """Iceberg tables show files in their places, where nothing is moved in one step."""
    _run_shown(World(rng, shown_in=names.SHOWN))


def table_log_on_hdfs(rng: random.Random) -> None:
    """Iceberg tables show files by names that outlive moves."""
    _run_shown(World(rng, shown_in=names.HELD))


def _run_shown(world: World) -> None:
    for table in world.taste.choice([["one"], ["one", "one"], ["one", "two"]]):
        world.start_shower(table)
    world.start_sweeper()
    _run(world)


def heal(world: World) -> None:
    """No more accidents: everything written to the topic as it is now has landed after some time."""
    world.calm, world.compacts = True, False
    for process in world.processes:
        process.sleeps_until_ms = 0
    for member in world.group.members.values():
        member.deaf_until_ms = 0
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
    run_seeds(table_log, count=70)


def test_every_offset_lands_once_or_is_quarantined_once_after_any_accident() -> None:
    run_seeds(table_log_with_poison, count=70)


@pytest.mark.parametrize("scenario", [table_log_on_objects, table_log_on_hdfs])
def test_snapshots_of_iceberg_tables_can_be_read_until_they_are_forgotten(scenario: Scenario) -> None:
    run_seeds(scenario, count=60)


GUARDS = {
    # Commit, step 4 and 5.
    "columns that others have changed": (commit, "commit", "if _columns_moved(", "if False and _columns_moved("),
    "the topic is still what was read": (commit, "commit", "if not (yield Verify()):", "if not ((yield Verify()) or True):"),
    "an attempt lives an hour": (
        commit,
        "commit",
        "now_ms - started_ms >= (RUN_LIFETIME_MS if draft.slice else ATTEMPT_LIFETIME_MS)",
        "False",
    ),
    "fencing": (commit, "commit", "if moved := _fenced_by(draft, fold):", "if moved := '':"),
    "a range starts at the fold's end": (commit, "_fenced_by", "if end != landed.start:", "if False:"),
    "what is removed or kept is live": (commit, "_fenced_by", "if not fold.has(path):", "if False:"),
    # Ambiguous answers.
    "absent is no answer": (commit, "_put", "if answer is Put.UNKNOWN:", "if False:"),
    # Time bounds, folds before deleting.
    "no file is young enough to be an attempt's": (upkeep, "_old_files", "now_ms - SWEEP_UNNAMED_MS", "now_ms"),
    "history outlives every attempt": (upkeep, "_old_history", "_older(checkpoints, now_ms - KEEP_RECORDS_MS)", "checkpoints"),
    "fold before deleting": (upkeep, "sweep", "if not any(each.names(named_as) for each in folds)", "if True"),
    # Acting on what is durable, and moving all.
    "sync the log before acting on it": (
        upkeep,
        "finish_moves",
        "yield from sync(fold)",
        "yield from ()",
    ),
    "sync the log before moving": (
        commit,
        "move_into_place",
        "yield from sync(fold)",
        "yield from ()",
    ),
    "a checkpoint covers what has been moved": (upkeep, "write_checkpoint", "yield from _move_removed(fold)", "yield from ()"),
    # Rewinds.
    "nothing follows a close": (commit, "_fenced_by", "if fold.is_closed:", "if False:"),
    "pinned files stay": (commit, "_fenced_by", "if fold.is_pinned(path):", "if False:"),
    "one rewind at a time": (commit, "_rewind_fenced_by", 'if draft.kind == "fork" and draft.next != forked + 1:', "if False:"),
    "a close waits for all ends": (commit, "_rewind_fenced_by", 'if draft.kind == "close" else ""', 'if False else ""'),
    "files wait until their generation is opened": (
        commit,
        "move_into_place",
        'if not fold.is_opened or fold.is_closed or mine.kind in ("fork", "close"):',
        "if False:",
    ),
    "a rewind's own files are named": (upkeep, "read_folds", "if fold.fork is None", "if True"),
    "history is kept until a generation is opened": (upkeep, "_newest_opened", "if fold.is_opened", "if True"),
    "what a closed generation had is taken out": (
        generations,
        "_following",
        "following.removed += [path for path in (*fold.files, *fold.removed) if path not in following.files]",
        "pass",
    ),
}


OF_QUARANTINE = {
    "what is merged or expires is live": (commit, "_fenced_by", "if not fold.has(path):", "if False:"),
    "quarantine that a rewind keeps is pinned": (Fold, "is_pinned", "self.fork.names(path)", "path in self.fork.kept"),
    "quarantine files are named": (Fold, "has", " or path in self.quarantined", ""),
    "those of a rewind are": (Fork, "names", " or path in self.quarantined", ""),
    "none is young enough to be an attempt's": (
        upkeep,
        "_old_files",
        "for entry in quarantine if entry.changed_ms <= unnamed",
        "for entry in quarantine",
    ),
    "taken-out quarantine is moved": (shown, "moves_away", "for path in paths if names.is_quarantine(path)", "for path in ()"),
}


@pytest.mark.parametrize("guard", OF_QUARANTINE)
def test_without_a_guard_some_seed_loses_or_repeats_a_quarantined_record(guard: str) -> None:
    target, function, old, new = OF_QUARANTINE[guard]
    with mutated(target, function, old, new):
        assert first_failing_seed(table_log_with_poison, count=400) is not None


def test_without_the_lease_some_seed_leaves_a_snapshot_with_a_missing_file() -> None:
    with mutated(shown, "moves_away", "(yield from is_shown())", "((yield from is_shown()) and False)"):
        assert first_failing_seed(table_log_on_objects, count=100) is not None


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
