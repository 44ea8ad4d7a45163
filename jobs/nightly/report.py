"""What a night has done: for people, for programs, and what is to be done now. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from headrace.jobs.audit.judged import Verdict
from headrace.jobs.nightly.config import Nightly
from headrace.sinks.derived.slices import day

Outcome = Literal[
    "ran", "done", "missing", "changed", "shrunk", "outdated", "held", "skipped", "failed", "busy", "stopped", "due"
]
BAD: tuple[Outcome, ...] = ("failed", "stopped")
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One day of one job.

    `outcome`: `ran`; `done` before, or by another meanwhile; `missing`, `changed`, `shrunk` or `outdated`, and left so
    (plan.py); `held` or `skipped` by the gate; `failed`; `busy`: another night is at it; `stopped` before its turn came;
    `due`, in `status`.
    """

    day: str
    job: str
    table: str
    outcome: Outcome
    why: str = ""
    verdict: Verdict | None = None
    rows: int | None = None
    attempt: str | None = None
    ran_ms: int | None = None
    seconds: float | None = None
    tries: int = 0

    @property
    def waits(self) -> bool:
        """Whether it is the audit that keeps it from being run."""
        return self.outcome in ("held", "skipped", "due") and self.verdict not in (None, "complete")

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def exit_status(entries: Iterable[Entry]) -> int:
    """0: all that could be done is; 1: something failed; 3 or 4: something is held, incomplete or unknown.

    What another night is at (`busy`) that one answers for. Of `status`, where nothing is run, `failed` is what could not be
    found out.
    """
    found = list(entries)
    if any(entry.outcome in BAD for entry in found):
        return 1
    held = {entry.verdict for entry in found if entry.outcome == "held"}
    return 4 if "unknown" in held else 3 if held else 0


def lines(entries: Sequence[Entry]) -> list[str]:
    """A table for people: what is done is one line a job."""
    shown = [entry for entry in entries if entry.outcome != "done"]
    cells = [["day", "job", "outcome", "gate", "rows", "seconds", "why"]]
    cells += [
        [
            entry.day,
            entry.job,
            entry.outcome,
            entry.verdict or "-",
            "-" if entry.rows is None else str(entry.rows),
            "-" if entry.seconds is None else f"{entry.seconds:.1f}",
            entry.why,
        ]
        for entry in shown
    ]
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells if shown]


def advice(entries: Sequence[Entry], config: Nightly, file: str) -> list[str]:
    """What was done where that needs a word, then how it stands, and what to do: a line for each kind of days that are not
    done, what matters most last.

    Args:
        file: where the configuration was read.
    """
    again = f"headrace nightly run --config {file}"
    told: list[str] = []
    for outcome in ("shrunk", "outdated", "changed", "missing", "due", "waiting", "stopped", "failed"):
        found = [entry for entry in entries if outcome == ("waiting" if entry.waits else entry.outcome)]
        if not found:
            continue
        first = found[0]
        this = f"{again} --day {first.day} --job {first.table}"
        look = f"headrace audit --root {config.root} {_time_of(first.day, config.time_zone)}"
        said = {
            "shrunk": f"left as they are: rows that they have read have expired; {this} --force would lose them here, too",
            "outdated": f"made before something was changed ({first.why}); run again: {again} --since {first.day} --outdated",
            "changed": f"older than `rerun`, and rows have come since: {this}",
            "missing": f"never run, and older than `catch_up`: {again} --since {first.day}",
            "due": f"due; run them: {again}",
            "waiting": f"wait for the audit, which says why: {look}; looked at again next time; as it is: {this} --force",
            "stopped": f"not come to; go on with: {again}",
            "failed": f"failed; mend it ({first.why}), then: {this}",
        }
        told.append(f"{len(found)} {said[outcome]}")
    did = _did(entries, file)
    if not told and len(did) == 1:
        return [f"{did[0]}; all {len(entries)} are up to date, nothing is to be done"]
    return ([", ".join(did)] if len(did) > 1 else []) + told


def _did(entries: Sequence[Entry], file: str) -> list[str]:
    """How many ran; which of them are not known to be complete, and how many another night is at, if there are any."""
    ran = [entry for entry in entries if entry.outcome == "ran"]
    early = [f"{entry.day} {entry.job}: {entry.verdict}" for entry in ran if entry.verdict not in (None, "complete")]
    busy = sum(entry.outcome == "busy" for entry in entries)
    said = [f"{len(ran)} ran"]
    if early:
        more = f" and {len(early) - _NAMED} more" if len(early) > _NAMED else ""
        said.append(f"{len(early)} of them though not complete ({', '.join(early[:_NAMED])}{more})")
    if busy:
        said.append(f"{busy} left to another night (how they stand: headrace nightly status --config {file})")
    return said


def _time_of(date: str, time_zone: str) -> str:
    """A day of a zone, as options of `headrace audit`, whose days are UTC's."""
    of = day(date, time_zone)
    if of == day(date):
        return f"--day {date}"
    begins, ends = (datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M") for ms in (of.start_ms, of.end_ms))
    return f"--since {begins} --until {ends}"
