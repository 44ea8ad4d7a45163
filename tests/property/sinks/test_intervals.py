"""Interval sets against sets of integers."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.sinks.table.intervals import IntervalSet

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(PAIRS, st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_an_interval_set_holds_what_a_set_would(pairs: list[tuple[int, int]], probe: tuple[int, int]) -> None:
    intervals, oracle = IntervalSet(pairs), {at for start, end in pairs for at in range(start, end)}
    assert {at for at in range(70) if at in intervals} == oracle
    assert intervals.overlaps(*probe) == bool(oracle & set(range(*probe)))
    assert all(intervals.ends_at(at) == (at - 1 in oracle and at not in oracle) for at in range(1, 70))


@given(PAIRS)
def test_intervals_are_ascending_and_do_not_touch(pairs: list[tuple[int, int]]) -> None:
    flat = [bound for interval in IntervalSet(pairs) for bound in interval]
    assert flat == sorted(set(flat))
    assert IntervalSet(pairs).copy() == IntervalSet(reversed(pairs))
