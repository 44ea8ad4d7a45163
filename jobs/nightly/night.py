"""Carries out the steps of a night (course.py): reads ledgers and tables, asks the gate, runs jobs, waits, and tells.

Two nights at once are safe by the tables' logs alone, where a run replaces only the run that it knew. A lock beside the tables,
where these are on a local disk, saves the work: whoever finds it held leaves that table to the other.
"""

import contextlib
import fcntl
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

from headrace.clock import Clock
from headrace.errors import HeadraceError, OvertakenError, UsageError
from headrace.jobs.audit.gate import Gate, GateVerdict
from headrace.jobs.batch.job import Runner
from headrace.jobs.nightly import plan
from headrace.jobs.nightly.config import Nightly
from headrace.jobs.nightly.course import Course, Failed, Judge, Look, Output, Passed, Pause, Ran, Run, Step, Wait, Word
from headrace.jobs.nightly.plan import Standing
from headrace.jobs.nightly.report import Entry
from headrace.sinks.derived.slices import Slice, day, input_of
from headrace.sinks.derived.table import DerivedTable
from headrace.sinks.places import landed_topics
from headrace.sinks.stores.roots import local_directory, scheme_of
from headrace.sinks.table.fold import Owner
from headrace.sinks.table.reader import TableSnapshot, snapshot
from headrace.sinks.table.record import JobInput

_POLL_S: Final = 5.0
_MOST_POLL_S: Final = 60.0
_COST_SHARE: Final = 10
_LOCKS: Final = "_nightly"


