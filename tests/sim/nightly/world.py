"""Topics that land, a gate, tables of jobs, and nights that are killed: a model of what `headrace nightly` works with.

Nights follow the real course. What it stands on is modelled as its own simulations prove it: a table is a ledger in which a run
replaces only the run that it knew (tests/sim/table), and the gate's word is true at the moment at which it looked.
"""

import math
import random
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from headrace.audit import HASH_MODULUS
from headrace.jobs.batch.job import Job
from headrace.jobs.nightly import plan
from headrace.jobs.nightly.config import Nightly
from headrace.jobs.nightly.course import Course, Failed, Judge, Look, Output, Passed, Pause, Ran, Run, Step, Wait, Word
from headrace.jobs.nightly.plan import Standing
from headrace.jobs.nightly.report import Entry
from headrace.sinks.derived.slices import Slice, day
from headrace.sinks.table.fold import Owner
from headrace.sinks.table.record import Job as RanJob
from headrace.sinks.table.record import JobInput

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BEGAN_MS = 1_780_272_000_000  # 2026-06-01
LATENESS_MS = HOUR_MS // 12
TOPICS = ("shop", "web")


class Sums(Job):
    """What outputs run: its option is what people change."""

    name: ClassVar = "sums"
    does: ClassVar = "sums"
    schema: ClassVar = pa.schema([])

    scale: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One landed row."""

    number: int
    topic: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Made:
    """The output of one run, and what was true when it was made."""

    owner: Owner
    rows: frozenset[Row]
    version: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate has found, when the tables had had so many changes."""

    word: Word
    version: int


