"""What is due: which days of which outputs have to be run, by the ledger, by what has landed since, and by the gate. Pure.

The ledger is the log of each job's table (sinks/derived/table.py): it says for every day which run it holds, and what that run
has read. Nothing else is remembered, so a night that is killed anywhere goes on where it was.

    no run ─────────────────────────────▶ missing ─┐
    rows came to what the run has read ──▶ changed ─┤ within `rerun` days ─▶ gate ─▶ run
    rows of it went (expired, rewound) ──▶ shrunk    │
    neither ────────────────────────────▶ done       └ older: told, and left

A day that shrank is never run again by itself: its output would shrink with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from headrace.jobs.audit.verdict import Verdict
from headrace.jobs.nightly.config import Nightly, OnIncomplete
from headrace.sinks.derived.slices import Slice, day
from headrace.sinks.path_template import zone
from headrace.sinks.table.fold import Owner
from headrace.sinks.table.record import JobInput

State = Literal["missing", "changed", "shrunk", "done"]
Action = Literal["run", "wait", "hold", "skip", "fail"]
LONGEST_PAUSE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One day of one output: what the ledger says, and whether that is still so."""

    table: str
    day: Slice
    state: State
    owner: Owner | None
    is_due: bool

    @property
    def date(self) -> str:
        """As 2026-11-26."""
        return self.day.directory.removeprefix("dt=")


def days(config: Nightly, now_ms: int) -> list[Slice]:
    """The days that are over, in the zone and by `after`, and not older than `catch_up`; the oldest first."""
    where = zone(config.time_zone)
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(where)
    minutes = local.hour * 60 + local.minute
    newest = local.date() - timedelta(days=1 if minutes >= config.after_minutes else 2)
    return [day(newest - timedelta(days=ago), config.time_zone) for ago in reversed(range(config.catch_up))]


def reach(of: Slice, back_ms: int) -> Slice:
    """The time that a job reads for a day, which may begin before it."""
    return Slice(of.directory, of.start_ms - back_ms, of.end_ms)


def standing(table: str, of: Slice, owner: Owner | None, inputs: Iterable[JobInput], *, newest: date, rerun: int) -> Standing:
    """Where a day stands.

    Args:
        inputs: what a run would read now.
        newest: the newest day that may be run; changed days are due of it and of the `rerun` − 1 before it.
    """
    state = compare(owner, inputs)
    age = (newest - date.fromisoformat(of.directory.removeprefix("dt="))).days
    return Standing(table, of, state, owner, state == "missing" or (state == "changed" and age < rerun))


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