@dataclass(slots=True)
class Night:
    """The outputs of one root, for as long as one command runs."""

    config: Nightly
    outputs: Sequence[Output]
    runner: Runner
    clock: Clock
    stop: Event
    """Set when no further run is to begin."""
    tell: Callable[[str], None]
    """Told of what is waited for, run and tried again, a line each."""
    days: Sequence[Slice]
    """Those that are looked at, the oldest first."""
    is_whole: bool = True
    """Whether they are all up to the newest that is over, and none was named."""
    _gates: dict[tuple[str, tuple[str, ...]], Gate] = field(default_factory=dict)
    _tables: dict[str, TableSnapshot] = field(default_factory=dict)
    _looking_s: float = 0.0
    """What it has cost to look since the last wait."""

    def run(self, *, force: bool = False, outdated: bool = False) -> list[Entry]:
        """Run what is due, and tell of every day; see `Course`.

        Raises:
            UsageError: a table is no job's.
        """
        return self._carried_out(self._course(force=force, outdated=outdated).steps())

    def look(self) -> list[Entry]:
        """How every day stands; nothing is changed. Raises as `run`."""
        return self._carried_out(self._course().standing())

    def _course(self, *, force: bool = False, outdated: bool = False) -> Course:
        return Course(self.config, self.outputs, self.days, time.monotonic(), force, outdated)

    def _carried_out(self, steps: Generator[Step, Any, list[Entry]]) -> list[Entry]:
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                entries: list[Entry] = end.value
                return entries
            answer = self.carry_out(step)

    def carry_out(self, step: Step) -> Any:
        """Do what a step says; the answer. Raises UsageError: a table is no job's."""
        match step:
            case Look(output):
                return self._look(output)
            case Judge(output, of):
                return self._judge(output, of)
            case Run(output, of, word):
                return self._run(output, of, word)
            case Pause(seconds, what):
                self.tell(what)
                return not self.stop.wait(seconds)
            case Wait(until_s, what):
                self.tell(what)
                return self._wait(until_s)

    def _look(self, output: Output) -> list[Standing] | Failed:
        try:
            ledger = self._ledger(output)
            known = [self._standing(output, of, ledger) for of in self.days]
            return [*self._forgotten(output, ledger), *known]
        except UsageError:
            raise
        except HeadraceError as error:
            return Failed(str(error))

    def _forgotten(self, output: Output, ledger: Mapping[str, Owner]) -> list[Standing]:
        before = plan.forgotten(ledger, plan.date_of(self.days[0].directory)) if self.is_whole else []
        zone = self.config.time_zone
        return [Standing(output.table, day(each, zone), "missing", None, is_due=False) for each in before]

    def _standing(self, output: Output, of: Slice, ledger: Mapping[str, Owner]) -> Standing:
        newest = plan.date_of(self.days[-1].directory)
        rerun = self.config.rerun if self.is_whole else math.inf
        owner = ledger.get(of.directory)
        inputs = self._inputs(output, plan.taken_for(of, owner))
        return plan.standing(output.table, of, owner, inputs, output.job, newest=newest, rerun=rerun)

    def _ledger(self, output: Output) -> Mapping[str, Owner]:
        return DerivedTable(self.config.root, output.table, self.clock).owners

    def _inputs(self, output: Output, of: Slice) -> list[JobInput]:
        read = plan.reach(of, output.job.reach_us() // 1000)
        found = []
        for topic in output.topics or landed_topics(self.config.root):
            if topic not in self._tables:
                self._tables[topic] = snapshot(self.config.root, topic, is_whole=False)
            found.append(input_of(self._tables[topic], read))
        return found

    def _judge(self, output: Output, of: Standing) -> Word | Failed:
        began_s = time.monotonic()
        key = (of.day.directory, output.topics)
        try:
            if key not in self._gates:
                after_s = self.config.retire_after
                self._gates[key] = Gate(
                    self.config.root,
                    output.topics,
                    since_ms=of.day.start_ms,
                    until_ms=of.day.end_ms,
                    retire_after_ms=math.inf if after_s is None else after_s * 1000,
                )
            verdict = self._gates[key].judge(now_ms=self.clock.wall_ms())
        except HeadraceError as error:
            return Failed(str(error))
        self._looking_s += time.monotonic() - began_s
        return Word(verdict.state, why_of(verdict), verdict.summary())

    def _wait(self, until_s: float) -> float | None:
        left_s = until_s - time.monotonic()
        pause_s = min(max(self._looking_s * _COST_SHARE, _POLL_S), _MOST_POLL_S, max(left_s, 0))
        if self.stop.wait(pause_s):
            return None
        began_s = time.monotonic()
        for gate in self._gates.values():
            gate.look()
        self._looking_s = time.monotonic() - began_s
        return time.monotonic()

    def _run(self, output: Output, of: Standing, word: Word) -> Ran | Passed | Failed:
        if self.stop.is_set():
            return Passed("stopped", "told to stop", of.owner)
        try:
            with self._lock(output.table) as is_ours:
                if not is_ours:
                    return Passed("busy", "another night is at this table", of.owner)
                owner = self._ledger(output).get(of.day.directory)
                if owner != of.owner:
                    return Passed("done", "another night has run it", owner)
                self.tell(f"{of.date} {output.name}: runs ({of.why}, {word.state})")
                return self._ran(output, of, word)
        except OvertakenError as error:
            return Passed("done", f"overtaken: {error}", of.owner)
        except Exception as error:  # noqa: BLE001 - jobs are also users' own, and the other days are run all the same
            said = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
            return Failed(said, is_final=isinstance(error, UsageError))

    def _ran(self, output: Output, of: Standing, word: Word) -> Ran:
        from headrace.jobs.batch.running import run_job  # Apache Beam, which a night with nothing to do does without

        done = run_job(
            output.job,
            self.config.root,
            of.day,
            topics=output.topics,
            into=output.table,
            runner=self.runner,
            gate=word.summary,
        )
        for warning in done.warnings:
            self.tell(f"{of.date} {output.name}: {warning}")
        return Ran(done.attempt, done.rows, round(done.seconds, 3), self.clock.wall_ms())

    @contextlib.contextmanager
    def _lock(self, table: str) -> Iterator[bool]:
        """Whether no other night of this machine writes the table; where tables are elsewhere nothing is known of that."""
        if scheme_of(self.config.root) != "file":
            yield True
            return
        folder = local_directory(self.config.root, "the lock") / _LOCKS
        folder.mkdir(exist_ok=True)
        with (folder / f"{table}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it goes with the process, however that ends
            except BlockingIOError:
                yield False
                return
            yield True


def why_of(verdict: GateVerdict) -> str:
    """The first of the reasons, and how many more there are."""
    reasons = [str(spell.reason) for spell in verdict.spells()]
    if not reasons:
        return "" if verdict.state == "complete" else "nothing has been announced of it"
    return reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")
