"""Committers of one Iceberg table, a log that grows, and a catalog that others use too, interleaved by one seed.

What may happen: a committer dies or is paused at any step; its commit takes effect hours later, or takes effect and its answer
is lost; the log is compacted, swept, rewound, or restored from a copy; another engine appends, deletes rows, rolls the
table back or drops it; the catalog is restored from a copy.
"""

import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.sinks.iceberg import projection
from headrace.sinks.iceberg.projection import (
    Commit,
    CreateTable,
    Head,
    HoldFiles,
    ListLive,
    Live,
    LoadTable,
    Marks,
    ReadHead,
    ReadRecords,
)
from headrace.sinks.table.record import CommitRecord, DataFile

URL = "hdfs://"


@dataclass(frozen=True)
class Snapshot:
    """A state of the Iceberg table: names of its files, each as often as it is there, and who made it."""

    id: int
    files: tuple[str, ...]
    marks: Marks | None
    rows_are_deleted: bool = False


@dataclass
class IcebergTable:
    """What the catalog holds: the current snapshot, those before it, and the marks among the properties."""

    current: Snapshot | None = None
    history: list[Snapshot] = field(default_factory=list)
    properties: Marks | None = None


@dataclass
class Log:
    """A table log: records of its generation, of which the oldest may be swept, and the files after each."""

    generation: int = 1
    records: list[CommitRecord] = field(default_factory=list)
    files: list[dict[str, DataFile]] = field(default_factory=list)
    swept: int = 0

    @property
    def head(self) -> Head:
        if not self.records:
            return Head(None, {})
        return Head(marks_of(self.records[-1]), {path: f for path, f in self.files[-1].items() if f.format == "parquet"})


@dataclass
class Committer:
    """A running `project()`, its next step, and the snapshot that it loaded."""

    program: Generator[Any, Any, Any]
    step: Any = None
    loaded: Snapshot | None = None
    paused_until: int = 0


