"""Runs of a job on one derived table, racing for its slices, beside a compactor, an expirer, a sweeper, a reader and a loader
that takes the table for its own: the world's accidents, and what must hold of a table that jobs write.

A row is (run, slice, number, of how many): so what a slice holds tells whose it is, and whether it is all.
"""

import json
import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import StorageError, UndecidedError
from headrace.sinks.table import commit, names, slices, upkeep
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, DataFile, Job, LandedRange
from headrace.sinks.table.store import Now, PutIfAbsent, landing
from tests.sim.table.world import HOUR, Process, World, Write

SLICES = ("dt=2026-01-01", "dt=2026-01-02")


@dataclass
class DerivedWorld(World):
    """A table that jobs write, once the first run has won; before that a loader may be faster."""

    outcomes: dict[str, bool] = field(default_factory=dict)
    """Attempts of runs that have been told whether they won."""
    history: dict[int, CommitRecord] = field(default_factory=dict)
    """The records that are the table's history, as far as they were ever seen."""
    healed: set[str] = field(default_factory=set)
    """Slices that a run has replaced which began after all accidents."""

    def start_run(self) -> None:
        self.processes.append(Process("run", self._run(), [""]))

    def _run(self) -> Generator[Any, Any, None]:
        while True:
            is_calm = self.calm
            started_ms = yield Now()
            fold = yield from commit.read_head()
            yield from upkeep.finish_moves(fold)
            if slices.of_other_kind("replace", fold):
                continue  # a loader was first
            chosen = self.rng.choice(SLICES)
            owner = fold.slices.get(chosen)
            name = self.new_name()
            files = yield from self._staged(name, chosen)
            draft = CommitRecord(
                "replace", name, "sim", self.store.clock_ms, add=tuple(files),
                slice=chosen, replaces=owner.attempt if owner else None, job=Job("sim", "1"),
            )  # fmt: skip
            try:
                outcome = yield from commit.commit(draft, fold, started_ms=started_ms)
            except (UndecidedError, StorageError):
                raise  # the run ends, and says that it does not know
            self.outcomes[name] = isinstance(outcome, commit.Won)
            if isinstance(outcome, commit.Won):
                yield from upkeep.finish_moves(outcome.fold)
                if is_calm:
                    self.healed.add(chosen)
                if self.rng.random() < 0.3:
                    yield from upkeep.write_checkpoint(outcome.fold)

    def _staged(self, name: str, directory: str) -> Generator[Any, Any, list[DataFile]]:
        """Files of workers, of which those that were tried again leave some behind."""
        count = self.rng.choice([0, 1, 2, 5])
        files: list[DataFile] = []
        for number in range(count):
            for _ in range(self.rng.choice([0, 1]) if self.rng.random() < 0.2 else 0):
                yield from self._write_rows(directory, f"{name}-again-{number}", [[name, directory, number, count]])
            files.append(
                (yield from self._write_rows(directory, f"{name}-{number}", [[name, directory, number, count]])),
            )
        return files

    def _write_rows(self, directory: str, stem: str, rows: list[Any]) -> Generator[Any, Any, DataFile]:
        path = f"{directory}/{stem}.parquet"
        self.contents[path] = rows
        yield Write(landing(self.store, path), json.dumps(rows).encode())
        return DataFile(path, "parquet", len(rows), 1, "crc32c:00000000", f"{len(rows):016x}", 0, 0)

    def _loader(self, mine: list[str]) -> Generator[Any, Any, None]:
        """One that lands a topic of the table's name: it gets there first, or not at all."""
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            if slices.of_other_kind("load", fold) or fold.seq >= 0:
                continue
            one = LandedRange(0, 0, 0, 1, 0, 0, 1, last_offset=0)
            draft = CommitRecord("load", self.new_name(), "sim", self.store.clock_ms, (one,))
            yield from self.attempt(draft, fold, started_ms)

    def _compactor(self) -> Generator[Any, Any, None]:
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            yield from upkeep.finish_moves(fold)
            paths = fold.files_of(self.rng.choice(SLICES))
            if len(paths) < 2 or not self.compacts:
                continue
            rows: list[Any] = []
            for path in paths:
                found = yield from self._rows_of(fold.files[path])
                if found is None:
                    break
                rows += [list(row) for row in found]
            else:
                name = self.new_name()
                file = yield from self._write_rows(paths[0].partition("/")[0], f"{name}-0", rows)
                draft = CommitRecord("compact", name, "sim", self.store.clock_ms, add=(file,), remove=tuple(paths))
                yield from commit.commit(draft, fold, started_ms=started_ms)

    def _restart(self, index: int) -> None:
        if self.processes[index].name != "run":
            super()._restart(index)
            return
        self.processes.pop(index)
        self.start_run()
        self.processes.insert(index, self.processes.pop())

    def _note_closed(self, put: PutIfAbsent) -> None:
        if put.path.startswith(names.LOG):
            self._remember()

    def _remember(self) -> None:
        """Look at all records that are there; what was swept was history."""
        for path in [path for path in self.store.files if path.startswith(names.LOG) and path.endswith(names.RECORD_SUFFIX)]:
            (data,) = self.store.get((path,))
            one = commit.record.decode(data or b"", path)
            self.history[one.seq] = one
            if one.kind == "expire":
                self.expired.update(one.remove)

    def _check_rows(self, fold: Fold) -> None:
        self._remember()
        self.history = {seq: one for seq, one in self.history.items() if seq <= fold.seq}
        assert not (fold.is_derived and fold.ends), "a job's table has landed something"
        for name, is_won in self.outcomes.items():
            there = any(one.attempt == name for one in self.history.values())
            assert there == is_won, f"{name} was told {is_won}, and the history says {there}"
        self._check_chain()
        for directory, owner in fold.slices.items():
            self._check_slice(fold, directory, owner.attempt)
        assert all(any(slices.lies_in(path, directory) for directory in fold.slices) for path in fold.files)

    def _check_chain(self) -> None:
        """No run replaces another that it did not know of."""
        owners: dict[str | None, str] = {}
        for _, one in sorted(self.history.items()):
            if one.kind == "replace":
                assert one.replaces == owners.get(one.slice), f"{one.attempt} has replaced a run that it did not know"
                owners[one.slice] = one.attempt

    def _check_slice(self, fold: Fold, directory: str, owner: str) -> None:
        rows: list[list[Any]] = []
        for path in fold.files_of(directory):
            found = self.store.get((names.staged(path), path, names.removed(path)))
            data = next((one for one in found if one is not None), None)
            assert data is not None, f"live file {path} is missing"
            rows += json.loads(data)
        numbers = sorted(number for _, _, number, _ in rows)
        assert all(run == owner and of == directory for run, of, _, _ in rows), f"{directory} mixes runs: {rows}"
        assert len(set(numbers)) == len(numbers), f"{directory} repeats rows: {rows}"
        gone = {row[2] for path in self.expired for row in self.contents.get(path, ()) if row[0] == owner}
        whole = next((count for _, _, _, count in rows), len(gone))
        assert gone.union(numbers) == set(range(whole)), f"{directory} has {rows} of {whole}"


def derived_table(rng: random.Random) -> None:
    """Whatever happens, each slice is one run's whole output; and once nothing happens any more, runs win."""
    world = DerivedWorld(rng)
    for _ in range(rng.choice([1, 2, 3])):
        world.start_run()
    for start, chance in (
        (world.start_compactor, 0.6),
        (world.start_expirer, 0.3),
        (world.start_sweeper, 0.7),
        (world.start_reader, 0.4),
        (world.start_loader, 0.2),
    ):
        if rng.random() < chance:
            start()
    for _ in range(rng.choice([200, 500, 900])):
        world.step()
        if rng.random() < 0.03:
            world.check()
    _heal(world)


def _heal(world: DerivedWorld) -> None:
    world.calm, world.compacts = True, False
    for process in world.processes:
        process.sleeps_until_ms = 0
    for _ in range(3000):
        world.step()
        if len(world.healed) == len(SLICES) or (world.healed and not world.rng.randrange(200)):
            break
    fold = world.check()
    assert world.healed or not fold.is_derived, "no run wins any more"
    world.store.clock_ms += HOUR
    world.check_at_rest()
