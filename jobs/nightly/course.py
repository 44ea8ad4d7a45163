"""The course of one night: what is looked at, judged, run and waited for, in which order. Pure: yields steps, is sent answers.

    Look ─▶ what is due ─▶ Judge ─▶ complete ─▶ Run ─▶ Ran, or Passed: another night is at it, or has done it
                             │                    └──▶ Failed ─▶ Pause ─▶ Run …  as often as `retries` says
                             └──▶ unknown: the next day; at the end Wait, and all that still waits is judged again

A day is judged before its run begins, so that the run's snapshot is no older than the verdict. Nothing is kept from one night
to the next, and a step may be the last that is carried out: whatever was committed, the next night finds in the ledger.
"""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from headrace.jobs.audit.judged import Verdict
from headrace.jobs.nightly import plan
from headrace.jobs.nightly.config import Nightly
from headrace.jobs.nightly.plan import Standing
from headrace.jobs.nightly.report import Entry, Outcome
from headrace.sinks.derived.slices import Slice
from headrace.sinks.table.fold import Owner

if TYPE_CHECKING:
    from headrace.jobs.batch.job import Job


@dataclass(frozen=True, slots=True)
class Output:
    """A job of the configuration with its options, the table that it writes, and the topics that it reads (none: all)."""

    name: str
    job: "Job"
    table: str
    topics: tuple[str, ...]

    def entry(self, of: Standing, outcome: Outcome, **told: Any) -> Entry:
        """What became of a day."""
        owner = of.owner
        known = {"attempt": owner.attempt, "ran_ms": owner.created_ms} if owner else {}
        return Entry(of.date, self.name, self.table, outcome, **{**known, **told})


# What is to be done.


@dataclass(frozen=True, slots=True)
class Look:
    """How every day of an output stands → a list of Standing, the oldest first, or Failed."""

    output: Output


@dataclass(frozen=True, slots=True)
class Judge:
    """What the audit says of a day of the topics that an output reads → Word, or Failed."""

    output: Output
    of: Standing


@dataclass(frozen=True, slots=True)
class Run:
    """Run it, unless it is another's or no longer as it stood → Ran, Passed or Failed."""

    output: Output
    of: Standing
    word: "Word"


@dataclass(frozen=True, slots=True)
class Pause:
    """Before what has failed is run again → False: told to stop."""

    seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Until the audit may know more, at the most until then (monotonic, s) → the time it is, or None: told to stop."""

    until_s: float
    what: str


Step = Look | Judge | Run | Pause | Wait


# What came of it.


@dataclass(frozen=True, slots=True)
class Word:
    """The gate's word on a day, and why it is not complete; `summary` goes into the run's record."""

    state: Verdict
    why: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """The day is this run's."""

    attempt: str
    rows: int
    seconds: float
    ran_ms: int


