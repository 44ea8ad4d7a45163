"""Where a partition is read on: every sight of it that a broker may give."""

import pytest

from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, LandedRange


@pytest.fixture
def fold() -> Fold:
    fold = Fold()
    landed = LandedRange(0, 3, 0, 50, 50, 0, 0, last_offset=49, last_fingerprint="print", topic_id="id-1")
    fold.apply(CommitRecord("load", "one", "l", 1, ranges=(landed,)))
    return fold


def test_a_partition_goes_on_where_it_ended(fold: Fold) -> None:
    assert resume(fold, 3, Sight("id-1", 7, 90, "print")) == Resume(0, 50)


def test_an_absent_last_record_proves_nothing(fold: Fold) -> None:
    assert resume(fold, 3, Sight("id-1", 50, 90, None)) == Resume(0, 50)
    assert resume(fold, 3, Sight(None, 50, 90, None)) == Resume(0, 50)


def test_a_new_partition_starts_at_its_first_record_after_a_gap(fold: Fold) -> None:
    assert resume(fold, 4, Sight("id-1", 0, 90, None)) == Resume(0, 0)
    assert resume(fold, 4, Sight("id-1", 20, 90, None)) == Resume(0, 20, "before")


def test_what_retention_took_is_lost_and_said_aloud(fold: Fold) -> None:
    found = resume(fold, 3, Sight("id-1", 60, 90, None))
    assert (found.incarnation, found.offset, found.gap) == (0, 60, "lost")
    assert "50 to 60" in str(found.alarm)


@pytest.mark.parametrize(
    "sight",
    [
        Sight("id-2", 0, 90, None),
        Sight("id-2", 0, 90, "print"),
        Sight(None, 0, 90, "another"),
        Sight("id-1", 0, 90, "another"),
        Sight("id-1", 0, 49, None),
        Sight(None, 0, 10, None),
    ],
)
def test_another_topic_or_log_goes_on_under_the_next_incarnation_with_an_alarm(fold: Fold, sight: Sight) -> None:
    found = resume(fold, 3, sight)
    assert (found.incarnation, found.offset, found.gap) == (1, 0, None)
    assert found.alarm
