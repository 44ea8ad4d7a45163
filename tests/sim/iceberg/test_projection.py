"""The Iceberg projection under every accident of the simulator: never a file twice or missing; its guards are needed."""

import random

import pytest

from headrace.sinks.iceberg import projection
from headrace.sinks.table.record import CommitRecord, DataFile
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.iceberg.world import World, marks_of


def iceberg_projection(rng: random.Random) -> None:
    world = World(rng, log_goes_back=rng.random() < 0.5)
    strangers = rng.choice([0.0, 0.1])
    if not world.log_goes_back:
        strangers = 0.0  # others may take the table back; only then may we be seen to
    for _ in range(rng.choice([1, 2, 3])):
        world.start()
    for _ in range(rng.choice([100, 300])):
        world.time += 1
        _happen(world, strangers)
        ready = [one for one in world.committers if one.paused_until <= world.time]
        if ready:
            world.run(rng.choice(ready), calm=False)
    _heal(world)


def _happen(world: World, strangers: float) -> None:
    rng = world.rng
    for due, step in [item for item in world.late if item[0] <= world.time]:
        world.late.remove((due, step))
        world.commit(step)
    if rng.random() < 0.25:
        world.grow()
    if rng.random() < 0.06:
        world.disturb_log()
    if rng.random() < strangers:
        world.disturb_table()
    if rng.random() < 0.03:
        rng.choice(world.committers).paused_until = world.time + rng.randint(1, 80)


def _heal(world: World) -> None:
    """No more accidents: the table shows the head, once each committer has gone round."""
    world.late.clear()
    if not world.log.head.files:
        world._append("load", {}, (), 3)
    for one in world.committers:
        before = world.done
        for _ in range(60):
            world.run(one, calm=True)
        assert world.done > before, "no progress"
    if world.log.head.files:
        assert world.shows_head()


def test_no_file_is_shown_twice_or_missing_after_any_accident() -> None:
    run_seeds(iceberg_projection, count=400)


def test_after_a_compaction_only_the_files_that_it_touched_are_looked_for() -> None:
    """On HDFS each of them costs questions to the NameNode."""
    files = [DataFile(f"f{n:02}", "parquet", 1, 1, "", "", 0, 0) for n in range(51)]
    loaded = CommitRecord("load", "one", "test", 0, add=tuple(files[:50]), seq=0)
    merged = CommitRecord("compact", "two", "test", 0, add=(files[50],), remove=("f07", "f08"), seq=1)
    head = projection.Head(marks_of(merged), {file.path: file for file in files if file.path not in merged.remove})
    steps = projection.project()
    assert isinstance(next(steps), projection.LoadTable)
    assert isinstance(steps.send(projection.Shown(7, marks_of(loaded))), projection.HoldFiles)
    assert isinstance(steps.send(None), projection.ReadHead)
    assert steps.send(head) == projection.ReadRecords(1, 0, 1)
    assert steps.send((loaded, merged)) == projection.ListLive(("f07", "f08", "f50"))
    inodes = {f"hdfs://n/{n}" for n in range(48)}
    assert steps.send(projection.Live(frozenset({"f07", "f08"} | inodes))) == projection.Commit(
        7, (files[50],), ("f07", "f08"), marks_of(merged)
    )


GUARDS = {
    "the table is read before the head": (
        "project",
        "        shown: Shown | None = yield LoadTable()\n        yield HoldFiles()\n        head: Head = yield ReadHead()\n",
        "        head = yield ReadHead()\n        shown = yield LoadTable()\n",
    ),
    "marks are an attempt, not a number (head)": ("_records_since", "if marks.attempt == to.attempt else None", ""),
    "the first record read is the one that is shown": ("_records_since", "(marks.attempt, ", "(records[0].attempt, "),
    "the last record read is the head": ("_records_since", ", to.attempt)", ", records[-1].attempt)"),
    "swept records say nothing": ("_records_since", "len(records) < len(found) or ", ""),
    "removals are compared, not believed": ("_decide", " and not any(record.remove for record in records)", ""),
    "what is there is not added": ("_decide", "if path not in live.names)", ")"),
    "what is not ours is removed": ("_decide", "live.names - head.files.keys()", "set()"),
    "what is not to be found is looked for among all": ("_compared", " and removed - added <= live.names", ""),
    "what another engine has altered is made good": ("_decide", "if live.are_altered:", "if False:"),
    "other formats are not shown": ("_decide", " if file.path in head.files)", ")"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_some_seed_shows_a_file_twice_or_not_at_all(guard: str) -> None:
    function, old, new = GUARDS[guard]
    with mutated(projection, function, old, new):
        assert first_failing_seed(iceberg_projection, count=1500) is not None


def test_without_the_check_of_the_current_snapshot_some_seed_shows_a_file_twice_or_not_at_all() -> None:
    with mutated(World, "commit", "(table.current.id if table.current else None) != step.snapshot_id", "False"):
        assert first_failing_seed(iceberg_projection, count=400) is not None


def test_with_marks_among_the_properties_alone_a_table_that_was_rolled_back_is_taken_for_current() -> None:
    with mutated(World, "answer", "marks if marks == current.marks else None", "marks"):
        assert first_failing_seed(iceberg_projection, count=1500) is not None


def test_with_marks_in_the_summary_alone_nothing_is_wrong_until_the_properties_are_asked_for() -> None:
    with mutated(World, "answer", "marks if marks == current.marks else None", "current.marks"):
        assert first_failing_seed(iceberg_projection, count=200) is None
