"""What a landed table testifies to the audit: the loader's side, taken from the table log alone. Pure data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headrace.audit import WINDOW_MS, Total, window_start_ms
from headrace.jobs.audit.announced import Ends


@dataclass(frozen=True, slots=True)
class WindowSum:
    """What the table's commit records count of one agent in one window."""

    count: int
    content_hash: int
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Records that were lost or quarantined, with the Kafka timestamps between which they lay (None: open on that side).

    `where`: their partition and offsets in words, where these are known.
    """

    count: int
    after_ms: int | None
    before_ms: int | None
    where: str = ""

    def overlaps(self, start_ms: int) -> bool:
        """Whether the window that begins at `start_ms` may have held one of them."""
        after_ms, before_ms = self._bounds()
        return after_ms < start_ms + WINDOW_MS and before_ms >= start_ms

    def edges(self) -> set[int]:
        """The windows of its two ends, which exist even where nothing else has landed."""
        return {window_start_ms(int(at)) for at in self._bounds() if math.isfinite(at)}

    def _bounds(self) -> tuple[float, float]:
        after_ms = -math.inf if self.after_ms is None else self.after_ms
        before_ms = math.inf if self.before_ms is None else self.before_ms
        return min(after_ms, before_ms), max(after_ms, before_ms)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A landed file that cannot be read: why, and from when to when (ms, both included) its rows may count; infinite: ever."""

    what: str
    first_ms: float
    last_ms: float

    def overlaps(self, start_ms: int) -> bool:
        """Whether a row of it may be of the window that begins at `start_ms`."""
        return self.first_ms < start_ms + WINDOW_MS and self.last_ms >= start_ms

    def edges(self, since_ms: float, until_ms: float) -> set[int]:
        """Its first and last window that overlap a time: they exist there, though nothing else should be known of them."""
        first_ms = max(_window(self.first_ms), _window(since_ms))
        last_ms = min(_window(self.last_ms), _window(until_ms - 1))
        return {int(at_ms) for at_ms in (first_ms, last_ms) if math.isfinite(at_ms) and first_ms <= last_ms}


def _window(at_ms: float) -> float:
    return window_start_ms(int(at_ms)) if math.isfinite(at_ms) else at_ms


@dataclass(frozen=True, slots=True)
class UnlikeDay:
    """A day of which windows are not told apart, and of which not that has landed which was announced (`settled_days.py`).

    `is_awaited`: it may be on its way, either to the table or to be announced.
    """

    sent: Total
    landed: Total
    is_awaited: bool


@dataclass(frozen=True, slots=True)
class Landed:
    """A topic's table, as far as the audit needs it.

    `sums` is keyed by agent and window start; `foreign` counts the rows of no agent by window start; `reached_ms` is up to when
    (the broker's clock, or the Kafka timestamp of its last landed record) all that each partition was given has landed, 0 where
    nothing of it has; `damage` says why the table cannot be read, if it cannot.
    `settled` are the days, by their start, of which windows are not told apart, and which `sums` leaves out: each is taken to
    have landed as it was announced; `unlike` are those of them of which something else has landed than was announced;
    `damaged` are those of its files that cannot be read, as far as their rows may be of the time that is judged;
    `heard` is whether any of `_audit` has landed, and `unheard` what of it was lost (by append time).
    """

    ends: Ends = field(default_factory=dict)
    sums: Mapping[tuple[str, int], WindowSum] = field(default_factory=dict)
    foreign: Mapping[int, int] = field(default_factory=dict)
    lost: tuple[Trouble, ...] = ()
    quarantined: tuple[Trouble, ...] = ()
    reached_ms: Ends = field(default_factory=dict)
    settled: frozenset[int] = frozenset()
    unlike: Mapping[int, UnlikeDay] = field(default_factory=dict)
    damage: str | None = None
    damaged: tuple[Damaged, ...] = ()
    heard: bool = True
    unheard: tuple[Trouble, ...] = ()
    uncounted_until_ms: int | None = None
    """Of windows before it sums are not compared: a rewind took rows away that do not say whose they are (fold.py)."""

    def is_summed(self, start_ms: int) -> bool:
        """Whether the sums of a window are those of its rows."""
        return self.uncounted_until_ms is None or start_ms >= self.uncounted_until_ms


NOWHERE: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Recount:
    """An agent's rows of one window, counted again from the files: all, distinct, and where they end in their partitions.

    In the newest incarnation, that is: a row of an earlier one counts as at `NOWHERE`, which nobody has acknowledged.
    """

    rows: int
    distinct: int
    ends: Ends
