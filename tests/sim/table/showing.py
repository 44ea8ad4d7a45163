"""Iceberg tables over the log, on stores without links: what a snapshot has can be read until the snapshot is forgotten.

A table is brought up to the head by the projection's own core, holds files by leases, forgets snapshots after three days, and
lets go of what none of them has. Only what is promised is asked for: a table that nobody has synced for a week holds nothing
any more.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.sinks.iceberg import projection
from headrace.sinks.iceberg.leases import Leases
from headrace.sinks.iceberg.projection import Commit, CreateTable, Head, HoldFiles, ListLive, Live, LoadTable, Marks, ReadHead
from headrace.sinks.table import commit, names, record, upkeep
from headrace.sinks.table.shown import LEASE_MS
from headrace.sinks.table.store import Get, Now
from tests.sim.table.store import SimStore

if TYPE_CHECKING:
    from tests.sim.table.world import World

HOUR = 3_600_000
KEEP = 3 * 24 * HOUR


@dataclass(frozen=True)
class LoadShown:
    """Answer: the current snapshot; None if there is no table."""

    table: str


@dataclass(frozen=True)
class ListShown:
    """Answer: the files of all snapshots."""

    table: str


@dataclass(frozen=True)
class CommitShown:
    """Iceberg's transaction. Answer: whether it was accepted."""

    table: str
    step: Commit
    loaded_ms: int


@dataclass
class Snapshot:
    """What an Iceberg table showed; `is_promised` unless its table's leases have ended since."""

    id: int
    files: frozenset[str]
    marks: Marks | None
    made_ms: int
    is_promised: bool = True


@dataclass
class Shown:
    """All Iceberg tables over one landed one, whose leases are in `directory`."""

    store: SimStore
    directory: str
    snapshots: dict[str, list[Snapshot]] = field(default_factory=dict)

    def answer(self, operation: LoadShown | ListShown | CommitShown) -> Any:
        kept = self.snapshots.setdefault(operation.table, [Snapshot(0, frozenset(), None, self.store.clock_ms)])
        match operation:
            case LoadShown():
                return kept[-1]
            case ListShown():
                return frozenset(path for snapshot in kept for path in snapshot.files)
            case CommitShown(_, step, loaded_ms):
                now_ms, current = self.store.clock_ms, kept[-1]
                if current.id != (step.snapshot_id or 0) or now_ms - loaded_ms > HOUR:
                    return False
                files = current.files.difference(step.remove) | {file.path for file in step.add}
                kept.append(Snapshot(current.id + 1, files, step.marks, now_ms))
                self.snapshots[operation.table] = [one for one in kept[:-1] if one.made_ms > now_ms - KEEP] + kept[-1:]
                self.check()
                return True

    def note_time(self) -> None:
        """Note which tables nobody has synced for a week."""
        for table, kept in self.snapshots.items():
            leases = [lease for lease in self.store.list(self.directory) if lease.name.startswith(f"{table}.")]
            if not leases or max(lease.changed_ms for lease in leases) <= self.store.clock_ms - LEASE_MS:
                for snapshot in kept:
                    snapshot.is_promised = False

    def check(self) -> None:
        """Every file of every snapshot that is promised is where its name leads to: its place, or wherever its inode is."""
        for table, kept in self.snapshots.items():
            for snapshot in kept:
                for path in snapshot.files if snapshot.is_promised else ():
                    places = {path} if self.directory == names.SHOWN else {path, names.removed(path), names.staged(path)}
                    assert places & self.store.files.keys(), f"{path}, of snapshot {snapshot.id} of {table}, is missing"


def shower(world: "World", table: str) -> Generator[Any, Any, None]:
    """Whoever keeps one Iceberg table up to the log, again and again."""
    assert world.shown is not None
    leases = Leases(world.shown.directory, table)
    while True:
        steps, answer, loaded_ms = projection.project(), None, 0
        loaded: Snapshot | None = None
        has_committed = False
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                break
            if isinstance(step, LoadTable):
                loaded_ms = yield Now()
                loaded = yield LoadShown(table)
                answer = projection.Shown(loaded.id or None, loaded.marks)
            elif isinstance(step, ListLive):
                answer = Live(loaded.files if loaded else frozenset())
            elif isinstance(step, Commit):
                answer = has_committed = yield CommitShown(table, step, loaded_ms)
            else:
                answer = yield from _answer(world, leases, step)
        if has_committed:
            candidates = yield from leases.old_files()
            named = yield ListShown(table)
            yield from leases.take_away(candidates, named)


def _answer(world: "World", leases: Leases, step: Any) -> Generator[Any, Any, Any]:
    match step:
        case HoldFiles():
            yield from leases.extend((yield Now()))
            return None
        case CreateTable():
            return None
        case ReadHead():
            fold = yield from commit.read_head()
            yield from upkeep.finish_moves(fold)
            return Head(None if fold.attempt is None else Marks(fold.generation, fold.seq, fold.attempt), dict(fold.files))
    paths = tuple(names.record_path(step.generation, seq) for seq in range(step.first, step.last + 1))
    found = yield Get(paths)
    return tuple(None if data is None else record.decode(data, path) for path, data in zip(paths, found, strict=True))
