"""When a partition's end is asked for, and what is told of it."""

from headrace.clock import MonotonicMs
from headrace.sinks.seeing import Sights
from headrace.sinks.table.fold import Fold, PartitionEnd
from headrace.sinks.table.seen import THERE, SeenEnd

STEP = 300_000
KEY, OTHER = (0, 3), (0, 4)


def folded(**ends):
    return Fold(ends={(0, int(name[1:])): PartitionEnd(offset) for name, offset in ends.items()})


def test_an_end_is_asked_for_once_as_each_window_and_its_lateness_end():
    sights = Sights()
    assert sights.wants([KEY, OTHER], 7 * STEP) == [KEY, OTHER]
    sights.saw(KEY, 0, 7 * STEP)
    sights.come_to(folded())
    assert sights.wants([KEY, OTHER], 7 * STEP + 9) == [OTHER]
    assert sights.wants([KEY, OTHER], 8 * STEP) == [KEY, OTHER]


def test_an_end_is_told_when_the_table_has_come_to_it_and_no_other_is_asked_for_until_then():
    sights = Sights()
    sights.saw(KEY, 70, 7 * STEP)
    sights.come_to(folded(p3=69))
    assert sights.reached == {KEY: THERE}
    sights.reached.clear()  # it was told
    assert not sights.is_due(MonotonicMs(5))
    assert sights.wants([KEY], 9 * STEP) == []
    sights.come_to(folded(p3=71))
    assert sights.reached == {KEY: SeenEnd(70, 7 * STEP)}
    assert sights.is_due(MonotonicMs(5))
    assert sights.wants([KEY], 9 * STEP) == [KEY]


def test_it_is_told_once_a_minute():
    sights = Sights(told_ms=MonotonicMs(1_000))
    sights.saw(KEY, 0, STEP)
    sights.come_to(folded())
    assert not sights.is_due(MonotonicMs(60_999))
    assert sights.is_due(MonotonicMs(61_000))


def test_of_a_partition_that_is_read_no_more_nothing_is_awaited():
    sights = Sights()
    sights.saw(KEY, 70, 7 * STEP)
    assert sights.wants([OTHER], 7 * STEP) == [OTHER]
    sights.come_to(folded(p3=99))
    assert sights.reached == {KEY: THERE}
    assert sights.wants([KEY], 7 * STEP) == [KEY]


def test_that_a_partition_is_there_is_told_once_and_at_once_before_it_has_landed():
    sights = Sights()
    sights.saw(KEY, 70, 7 * STEP)
    sights.saw(OTHER, 0, 7 * STEP)
    sights.come_to(folded())
    assert sights.is_due(MonotonicMs(5))
    assert sights.reached == {KEY: THERE, OTHER: SeenEnd(0, 7 * STEP)}
    sights.reached.clear()
    sights.saw(KEY, 90, 8 * STEP)
    assert sights.reached == {}
