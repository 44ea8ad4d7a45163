"""Which times are found at the start of a line, and what is made of those without a zone or a year."""

from datetime import datetime

import pytest

from headrace.agents.events import timestamps


def us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


READ = us("2026-11-23T09:00:00+00:00")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2015-07-29 17:41:44,747 - INFO", "2015-07-29T17:41:44.747+00:00"),
        ("2026-11-23T08:59:58.123456789Z msg", "2026-11-23T08:59:58.123456+00:00"),
        ("2026-11-23T08:59:58+02:00 msg", "2026-11-23T06:59:58+00:00"),
        ("2026-11-23T08:59:58-0530 msg", "2026-11-23T14:29:58+00:00"),
        ("[2026-11-23 08:59:58.5] msg", "2026-11-23T08:59:58.5+00:00"),
        ("2016-12-31 23:59:60 leap", "2017-01-01T00:00:00+00:00"),
        ("17/06/09 20:10:40 INFO executor", "2017-06-09T20:10:40+00:00"),
        ("2017/06/09 20:10:40 [error]", "2017-06-09T20:10:40+00:00"),
        ("081109 203615 148 INFO dfs", "2008-11-09T20:36:15+00:00"),
        ("[Sun Dec 04 04:47:44 2005] [notice]", "2005-12-04T04:47:44+00:00"),
        ("[Mon Nov 23 08:47:44.123456 2026] [core:error]", "2026-11-23T08:47:44.123456+00:00"),
        ("[10/Oct/2025:13:55:36 -0700] x", "2025-10-10T20:55:36+00:00"),
        ("1117838570.5 kernel", "2005-06-03T22:42:50.5+00:00"),
        ("1117838570363 kernel", "2005-06-03T22:42:50.363+00:00"),
        ("20171223-22:15:29:606|Step", "2017-12-23T22:15:29.606+00:00"),
        ("03-17 16:13:38.811  1702 D", "2026-03-17T16:13:38.811+00:00"),
        ("Jun 14 15:16:01 combo", "2026-06-14T15:16:01+00:00"),
        ("Jul  9 12:16:52 combo", "2026-07-09T12:16:52+00:00"),
    ],
)
def test_a_time_at_the_start_of_a_line_is_found(line: str, expected: str) -> None:
    assert timestamps.at_start(line, READ) == us(expected)


@pytest.mark.parametrize(
    "line", ["", "hello", "2026-13-45 99:99:99", "[", "12345", "Foo 14 15:16:01 x", "Feb 31 15:16:01 x", "99999999999999999999"]
)
def test_what_is_no_time_is_none(line: str) -> None:
    assert timestamps.at_start(line, READ) is None


@pytest.mark.parametrize(
    ("read", "line", "expected"),
    [
        ("2026-01-01T00:00:30+00:00", "Dec 31 23:59:59 h", "2025-12-31T23:59:59+00:00"),
        ("2025-12-31T23:59:59+00:00", "Jan  1 00:00:30 h", "2026-01-01T00:00:30+00:00"),
        ("2026-11-23T09:00:00+00:00", "Nov 25 09:00:00 h", "2025-11-25T09:00:00+00:00"),
        ("2026-11-23T09:00:00+00:00", "Feb 29 09:00:00 h", "2024-02-29T09:00:00+00:00"),
    ],
)
def test_a_missing_year_is_the_latest_that_is_not_a_day_ahead(read: str, line: str, expected: str) -> None:
    assert timestamps.bsd(line, us(read)) == us(expected)


def test_only_a_day_ahead_and_ten_years_back_are_plausible() -> None:
    assert timestamps.plausible(us("2026-11-24T08:59:00+00:00"), READ)
    assert not timestamps.plausible(us("2026-11-24T09:01:00+00:00"), READ)
    assert timestamps.plausible(us("2016-11-24T00:00:00+00:00"), READ)
    assert not timestamps.plausible(us("2016-11-20T00:00:00+00:00"), READ)


@pytest.mark.parametrize("value", [1790000000, 1790000000000, 1790000000000000, 1790000000000000000])
def test_an_epoch_number_is_told_apart_by_its_size(value: int) -> None:
    assert timestamps.number(value) == 1790000000_000000


@pytest.mark.parametrize("value", [0, 7, 10**13 - 10**12 * 9.5, -5, 10**30])
def test_another_number_is_no_time(value: float) -> None:
    assert timestamps.number(value) is None
