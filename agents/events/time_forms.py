"""Times in the forms of widespread programs, at a line's start or behind what they write before it. Pure and deterministic.

`timestamps.py` has the commonest; those here cost microseconds where they are tried. Dates that may be read in two ways
(`03/04/2026`) are not guessed at, unless AM or PM says that they are American; a time of day without a date is none.
"""

import re
from collections.abc import Mapping
from typing import Final

from headrace.agents.events import timestamps
from headrace.agents.events.timestamps import (
    DAY_US,
    ISO,
    MONTHS,
    Recognise,
    begins_zone,
    fraction_us,
    in_year,
    iso_second,
    offset_us,
    with_year,
)  # fmt: skip
from headrace.agents.events.zone_names import INITIALS, OFFSETS, zone_of
from headrace.agents.events.zones import Local

_LOOKED_AT: Final = 256
"""Characters of a line in which its time begins, or it has none: what a failing search costs has a bound."""

_WORD = re.compile(r" ([A-Za-z]{1,9})")
_MAY_SAY_MORE: Final = INITIALS | {"a", "p"}  # a zone, or AM and PM
_LastIso = tuple[str, int, int, str, int, int, Local]
_last_iso: list[_LastIso] = [("", 0, 0, "", 0, 0, None)]


def iso(text: str, _: int = 0, local: Local = None) -> int | None:
    """As `timestamps.iso`, but a zone may be a name, `14:05:06.123 CET`; None where `_year_first` reads more of it."""
    start, end, stop, behind, second_us, unit_us, in_zone = _last_iso[0]
    if text[:20] == start and text[end:stop] == behind and local is in_zone and (digits := text[20:end]).isdecimal():
        return second_us + int(digits[:6]) * unit_us
    match = ISO.match(text)
    if match is None:
        return None
    second, fraction, zone = match.groups()
    stop = match.end() + 1
    if not zone:
        said = _said_behind(text, match.end())
        if said is None:
            return None
        zone, stop = said
    second_at = iso_second(second)
    if second_at is None:
        return None
    if zone:
        second_at -= offset_us(zone)
    elif local is not None:
        second_at = local(second_at)
    if not fraction:
        return second_at
    end = match.end(2)
    behind = text[end:stop]
    if zone or (behind and not begins_zone(behind)):
        _last_iso[0] = (text[:20], end, stop, behind, second_at, 10 ** max(0, 6 - len(fraction)), local)
    return second_at + fraction_us(fraction)


def _said_behind(text: str, at: int) -> tuple[str | None, int] | None:
    """The offset of a zone's name behind a time, and how far that rests on the text; None where more is said that counts."""
    behind = text[at : at + 2]
    if behind[:1] in (":", "+", "-") and behind[1:].isdecimal():
        return None
    if behind[:1] == " " and behind[1:] in _MAY_SAY_MORE and (word := _WORD.match(text, at)) is not None:
        stop = word.end() + 1
        if text[word.end() : stop].isalnum():
            return None, stop
        return None if word[1].upper() in ("AM", "PM") else (OFFSETS.get(word[1]), stop)
    return None, at + 2


# Groups are not possessive: before 3.11.5, re goes on behind what such a group had read when it failed (CPython gh-106052).
_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d\d)(?::(?P<S>\d\d)(?:[.,:](?P<f>\d{1,9}+))?)?(?: ?(?P<p>[AaPp])[Mm](?!\w))?"
_ZONE = (
    r"(?:(?P<z>[Zz]|[+-]\d\d(?::?\d\d)?)(?![\d:])| (?P<s>Z|[+-]\d\d:?\d\d)(?![\d:])"
    r"| (?P<n>[A-Z]{2,5}|[A-Z]\w{1,20}/[A-Z][\w/]{1,30})(?!\w))?"
)
_NAME = r"(?P<b>[A-Z][A-Za-z]{2})"


def _form(pattern: str) -> Recognise:
    regex = re.compile(pattern, re.ASCII)

    def recognise(text: str, read_time_us: int, local: Local) -> int | None:
        match = regex.match(text)
        return None if match is None else _moment(match.groupdict(), read_time_us, local)

    return recognise


