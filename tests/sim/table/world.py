"""Loaders, a compactor, an expirer, a rewinder and sweepers on one table, interleaved operation by operation by one seed.

What may happen: a process dies at any operation, or sleeps for minutes or weeks; the store refuses an operation; the answer to
a put is lost, before or after it took effect, or it takes effect hours later; on HDFS so may a move or a delete that was said
to have failed (a NameNode that hung); a list that runs while others put shows some of it; the power fails; the topic is
deleted and created again. What may not, since no protocol could stand it: a process that sleeps for days between
looking at the clock and its put (landing.md: time bounds, generous and few).
"""

import json
import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.errors import CorruptError, StorageError, UndecidedError
from headrace.sinks.resume import Sight, resume
from headrace.sinks.table import commit, names, rewind, upkeep
from headrace.sinks.table.fold import Fold, PartitionEnd, PartitionKey
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange, OffsetRange
from headrace.sinks.table.store import (
    Delete,
    Get,
    List,
    Move,
    Now,
    Put,
    PutIfAbsent,
    StoreNow,
    SyncLog,
    Verify,
    carry_out,
    landing,
)
from tests.sim.table.group import Group
from tests.sim.table.poison import (
    expired_quarantine,
    is_poison,
    merged_quarantine,
    parted_quarantine,
    quarantine,
    read_quarantine,
)
from tests.sim.table.sharing import Hear, Sharer, Tell
from tests.sim.table.showing import CommitShown, ListShown, LoadShown, Shown, shower
from tests.sim.table.store import SimStore

HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass(frozen=True)
class Write:
    """A data file, written to staging and synced."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Look:
    """Answer: the topic as it is now."""


@dataclass
class Topic:
    """One life of the topic: an id, and how many records each partition holds. Record n of p is (id, p, n)."""

    topic_id: str
    ends: list[int]


@dataclass
class Process:
    """A running program: a generator of operations, and the answer to its last one."""

    name: str
    program: Generator[Any, Any, None]
    attempt_topic: list[str]
    answer: Any = None
    pending: Any = None
    seen_at_start: frozenset[str] = frozenset()
    sleeps_until_ms: int = 0
    must_hurry: bool = False
    fails: bool = False
    """Whether its last operation was refused."""
    sharer: Sharer | None = None
    """If it shares partitions."""


@dataclass
class World:
    """Everything, and the seed's choices."""

    rng: random.Random
    poisons: bool = False
    """Whether some records cannot be decoded."""
    shown_in: str | None = None
    """Where Iceberg tables over this one hold leases: in `names.SHOWN`, as on object stores, or `names.HELD`, as on HDFS."""
    store: SimStore = field(default_factory=SimStore)
    processes: list[Process] = field(default_factory=list)
    late: list[tuple[int, PutIfAbsent | Move | Delete]] = field(default_factory=list)
    lives: int = 1
    ever_removed: set[str] = field(default_factory=set)
    """Files that a record has taken out, or that were live in a generation when it was closed."""
    expired: set[str] = field(default_factory=set)
    contents: dict[str, list[Any]] = field(default_factory=dict)
    """Rows of every file ever written: (incarnation, partition, offset, topic id)."""
    rewinds: int = 0
    """How many generations have been closed."""
    calm: bool = False
    compacts: bool = True
    chaos: float = 1.0
    """In which share of the steps something may happen."""
    refusals: float = 0.004
    """How often the store refuses an operation."""
    pace: tuple[int, ...] = (1, 50, 2000)
    """How many ms may pass between two steps."""
    over: dict[str, str] = field(default_factory=dict)
    """Attempts of loaders that share, which have ended: how."""
    won_ms: dict[int, int] = field(default_factory=dict)
    """When a member has last won."""
    taken: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    """How often loaders that share have read each (incarnation, partition, offset)."""

    def __post_init__(self) -> None:
        self.topic = Topic("topic-1", [0, 0])
        self.old: dict[str, Topic] = {}
        self.columns_of: dict[str, dict[str, str]] = {}
        self.taste = random.Random(self.rng.getstate()[1][0])  # apart, so that columns change no seed's other choices
        self.delays = random.Random(self.rng.getstate()[1][1])
        self.names = 0
        self.group = Group(self.rng)
        self.shown = None if self.shown_in is None else Shown(self.store, self.shown_in)
        self.store.stages = self.shown_in != names.SHOWN

    # The programs.

    def start_loader(self) -> None:
        mine: list[str] = [""]
        self.processes.append(Process("loader", self._loader(mine), mine))

    def start_sharer(self) -> Sharer:
        """One that finds nobody alive in the group begins with everything, as one does who can know it."""
        mine: list[str] = [""]
        sharer = Sharer(self, self.group.join(self.store.clock_ms), mine)
        sharer.claims.has_all = self.group.is_deserted(sharer.member) and not self.calm and self.rng.random() < 0.7
        self.processes.append(Process("sharer", sharer.program(), mine, sharer=sharer))
        return sharer

    def sharers(self, *, awake: bool = False) -> list[Sharer]:
        return [
            process.sharer
            for process in self.processes
            if process.sharer is not None and (not awake or process.sleeps_until_ms <= self.store.clock_ms)
        ]

    def ended(self, member: int, outcome: str, attempt: str) -> None:
        """An attempt of a loader that shares has come to its end."""
        assert attempt not in self.over, f"{attempt} has ended twice"
        self.over[attempt] = outcome
        if outcome == "won":
            self.won_ms[member] = self.store.clock_ms

    def start_compactor(self) -> None:
        self.processes.append(Process("compactor", self._compactor(), [""]))

    def start_sweeper(self) -> None:
        self.processes.append(Process("sweeper", self._sweeper(), [""]))

    def start_expirer(self) -> None:
        self.processes.append(Process("expirer", self._expirer(), [""]))

    def start_rewinder(self) -> None:
        mine: list[str] = [""]
        self.processes.append(Process("rewinder", self._rewinder(mine), mine))

    def start_reader(self) -> None:
        self.processes.append(Process("reader", self._reader(), [""]))

    def _reader(self) -> Generator[Any, Any, None]:
        """Takes a snapshot, and reads its files as slowly as it is allowed to: within a day."""
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            for file in list(fold.files.values())[:4]:
                rows = yield from self._rows_of(file)
                now_ms = yield Now()
                assert rows is not None or now_ms - started_ms >= DAY, f"{file.path} went away while it was read"
            for path in list(fold.quarantined)[:4]:
                rows = yield from read_quarantine(path)
                now_ms = yield Now()
                assert rows is not None or now_ms - started_ms >= DAY, f"{path} went away while it was read"

    def _sweeper(self) -> Generator[Any, Any, None]:
        while True:
            yield from upkeep.sweep(stages=self.store.stages)

    def start_shower(self, table: str) -> None:
        self.processes.append(Process(f"shower {table}", shower(self, table), [""]))

    def new_name(self) -> str:
        self.names += 1
        return f"attempt-{self.names}" if self.shown is None else f"{self.names:08x}-0000-0000-0000-000000000000"

    def _loader(self, mine: list[str]) -> Generator[Any, Any, None]:
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            yield from upkeep.finish_moves(fold)
            topic: Topic = yield Look()
            mine[0] = topic.topic_id
            draft = yield from self._read(fold, topic)
            if draft.says_something:
                outcome = yield from self.attempt(draft, fold, started_ms)
                fold = outcome.fold
                if isinstance(outcome, commit.Won) and (self.rng.random() < 0.3 or upkeep.checkpoint_is_due(fold)):
                    yield from upkeep.write_checkpoint(fold)

    def attempt(self, draft: CommitRecord, fold: Fold, started_ms: int) -> Generator[Any, Any, commit.Won | commit.Fenced]:
        """Commit as a loader does: a store that fails makes it give up, unless its put is undecided."""
        generation = fold.generation
        try:
            return (yield from commit.commit(draft, fold, started_ms=started_ms))
        except UndecidedError:
            raise
        except StorageError as error:
            return (yield from commit.give_up(replace(draft, generation=generation), str(error)))

    def _read(self, fold: Fold, topic: Topic, *, most: int = 4) -> Generator[Any, Any, CommitRecord]:
        name = self.new_name()
        ranges: list[LandedRange] = []
        files: list[DataFile] = []
        bad: list[Any] = []
        landed: dict[str, str] = json.loads(fold.arrow_schema or "{}")  # columns and their types
        producers = {column: self.taste.choice(["int", "text"]) for column in "abc" if self.taste.random() < 0.2}
        mine = {column: kind for column, kind in producers.items() if landed.get(column, kind) == kind}
        for partition in self.rng.sample([0, 1], self.rng.choice([1, 2])):
            last = fold.ends.get((fold.incarnation(partition), partition))
            sight = Sight(topic.topic_id, 0, topic.ends[partition], None if last is None else last.last_fingerprint)
            where = resume(fold, partition, sight)
            now: Topic = yield Look()  # the client reads by name: whatever topic bears it by now
            end = min(now.ends[partition], where.offset + (60 if self.calm else self.rng.randint(1, most)))
            if end <= where.offset:
                continue
            read = [(where.incarnation, partition, offset, now.topic_id) for offset in range(where.offset, end)]
            rows = [row for row in read if not is_poison(self, row)]
            bad += [row for row in read if is_poison(self, row)]
            if rows:
                files.append((yield from self.write(f"{name}-{len(files)}", rows)))
                self.columns_of[files[-1].path] = mine
            ranges.append(
                LandedRange(
                    where.incarnation, partition, where.offset, end, len(rows), len(read) - len(rows), 0,
                    last_offset=end - 1, last_fingerprint=f"{topic.topic_id}/{end - 1}", topic_id=topic.topic_id,
                )
            )  # fmt: skip
        columns = json.dumps(landed | mine, sort_keys=True) if landed | mine != landed else None
        found = (yield from quarantine(self, name, bad)) if bad else None
        return CommitRecord(
            "load", name, "sim", self.store.clock_ms,
            ranges=tuple(ranges), add=tuple(files), quarantine=found, arrow_schema=columns,
        )  # fmt: skip

    def write(self, name: str, rows: list[Any]) -> Generator[Any, Any, DataFile]:
        path = f"dt=2026-01-01/hour={self.rng.randint(0, 3):02d}/{name}.parquet"
        self.contents[path] = rows
        yield Write(landing(self.store, path), json.dumps(rows).encode())
        keys = {(incarnation, partition) for incarnation, partition, _, _ in rows}
        offsets = {key: [row[2] for row in rows if tuple(row[:2]) == key] for key in sorted(keys)}
        spans = tuple(OffsetRange(*key, min(found), max(found) + 1) for key, found in offsets.items())
        return DataFile(path, "parquet", len(rows), 1, "crc32c:00000000", f"{len(rows):016x}", 0, 0, ranges=spans)

    def _rows_of(self, file: DataFile) -> Generator[Any, Any, list[Any] | None]:
        path = file.path
        found = yield Get((names.staged(path), path, names.removed(path)))
        data = next((one for one in found if one is not None), None)
        return None if data is None else [tuple(row) for row in json.loads(data)]

    def _compactor(self) -> Generator[Any, Any, None]:
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            yield from upkeep.finish_moves(fold)
            if self.compacts and len(fold.quarantined) > 1 and self.taste.random() < 0.5:
                yield from merged_quarantine(self, fold, started_ms)
                continue
            if len(fold.files) < 3 or not self.compacts:
                yield Now()
                continue
            chosen = self.rng.sample(sorted(fold.files), 2)
            rows: list[Any] = []
            for path in chosen:
                found = yield from self._rows_of(fold.files[path])
                if found is None:  # swept: another compactor was faster, by a day
                    break
                rows += found
            else:
                if any(fold.is_pinned(path) for path in chosen):
                    continue
                name = self.new_name()
                file = yield from self.write(f"{name}-0", rows)
                draft = CommitRecord("compact", name, "sim", self.store.clock_ms, add=(file,), remove=tuple(chosen))
                yield from commit.commit(draft, fold, started_ms=started_ms)

    def _expirer(self) -> Generator[Any, Any, None]:
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            if self.compacts and fold.quarantined and self.taste.random() < 0.1:
                yield from expired_quarantine(self, fold, started_ms)
                continue
            free = [path for path in sorted(fold.files) if not fold.is_pinned(path)]
            if free and self.compacts and self.rng.random() < 0.3:
                draft = CommitRecord("expire", self.new_name(), "sim", self.store.clock_ms, remove=(self.rng.choice(free),))
                yield from commit.commit(draft, fold, started_ms=started_ms)

    def _rewinder(self, mine: list[str]) -> Generator[Any, Any, None]:
        while True:
            started_ms = yield Now()
            fold = yield from commit.read_head()
            if fold.is_closed or not fold.ends:
                continue
            if (fold.fork is None or self.rng.random() < 0.03) and self.compacts:
                yield from self._fork(fold, started_ms)
            elif fold.fork is not None:
                yield from self._load_again(fold.fork.next, mine, started_ms)

    def _fork(self, fold: Fold, started_ms: int) -> Generator[Any, Any, None]:
        chosen = self.rng.sample([0, 1], self.rng.choice([1, 2]))
        keys = [(fold.incarnation(partition), partition) for partition in chosen]
        known: dict[PartitionKey, PartitionEnd] = {key: fold.ends[key] for key in keys if key in fold.ends}
        targets = {key: PartitionEnd(self.rng.randint(0, end.offset), topic_id=end.topic_id) for key, end in known.items()}
        offsets = {key: end.offset for key, end in targets.items()}
        parting = rewind.part(fold.files.values(), offsets)
        name = self.new_name()
        added: list[DataFile] = []
        for file in parting.split:
            rows = yield from self._rows_of(file)
            if rows is None:
                return
            below = [row for row in rows if row[2] < offsets.get(row[:2], row[2] + 1)]
            if below:
                added.append((yield from self.write(f"{name}-{len(added)}", below)))
        begins = Fold()
        own = yield from parted_quarantine(self, fold, name, offsets, begins)
        draft = CommitRecord("fork", name, "sim", self.store.clock_ms, add=tuple(added), quarantine=own)
        fork = rewind.fork_record(draft, fold, targets, kept=parting.kept, begins=begins)
        yield from commit.commit(fork, fold, started_ms=started_ms)

    def _load_again(self, generation: int, mine: list[str], started_ms: int) -> Generator[Any, Any, None]:
        fold = yield from read_generation(generation)
        if fold.generation != generation or fold.is_closed:
            return
        topic: Topic = yield Look()
        mine[0] = topic.topic_id
        draft = yield from self._read(fold, topic, most=30)
        if draft.says_something:
            outcome = yield from self.attempt(replace(draft, generation=generation), fold, started_ms)
            fold = outcome.fold
            if isinstance(outcome, commit.Won) and self.rng.random() < 0.3:
                yield from upkeep.write_checkpoint(fold)
        if fold.generation == generation and not fold.is_closed:
            mine[0] = ""
            yield from rewind.hand_over(CommitRecord("close", self.new_name(), "sim", self.store.clock_ms), fold)

    # The scheduler.

    def step(self) -> None:
        """One operation of one process, or one accident."""
        rng = self.rng
        self.store.clock_ms += rng.choice(self.pace)
        if self.shown is not None:
            self.shown.note_time()
        for due, operation in [item for item in self.late if item[0] <= self.store.clock_ms]:
            self.late.remove((due, operation))
            self._take_effect(operation)
        if not self.calm and (self.chaos == 1 or rng.random() < self.chaos):
            self._accident()
            if self.group.members:
                self._accident_of_the_group()
        self.step_group()
        ready = [process for process in self.processes if process.sleeps_until_ms <= self.store.clock_ms]
        if not ready:
            self.store.clock_ms = min(process.sleeps_until_ms for process in self.processes)
            return
        self.run(rng.choice(ready))

    def _is_left_behind(self, operation: Any) -> bool:
        if self.calm or not isinstance(operation, Move | Delete) or self.delays.random() >= 0.03:
            return False
        self.late.append((self.store.clock_ms + self.delays.randint(1, 6 * HOUR), operation))
        return True

    def _take_effect(self, late: PutIfAbsent | Move | Delete) -> None:
        """What nobody waits for any more; a store refuses to move over another file."""
        match late:
            case PutIfAbsent(path, data):
                self.store.put_if_absent(path, data)
                self._note_closed(late)
            case Move(((source, target), *_)):
                if target not in self.store.files:
                    self.store.move(source, target)
            case Delete((path, *_)):
                self._note(path)
                self.store.delete(path)

    def step_group(self) -> None:
        """The group gives and takes."""
        if self.group.members:
            self.group.step(self.store.clock_ms, {sharer.member for sharer in self.sharers(awake=True)})

    def run(self, process: Process) -> None:
        """One operation of a process, or one more part of it."""
        if process.pending is None:
            try:
                if process.fails:
                    process.pending = process.program.throw(StorageError("the store refuses"))
                else:
                    process.pending = process.program.send(process.answer)
            except StorageError as error:  # tried again from the beginning
                if isinstance(error, CorruptError):
                    raise
                self._restart(self.processes.index(process))
                return
            except StopIteration:  # it was told to stop
                self.processes.remove(process)
                return
            process.fails = False
            process.seen_at_start = frozenset(self.store.files)
            process.must_hurry = isinstance(process.pending, PutIfAbsent)
        else:
            looked_at_clock = isinstance(process.pending, Now)
            if self.shown_in == names.HELD and self._is_left_behind(process.pending):
                self.refuse(process)
                return
            if not self.calm and not looked_at_clock and self.rng.random() < self.refusals:
                self.refuse(process)
                return
            process.answer, process.pending = self._finish(process, process.pending)
            process.must_hurry = looked_at_clock or process.must_hurry

    def refuse(self, process: Process) -> None:
        """Its operation has not happened, and never will."""
        process.fails, process.pending = True, None

    def _finish(self, process: Process, operation: Any) -> tuple[Any, Any]:
        """Carry an operation out, or one more part of it; (answer, what is left of it)."""
        match operation:
            case PutIfAbsent():
                done = self._put(process, operation)
                self._note_closed(operation)
                return done
            case SyncedPut(path):
                self.store.sync_log(path.rpartition("/")[0])
                return Put.CREATED, None
            case Move((first, *rest)):
                self.store.move(*first)
                return None, Move(tuple(rest)) if rest else None
            case Delete((first, *rest)):
                self._note(first)
                self.store.delete(first)
                return None, Delete(tuple(rest)) if rest else None
        return self._answer(process, operation), None

    def _answer(self, process: Process, operation: Any) -> Any:
        store = self.store
        match operation:
            case Hear(member):
                return self.group.hear(member, store.clock_ms)
            case Tell(member, event):
                return self.group.answer(member, event)
            case Look():
                return Topic(self.topic.topic_id, self.topic.ends.copy())
            case Write(path, data):
                return store.write(path, data)
            case Verify():
                return process.attempt_topic[0] in ("", self.topic.topic_id)
            case Now():
                return store.clock_ms
            case StoreNow():
                return store.now_ms()
            case List(directory, after, recursive):
                seen = store.list(directory, after=after, recursive=recursive)
                new = [entry for entry in seen if f"{directory}/{entry.name}" not in process.seen_at_start]
                hidden = {entry.name for entry in new if not self.calm and self.rng.random() < 0.5}
                return tuple(entry for entry in seen if entry.name not in hidden)
            case SyncLog(directory):
                return store.sync_log(directory)
            case Get(paths):
                return store.get(paths)
            case LoadShown() | ListShown() | CommitShown():
                assert self.shown is not None
                return self.shown.answer(operation)
        raise AssertionError(operation)

    def _put(self, process: Process, put: PutIfAbsent) -> tuple[Any, Any]:
        fate = (
            "ok"
            if self.calm
            else self.rng.choices(["ok", "unsynced", "answer lost", "request lost", "late"], [12, 4, 1, 1, 1])[0]
        )
        if process.sharer is not None and put.path.startswith(names.LOG):
            assert json.loads(put.data)["attempt"] not in self.over, "nobody writes after he has been fenced"
        if self.shown is not None and fate == "unsynced":  # HDFS and object stores show nothing that is not safe
            fate = "ok"
        if fate == "request lost":
            return Put.UNKNOWN, None
        if fate == "late":
            self.late.append((self.store.clock_ms + self.rng.randint(1, 6 * HOUR), put))
            return Put.UNKNOWN, None
        if (
            fate == "answer lost" and self.shown is None and self.rng.random() < 0.5
        ):  # the name is there, and a power cut may still take it
            self.store.begin_put(put.path, put.data)
            return Put.UNKNOWN, None
        if fate == "unsynced" and self.store.begin_put(put.path, put.data) is Put.CREATED:
            if self.rng.random() < 0.3:  # a slow disk: others see the name long before it is safe
                process.sleeps_until_ms = self.store.clock_ms + 60_000
            return None, SyncedPut(put.path)
        answer = self.store.put_if_absent(put.path, put.data)
        return (Put.UNKNOWN if fate == "answer lost" else answer), None

    def _accident(self) -> None:
        rng = self.rng
        chance = rng.random()
        if self.shown is not None and self.taste.random() < 0.05 and not any(process.must_hurry for process in self.processes):
            self.store.clock_ms += self.taste.choice([HOUR, 10 * HOUR, DAY, 2 * DAY])  # leases go on
        if chance < 0.06:
            partition = rng.choice([0, 1])
            self.topic.ends[partition] += rng.randint(1, 3)
        elif chance < 0.075 and self.processes:
            victim = rng.randrange(len(self.processes))
            self._restart(victim)
        elif chance < 0.09:
            sleeper = rng.choice(self.processes)
            longest = HOUR if sleeper.must_hurry else rng.choice([HOUR // 30, 2 * HOUR, 10 * DAY, 40 * DAY])
            sleeper.sleeps_until_ms = self.store.clock_ms + rng.randint(1, longest)
        elif chance < (0.12 if self.store.has_unsynced else 0.094):
            self.store.cut_power(rng)
            for victim in range(len(self.processes)):
                self._restart(victim)
        elif chance > 0.992:
            if not any(process.must_hurry for process in self.processes):  # days in which nobody ran
                self.store.clock_ms += rng.choice([HOUR, 2 * DAY, 8 * DAY, 31 * DAY])
        elif chance > 0.989:
            self.make_topic_again()

    def make_topic_again(self) -> None:
        self.lives += 1
        self.old[self.topic.topic_id] = self.topic
        self.topic = Topic(f"topic-{self.lives}", [0, 0])

    def _accident_of_the_group(self) -> None:
        """It shares anew, expels somebody who lives, or somebody hears of nothing for a while."""
        chance = self.rng.random()
        member = self.rng.choice(sorted(self.group.members))
        if chance < 0.04:
            self.group.rebalance()
        elif chance < 0.08:
            self.group.members[member].deaf_until_ms = self.store.clock_ms + self.rng.choice([3_000, 60_000, 2 * HOUR])
            if chance < 0.07:
                self.group.expel(member)

    def kill(self, process: Process) -> None:
        """It dies, and is started again."""
        self._restart(self.processes.index(process))

    def _restart(self, index: int) -> None:
        dead = self.processes.pop(index)
        if dead.sharer is not None:
            self.group.die(dead.sharer.member)
        {
            "loader": self.start_loader,
            "sharer": self.start_sharer,
            "compactor": self.start_compactor,
            "expirer": self.start_expirer,
            "rewinder": self.start_rewinder,
            "reader": self.start_reader,
            "sweeper": self.start_sweeper,
            "shower one": lambda: self.start_shower("one"),
            "shower two": lambda: self.start_shower("two"),
        }[dead.name]()
        self.processes.insert(index, self.processes.pop())

    # What must hold.

    def head(self) -> Fold:
        """The table, as a reader sees it."""
        return carry_out(commit.read_head(), self.store)

    def check(self) -> Fold:
        """Every offset at most once, nothing missing, nothing uncommitted in sight; in a rewind's generation too."""
        fold = self.head()
        for path in list(self.store.files):
            self._note(path)
        self._check_rows(fold)
        if fold.fork is not None and not fold.is_closed:
            self._check_rows(carry_out(read_generation(fold.fork.next), self.store))
        self._check_places(fold)
        if self.shown is not None:
            self.shown.note_time()
            self.shown.check()
        return fold

    def _note(self, path: str) -> None:
        """Remember what a record says has been taken out."""
        if not path.startswith(names.LOG) or not path.endswith(names.RECORD_SUFFIX):
            return
        (data,) = self.store.get((path,))
        body = json.loads(data or b"{}")
        self.ever_removed.update(body.get("remove", ()))
        if body.get("kind") == "expire":
            self.expired.update(body["remove"])

    def _note_closed(self, put: PutIfAbsent) -> None:
        body = json.loads(put.data) if put.path.startswith(names.LOG) else {}
        if body.get("kind") == "close":
            fold = carry_out(read_generation(body["generation"]), self.store)
            if fold.is_closed:
                self.rewinds += 1
                self.ever_removed.update(fold.files)

    def check_at_rest(self) -> None:
        """Whoever comes finishes all moves: then what is in place is what is live, and staging holds no live file."""
        fold = self.head()
        carry_out(upkeep.finish_moves(fold), self.store)
        if not self.store.stages:
            return  # files that were not committed, and that are shown, lie in place too
        assert {path for path in self.store.files if path.startswith("dt=")} == set(fold.files)
        assert all(path in self.store.files for path in fold.quarantined)
        for one in self.store.list(names.log_directory(fold.generation)):
            (data,) = self.store.get((f"{names.log_directory(fold.generation)}/{one.name}",))
            gone = [path for path in json.loads(data or b"{}").get("remove", ()) if not fold.names(path)]
            assert not any(path in self.store.files for path in gone), "what was taken out is still in place"

    def _check_rows(self, fold: Fold) -> None:
        rows: dict[tuple[int, int, int], str] = {}
        columns = json.loads(fold.arrow_schema or "{}").items()
        for path, file in fold.files.items():
            assert self.columns_of.get(path, {}).items() <= columns, f"{path} has columns that the table has not"
            found = self.store.get((names.staged(path), path, names.removed(path)))
            data = next((one for one in found if one is not None), None)
            assert data is not None, f"live file {path} is missing"
            content = json.loads(data)
            assert len(content) == file.rows
            for incarnation, partition, offset, topic_id in content:
                key = (incarnation, partition, offset)
                assert key not in rows, f"{key} landed twice"
                assert not is_poison(self, (*key, topic_id)), f"{key} landed, and cannot be decoded"
                rows[key] = topic_id
        self._check_quarantine(fold, rows)
        gone = {tuple(row[:3]): row[3] for path in self.expired for row in self.contents[path]}
        for (incarnation, partition), end in fold.ends.items():
            keys = [(incarnation, partition, offset) for offset in range(end.offset)]
            ids = {rows.get(key, gone.get(key)) for key in keys}
            assert ids <= {end.topic_id}, f"incarnation {incarnation} of partition {partition} mixes or misses: {ids}"
        assert all(offset < fold.ends[incarnation, partition].offset for incarnation, partition, offset in rows)

    def _check_quarantine(self, fold: Fold, rows: dict[tuple[int, int, int], str]) -> None:
        """Of each live quarantine file every record is in no other, and in no data file; they are added to `rows`."""
        for path, found in fold.quarantined.items():
            data = next((one for one in self.store.get((path, names.removed(path))) if one is not None), None)
            assert data is not None, f"live quarantine file {path} is missing"
            content = json.loads(data)
            assert len(content) == found.count
            for incarnation, partition, offset, topic_id in content:
                key = (incarnation, partition, offset)
                assert key not in rows, f"{key} landed and is quarantined, or is quarantined twice"
                assert is_poison(self, (*key, topic_id)), f"{key} is quarantined, and can be decoded"
                rows[key] = topic_id

    def _check_places(self, fold: Fold) -> None:
        for path in self.store.files if self.store.stages else ():
            if path.startswith("dt="):
                assert path in fold.files or path in self.ever_removed, f"{path} is in place, and not committed"


@dataclass(frozen=True)
class SyncedPut:
    """The second half of a put whose name is visible already."""

    path: str
