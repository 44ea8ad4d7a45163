"""The heat map's cells: topics × spans of time, and what stands in each. Pure.

A span is an hour, or as many hours as make the map no wider than can be read: a day has 24 spans, ninety days 180.
A cell is incomplete if any of its windows is, so that no fault hides behind an agent that is silent; else unknown, if any is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.gate import GateVerdict
from headrace.jobs.audit.judged import Verdict, WindowVerdict, sums_of, worst
from headrace.jobs.audit.reasons import Reason
from headrace.jobs.audit.wording import when

HOUR_MS: Final = 3_600_000
MOST_SPANS: Final = 200
MARKS: Final[dict[Verdict, str]] = {"complete": "", "incomplete": "!", "unknown": "?"}
"""What stands in a cell beside its colour."""
_HOURS: Final = (1, 2, 3, 6, 12, 24, 24 * 7)
_TICK_HOURS: Final = (*_HOURS[:-1], 24 * 2, 24 * 7, 24 * 14, 24 * 28)


@dataclass(slots=True)
class Cell:
    """The windows of a topic that begin within one span."""

    start_ms: int
    counts: Counter[Verdict] = field(default_factory=Counter)
    """How many windows there are of each state."""
    sums: Counter[str] = field(default_factory=Counter)
    """Of the columns of their rows."""
    _reasons: dict[tuple[str, str | None], tuple[int, Reason]] = field(default_factory=dict)

    def add(self, window: WindowVerdict) -> None:
        """One window more, of later than those before."""
        self.counts[window.state] += 1
        self.sums += sums_of([window])
        for reason in window.reasons:
            self._reasons.setdefault(reason.same, (window.window_start_ms, reason))

    @property
    def state(self) -> Verdict:
        return "incomplete" if self.counts["incomplete"] else worst(self.counts)

    def reasons(self) -> list[tuple[int, Reason]]:
        """Each reason with the start of the first window that has it."""
        return list(self._reasons.values())


@dataclass(frozen=True, slots=True)
class HeatMap:
    """`rows[i]` are the cells of `topics[i]` by number of span; the first begins at `start_ms`, each lasts `span_ms`."""

    topics: Sequence[str]
    start_ms: int
    span_ms: int
    spans: int
    rows: Sequence[dict[int, Cell]]

    @property
    def each(self) -> str:
        """How long a cell is, in words."""
        hours = self.span_ms // HOUR_MS
        return f"{hours // 24} days" if hours > 24 else "a day" if hours == 24 else f"{hours} hours" if hours > 1 else "an hour"

    def ticks(self, most: int) -> dict[int, str]:
        """Labels by number of span, at round times and not many more than `most`: a date where a day begins, else its hour."""
        whole_ms = self.spans * self.span_ms
        steps = (hours * HOUR_MS for hours in _TICK_HOURS if hours * HOUR_MS % self.span_ms == 0)
        step_ms = next((step_ms for step_ms in steps if whole_ms <= most * step_ms), 0)
        step_ms = step_ms or self.span_ms * -(-self.spans // most)
        first = -(-self.start_ms // step_ms) * step_ms
        return {(at - self.start_ms) // self.span_ms: _label(at) for at in range(first, self.start_ms + whole_ms, step_ms)}


def heat_map(found: GateVerdict) -> HeatMap:
    """Sort a verdict's windows into cells; the worst topics first."""
    in_order = sorted(found.topics, key=lambda topic: (topic.state == "complete", topic.state == "unknown", topic.topic))
    starts = [topic.windows.starts for topic in in_order if topic.windows]
    first, end = min((one[0] for one in starts), default=0), max((one[-1] for one in starts), default=0) + WINDOW_MS
    span_ms = next((hours * HOUR_MS for hours in _HOURS if end - first <= MOST_SPANS * hours * HOUR_MS), 0)
    span_ms = span_ms or -(-(end - first) // (MOST_SPANS * 24 * HOUR_MS)) * 24 * HOUR_MS
    start_ms = first // span_ms * span_ms
    rows = []
    for topic in in_order:
        cells: dict[int, Cell] = {}
        for window in topic.windows:
            n = (window.window_start_ms - start_ms) // span_ms
            cells.setdefault(n, Cell(start_ms + n * span_ms)).add(window)
        rows.append(cells)
    spans = -(-(end - start_ms) // span_ms) if starts else 0
    return HeatMap([topic.topic for topic in in_order], start_ms, span_ms, spans, rows)


def _label(at_ms: int) -> str:
    at = when(at_ms)
    return at[5:10] if at[11:13] == "00" else at[11:13]
