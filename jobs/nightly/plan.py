"""What is due: which days of which outputs have to be run, by the ledger, by what has landed since, and by the gate. Pure.

The ledger is the log of each job's table (sinks/derived/table.py): it says for every day which run it holds, and what that run
has read. Nothing else is remembered, so a night that is killed anywhere goes on where it was.

    no run ─────────────────────────────▶ missing ─┐
    rows came to what the run has read ──▶ changed ─┤ within `rerun` days ─▶ gate ─▶ run
    rows of it went (expired, rewound) ──▶ shrunk    │
    of another version, options or zone ─▶ outdated  │ (with --outdated only)
    neither ────────────────────────────▶ done       └ older: told, and left

A day that shrank is never run again by itself: its output would shrink with it. Nor is one that is outdated: a new version
would run all the past again, without anybody's word.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ValidationError

from headrace.jobs.audit.judged import Verdict
from headrace.jobs.audit.wording import when
from headrace.jobs.nightly.config import Nightly, OnIncomplete
from headrace.sinks.derived.slices import Slice, day
from headrace.sinks.path_template import zone
from headrace.sinks.table.fold import Owner
from headrace.sinks.table.record import Job as RanJob
from headrace.sinks.table.record import JobInput

if TYPE_CHECKING:
    from headrace.jobs.batch.job import Job

State = Literal["missing", "changed", "shrunk", "outdated", "done"]
Action = Literal["run", "wait", "hold", "skip", "fail"]
LONGEST_PAUSE_S: Final = 3600.0
_LOOKED_BACK: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Standing:
    """One day of one output: what the ledger says, and whether that is still so."""

    table: str
    day: Slice
    state: State
    owner: Owner | None
    is_due: bool
    differs: str = ""
    """In what the job, or the day's time, has changed since, if it is outdated."""

    @property
    def date(self) -> str:
        """As 2026-11-26."""
        return self.day.directory.removeprefix("dt=")

    @property
    def why(self) -> str:
        """Why it is run, or told."""
        return f"{self.state}: {self.differs}" if self.differs else self.state


def days(config: Nightly, now_ms: int, since: date | None = None) -> list[Slice]:
    """The days that are over, in the zone and by `after`, the oldest first: as many as `catch_up` says, or all `since` one."""
    where = zone(config.time_zone)
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(where)
    minutes = local.hour * 60 + local.minute
    newest = local.date() - timedelta(days=1 if minutes >= config.after_minutes else 2)
    count = config.catch_up if since is None else max((newest - since).days + 1, 0)
    return [day(newest - timedelta(days=ago), config.time_zone) for ago in reversed(range(count))]


def forgotten(ledger: Iterable[str], first: date) -> list[date]:
    """Days before `first` that no run has made, though earlier ones were run: as far back as a month.

    Args:
        ledger: the directories of which there are runs.
    """
    ran = {date_of(directory) for directory in ledger}
    begin = min(ran, default=first)
    begin = max(begin, first - _LOOKED_BACK)
    return [each for ago in range((first - begin).days) if (each := begin + timedelta(days=ago)) not in ran]


def date_of(directory: str) -> date:
    """The day of a slice."""
    return date.fromisoformat(directory.removeprefix("dt="))


def reach(of: Slice, back_ms: int) -> Slice:
    """The time that a job reads for a day, which may begin before it."""
    return Slice(of.directory, of.start_ms - back_ms, of.end_ms)


def taken_for(of: Slice, owner: Owner | None) -> Slice:
    """The time that a run took a day for: another than now, if `time_zone` was changed since."""
    if owner is None or owner.job.since_ms is None or owner.job.until_ms is None:
        return of
    return Slice(of.directory, owner.job.since_ms, owner.job.until_ms)


def standing(
    table: str, of: Slice, owner: Owner | None, inputs: Iterable[JobInput], job: "Job", *, newest: date, rerun: float
) -> Standing:
    """Where a day stands.

    Args:
        inputs: what a run would read now, of the time that the day's run took it for.
        job: as it would be run now.
        newest: the newest day that may be run; changed days are due of it and of the `rerun` − 1 before it.
    """
    state = compare(owner, inputs)
    differs = ""
    if owner is not None and state == "done":
        differs = ", ".join(filter(None, [_moved(taken_for(of, owner), of), difference(owner.job, job)]))
    age = (newest - date_of(of.directory)).days
    is_due = state == "missing" or (state == "changed" and age < rerun)
    return Standing(table, of, "outdated" if differs else state, owner, is_due, differs)


def compare(owner: Owner | None, inputs: Iterable[JobInput]) -> State:
    """What has become of the rows that a run has read."""
    if owner is None:
        return "missing"
    before = {one.topic: one for one in owner.job.inputs}
    now = {one.topic: one for one in inputs}
    if any(one.rows > (now[topic].rows if topic in now else 0) for topic, one in before.items()):
        return "shrunk"
    same = all(
        one.rows == 0 if (was := before.get(topic)) is None else one.content_hash == was.content_hash
        for topic, one in now.items()
    )
    return "done" if same else "changed"


def _moved(ran: Slice, now: Slice) -> str:
    """How the time of a day has changed, for people; empty: not."""
    if (ran.start_ms, ran.end_ms) == (now.start_ms, now.end_ms):
        return ""
    before, after = (f"{when(one.start_ms)} to {when(one.end_ms)}" for one in (ran, now))
    return f"the day was {before}, by `time_zone` it is {after} now"


def difference(ran: RanJob, job: "Job") -> str:
    """In what a job differs from the one that has run, for people; empty: in nothing. An option that is new was its default."""
    if ran.name != job.name:
        return f"made by job {ran.name}"
    if ran.version != str(job.version):
        return f"version {ran.version}, now {job.version}"
    try:
        before = type(job).model_validate(dict(ran.options)).model_dump(mode="json")
    except ValidationError:
        before = dict(ran.options)
    return _changes(before, job.model_dump(mode="json"))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {json.dumps(before.get(name))}, now {json.dumps(now.get(name))}" for name in names)


def decide(verdict: Verdict, on_incomplete: OnIncomplete, *, is_over: bool) -> Action:
    """What to do with a day that is due.

    Args:
        is_over: whether it has been waited for as long as is wanted; more time mends no day that is incomplete.
    """
    if verdict == "complete":
        return "run"
    if verdict == "unknown" and not is_over:
        return "wait"
    return on_incomplete


def pause_s(failures: int, retries: int, retry_after_s: float) -> float | None:
    """How long to pause before a job that has failed so often is run again; None: it is given up for tonight."""
    return None if failures > retries else min(retry_after_s * (1 << min(failures - 1, 32)), LONGEST_PAUSE_S)
