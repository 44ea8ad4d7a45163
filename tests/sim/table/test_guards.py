"""Guards of the table log that only a rare order of things needs: each with the scenario that fails without it."""

import random
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import HeadraceError, StorageError, UndecidedError
from headrace.sinks.iceberg import projection
from headrace.sinks.iceberg.leases import Leases
from headrace.sinks.table import commit, generations, names, record, rewind, upkeep
from headrace.sinks.table.commit import Fenced, Won, read_head
from headrace.sinks.table.fold import Fold, PartitionEnd
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange, OffsetRange, Quarantine
from headrace.sinks.table.store import Put, PutIfAbsent, carry_out
from tests.sim.harness import mutated
from tests.sim.table.store import SimStore


class Clock:
    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(5)

    def wall_ms(self) -> WallMs:
        return WallMs(7)


def draft(store: SimStore, fold: Fold, name: str, count: int = 3, *, incarnation: int | None = None) -> CommitRecord:
    """A load of the next rows of partition 0, its file written."""
    of = fold.incarnation(0) if incarnation is None else incarnation
    start = fold.end(of, 0)
    file = DataFile(
        f"dt=2026-01-01/hour=00/{name}-0.parquet", "parquet", count, 1, "crc32c:00000000", "0" * 16, 0, 0,
        ranges=(OffsetRange(of, 0, start, start + count),),
    )  # fmt: skip
    store.write(names.staged(file.path), b"rows")
    landed = LandedRange(of, 0, start, start + count, count, 0, 0, last_offset=start + count - 1)
    return CommitRecord("load", name, "sim", 1, (landed,), (file,), generation=fold.generation)


def done(store: SimStore, one: CommitRecord, fold: Fold) -> Won | Fenced:
    return carry_out(commit.commit(one, fold, started_ms=0), store, Clock())


def load(store: SimStore, name: str, generation: int | None = None) -> Fold:
    fold = carry_out(read_generation(generation), store)
    outcome = done(store, draft(store, fold, name), fold)
    assert isinstance(outcome, Won)
    return outcome.fold


def fork(store: SimStore, name: str) -> int:
    """Rewind partition 0 to its beginning."""
    fold = carry_out(read_head(), store)
    one = rewind.fork_record(CommitRecord("fork", name, "sim", 1), fold, {(0, 0): PartitionEnd(0)}, kept=(), begins=Fold())
    assert isinstance(done(store, one, fold), Won)
    return one.next or 0


def close(name: str) -> CommitRecord:
    return CommitRecord("close", name, "sim", 1)


def is_whole(store: SimStore) -> Fold:
    fold = carry_out(read_head(), store)
    for path in fold.files:
        assert any(place in store.files for place in (names.staged(path), path, names.removed(path))), f"{path} is missing"
    return fold


def an_older_incarnation_is_over() -> None:
    store = SimStore()
    fold = load(store, "old")
    late = draft(store, fold, "late")
    before = carry_out(read_head(), store)
    assert isinstance(done(store, draft(store, before, "new", incarnation=1), before), Won)
    assert isinstance(done(store, late, fold), Fenced)


def an_undecided_put_deletes_nothing() -> None:
    class Failing(SimStore):
        puts = 0

        def put_if_absent(self, path: str, data: bytes) -> Put:
            self.puts += 1
            if self.puts == 1:
                self.late = (path, data)
                return Put.UNKNOWN
            raise StorageError("the store is away")

    store = Failing()
    one = draft(store, Fold(), "one")
    try:
        done(store, one, Fold())
    except UndecidedError:
        pass
    except StorageError as error:  # as a loader does
        carry_out(commit.give_up(one, str(error)), store)
    SimStore.put_if_absent(store, *store.late)
    is_whole(store)


def removed_files_stay_for_readers_in_flight() -> None:
    store = SimStore()
    read = load(store, "one")
    paths = list(read.files)
    fold = carry_out(read_head(), store)
    made = replace(draft(store, fold, "two"), kind="compact", ranges=(), remove=tuple(paths))
    assert isinstance(done(store, made, fold), Won)
    carry_out(upkeep.sweep(), store)
    assert all(names.removed(path) in store.files for path in paths)


