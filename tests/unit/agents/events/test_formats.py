"""Users' time formats and zones: what each directive reads, which formats are refused, and what summer time does."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from headrace.agents.events.formats import format_of
from headrace.agents.events.zones import local_time

READ = 1_795_424_400_000_000  # 2026-11-23T09:00:00Z


def us(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("form", "text", "moment"),
    [
        ("%Y-%m-%d %H:%M:%S", "2026-11-22 23:59:58", "2026-11-22T23:59:58"),
        ("%F %T.%f", "2026-11-22 23:59:58.123456789", "2026-11-22T23:59:58.123456"),
        ("%d/%b/%Y:%H:%M:%S %z", "22/Nov/2026:23:59:58 -0130", "2026-11-23T01:29:58"),
        ("%A, %d %B %Y %I:%M %p", "Sunday, 22 november 2026 12:07 am", "2026-11-22T00:07:00"),
        ("%m/%d/%y %l:%M%p", "11/22/26  1:07PM", "2026-11-22T13:07:00"),
        ("%b %e %H:%M:%S", "Nov  2 23:59:58", "2026-11-02T23:59:58"),
        ("%b %e %H:%M:%S", "Nov   2 23:59:58", "2026-11-02T23:59:58"),
        ("%d.%m. %H:%M", "31.12. 23:59", "2025-12-31T23:59:00"),
        ("%b %d", "Feb 29", "2024-02-29T00:00:00"),
        ("%Y%j", "2026326", "2026-11-22T00:00:00"),
        ("%y%j", "24366", "2024-12-31T00:00:00"),
        ("%Y-%m-%d %H:%M %Z", "2026-11-22 23:59 GMT", "2026-11-22T23:59:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
        ("%s.%f", "1795424400.5", "2026-11-23T09:00:00.5"),
        ("epoch", "1795424400", "2026-11-23T09:00:00"),
        ("epoch", "1795424400.123456789", "2026-11-23T09:00:00.123456"),
        ("epoch_ms", "1795424400123.5", "2026-11-23T09:00:00.123500"),
        ("epoch_us", "1795424400123456", "2026-11-23T09:00:00.123456"),
        ("epoch_ns", "1795424400123456789", "2026-11-23T09:00:00.123456"),
    ],
)
def test_a_format_reads_its_times(form: str, text: str, moment: str) -> None:
    parse = format_of(form, None)
    assert parse(text, READ, True) == us(moment)
    assert parse(text + " and more", READ, False) == us(moment)
    assert parse(text + " and more", READ, True) is None


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%Y-%m-%d", "2026-02-30"),
        ("%Y-%m-%d", "2026-13-01"),
        ("%Y-%m-%d", "0000-01-01"),
        ("%Y%j", "2026366"),
        ("%Y%j", "2026000"),
        ("%b %d", "Now 1"),
        ("%b %d", "Feb 30"),
        ("%Y-%m-%d %I %p", "2026-11-22 13 pm"),
        ("%Y-%m-%d %H", "2026-11-22 24"),
        ("%Y-%m-%d %Z", "2026-11-22 CEST"),
        ("epoch", "soon"),
        ("epoch", "-1"),
        ("%s", "9" * 40),
        ("%Y-%m-%d", "٢٠٢٦-11-22"),
    ],
)
def test_what_is_no_such_time_is_none(form: str, text: str) -> None:
    assert format_of(form, None)(text, READ, True) is None


@pytest.mark.parametrize("form", ["", "%H:%M", "%d %H", "%j", "%Y", "%Q %d %m", "%d %d %m", "%d %m %", "epoch_h"])
def test_a_format_that_says_no_day_or_is_none_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"%|day"):
        format_of(form, None)


def test_summer_time_of_a_zone() -> None:
    zurich = local_time("Europe/Zurich")
    assert zurich is not None
    assert zurich(us("2026-01-01T12:00:00")) == us("2026-01-01T11:00:00")
    assert zurich(us("2026-07-01T12:00:00.000001")) == us("2026-07-01T10:00:00.000001")
    assert zurich(us("2026-10-25T02:30:00")) == us("2026-10-25T00:30:00")  # comes twice
    assert zurich(us("2026-03-29T02:30:00")) == us("2026-03-29T01:30:00")  # never comes
    lord_howe = local_time("Australia/Lord_Howe")  # half an hour of summer time
    assert lord_howe is not None
    for quarter in range(0, 4 * 24 * 365, 7):
        naive = datetime(2026, 1, 1) + timedelta(minutes=15 * quarter)  # noqa: DTZ001 - local
        expected = naive.replace(tzinfo=ZoneInfo("Australia/Lord_Howe")).astimezone(UTC).replace(tzinfo=None)
        assert lord_howe(us(naive.isoformat())) == us(expected.isoformat())


def test_zones_by_name_and_offset() -> None:
    assert local_time("UTC") is None
    plus, minus = local_time("+05:45"), local_time("-0330")
    assert plus is not None
    assert minus is not None
    assert plus(us("2026-01-01T12:00:00")) == us("2026-01-01T06:15:00")
    assert minus(us("2026-01-01T12:00:00")) == us("2026-01-01T15:30:00")
    assert plus(us("0001-01-01T00:00:00")) == us("0001-01-01T00:00:00")
    for none in ("Mars/Olympus", "Europe", "../etc/passwd", "", "+99:00", "CEST"):
        with pytest.raises(ValueError, match="no time zone is called"):
            local_time(none)