@dataclass
class World:
    """Everything, and the seed's choices."""

    rng: random.Random
    log_goes_back: bool
    log: Log = field(default_factory=Log)
    table: IcebergTable | None = None
    committers: list[Committer] = field(default_factory=list)
    late: list[tuple[int, Commit]] = field(default_factory=list)
    copies: list[Any] = field(default_factory=list)
    truth: dict[str, frozenset[str]] = field(default_factory=dict)
    """Attempt of a record → the Parquet files that are live after it."""
    time: int = 0
    names: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        self.inodes = random.Random(self.rng.getstate()[1][0])  # apart, so that they change no seed's other choices
        self.by_inode = self.inodes.random() < 0.5
        """Whether only files that are asked for are known by their paths, and those that the log gave up may be gone."""

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    # The log's own life.

    def grow(self) -> None:
        live = self.log.files[-1] if self.log.files else {}
        removable = sorted(live)
        if len(removable) > 3 and self.rng.random() < 0.3:
            self._append("compact", live, tuple(self.rng.sample(removable, 2)), 1)
        elif len(removable) > 2 and self.rng.random() < 0.1:
            self._append("expire", live, (self.rng.choice(removable),), 0)
        else:
            self._append("load", live, (), self.rng.randint(0, 2))

    def _append(self, kind: str, live: dict[str, DataFile], remove: tuple[str, ...], adds: int) -> None:
        add = tuple(_file(self.name(), "parquet" if self.rng.random() < 0.9 else "avro") for _ in range(adds))
        record = CommitRecord(
            kind, f"attempt-{self.name()}", "sim", 0, add=add, remove=remove,
            generation=self.log.generation, seq=len(self.log.records),
        )  # fmt: skip
        after = {path: file for path, file in live.items() if path not in remove} | {file.path: file for file in add}
        self.log.records.append(record)
        self.log.files.append(after)
        self.truth[record.attempt] = frozenset(path for path, file in after.items() if file.format == "parquet")

    def disturb_log(self) -> None:
        """Rewind to another generation, or go back to a copy and on from there differently; or sweep old records."""
        chance = self.rng.random()
        if chance < 0.5 or not self.log_goes_back or len(self.log.records) < 2:
            self.log.swept = self.rng.randint(self.log.swept, max(self.log.swept, len(self.log.records) - 1))
        elif chance < 0.75:
            kept = dict(self.rng.sample(sorted(self.log.files[-1].items()), len(self.log.files[-1]) // 2))
            self.log = Log(self.log.generation + 1)
            for _ in range(self.rng.randint(1, 4)):
                self._append("load", self.log.files[-1] if self.log.files else kept, (), 1)
        else:
            length = self.rng.randint(1, len(self.log.records) - 1)
            self.log = Log(self.log.generation, self.log.records[:length], self.log.files[:length])
            self.grow()

    # The catalog's other users.

    def disturb_table(self) -> None:
        table = self.table
        if table is None:
            return
        current = table.current
        match self.rng.randrange(6):
            case 0 if current:
                self._show(
                    table, replace(current, id=self.rng.getrandbits(60), files=(*current.files, "s3://theirs"), marks=None)
                )
            case 1 if current:
                self._show(table, replace(current, id=self.rng.getrandbits(60), marks=None, rows_are_deleted=True))
            case 2 if table.history:
                table.current = self.rng.choice(table.history)
            case 3:
                self.copies.append(IcebergTable(current, list(table.history), table.properties))
            case 4 if self.copies:
                copy = self.rng.choice(self.copies)
                self.table = IcebergTable(copy.current, list(copy.history), copy.properties)
            case 5 if self.rng.random() < 0.3:
                self.table, self.copies = None, []

    def theirs(self) -> str:
        """A file that another engine adds: its own, or one of ours."""
        ours = self.log.head.files
        return self.rng.choice(sorted(ours)) if ours and self.rng.random() < 0.5 else f"s3://{self.name()}"

    @staticmethod
    def _show(table: IcebergTable, snapshot: Snapshot) -> None:
        table.history.append(snapshot)
        table.current = snapshot

    # Committers.

    def start(self) -> None:
        self.committers.append(Committer(projection.project()))
        self._advance(self.committers[-1], None)

    def _advance(self, one: Committer, answer: Any) -> None:
        try:
            one.step = one.program.send(answer)
        except StopIteration:
            self.done += 1
            one.program = projection.project()
            one.step = one.program.send(None)
        if isinstance(one.step, HoldFiles):  # files never go in this world
            one.step = one.program.send(None)

    def run(self, one: Committer, *, calm: bool) -> None:
        """One step of one committer, with what may go wrong."""
        if not calm and self.rng.random() < 0.05:
            one.program, one.step = projection.project(), None
            self._advance(one, None)
            return
        if isinstance(one.step, Commit) and not calm:
            fate = self.rng.random()
            if fate < 0.1:  # the request is on its way for long, and whoever sent it has died
                self.late.append((self.time + self.rng.randint(1, 60), one.step))
                one.program = projection.project()
                self._advance(one, None)
                return
            if fate < 0.2:  # the answer is lost, and the whole is tried again
                self.commit(one.step)
                one.program = projection.project()
                self._advance(one, None)
                return
        self._advance(one, self.answer(one, one.step))

    def answer(self, one: Committer, step: Any) -> Any:
        match step:
            case LoadTable():
                if self.table is None:
                    return None
                one.loaded = current = self.table.current
                if current is None:
                    return projection.Shown(None, None)
                marks = self.table.properties
                return projection.Shown(current.id, marks if marks == current.marks else None)
            case CreateTable():
                self.table = self.table or IcebergTable()
                return None
            case ListLive(of):
                loaded = one.loaded or Snapshot(0, (), None)
                names = frozenset(loaded.files)
                known = (
                    {path for path in of if path in self.log.head.files or self.inodes.random() < 0.8}
                    if self.by_inode
                    else names
                )
                seen = frozenset(name if name in known else f"{URL}{name}" for name in names)
                return Live(seen, loaded.rows_are_deleted or len(names) < len(loaded.files))
            case ReadHead():
                return self.log.head
            case ReadRecords(generation, first, last):
                of_generation = self.log.records if generation == self.log.generation else []
                return tuple(
                    of_generation[seq] if self.log.swept <= seq < len(of_generation) else None for seq in range(first, last + 1)
                )
            case Commit():
                return self.commit(step)
        raise AssertionError(step)

    def commit(self, step: Commit) -> bool:
        """Iceberg's transaction: refused unless the snapshot is current; then files, summary and properties together."""
        table = self.table
        if table is None or (table.current.id if table.current else None) != step.snapshot_id:
            return False
        before_it = table.current.files if table.current else ()
        remove = {name.removeprefix(URL) for name in step.remove}
        assert remove <= set(before_it), "Iceberg refuses to remove what is not there"
        files = (*(path for path in before_it if path not in remove), *(file.path for file in step.add))
        before = table.properties
        table.properties = step.marks
        deleted = table.current is not None and table.current.rows_are_deleted and not set(before_it) <= remove
        self._show(table, Snapshot(self.rng.getrandbits(60), files, step.marks, deleted))
        self.check(before)
        return True

    # What must hold.

    def check(self, before: Marks | None) -> None:
        """A snapshot of ours holds exactly the files of the record it names; it never goes back in a log that grows."""
        assert self.table is not None
        current = self.table.current
        assert current is not None
        assert current.marks is not None
        assert Counter(current.files) == Counter(self.truth[current.marks.attempt]), "a file is there twice, or missing"
        assert not current.rows_are_deleted
        if before is not None and not self.log_goes_back:
            assert current.marks.seq >= before.seq, "files that were shown are gone again"

    def shows_head(self) -> bool:
        head = self.log.head
        current = self.table.current if self.table else None
        return current is not None and Counter(current.files) == Counter(list(head.files)) and not current.rows_are_deleted


def marks_of(record: CommitRecord) -> Marks:
    return Marks(record.generation, record.seq, record.attempt)


def _file(path: str, format_: str) -> DataFile:
    return DataFile(path, format_, 1, 1, "", "", 0, 0)