def poison(store: SimStore, fold: Fold, name: str) -> CommitRecord:
    """A load of one record of partition 0, which cannot be decoded."""
    start = fold.end(0, 0)
    path = f"{names.QUARANTINE}/{name}.jsonl.zst"
    store.write(path, b"poison")
    return CommitRecord("load", name, "sim", 1, (LandedRange(0, 0, start, start + 1, 0, 1, 0),), quarantine=Quarantine(path, 1))


def poisoned(store: SimStore) -> Fold:
    """A table with two quarantine files."""
    for name in ("one", "two"):
        fold = carry_out(read_head(), store)
        assert isinstance(done(store, poison(store, fold, name), fold), Won)
    return carry_out(read_head(), store)


def merged_quarantine(store: SimStore, fold: Fold) -> CommitRecord:
    """All quarantine files in one, which is written."""
    path = f"{names.QUARANTINE}/merged.jsonl.zst"
    store.write(path, b"poison" * 2)
    return CommitRecord("compact", "merged", "sim", 1, remove=tuple(fold.quarantined), quarantine=Quarantine(path, 2))


def a_rewind_keeps_no_quarantine_that_has_just_been_merged() -> None:
    store = SimStore()
    begun = poisoned(store)
    begins = Fold()
    for found in begun.quarantined.values():
        begins.quarantine(found)
    fork = rewind.fork_record(CommitRecord("fork", "back", "sim", 1), begun, {(0, 0): PartitionEnd(2)}, kept=(), begins=begins)
    fold = carry_out(read_head(), store)
    assert isinstance(done(store, merged_quarantine(store, fold), fold), Won)
    assert isinstance(done(store, fork, begun), Fenced)


def quarantine_stays_for_readers_in_flight_whoever_sweeps_before_it_is_moved() -> None:
    store = SimStore()
    old = poisoned(store)
    store.clock_ms += upkeep.SWEEP_UNNAMED_MS
    made = merged_quarantine(store, old)
    _until_put(store, commit.commit(made, carry_out(read_head(), store), started_ms=0))  # and it dies: nothing has moved
    carry_out(upkeep.sweep(), store)
    carry_out(upkeep.finish_moves(carry_out(read_head(), store)), store)
    assert all(names.removed(path) in store.files for path in old.quarantined)


def a_record_of_quarantine_alone_is_seen_to_have_won() -> None:
    store = SimStore()
    load(store, "one")
    fold = carry_out(read_head(), store)
    steps = commit.commit(poison(store, fold, "two"), fold, started_ms=0)
    answer = _until_put(store, steps)
    carry_out(upkeep.write_checkpoint(load(store, "three")), store)  # it hides of which attempt the record before is
    outcome = _to_the_end(store, steps, answer)
    assert isinstance(outcome, Won)
    assert all(path in store.files for path in carry_out(read_head(), store).quarantined)


def a_checkpoint_covers_what_is_durable() -> None:
    store = SimStore()
    fold = load(store, "one")
    one = replace(draft(store, fold, "two"), seq=1, prev=fold.attempt)
    store.begin_put(names.record_path(1, 1), record.encode(one))  # seen by others, not safe yet
    carry_out(upkeep.write_checkpoint(carry_out(read_head(), store)), store)
    store.cut_power(_All())
    head = carry_out(read_head(), store)
    assert all(names.record_path(1, seq) in store.files for seq in range(head.seq + 1))


def a_generation_given_up_takes_over_nothing() -> None:
    store = SimStore()
    load(store, "one")
    assert fork(store, "back") == 2
    following = load(store, "again", 2)
    _interrupted(store, rewind.hand_over(close("close"), following), lambda: fork(store, "further back"))
    head = is_whole(store)
    assert (head.generation, head.is_closed) == (1, False)


def what_a_close_relies_on_is_durable() -> None:
    store = SimStore()
    load(store, "one")
    assert fork(store, "back") == 2
    begun = carry_out(read_generation(2), store)
    one = replace(draft(store, begun, "again"), seq=begun.seq + 1, prev=begun.attempt)
    store.begin_put(names.record_path(2, one.seq), record.encode(one))
    _until_put(store, rewind.hand_over(close("close"), carry_out(read_generation(2), store)))
    store.cut_power(_All())
    assert is_whole(store).end(0, 0) == 3


def what_a_rewind_begins_with_is_durable() -> None:
    store = SimStore()
    fold = load(store, "one")
    one = rewind.fork_record(CommitRecord("fork", "back", "sim", 1), fold, {(0, 0): PartitionEnd(0)}, kept=(), begins=Fold())
    store.begin_put(names.record_path(1, 1), record.encode(replace(one, seq=1, prev=fold.attempt)))  # seen, and not safe yet
    load(store, "again", 2)
    store.cut_power(_All())
    assert carry_out(read_generation(2), store).generation == 2, "another rewind would begin where its records lie"