# 2026-11-26T14:05Z, 2026-11-26_14:05:06, 2026.11.26 14:05:06 (ClickHouse), two blanks (apt), a tab (CloudFront)
_year_first = _form(r"(?P<Y>\d{4})([-/.])(?P<m>\d\d)\2(?P<d>\d\d)(?:[T_:-]|,?[ \t]{1,2})" + _CLOCK + _ZONE)
# 2026-11-26-14.05.06.123456+060 (Db2: the zone in minutes)
_db2 = _form(
    r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)-(?P<H>\d\d)\.(?P<M>\d\d)\.(?P<S>\d\d)(?:\.(?P<f>\d{1,9}+))?(?P<x>[+-]\d{3})?"
)
# 20261126T140506.123Z, 20261126 14:05:06.123, 20261126140506
_basic = _form(
    r"(?P<Y>(?:19|20)\d\d)(?P<m>[01]\d)(?P<d>[0-3]\d)[T _-]?(?P<H>[0-2]\d):?(?P<M>[0-5]\d):?(?P<S>[0-6]\d)"
    r"(?:[.,](?P<f>\d{1,9}+))?(?!\d)" + _ZONE
)
# 26-Nov-2026 14:05:06.123 (BIND, Tomcat, PHP), 26 Nov 2026 14:05:06,123 (log4j, Redis), with the day's name in RFC 5322
_day_first = _form(r"(?:[A-Z][a-z]{2}, )?(?P<d>\d{1,2})([- /])" + _NAME + r"\2(?P<Y>\d{4})[ :T]" + _CLOCK + _ZONE)
# 26.11.2026 14:05:06
_dotted = _form(r"(?P<d>\d\d?)\.(?P<m>\d\d?)\.(?P<Y>\d{4}),?[ T]" + _CLOCK + _ZONE)
# 11/26/2026 2:05:06 PM (Windows)
_american = _form(
    r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<Y>\d{4}),? (?P<H>\d{1,2}):(?P<M>\d\d)(?::(?P<S>\d\d))? (?P<p>[AP])M(?!\w)"
)
# 11/26/2026-14:05:06.123456 (Suricata, Snort)
_snort = _form(r"(?P<m>\d\d)/(?P<d>\d\d)/(?P<Y>\d{4})-" + _CLOCK)
# 261126  4:05:06 (MySQL before 5.7, MariaDB's slow log)
_mysql = _form(r"(?P<y>\d\d)(?P<m>[01]\d)(?P<d>[0-3]\d) {1,2}(?P<H>\d{1,2}):(?P<M>\d\d):(?P<S>\d\d)(?!\d)")
# Nov 26, 2026 2:05:06 PM (java.util.logging), Nov 26 2026 14:05:06 (Cisco)
_month_first = _form(_NAME + r" {1,2}(?P<d>\d{1,2}),? (?P<Y>\d{4}),? {1,2}" + _CLOCK + _ZONE)
# Thu Nov 26 14:05:06 CET 2026 (date, java.util.Date)
_date = _form(r"(?:[A-Z][a-z]{2} )?" + _NAME + r" {1,2}(?P<d>\d{1,2}) " + _CLOCK + r" (?P<n>[A-Z]{3,5}) (?P<Y>\d{4})(?!\d)")
# Nov 5 14:05:06 (RFC 3164 with one blank)
_one_blank = _form(_NAME + r" (?P<d>\d) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:\.(?P<f>\d{1,9}+))?(?!\d)")
# I1126 14:05:06.123456 (klog, glog), I20261126 14:05:06.123456
_klog = _form(r"[IWEF](?P<Y>20\d\d)?(?P<m>[01]\d)(?P<d>[0-3]\d) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)\.(?P<f>\d{6})(?!\d)")
_EPOCH = re.compile(r"(1\d{9})(?:[.,](\d{1,9})|(\d{3}|\d{6}|\d{9}))?(?![\d.])")


def _epoch(text: str, _: int, __: Local) -> int | None:
    """Seconds with a fraction, ms, µs, ns."""
    match = _EPOCH.match(text)
    return None if match is None else int(match[1]) * 1_000_000 + fraction_us(match[2] or match[3])


