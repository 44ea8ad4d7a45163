"""How far a long statement is, in one line of a terminal; nothing where nobody looks."""

import os
import sys
import time
from threading import Lock
from typing import Final

from headrace.jobs.output import escaped
from headrace.jobs.sql.session import Progress

_PATIENCE_S: Final = 0.5
"""What is done sooner says nothing."""
_EVERY_S: Final = 0.1


class ProgressLine:
    """A line on standard error that is written over and over, and gone when it is hidden."""

    def __init__(self, *, is_seen: bool) -> None:
        self._is_seen, self._lock = is_seen, Lock()
        self._began_s = self._told_s = time.monotonic()
        self._is_shown, self._is_over = False, False
        self.rows = 0
        """Of the answer, so far."""
        self.fetched: tuple[str, int, int] | None = None
        """(topic, offsets read, of how many) of what is still in the broker."""

    def tell(self, progress: Progress) -> None:
        """Show how far it is, unless that was a moment ago."""
        now_s = time.monotonic()
        if not self._is_seen or now_s - self._began_s < _PATIENCE_S or now_s - self._told_s < _EVERY_S:
            return
        self._told_s = now_s
        with self._lock:
            if not self._is_over:
                self._is_shown = True
                room = os.get_terminal_size(sys.stderr.fileno()).columns - 1  # a line that is broken is not written over
                print(f"\r{self._said(progress, now_s - self._began_s)[:room]}\x1b[K", end="", file=sys.stderr, flush=True)

    def _said(self, progress: Progress, seconds: float) -> str:
        if self.fetched is not None and self.fetched[1] < self.fetched[2]:
            topic, done, total = self.fetched
            return f"{seconds:.0f} s, {escaped(topic)}: {done:,} of {total:,} offsets still in the broker"
        said = [f"{seconds:.0f} s"]
        if progress.files:
            said.append(f"{progress.needed:,} of {progress.files:,} files")
        if progress.percent > 0:
            said.append(f"{progress.percent:.0f} %")
        if self.rows:
            said.append(f"{self.rows:,} rows")
        return ", ".join(said)

    def hide(self) -> None:
        """Nothing is shown any more."""
        with self._lock:
            self._is_over = True
            if self._is_shown:
                self._is_shown = False
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
