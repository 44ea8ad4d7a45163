"""One night: looks what is due, waits for the gate, runs, and tells. What it decides is in plan.py.

Days are run as soon as they are complete, the oldest first; one that is unknown keeps no other waiting. Two nights at once are
safe by the tables' logs alone, where a run replaces only the run that it knew. A lock beside the tables, where these are on a
local disk, saves the work: whoever finds it held leaves that table to the other.
"""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from threading import Event
from typing import Any, Final

from headrace.clock import Clock
from headrace.errors import HeadraceError, OvertakenError, UsageError
from headrace.jobs.audit.gate import Gate, GateVerdict
from headrace.jobs.batch.job import Job, Runner
from headrace.jobs.nightly import plan
from headrace.jobs.nightly.config import Nightly
from headrace.jobs.nightly.plan import Standing
from headrace.jobs.nightly.report import Entry
from headrace.sinks.derived.slices import Slice, input_of
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


@dataclass(frozen=True, slots=True)
class Output:
    """A job of the configuration with its options, the table that it writes, and the topics that it reads (none: all)."""

    name: str
    job: Job
    table: str
    topics: tuple[str, ...]

    def entry(self, of: Standing, outcome: Any, **told: Any) -> Entry:
        """What became of a day."""
        owner = of.owner
        known = {"attempt": owner.attempt, "ran_ms": owner.created_ms} if owner else {}
        return Entry(of.date, self.name, self.table, outcome, **{**known, **told})


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
    _gates: dict[tuple[str, tuple[str, ...]], Gate] = field(default_factory=dict)

    def standings(self, only: Sequence[Slice] | None = None) -> list[tuple[Output, Standing]]:
        """Where every day of every output stands, the oldest day first.

        Args:
            only: these days, whatever their age.
        Raises:
            StorageError, UsageError: a table cannot be read, or is no job's.
        """
        days = plan.days(self.config, self.clock.wall_ms())
        newest = date.fromisoformat(days[-1].directory.removeprefix("dt="))
        ledgers = {output.table: self._ledger(output) for output in self.outputs}
        tables: dict[str, TableSnapshot] = {}
        return [
            (
                output,
                plan.standing(
                    output.table,
                    of,
                    ledgers[output.table].get(of.directory),
                    self._inputs(output, of, tables),
                    newest=newest,
                    rerun=self.config.rerun,
                ),
            )
            for of in (days if only is None else only)
            for output in self.outputs
        ]

    def _ledger(self, output: Output) -> Mapping[str, Owner]:
        return DerivedTable(self.config.root, output.table, self.clock).owners

    def _inputs(self, output: Output, of: Slice, tables: dict[str, TableSnapshot]) -> list[JobInput]:
        read = plan.reach(of, output.job.reach_us() // 1000)
        found = []
        for topic in output.topics or landed_topics(self.config.root):
            if topic not in tables:
                tables[topic] = snapshot(self.config.root, topic)
            found.append(input_of(tables[topic], read))
        return found

    def run(self, only: Sequence[Slice] | None = None, *, force: bool = False) -> list[Entry]:
        """Run what is due, and tell of every day.

        Args:
            only: these days.
            force: run them whatever the ledger and the gate say.
        Raises:
            StorageError, UsageError: as `standings`.
        """
        entries: list[Entry] = []
        pending: list[tuple[Output, Standing]] = []
        for output, of in self.standings(only):
            if force or of.is_due:
                pending.append((output, of))
            else:
                entries.append(output.entry(of, of.state))
        until_s = time.monotonic() + self.config.wait
        while pending:
            began_s = time.monotonic()
            pending, told = self._round(pending, is_over=began_s >= until_s, force=force)
            entries += told
            if not self.config.keep_going and any(entry.outcome == "failed" for entry in told):
                break
            if pending and not self._rest(pending, time.monotonic() - began_s, until_s):
                break
        entries += [output.entry(of, "stopped", why="told to stop, or another failed") for output, of in pending]
        return sorted(entries, key=lambda entry: (entry.day, [output.table for output in self.outputs].index(entry.table)))

    def _round(
        self, pending: list[tuple[Output, Standing]], *, is_over: bool, force: bool
    ) -> tuple[list[tuple[Output, Standing]], list[Entry]]:
        """Go through all that is due once; what is still waited for, and what became of the others."""
        waiting: list[tuple[Output, Standing]] = []
        told: list[Entry] = []
        for at, (output, of) in enumerate(pending):
            if self.stop.is_set() or (told and told[-1].outcome == "failed" and not self.config.keep_going):
                return [*waiting, *pending[at:]], told
            verdict = self.judge(output, of)
            action = "run" if force else plan.decide(verdict.state, self.config.on_incomplete, is_over=is_over)
            if action == "wait":
                waiting.append((output, of))
            elif action == "run":
                told.append(self._run(output, of, verdict))
            else:
                outcome = {"hold": "held", "skip": "skipped", "fail": "failed"}[action]
                told.append(output.entry(of, outcome, verdict=verdict.state, why=why_of(verdict)))
        return waiting, told

    def _rest(self, pending: Sequence[tuple[Output, Standing]], cost_s: float, until_s: float) -> bool:
        """Wait until it is worth looking again; False: told to stop."""
        left_s = until_s - time.monotonic()
        if left_s > 0:
            output, of = pending[0]
            self.tell(f"{len(pending)} wait: {of.date} {output.name}: {why_of(self.judge(output, of))}")
            pause_s = min(max(cost_s * _COST_SHARE, _POLL_S), _MOST_POLL_S, left_s)
            if self.stop.wait(pause_s):
                return False
        for gate in self._gates.values():
            gate.look()
        return not self.stop.is_set()

    def judge(self, output: Output, of: Standing) -> GateVerdict:
        """What the audit says of a day of the topics that an output reads."""
        key = (of.day.directory, output.topics)
        if key not in self._gates:
            self._gates[key] = Gate(self.config.root, output.topics, since_ms=of.day.start_ms, until_ms=of.day.end_ms)
        return self._gates[key].judge(now_ms=self.clock.wall_ms())

    def _run(self, output: Output, of: Standing, verdict: GateVerdict) -> Entry:
        with self._lock(output.table) as is_ours:
            if not is_ours:
                return output.entry(of, "busy", verdict=verdict.state, why="another night is at this table")
            if (again := self._again(output, of)) is not None:
                return again
            return self._tried(output, of, verdict)

    def _again(self, output: Output, of: Standing) -> Entry | None:
        """What another night has made of the day, since it was looked at."""
        owner = self._ledger(output).get(of.day.directory)
        if owner == of.owner:
            return None
        return output.entry(replace(of, owner=owner), "done", why="another night has run it")

    def _tried(self, output: Output, of: Standing, verdict: GateVerdict) -> Entry:
        from headrace.jobs.batch.running import run_job  # Apache Beam, which a night with nothing to do does without

        failures = 0
        gate = verdict.summary()
        while True:
            self.tell(f"{of.date} {output.name}: runs ({of.state}, {verdict.state})")
            try:
                done = run_job(
                    output.job,
                    self.config.root,
                    of.day,
                    topics=output.topics,
                    into=output.table,
                    runner=self.runner,
                    gate=gate,
                )
            except OvertakenError as error:
                return output.entry(of, "done", verdict=verdict.state, why=f"overtaken: {error}", tries=failures + 1)
            except Exception as error:  # noqa: BLE001 - jobs are also users' own, and the other days are run all the same
                failures += 1
                said = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
                pause_s = plan.pause_s(failures, self.config.retries, self.config.retry_after)
                if isinstance(error, UsageError) or pause_s is None or self.stop.is_set():
                    return output.entry(of, "failed", verdict=verdict.state, why=said, tries=failures)
                self.tell(f"{of.date} {output.name}: failed, again in {pause_s:g} s: {said}")
                if self.stop.wait(pause_s):
                    return output.entry(of, "failed", verdict=verdict.state, why=said, tries=failures)
                continue
            told = {"rows": done.rows, "attempt": done.attempt, "seconds": round(done.seconds, 3)}
            now_ms = self.clock.wall_ms()
            return output.entry(of, "ran", verdict=verdict.state, why=of.state, tries=failures + 1, ran_ms=now_ms, **told)

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