_DIGITS = re.compile(r"(\d{1,20}+)(.?)", re.ASCII | re.DOTALL)
_OLDER: Final = (timestamps.at_start,)
_BY_DIGITS: Final[Mapping[tuple[int, str], tuple[Recognise, ...]]] = {
    **{(4, behind): (_year_first,) for behind in "/."},
    (4, "-"): (_year_first, _db2),
    **{(8, behind): (_basic, *_OLDER) for behind in "T _-"},
    **{(digits, behind): (_day_first,) for digits in (1, 2) for behind in " -"},
    (2, "-"): (_day_first, *_OLDER),
    (1, "/"): (_day_first, _american),
    (2, "/"): (_day_first, _american, _snort, *_OLDER),
    (1, "."): (_dotted,),
    (2, "."): (_dotted,),
    (6, " "): (_mysql, *_OLDER),
}
"""By how many digits a line begins with, and what is behind them."""
_BY_COUNT: Final[Mapping[int, tuple[Recognise, ...]]] = {14: (_basic,), **dict.fromkeys((10, 13, 16, 19), (_epoch,))}
_NAMED: Final = (_date, _month_first, _day_first, _one_blank, *_OLDER)
_NAMES: Final = frozenset(["mon", "tue", "wed", "thu", "fri", "sat", "sun", *MONTHS])
_LEVEL = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|SEVERE|[TDIWEF])"  # not in a sentence
_BEFORE = re.compile(
    # uWSGI, auditd, log4j's XML, Redis, syslog's priority, load balancers of AWS, MySQL's slow log, apt, Rails.
    r"(?:\[pid: [^\]]*+\] \S++ \([^)]*+\) \{[^}]*+\} |(?:node=\S++ )?type=\w++ msg=audit\("
    r"|<(?:log4j:event|Event) (?:[\w:]++=\"[^\"]*+\" )*?(?:timestamp|timeMillis)=\"|\d{1,7}:[XCSM](?= )"
    r"|<\d{1,3}>|(?:https?|h2|grpcs|wss?)(?= \d)|# Time: |(?:Start|End)-Date: |update-alternatives "
    r'|Started [A-Z]+ "[^"]*+" for \S++ at '
    # Levels, and what stands in brackets: [main], [INFO], [1234]; not a number of seconds since a boot.
    rf"|{_LEVEL}(?:[:,|-]|(?=[ \t\]|\x1b]))|\[(?:\d{{1,7}}|[^\[\]: \d][^\[\]:]{{0,60}}+)\]"
    # Colours, blanks, brackets; NULs of a crash; the mark at a file's beginning; Cisco's asterisk.
    r"|\x1b\[[\d;]*+m|[\s\0\ufeff\"'(<|*.\[])+"
)  # fmt: skip
_IN_BRACKETS = re.compile(r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?( [+-]\d{4})?\]")


def at_start(text: str, read_time_us: int, local: Local = None) -> int | None:
    """The time that a line begins with, or that is behind what programs write before it; None where there is none."""
    if text[:1] == "2":
        found = iso(text, read_time_us, local)
        if found is not None:
            return found
    head = text[:_LOOKED_AT]
    found = _begins(head, read_time_us, local)
    if found is None and (before := _BEFORE.match(head)) is not None:
        found = _begins(head[before.end() :], read_time_us, local)
    return _bracketed(head, local) if found is None and "[" in head else found


def _begins(text: str, read_time_us: int, local: Local) -> int | None:
    """The time that a text begins with."""
    first = text[:1]
    if first.isdecimal():
        found = iso(text, read_time_us, local)
        if found is not None:
            return found
        digits = _DIGITS.match(text)
        forms = () if digits is None else _BY_DIGITS.get((len(digits[1]), digits[2])) or _BY_COUNT.get(len(digits[1]), ())
    elif text[3:4] in (" ", ",") and text[:3].lower() in _NAMES:
        forms = _NAMED
    else:
        forms = (_klog,) if first in "IWEF" and text[1:2].isdecimal() else ()
    for form in forms:
        found = form(text, read_time_us, local)
        if found is not None:
            return found
    return None


def _bracketed(text: str, local: Local) -> int | None:
    """`[26/Nov/2026:14:05:06 +0100]` somewhere: access logs in a format of their own, S3, HAProxy."""
    match = _IN_BRACKETS.search(text)
    if match is None:
        return None
    found = timestamps.common_log(match[1] + (match[3] or ""), 0, local)
    return None if found is None else found + fraction_us(match[2])


def _moment(said: Mapping[str, str | None], read_time_us: int, local: Local) -> int | None:
    """A match of one of the forms as µs; None where it is no moment."""
    hour, days = int(said["H"] or 0), 0
    if (half := said.get("p")) is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in "Pp" else 0)
    minute, second = int(said["M"] or 0), int(said.get("S") or 0)
    if (hour, minute, second) == (24, 0, 0):
        hour, days = 0, 1
    month = MONTHS.get((said.get("b") or "").lower()) or int(said.get("m") or 0)
    parts = (month, int(said["d"] or 0), hour, minute, second)
    year = said.get("Y") or (f"20{said['y']}" if said.get("y") else None)
    if year is None:
        return with_year(parts, said.get("f"), read_time_us, local)
    moment = in_year(parts, int(year))
    if moment is None:
        return None
    zone, name = said.get("z") or said.get("s"), said.get("n")
    if zone is not None:
        moment -= offset_us(zone.upper() if len(zone) != 3 else zone + "00")
    elif (minutes := said.get("x")) is not None:
        moment -= int(minutes) * 60_000_000
    else:
        zoned = zone_of(name, local) if name else local
        moment = moment if zoned is None else zoned(moment)
    return moment + fraction_us(said.get("f")) + days * DAY_US