def what_is_to_be_moved_is_kept_over_a_checkpoint() -> None:
    store = SimStore()
    (old,) = load(store, "one").files
    assert fork(store, "back") == 2
    following = load(store, "again", 2)
    steps = rewind.hand_over(close("close"), following)
    _until_put(store, steps)  # the close is there, and its writer dies: nothing has moved
    opened = carry_out(read_head(), store)
    behind = carry_out(read_generation(2), store)
    behind.is_opened, behind.removed = False, []  # somebody who has not seen the close lands, and writes a checkpoint
    outcome = done(store, draft(store, behind, "more"), behind)
    assert isinstance(outcome, Won)
    carry_out(upkeep.write_checkpoint(outcome.fold), store)
    head = carry_out(read_head(opened), store)
    carry_out(upkeep.finish_moves(head), store)
    assert old not in store.files


OURS = "1890a727-8685-42ca-9263-625fbbc93fb6"
DAY_MS = upkeep.DAY_MS


def merged_away(store: SimStore) -> str:
    """A file that a compaction has just taken out; its path."""
    fold = carry_out(read_head(), store)
    (path,) = fold.files
    made = replace(draft(store, fold, "merged"), kind="compact", ranges=(), remove=(path,))
    assert isinstance(done(store, made, fold), Won)
    return path


def a_lease_comes_before_the_head() -> None:
    store, leases = SimStore(), Leases(names.SHOWN, "t")
    load(store, OURS)
    steps, answer = projection.project(), None
    while True:
        step = steps.send(answer)
        answer = None
        if isinstance(step, projection.LoadTable):
            answer = projection.Shown(None, None)
        elif isinstance(step, projection.HoldFiles):
            carry_out(leases.extend(store.clock_ms), store)
        elif isinstance(step, projection.ReadHead):
            fold = carry_out(read_head(), store)
            answer = projection.Head(projection.Marks(1, fold.seq, fold.attempt or ""), dict(fold.files))
            merged_away(store)
        elif isinstance(step, projection.ListLive):
            answer = projection.Live(frozenset())
        elif isinstance(step, projection.Commit):
            assert all(file.path in store.files for file in step.add), "what is about to be shown has been moved"
            return


def what_is_shown_in_its_place_is_not_swept() -> None:
    store = SimStore()
    load(store, OURS)
    store.clock_ms += 5 * DAY_MS
    carry_out(Leases(names.SHOWN, "t").extend(store.clock_ms), store)
    path = merged_away(store)
    carry_out(upkeep.write_checkpoint(carry_out(read_head(), store)), store)  # of whoever comes now, nobody knows to move it
    store.clock_ms += 3 * DAY_MS
    carry_out(upkeep.sweep(stages=False), store)
    assert path in store.files


def what_is_shown_by_another_name_stays_in_removed() -> None:
    store = SimStore()
    load(store, OURS)
    carry_out(Leases(names.HELD, "t").extend(store.clock_ms), store)
    path = merged_away(store)
    store.clock_ms += 2 * DAY_MS
    carry_out(upkeep.sweep(), store)
    assert names.removed(path) in store.files


def what_a_snapshot_has_is_not_let_go_of() -> None:
    store, mine = SimStore(), Leases(names.HELD, "t")
    load(store, OURS)
    carry_out(mine.extend(store.clock_ms), store)
    path = merged_away(store)
    store.clock_ms += 2 * DAY_MS
    candidates = carry_out(mine.old_files(), store)
    assert candidates == (path,)
    carry_out(mine.take_away(candidates, {path}), store)
    assert names.removed(path) in store.files


def what_another_table_may_have_is_not_let_go_of() -> None:
    store, mine = SimStore(), Leases(names.HELD, "t")
    load(store, OURS)
    for leases in (mine, Leases(names.HELD, "u")):
        carry_out(leases.extend(store.clock_ms), store)
    path = merged_away(store)
    store.clock_ms += 2 * DAY_MS
    carry_out(mine.take_away(carry_out(mine.old_files(), store), set()), store)
    assert names.removed(path) in store.files


