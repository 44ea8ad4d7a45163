"""Times written at the start of a line, or in a parser's field, as µs since the epoch. Pure and deterministic.

A time without a zone is UTC, unless the pipeline names one (an agent's own may change between two repeats of a line); one
without a year takes the year in which it is not later than a day after the read time. Nearly all lines share their second with
the line before, so the part down to the second is looked up in a small cache.
"""

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from headrace.agents.events.zones import Local

DAY_US = 86_400_000_000
TEN_YEARS_US = 3653 * DAY_US
_SECOND_US = 1_000_000

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_ZONE = r"(?:\s?(Z|[+-]\d\d:?\d\d)(?!\d))?"
_FRACTION = r"(?:[.,](\d{1,9}))?"

ISO = re.compile(r"(\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d)" + _FRACTION + _ZONE)
_SHORT = re.compile(r"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d)" + _FRACTION)
_COMPACT = re.compile(r"(\d{6} \d{6})(?!\d)")
_BEGINS_ZONE = frozenset("Z+-")
_MICROSOFT_LIKE = re.compile(r"(\d{8}-\d{1,2}:\d{1,2}:\d{1,2}):(\d{1,3})(?!\d)")
_EPOCH = re.compile(r"(1\d{9})(?:\.(\d{1,9})|(\d{3}))?(?![\d.])")
_CTIME = re.compile(r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))? (\d{4})(?!\d)")
_BSD = re.compile(r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?!\d)")
_MONTH_DAY = re.compile(r"(\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?!\d)")
_COMMON_LOG = re.compile(r"(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d)(?: ([+-]\d{4}))?")


def plausible(event_time_us: int, read_time_us: int) -> bool:
    """Whether an event may have happened then: not more than a day ahead of its reading, nor ten years back (interfaces.md)."""
    return read_time_us - TEN_YEARS_US <= event_time_us <= read_time_us + DAY_US


def at_start(text: str, read_time_us: int, local: Local = None) -> int | None:
    """The time that a line begins with, in any of the forms below, bare or in brackets; None where there is none."""
    first = text[:1]
    if first == "[":
        text, first = text[1:80], text[1:2]
    for recognise in _BY_FIRST.get(first, ()):
        found = recognise(text, read_time_us, local)
        if found is not None:
            return found
    return None


_LastIso = tuple[str, int, int, str, int, int, Local]
_last_iso: list[_LastIso] = [("", 0, 0, "", 0, 0, None)]
"""The last time of that form: up to its fraction, where that ends, to where and what is behind it, µs of the rest and a unit.

The next line's mostly differs in the digits of its fraction alone, so that nothing else of it has to be read again.
"""


def iso(text: str, _: int = 0, local: Local = None) -> int | None:
    """`2015-07-29T17:41:44.747+02:00`, `2015-07-29 17:41:44,747`, `2017/06/09 20:10:40`."""
    start, end, stop, behind, second_us, unit_us, in_zone = _last_iso[0]
    if text[:20] == start and text[end:stop] == behind and local is in_zone and (digits := text[20:end]).isdecimal():
        return second_us + int(digits[:6]) * unit_us
    match = ISO.match(text)
    if match is None:
        return None
    second, fraction, zone = match.groups()
    second_at = _sum(iso_second(second), None, zone, local)
    if second_at is None or not fraction:
        return second_at
    _remember_iso(match, second_at, local)
    return second_at + fraction_us(fraction)


def _remember_iso(match: re.Match[str], second_us: int, local: Local) -> None:
    """What is behind the fraction reaches one character beyond the zone, or to where none can begin; so it is not empty."""
    text, fraction, end = match.string, match[2], match.end(2)
    stop = match.end() + 1 if match[3] else end + 2
    behind = text[end:stop]
    if match[3] or (behind and not begins_zone(behind)):
        _last_iso[0] = (text[:20], end, stop, behind, second_us, 10 ** max(0, 6 - len(fraction)), local)


def begins_zone(behind: str) -> bool:
    """Whether a zone may begin in what is behind a fraction."""
    return not _BEGINS_ZONE.isdisjoint(behind)


def common_log(text: str, _: int = 0, local: Local = None) -> int | None:
    """`10/Oct/2000:13:55:36 -0700`, as access logs write it."""
    match = _COMMON_LOG.match(text)
    return None if match is None else _sum(_common_log_second(match[1]), None, match[2], local)


def bsd(text: str, read_time_us: int, local: Local = None) -> int | None:
    """`Jun 14 15:16:01` (RFC 3164): no year and no zone."""
    match = _BSD.match(text)
    return None if match is None else with_year(_month_day_second(match[1]), match[2], read_time_us, local)


def number(value: float) -> int | None:
    """An epoch time in s, ms, µs or ns, told apart by its size: each unit from 2001 on; None where it is none of them."""
    for scale in (_SECOND_US, 1000, 1):
        if 10**9 <= value * scale / _SECOND_US < 10**11:
            return int(value * scale)
    if 10**18 <= value < 10**20:
        return int(value) // 1000
    return None


