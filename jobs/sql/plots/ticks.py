"""Where an axis is marked, and what is written there. Pure."""

import math
from datetime import UTC, datetime
from typing import Final

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * each for each in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * each for each in (1, 2, 3, 6, 12)),
    *(_DAY * each for each in (1, 2, 7, 14, 30, 91, 182, 365)),
)


def time_ticks(first: float, last: float, most: int) -> list[tuple[float, str]]:
    """At most `most` round moments of [first, last] (seconds since 1970), and how they are called; at least one."""
    span = last - first
    step = next((each for each in _TIME_STEPS if span / each < most), None)
    if step is None:
        step = 365 * _DAY * math.ceil(span / most / (365 * _DAY))
    at: float = math.ceil(first / step) * step
    moments: list[float] = []
    while at <= last and len(moments) < most:
        moments.append(at)
        at += step
    moments = moments or [first]
    return [(moment, _said(moment, step, moments[0])) for moment in moments]


def _said(moment: float, step: float, first: float) -> str:
    """A time of day; the date with it where the day begins, and alone where days are marked."""
    at = datetime.fromtimestamp(moment, UTC)
    if step >= _DAY:
        return f"{at:%Y-%m-%d}"
    is_new_day = moment == first or moment % _DAY < step
    time = f"{at:%H:%M}" if step >= _MINUTE else f"{at:%H:%M:%S}"
    return f"{at:%m-%d} {time}" if is_new_day else time


def number_ticks(least: float, greatest: float, most: int) -> list[tuple[float, str]]:
    """At most `most` + 2 round numbers that hold [least, greatest] between the first and the last."""
    span = greatest - least or abs(greatest) or 1.0
    if span < most and least == round(least) and greatest == round(greatest):
        span = float(most)  # between whole numbers that are few, no fractions
    magnitude = 10.0 ** math.floor(math.log10(span / most))
    step = next(each * magnitude for each in (1, 2, 5, 10) if span / (each * magnitude) <= most)
    first, last = math.floor(least / step), math.ceil(greatest / step)
    if first == last:
        last += 1
    return [(index * step, number(index * step)) for index in range(first, last + 1)]


def number(value: float) -> str:
    """A number for people: thousands apart, no more digits than it takes."""
    if value == 0:
        return "0"
    if abs(value) >= 1e15 or abs(value) < 1e-4:
        return f"{value:.3g}"
    digits = 0 if value == round(value) else max(0, 3 - math.floor(math.log10(abs(value))))
    said = f"{value:,.{digits}f}"
    return said.rstrip("0").rstrip(".") if "." in said else said
