"""Times as people write them on a command line."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from headrace.errors import UsageError

DAY_MS: Final = 86_400_000
_AGE: Final = re.compile(r"(\d{1,9})([smhd])")


def parse_time(text: str, option: str, now_ms: int) -> float:
    """A time as ms since the epoch: ISO 8601, UTC unless it says otherwise, or so long ago.

    Raises:
        UsageError: it is neither; `option` names what was given.
    """
    if _AGE.fullmatch(text):
        return now_ms - parse_age(text, option)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a time as 2026-11-22, 2026-11-22T13:00Z, or 36h for so long ago") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000


def parse_age(text: str, option: str) -> float:
    """`36h`, `2d`, `30m` or `90s` as ms.

    Raises:
        UsageError: it is none.
    """
    if not (age := _AGE.fullmatch(text)):
        raise UsageError(f"{option} {text}: write it as 36h, 2d, 30m or 90s")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[age.group(2)]
    return timedelta(**{unit: int(age.group(1))}).total_seconds() * 1000


def parse_day(text: str, option: str, today: date) -> date:
    """A day: `2026-11-22`, `today`, `yesterday`, or `2d` for the one before yesterday.

    Args:
        today: where the days are counted.
    Raises:
        UsageError: it is none of these; `option` names what was given.
    """
    ago = {"today": "0d", "yesterday": "1d"}.get(text, text)
    try:
        if days := re.fullmatch(r"(\d{1,6})d", ago):
            return today - timedelta(days=int(days.group(1)))
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text}: write a day as 2026-11-22, today, yesterday, or 2d for two days ago") from None


def today_in(where: tzinfo, now_ms: int) -> date:
    """The date that a time zone's calendars show."""
    return datetime.fromtimestamp(now_ms / 1000, where).date()