class World:
    """One root. `version` counts the changes of its tables; `landed` are the rows that are there."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now_ms = BEGAN_MS + 4 * DAY_MS
        self.number = self.version = 0
        self.sent: set[Row] = set()
        """Those that agents have announced and that have not landed."""
        self.lost: set[Row] = set()
        self.landed: set[Row] = set()
        self.expired_ms = BEGAN_MS
        """Rows of before then have been taken away: whole days."""
        self.gone: dict[Row, int] = {}
        """Rows that have expired, and the version since which they are gone."""
        self.ledgers: dict[str, dict[str, Made]] = {}
        self.has_locks = rng.random() < 0.5
        self.locks: dict[str, object] = {}

    # What agents, loaders and people do.

    def move(self) -> None:
        """Something happens."""
        what = self.rng.choices(
            (self.write, self.land, self.pass_time, self.lose, self.alter, self.expire), weights=(8, 8, 6, 0.3, 0.3, 0.15)
        )[0]
        what()

    def write(self) -> None:
        """A line of now, or a late one."""
        ago_ms = self.rng.choice((0, 0, 0, HOUR_MS, DAY_MS, 5 * DAY_MS))
        self.number += 1
        row = Row(self.number, self.rng.choice(TOPICS), max(self.now_ms - ago_ms, self.expired_ms))
        self.sent.add(row)

    def land(self, *, everything: bool = False) -> None:
        """What has been sent is there."""
        rows = [row for row in sorted(self.sent, key=lambda row: row.number) if everything or self.rng.random() < 0.7]
        self.sent.difference_update(rows)
        self.landed.update(rows)
        self.version += 1

    def pass_time(self) -> None:
        self.now_ms += self.rng.choice((HOUR_MS // 4, 5 * HOUR_MS, 11 * HOUR_MS, DAY_MS))

    def lose(self) -> None:
        """A row that was announced never lands."""
        if self.sent:
            row = self.rng.choice(sorted(self.sent, key=lambda row: row.number))
            self.sent.discard(row)
            self.lost.add(row)

    def alter(self) -> None:
        """A topic is rewound and lands again with one row in another's place."""
        if self.landed:
            row = self.rng.choice(sorted(self.landed, key=lambda row: row.number))
            self.number += 1
            self.version += 1
            self.landed.discard(row)
            self.landed.add(Row(self.number, row.topic, row.time_ms))

    def expire(self) -> None:
        """The oldest days go."""
        self.expired_ms = max(self.expired_ms, self.now_ms // DAY_MS * DAY_MS - self.rng.randint(1, 6) * DAY_MS)
        self.version += 1
        went = {row for row in self.landed if row.time_ms < self.expired_ms}
        self.landed -= went
        self.gone.update(dict.fromkeys(went, self.version))
        self.sent = {row for row in self.sent if row.time_ms >= self.expired_ms}
        self.lost = {row for row in self.lost if row.time_ms >= self.expired_ms}

    # What nights see.

    def rows(self, of: Slice, topics: tuple[str, ...]) -> frozenset[Row]:
        """What a run for a day would read now."""
        return frozenset(row for row in self.landed if of.start_ms <= row.time_ms < of.end_ms and row.topic in topics)

    def judge(self, of: Slice, topics: tuple[str, ...]) -> Verdict:
        """The gate, as of now."""

        def has(rows: set[Row]) -> bool:
            return any(of.start_ms <= row.time_ms < of.end_ms and row.topic in topics for row in rows)

        if self.now_ms < of.end_ms + LATENESS_MS or has(self.sent):
            return Verdict(Word("unknown", "not landed"), self.version)
        return Verdict(Word("incomplete", "lost") if has(self.lost) else Word("complete"), self.version)

    def owners(self, table: str) -> dict[str, Owner]:
        return {directory: made.owner for directory, made in self.ledgers.get(table, {}).items()}


def inputs_of(rows: frozenset[Row], topics: tuple[str, ...]) -> tuple[JobInput, ...]:
    """What a run's record says of them."""
    found = []
    for topic in topics:
        own = [row for row in rows if row.topic == topic]
        content = sum((row.number * 0x9E3779B97F4A7C15) % HASH_MODULUS for row in own) % HASH_MODULUS
        found.append(JobInput(topic, 1, 0, None, len(own), f"{content:016x}"))
    return tuple(found)


@dataclass(eq=False)
class Night:
    """One `headrace nightly`, which may be killed between any two of its steps. `skew_ms`: how far its clock is off."""

    world: World
    config: Nightly
    outputs: list[Output]
    skew_ms: int
    poisoned: str
    """The table whose job fails always."""
    outdated: bool = False
    faults: float = 0.1
    """How often a step fails, or an answer is lost."""
    entries: list[Entry] | None = None
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    ran: list[tuple[str, str]] = field(default_factory=list)
    is_stopped: bool = False
    has_failed: bool = False

    def __post_init__(self) -> None:
        now_ms = self.world.now_ms + self.skew_ms
        self.began_ms = now_ms
        self.now_s = 0.0
        self.days = plan.days(self.config, now_ms)
        self.looked: dict[str, int] = {}
        self.seen: dict[tuple[str, str], frozenset[Row]] = {}
        self.verdicts: dict[tuple[str, tuple[str, ...]], Verdict] = {}
        self.judged: set[tuple[str, tuple[str, ...]]] = set()
        self.due: set[tuple[str, str]] = set()
        """Tables and days that were found due, and have not come to their end."""
        self.given_up: set[tuple[str, str]] = set()
        self.oldest = ""
        """The day of the last run that was begun in this round."""
        self.life = self._life()

    def _life(self) -> Iterator[None]:
        steps = Course(self.config, self.outputs, self.days, self.now_s, outdated=self.outdated).steps()
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                yield
                answer = yield from self._carried_out(step)
        except StopIteration as end:
            self.entries = end.value
            self._check_end()
        finally:
            for table in [table for table, holder in self.world.locks.items() if holder is self]:
                del self.world.locks[table]

    def _carried_out(self, step: Step) -> Generator[None, None, Any]:
        match step:
            case Look(output):
                if self.world.rng.random() < self.faults / 5:
                    return Failed("the store does not answer")
                return self._look(output)
            case Judge(output, of):
                return self._judge(output, of.day)
            case Run(output, of, word):
                return (yield from self._run(output, of, word))
            case Pause():
                yield
                return not self._told_to_stop()
            case Wait(until_s):
                self._check_wait()
                yield
                self.verdicts.clear()
                self.oldest = ""
                self.now_s = min(until_s, self.now_s + self.world.rng.choice((60.0, 3600.0)))
                return None if self._told_to_stop() else self.now_s

    def _told_to_stop(self) -> bool:
        self.is_stopped |= self.world.rng.random() < self.faults / 10
        return self.is_stopped

    def _look(self, output: Output) -> list[Standing]:
        self.looked[output.table] = self.world.version
        ledger = self.world.owners(output.table)
        first, newest = (plan.date_of(of.directory) for of in (self.days[0], self.days[-1]))
        found = [
            Standing(output.table, day(each), "missing", None, is_due=False) for each in plan.forgotten(ledger, first)
        ]  # fmt: skip
        for of in self.days:
            self.seen[output.table, of.directory.removeprefix("dt=")] = rows = self.world.rows(of, output.topics)
            inputs = inputs_of(rows, output.topics)
            owner = ledger.get(of.directory)
            found.append(
                plan.standing(output.table, of, owner, inputs, output.job, newest=newest, rerun=self.config.rerun)
            )  # fmt: skip
        self.due |= {(output.table, of.date) for of in found if of.is_due or (self.outdated and of.differs)}
        return found

    def _judge(self, output: Output, of: Slice) -> Word | Failed:
        if self.world.rng.random() < self.faults / 5:
            self.due.discard((output.table, of.directory.removeprefix("dt=")))
            return Failed("the store does not answer")
        key = (of.directory, output.topics)
        self.judged.add(key)
        if key not in self.verdicts:
            self.verdicts[key] = self.world.judge(of, output.topics)
        return self.verdicts[key].word

    def _check_end(self) -> None:
        unknown = [entry for entry in self.entries or [] if entry.outcome == "held" and entry.verdict == "unknown"]
        assert not unknown or self.now_s >= self.config.wait, "it was not waited for"

    def _check_wait(self) -> None:
        for output in self.outputs:
            for of in self.days:
                verdict = self.verdicts.get((of.directory, output.topics))
                is_due = (output.table, of.directory.removeprefix("dt=")) in self.due
                is_waited_for = verdict is None or verdict.word.state != "complete"
                is_judged = (of.directory, output.topics) in self.judged
                assert not is_due or (is_judged and is_waited_for), "a day was kept waiting by another"

    def _run(self, output: Output, of: Standing, word: Word) -> Generator[None, None, Ran | Passed | Failed]:
        """As night.py and running.py do it: lock, look again, begin, read a snapshot, commit."""
        world, key = self.world, (output.table, of.date)
        self._check_begin(key, of)
        if self._told_to_stop():
            return Passed("stopped", "told to stop", of.owner)
        if world.has_locks and world.locks.setdefault(output.table, self) is not self:
            self.due.discard(key)
            return Passed("busy", "another night is at this table", of.owner)
        try:
            yield
            if (owner := world.owners(output.table).get(of.day.directory)) != of.owner:
                self.due.discard(key)
                return Passed("done", "another night has run it", owner)
            yield
            came = yield from self._worked(output, of, word)
        finally:
            world.locks.pop(output.table, None)
        if not (isinstance(came, Failed) and self.tries[key] <= self.config.retries and not came.is_final):
            self.due.discard(key)
        self.given_up |= {key} if isinstance(came, Failed) and came.is_final else set()
        self.has_failed |= isinstance(came, Failed) and key not in self.due
        return came

    def _check_begin(self, key: tuple[str, str], of: Standing) -> None:
        """What holds whenever a run is begun."""
        self.tries[key] += 1
        assert self.tries[key] <= self.config.retries + 1, "retries have no end"
        assert of.date >= self.oldest, "an older day came after it"
        self.oldest = of.date
        assert key not in self.given_up, "what another try does not mend was tried again"
        assert not self.is_stopped, "it was told to stop"
        assert not (self.has_failed and not self.config.keep_going), "something had failed before"
        assert self.began_ms >= of.day.end_ms + self.config.after_minutes * 60_000, "the day is not over"

    def _worked(self, output: Output, of: Standing, word: Word) -> Generator[None, None, Ran | Passed | Failed]:
        world, directory = self.world, of.day.directory
        before = world.ledgers.setdefault(output.table, {}).get(directory)
        yield
        rows, version = world.rows(of.day, output.topics), world.version
        yield
        if output.table == self.poisoned:
            return Failed("it always fails", is_final=world.number % 2 == 0)
        if world.rng.random() < self.faults:
            return Failed("the store does not answer")
        if world.ledgers[output.table].get(directory) is not before:
            return Passed("done", "overtaken", None)
        world.number += 1
        job = RanJob(output.job.name, "1", inputs_of(rows, output.topics), output.job.model_dump())
        made = Made(Owner(f"run-{world.number}", world.number, world.now_ms, job), rows, version)
        self._check(output, of, word, before, made)
        world.ledgers[output.table][directory] = made
        self.ran.append((output.table, of.date))
        if world.rng.random() < self.faults:
            return Failed("no answer came, though it was done")
        return Ran(made.owner.attempt, len(rows), 1.0, world.now_ms)

    def _check(self, output: Output, of: Standing, word: Word, before: Made | None, made: Made) -> None:
        """What holds of every output: see test_night.py."""
        verdict = self.verdicts.get((of.day.directory, output.topics))
        if self.config.on_incomplete != "run":
            assert word.state == "complete", "it was not complete"
        if verdict is not None:
            assert made.version >= verdict.version, "older than the gate's word"
        if before is None:
            return
        assert before.version <= made.version, "an older output has replaced a newer one"
        if before.owner != of.owner:
            return  # another night has run it between our look and our beginning: one of the two worked for nothing
        went = [row for row in before.rows if self.world.gone.get(row, math.inf) <= self.looked[output.table]]
        assert not went, "it has shrunk"
        newest = plan.date_of(self.days[-1].directory)
        assert self.outdated or (newest - plan.date_of(of.day.directory)).days < self.config.rerun, "too old to be run again"
        assert self.outdated or before.rows != self.seen[output.table, of.date], "run again for nothing"
