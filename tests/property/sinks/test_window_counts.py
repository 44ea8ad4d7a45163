"""Counts of windows in bounded room: every record stays counted where it was, in any order, wherever a loader went on."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.audit import WINDOW_MS
from headrace.sinks.table import checkpoint, window_counts
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, Quarantine, WindowCount

MOST = 8
WINDOWS = st.lists(st.tuples(st.integers(-5, 40), st.integers(1, 9)), min_size=1, max_size=6)


@pytest.fixture(autouse=True, scope="module")
def _few_windows() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_counts, "MOST_WINDOWS", MOST)
        yield


def record(seq: int, windows: list[tuple[int, int]]) -> CommitRecord:
    counts = tuple(WindowCount(number * WINDOW_MS, count) for number, count in windows)
    quarantine = Quarantine(f"_headrace/quarantine/{seq}.jsonl.zst", sum(count for _, count in windows), counts)
    at_ms = seq * 5 % 37 * WINDOW_MS
    return CommitRecord("load", f"a{seq}", "l", at_ms, quarantine=quarantine, seq=seq, prev=f"a{seq - 1}" if seq else None)


# A span that ends with 1969, at 0.
@example([[(0, 1)], [(1, 1), (-3, 1)], [(-1, 1), (2, 1), (-2, 1), (3, 1), (4, 1), (-4, 1)]], {0, 1, 2})
@given(st.lists(WINDOWS, max_size=20), st.sets(st.integers(0, 19)))
def test_a_flood_is_counted_where_it_was_and_alike_by_whoever_began_at_a_checkpoint(
    commits: list[list[tuple[int, int]]], checkpoints: set[int]
) -> None:
    fold, resumed = Fold(), Fold()
    for seq, windows in enumerate(commits):
        fold.apply(record(seq, windows))
        resumed.apply(record(seq, windows))
        if seq in checkpoints:
            resumed = checkpoint.decode(checkpoint.encode(resumed), "it")
        spans = fold.quarantine_windows
        assert spans == resumed.quarantine_windows
        assert len(spans) <= MOST
        assert all(one.end_ms <= other.window_start_ms for one, other in pairwise(spans))
    every = [(number * WINDOW_MS, count) for windows in commits for number, count in windows]
    for span in fold.quarantine_windows:
        inside = [count for start, count in every if span.window_start_ms <= start < span.end_ms]
        assert span.count == sum(inside)
        assert {span.window_start_ms, span.end_ms - WINDOW_MS} <= {start for start, _ in every}
    assert sum(span.count for span in fold.quarantine_windows) == sum(count for _, count in every)