def _short(text: str, _: int, local: Local) -> int | None:
    """`17/06/09 20:10:40`: year, month, day, as Spark and Hadoop write it."""
    match = _SHORT.match(text)
    return None if match is None else _sum(_strptime(match[1], "%y/%m/%d %H:%M:%S"), match[2], None, local)


def _compact(text: str, _: int, local: Local) -> int | None:
    """`081109 203615`, as HDFS writes it."""
    match = _COMPACT.match(text)
    return None if match is None else _sum(_strptime(match[1], "%y%m%d %H%M%S"), None, None, local)


def _dated(text: str, _: int, local: Local) -> int | None:
    """`20171223-22:15:29:606`."""
    match = _MICROSOFT_LIKE.match(text)
    return None if match is None else _sum(_strptime(match[1], "%Y%m%d-%H:%M:%S"), match[2].zfill(3), None, local)


def _epoch(text: str, _: int, __: Local) -> int | None:
    """`1117838570`, `1117838570.363`, `1117838570363`."""
    match = _EPOCH.match(text)
    if match is None:
        return None
    return int(match[1]) * _SECOND_US + fraction_us(match[2] or match[3])


def _ctime(text: str, _: int, local: Local) -> int | None:
    """`Sun Dec 04 04:47:44 2005`, with a fraction as Apache 2.4 writes it."""
    match = _CTIME.match(text)
    if match is None:
        return None
    second = _month_day_second(match[1])
    return None if second is None else _sum(in_year(second, int(match[3])), match[2], None, local)


def _month_day(text: str, read_time_us: int, local: Local) -> int | None:
    """`03-17 16:13:38.811`, as Android writes it: no year."""
    match = _MONTH_DAY.match(text)
    if match is None:
        return None
    month, day = int(match[1][:2]), int(match[1][3:5])
    return with_year((month, day, *map(int, match[1][6:].split(":"))), match[2], read_time_us, local)


Recognise = Callable[[str, int, Local], int | None]
_DIGIT: tuple[Recognise, ...] = (iso, _short, _compact, _epoch, _dated, _month_day, common_log)
_LETTER: tuple[Recognise, ...] = (_ctime, bsd)
_BY_FIRST: dict[str, tuple[Recognise, ...]] = dict.fromkeys("0123456789", _DIGIT) | dict.fromkeys("ADFJMNOSTW", _LETTER)

MonthDaySecond = tuple[int, int, int, int, int]


def _sum(second_us: int | None, fraction: str | None, zone: str | None, local: Local) -> int | None:
    if second_us is None:
        return None
    if zone:
        second_us -= offset_us(zone)
    elif local is not None:
        second_us = local(second_us)
    return second_us + fraction_us(fraction) if fraction else second_us


def offset_us(zone: str) -> int:
    """`Z`, `+0200`, `-02:30`: how far its clocks are ahead of UTC, µs."""
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return (-minutes if zone[0] == "-" else minutes) * 60 * _SECOND_US


def fraction_us(fraction: str | None) -> int:
    """The digits behind a second's point, as µs; what is less is cut off."""
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


@lru_cache(maxsize=512)
def iso_second(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return _leap_second(text)
    return int(moment.replace(tzinfo=UTC).timestamp()) * _SECOND_US


def _leap_second(text: str) -> int | None:
    if text[-2:] != "60":
        return None
    before = iso_second(text[:-2] + "59")
    return None if before is None else before + _SECOND_US


@lru_cache(maxsize=512)
def _strptime(text: str, form: str) -> int | None:
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * _SECOND_US


@lru_cache(maxsize=512)
def _common_log_second(text: str) -> int | None:
    month = MONTHS.get(text[3:6].lower())
    if month is None:
        return None
    return iso_second(f"{text[7:11]}-{month:02d}-{text[:2]}T{text[12:20]}")


@lru_cache(maxsize=512)
def _month_day_second(text: str) -> MonthDaySecond | None:
    month = MONTHS.get(text[:3].lower())
    if month is None:
        return None
    return month, int(text[4:6]), int(text[7:9]), int(text[10:12]), int(text[13:15])


def with_year(
    parts: MonthDaySecond | tuple[int, ...] | None, fraction: str | None, read_time_us: int, local: Local
) -> int | None:
    """The latest year that keeps a time without one within a day after the read time (29 February: within eight years)."""
    if parts is None:
        return None
    more_us = fraction_us(fraction)
    year = _year_of(read_time_us // DAY_US)
    for candidate in range(year + 1, year - 9, -1):
        moment = in_year(parts, candidate)
        if moment is not None and local is not None:
            moment = local(moment)
        if moment is not None and moment + more_us <= read_time_us + DAY_US:
            return moment + more_us
    return None


@lru_cache(maxsize=1024)
def in_year(parts: tuple[int, ...], year: int) -> int | None:
    month, day, hour, minute, second = parts
    return iso_second(f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}")


@lru_cache(maxsize=16)
def _year_of(day: int) -> int:
    return datetime.fromtimestamp(day * 86_400, tz=UTC).year
