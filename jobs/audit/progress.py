"""What `headrace audit --wait` tells on standard error while it waits, and how it ended."""

import math
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from headrace.errors import HeadraceError
from headrace.jobs import output
from headrace.jobs.audit.gate import GateVerdict
from headrace.jobs.audit.judged import Verdict
from headrace.jobs.audit.wording import when

if TYPE_CHECKING:
    from rich.status import Status

_PROGRESS_S: Final = 30.0
_NAMED: Final = 3
"""So many reasons are named in a line about all."""


class Waiting:
    """On a terminal one line that changes; elsewhere a line at first, when the reason changes, and each half minute."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s, self._began_s = timeout_s, time.monotonic()
        self._said, self._said_s = "", -math.inf
        self._last: GateVerdict | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("waiting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, verdict: GateVerdict, trouble: HeadraceError | None) -> None:
        """That it waits, for how long, and for what first, or why that cannot be seen now."""
        from rich.markup import escape

        self._last = verdict
        now_s = time.monotonic()
        why = missing(verdict, "unknown", 1) if trouble is None else f"{output.escaped(str(trouble))}; it tries again"
        line = f"waiting {now_s - self._began_s:.0f} of {self._timeout_s:.0f} s: {why}"
        if self._status is not None:
            self._status.update(escape(line))
        elif why != self._said or now_s - self._said_s >= _PROGRESS_S:
            self._said, self._said_s = why, now_s
            _say(line)

    def interrupted(self) -> None:
        """The wait was broken off: what it was for."""
        if self._last is not None:
            _say(f"interrupted; still unknown: {missing(self._last, 'unknown', _NAMED)}")

    def ended(self, verdict: GateVerdict) -> None:
        """How it ended, unless it is complete."""
        if verdict.is_incomplete:
            _say(f"incomplete: {missing(verdict, 'incomplete', _NAMED)}")
        if verdict.state == "unknown":
            waited = "still unknown" if verdict.is_incomplete else f"unknown after {time.monotonic() - self._began_s:.0f} s"
            _say(f"{waited}: {missing(verdict, 'unknown', _NAMED)}")


def missing(verdict: GateVerdict, state: Verdict, named: int) -> str:
    """What makes windows incomplete or unknown, in a line: the first reasons, and how many more there are."""
    spells = [spell for spell in verdict.spells() if spell.reason.is_fault == (state == "incomplete")]
    if not spells:
        return "nothing has landed"
    told = [
        f"{spell.topic}{f', {when(spell.starts[0])}' if spell.starts else ''}: {output.escaped(spell.reason)}"
        for spell in spells[:named]
    ]
    more = f" (and {len(spells) - named:,} more)" if len(spells) > named else ""
    return "; ".join(told) + more


def _say(line: str) -> None:
    print(f"headrace audit: {line}", file=sys.stderr, flush=True)