class _All(random.Random):
    """The power takes all that it can."""

    def random(self) -> float:
        return 0.0


def _until_put(store: SimStore, steps: Any) -> Any:
    """Carry steps out up to their first put, that one included, and no further; the answer to it."""
    answer: Any = None
    while True:
        operation = steps.send(answer)
        answer = carry_out(_one(operation), store, Clock())
        if isinstance(operation, PutIfAbsent):
            return answer


def _to_the_end(store: SimStore, steps: Any, answer: Any) -> Any:
    """Carry the rest of steps out; what they return."""
    while True:
        try:
            operation = steps.send(answer)
        except StopIteration as ended:
            return ended.value
        answer = carry_out(_one(operation), store, Clock())


def _interrupted(store: SimStore, steps: Any, meanwhile: Callable[[], object]) -> None:
    """Carry steps out; before their first put something else happens."""
    answer: Any = None
    happened = False
    while True:
        try:
            operation = steps.send(answer)
        except StopIteration:
            return
        if isinstance(operation, PutIfAbsent) and not happened:
            happened = True
            meanwhile()
        answer = carry_out(_one(operation), store, Clock())


def _one(operation: Any) -> Any:
    return (yield operation)


SCENARIOS: list[tuple[Callable[[], None], ModuleType | type, str, str, str]] = [
    (
        an_older_incarnation_is_over,
        commit,
        "_fenced_by",
        "if fold.incarnation(landed.partition) > landed.incarnation:",
        "if False:",
    ),
    (an_undecided_put_deletes_nothing, commit, "_put", "if is_undecided:", "if False:"),
    (removed_files_stay_for_readers_in_flight, upkeep, "old_removed", "now_ms - SWEEP_REMOVED_MS", "now_ms"),
    (
        a_lease_comes_before_the_head,
        projection,
        "project",
        "        yield HoldFiles()\n        head: Head = yield ReadHead()\n",
        "        head = yield ReadHead()\n        yield HoldFiles()\n",
    ),
    (
        what_is_shown_in_its_place_is_not_swept,
        upkeep,
        "sweep",
        "if not stages and not (yield from shown.is_shown()):",
        "if not stages:",
    ),
    (
        what_is_shown_by_another_name_stays_in_removed,
        upkeep,
        "_old_files",
        "if removed and (yield from shown.is_shown(names.HELD)):",
        "if False:",
    ),
    (what_a_snapshot_has_is_not_let_go_of, Leases, "take_away", "path not in named and ", ""),
    (what_another_table_may_have_is_not_let_go_of, Leases, "old_files", "!= {self.table}:", "== set():"),
    (
        a_rewind_keeps_no_quarantine_that_has_just_been_merged,
        commit,
        "_fenced_by",
        "(*draft.remove, *draft.keep, *draft.keeps_quarantine)",
        "(*draft.remove, *draft.keep)",
    ),
    (
        quarantine_stays_for_readers_in_flight_whoever_sweeps_before_it_is_moved,
        upkeep,
        "sweep",
        "if path not in leaving",
        "",
    ),
    (a_record_of_quarantine_alone_is_seen_to_have_won, commit, "_shows", "and fold.names(mine.quarantine.path)", "and False"),
    (
        a_checkpoint_covers_what_is_durable,
        upkeep,
        "write_checkpoint",
        "yield from sync(fold)",
        "yield from ()",
    ),
    (
        a_generation_given_up_takes_over_nothing,
        commit,
        "_rewind_fenced_by",
        'if draft.kind == "close" and draft.next != forked:',
        "if False:",
    ),
    (
        what_a_close_relies_on_is_durable,
        rewind,
        "hand_over",
        "yield SyncLog(names.log_directory(following.generation))",
        "yield from ()",
    ),
    (
        what_a_rewind_begins_with_is_durable,
        generations,
        "_sync_fork",
        "yield SyncLog(names.log_directory(fold.generation))",
        "yield from ()",
    ),
    (
        what_is_to_be_moved_is_kept_over_a_checkpoint,
        commit,
        "_from_newest_checkpoint",
        "newer.removed = [path for path in fold.removed if path not in newer.files]",
        "pass",
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario[0].__name__)
def test_the_scenario_holds_with_its_guard_and_fails_without(scenario: Any) -> None:
    happens, module, function, old, new = scenario
    happens()
    with mutated(module, function, old, new), pytest.raises((AssertionError, HeadraceError)):
        happens()
