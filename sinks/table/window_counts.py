"""Counts of ten-minute windows in bounded room: where there would be too many, neighbours become one span. Pure.

A span counts in each window that it overlaps (audit.md), so what is known stays true and gets coarser. Spans may be the longer
the farther they are from now, before or after, by one share of that distance, the smallest that makes room: so neither months
of poison nor records that say they are of any year before cost the exactness of the last hours, which are what is asked about.
(A flood of records that are ahead of their time makes that time coarse, for when it comes.)
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from headrace.sinks.table.record import WindowCount

MOST_WINDOWS: Final = 1000
"""Some 50 KB of JSON."""
_LEFT: Final = 3 / 4
"""Of the room when some is made, so that it is not each time."""
_FIRST_SHARE: Final = 1 / 256


def with_counts(counts: Sequence[WindowCount], more: Iterable[WindowCount], now_ms: int) -> tuple[WindowCount, ...]:
    """Counts (ascending and disjoint) with others added, no more than `MOST_WINDOWS`."""
    spans = list(counts)
    for one in more:
        first = bisect_left(spans, one.window_start_ms + 1, key=lambda span: span.end_ms)
        last = bisect_left(spans, one.end_ms, lo=first, key=lambda span: span.window_start_ms)
        for overlapping in spans[first:last]:
            one = _joined(overlapping, one)
        spans[first:last] = [one]
    share = _FIRST_SHARE
    if len(spans) > MOST_WINDOWS:
        while len(spans) > MOST_WINDOWS * _LEFT:
            spans, share = _coarser(spans, share, now_ms), share * 2
    return tuple(spans)


def _coarser(spans: Sequence[WindowCount], share: float, now_ms: int) -> list[WindowCount]:
    """With neighbours joined as long as their span is no longer than a share of its distance from now."""
    joined = [spans[0]]
    for one in spans[1:]:
        start_ms, end_ms = joined[-1].window_start_ms, one.end_ms
        if end_ms - start_ms <= share * max(now_ms - end_ms, start_ms - now_ms):
            joined[-1] = _joined(joined[-1], one)
        else:
            joined.append(one)
    return joined


def _joined(one: WindowCount, other: WindowCount) -> WindowCount:
    start_ms, end_ms = min(one.window_start_ms, other.window_start_ms), max(one.end_ms, other.end_ms)
    found = replace(one, window_start_ms=start_ms, count=one.count + other.count)
    return found if found.end_ms == end_ms else replace(found, until_ms=end_ms)
