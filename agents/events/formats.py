"""Time formats of users: strptime's directives, and names for epoch times. Pure; English names of months and days only.

A format must say at least the day and the month (then the year is the latest that is not a day ahead of the read time), or the
day of the year with its year, or seconds since the epoch.
"""

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from headrace.agents.events.timestamps import DAY_US, fraction_us, offset_us
from headrace.agents.events.zones import Local

_MONTHS = {
    name.lower(): number for names in (calendar.month_name, calendar.month_abbr) for number, name in enumerate(names) if name
}
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d\d)", "m": r"(?P<m>\d{1,2}+)", "d": r" ?(?P<d>\d{1,2}+)", "j": r"(?P<j>\d{1,3}+)",
    "H": r" ?(?P<H>\d{1,2}+)", "I": r" ?(?P<I>\d{1,2}+)", "M": r"(?P<M>\d{1,2}+)", "S": r"(?P<S>\d{1,2}+)",
    "f": r"(?P<f>\d{1,9}+)", "p": r"(?P<p>[AaPp])[Mm]", "b": r"(?P<b>[A-Za-z]{3,9}+)", "a": r"[A-Za-z]{3,9}+",
    "z": r"(?P<z>Z|[+-]\d\d:?\d\d)", "Z": r"(?:UTC|GMT|Z)(?P<Z>)", "s": r"(?P<s>\d{1,11}+)", "%": "%",
}  # fmt: skip
_SAME = {"e": "d", "k": "H", "l": "I", "h": "b", "B": "b", "A": "a"}
_LONGER = {"T": "%H:%M:%S", "D": "%m/%d/%y", "F": "%Y-%m-%d", "R": "%H:%M"}
_EPOCHS = {"epoch": 1_000_000, "epoch_ms": 1000, "epoch_us": 1, "epoch_ns": 0.001}
_NUMBER = re.compile(r"(\d{1,20}+)(?:\.(\d{1,9}+))?")
_SPACES = re.compile(r"\s+")

Format = Callable[[str, int, bool], int | None]
"""Text, read time (µs) and whether the time must be all of it (else it begins with it) → µs."""


def format_of(form: str, local: Local) -> Format:
    """What reads times of a form: `epoch`, `epoch_ms`, `epoch_us`, `epoch_ns`, or strptime's directives.

    Raises:
        ValueError: it is none.
    """
    if form in _EPOCHS:
        return _epoch(_EPOCHS[form])
    regex = _regex(form)
    named = set(regex.groupindex)
    if not ("s" in named or ({"d"} <= named and named & {"m", "b"}) or ({"j"} <= named and named & {"Y", "y"})):
        raise ValueError(f"{form!r} does not say a day: it needs %d with %m or %b, or %j with %Y, or %s")

    def parse(text: str, read_time_us: int, whole: bool) -> int | None:
        match = regex.fullmatch(text) if whole else regex.match(text)
        return None if match is None else _moment(match.groupdict(), read_time_us, local)

    return parse


def _regex(form: str) -> re.Pattern[str]:
    pieces, at, seen = [], 0, set()
    for longer, text in _LONGER.items():
        form = form.replace("%" + longer, text)
    while at < len(form):
        if form[at] == "%":
            directive = _SAME.get(form[at + 1 : at + 2], form[at + 1 : at + 2])
            if directive not in _DIRECTIVES:
                raise ValueError(
                    f"{form!r}: %{form[at + 1 : at + 2]} is not known; known are %{' %'.join([*_DIRECTIVES, *_SAME, *_LONGER])}"
                )
            if directive in seen and directive not in "a%":
                raise ValueError(f"{form!r} says %{directive} twice")
            seen.add(directive)
            pieces.append(_DIRECTIVES[directive])
            at += 2
        elif (spaces := _SPACES.match(form, at)) is not None:
            pieces.append(r"\s++")
            at = spaces.end()
        else:
            pieces.append(re.escape(form[at]))
            at += 1
    return re.compile("".join(pieces), re.ASCII)


def _epoch(scale_us: float) -> Format:
    def parse(text: str, _: int, whole: bool) -> int | None:
        match = _NUMBER.fullmatch(text) if whole else _NUMBER.match(text)
        if match is None:
            return None
        if scale_us < 1:
            return int(match[1]) // 1000
        return int(match[1]) * int(scale_us) + fraction_us(match[2]) * int(scale_us) // 1_000_000

    return parse


def _moment(said: dict[str, str | None], read_time_us: int, local: Local) -> int | None:
    if (seconds := said.get("s")) is not None:
        return int(seconds) * 1_000_000 + fraction_us(said.get("f"))
    hour = _hour(said)
    if hour is None:
        return None
    month = _MONTHS.get((said.get("b") or "").lower()) if said.get("b") else int(said.get("m") or 1)
    parts = (
        month or 0,
        int(said.get("d") or 1),
        hour,
        int(said.get("M") or 0),
        int(said.get("S") or 0),
        None if said.get("j") is None else int(said["j"] or 0),
    )
    more_us = fraction_us(said.get("f"))
    zone = said.get("z") or ("Z" if said.get("Z") is not None else None)

    def moment(year: int) -> int | None:
        naive = _naive_us(year, *parts)
        if naive is None:
            return None
        if zone is not None:
            return naive + more_us - offset_us(zone)
        return (naive if local is None else local(naive)) + more_us

    year = _year(said)
    if year is not None:
        return moment(year)
    latest = datetime.fromtimestamp(read_time_us // 1_000_000, tz=UTC).year + 1
    found = (moment(candidate) for candidate in range(latest, latest - 10, -1))
    return next((at for at in found if at is not None and at <= read_time_us + DAY_US), None)


def _hour(said: dict[str, str | None]) -> int | None:
    if (twelfth := said.get("I")) is None:
        return int(said.get("H") or 0)
    if not 1 <= int(twelfth) <= 12:
        return None
    return int(twelfth) % 12 + (12 if (said.get("p") or "a") in "Pp" else 0)


def _year(said: dict[str, str | None]) -> int | None:
    """Two digits are of 1969 to 2068, as POSIX has it."""
    if (year := said.get("Y")) is not None:
        return int(year)
    if (short := said.get("y")) is not None:
        return int(short) + (1900 if int(short) >= 69 else 2000)
    return None


@lru_cache(maxsize=512)
def _naive_us(year: int, month: int, day: int, hour: int, minute: int, second: int, day_of_year: int | None) -> int | None:
    leap, second = (1, 59) if second == 60 else (0, second)
    try:
        if day_of_year is not None:
            start = datetime(year, 1, 1, hour, minute, second, tzinfo=UTC)
            if not 1 <= day_of_year <= 365 + calendar.isleap(year):
                return None
            return (int(start.timestamp()) + leap + (day_of_year - 1) * 86_400) * 1_000_000
        return (int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) + leap) * 1_000_000
    except ValueError:
        return None
