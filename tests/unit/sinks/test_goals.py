"""Up to where a run with `--once` lands, and for how long it waits for partitions."""

from headrace.clock import MonotonicMs
from headrace.sinks.goals import Goals, Reach
from headrace.sinks.recovery import PATIENCE_MS

ONE, OTHER = ("t", 3), ("t", 7)
BEGUN = MonotonicMs(77)
LATER = MonotonicMs(77 + PATIENCE_MS)
TOO_LATE = MonotonicMs(77 + PATIENCE_MS + 1)


def test_goals_are_known_once_all_partitions_have_said_their_ends() -> None:
    goals = Goals(BEGUN)
    assert goals.heard([ONE, OTHER], {ONE: 70}, LATER) == []
    assert goals.ends is None
    assert goals.heard([ONE, OTHER], {ONE: 70, OTHER: 20}, LATER) == []
    assert goals.ends == {ONE: 70, OTHER: 20}


def test_a_partition_that_says_no_end_for_too_long_is_left_and_the_others_go_on() -> None:
    goals = Goals(BEGUN)
    assert goals.heard([ONE, OTHER], {ONE: 70}, TOO_LATE) == [OTHER]
    assert goals.ends == {ONE: 70}


def test_a_goal_is_reached_when_all_before_it_has_been_read() -> None:
    goals = Goals(BEGUN)
    goals.heard([ONE], {ONE: 70}, BEGUN)
    assert [goals.reach(ONE, at, None, BEGUN) for at in (69, 70, 71)] == [Reach.AHEAD, Reach.REACHED, Reach.REACHED]


def test_a_partition_that_is_asked_about_for_too_long_without_an_answer_is_left_once() -> None:
    goals = Goals(BEGUN)
    goals.heard([ONE], {ONE: 70}, BEGUN)
    assert goals.reach(ONE, None, BEGUN, LATER) is Reach.AHEAD
    assert [goals.reach(ONE, None, BEGUN, TOO_LATE) for _ in range(2)] == [Reach.SILENT, Reach.REACHED]


def test_a_partition_that_is_not_read_for_another_reason_is_waited_for() -> None:
    goals = Goals(BEGUN)
    goals.heard([ONE], {ONE: 70}, BEGUN)
    assert goals.reach(ONE, None, None, TOO_LATE) is Reach.AHEAD