@dataclass(frozen=True, slots=True)
class Passed:
    """Nothing was run: `done` or `busy` by another night, or `stopped`. `owner` is whose the day is now."""

    outcome: Literal["done", "busy", "stopped"]
    why: str
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing has changed; `is_final`: another try would end the same."""

    why: str
    is_final: bool = False


_LEFT: Final[dict[plan.Action, Outcome]] = {"hold": "held", "skip": "skipped", "fail": "failed"}


@dataclass(slots=True)
class Course:
    """One night of some outputs. `now_s` is the monotonic time at which it begins, `days` are those that are looked at."""

    config: Nightly
    outputs: Sequence[Output]
    days: Sequence[Slice]
    now_s: float
    force: bool = False
    """Run all of them, whatever the ledger and the gate say."""
    outdated: bool = False
    """Run those, too, that the job has made as it was before."""
    _entries: list[Entry] = field(default_factory=list)
    _is_over: bool = False
    """Whether nothing else is to be begun: something has failed, or the night was told to stop."""

    def steps(self) -> Generator[Step, Any, list[Entry]]:
        """The steps; returns what became of every day, the oldest first."""
        until_s = self.now_s + self.config.wait
        pending = yield from self._due()
        while pending and not self._is_over:
            pending, why = yield from self._round(pending, has_waited=self.now_s >= until_s)
            if pending and not self._is_over:
                now_s = yield Wait(until_s, f"{len(pending)} wait: {why}")
                self._is_over = now_s is None
                self.now_s = self.now_s if now_s is None else now_s
        for output, of in pending:
            self._tell(output, of, "stopped", why="told to stop, or another failed")
        return self._told()

    def standing(self) -> Generator[Step, Any, list[Entry]]:
        """The steps of looking only: how every day stands, and what the gate says of those that are due."""
        for output, of in (yield from self._due()):
            word = yield Judge(output, of)
            if isinstance(word, Failed):
                self._tell(output, of, "failed", why=word.why)
            else:
                self._tell(output, of, "due", verdict=word.state, why=", ".join(filter(None, [of.why, word.why])))
        return self._told()

    def _told(self) -> list[Entry]:
        order = [output.table for output in self.outputs]
        return sorted(self._entries, key=lambda entry: (entry.day, order.index(entry.table)))

    def _due(self) -> Generator[Step, Any, list[tuple[Output, Standing]]]:
        """What is due, the oldest day first, and of a day in the order of the configuration; the others are told."""
        found: list[tuple[Output, Standing]] = []
        for output in self.outputs:
            standings = yield Look(output)
            if isinstance(standings, Failed):
                newest = self.days[-1].directory.removeprefix("dt=")
                self._entries.append(Entry(newest, output.name, output.table, "failed", why=standings.why))
                continue
            for of in standings:
                if of.is_due or self.force or (self.outdated and of.state == "outdated"):
                    found.append((output, of))
                else:
                    self._tell(output, of, of.state, why=of.differs)
        return sorted(found, key=lambda each: each[1].date)

    def _round(
        self, pending: list[tuple[Output, Standing]], *, has_waited: bool
    ) -> Generator[Step, Any, tuple[list[tuple[Output, Standing]], str]]:
        """Go through what is due once: what is still waited for, or not come to, and why the first of it is."""
        waiting: list[tuple[Output, Standing]] = []
        why = ""
        for at, (output, of) in enumerate(pending):
            word = yield Judge(output, of)
            if isinstance(word, Failed):
                self._tell(output, of, "failed", why=word.why)
                continue
            action = "run" if self.force else plan.decide(word.state, self.config.on_incomplete, is_over=has_waited)
            if action == "wait":
                why = why or f"{of.date} {output.name}: {word.why}"
                waiting.append((output, of))
            elif action == "run":
                yield from self._run(output, of, word)
            else:
                self._tell(output, of, _LEFT[action], verdict=word.state, why=word.why)
            if self._is_over:
                return [*waiting, *pending[at + 1 :]], why
        return waiting, why

    def _run(self, output: Output, of: Standing, word: Word) -> Generator[Step, Any, None]:
        failures = 0
        while True:
            came: Ran | Passed | Failed = yield Run(output, of, word)
            told: dict[str, Any] = {"verdict": word.state, "tries": failures + 1}
            if isinstance(came, Ran):
                return self._tell(output, of, "ran", **told, why=of.why, **asdict(came))
            if isinstance(came, Passed):
                self._is_over = came.outcome == "stopped"
                return self._tell(output, replace(of, owner=came.owner), came.outcome, **told, why=came.why)
            failures += 1
            pause_s = None if came.is_final else plan.pause_s(failures, self.config.retries, self.config.retry_after)
            if pause_s is None:
                return self._tell(output, of, "failed", **told, why=came.why)
            if not (yield Pause(pause_s, f"{of.date} {output.name}: failed, again in {pause_s:g} s: {came.why}")):
                self._is_over = True
                return self._tell(output, of, "failed", **told, why=came.why)

    def _tell(self, output: Output, of: Standing, outcome: Outcome, **told: Any) -> None:
        self._entries.append(output.entry(of, outcome, **told))
        self._is_over |= outcome == "failed" and not self.config.keep_going
