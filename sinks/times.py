"""Times as people write them on a command line."""

import re
from datetime import UTC, date, datetime, time, timedelta
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


def parse_day(text: str, option: str, now_ms: int) -> float:
    """The beginning of a day (UTC) as ms since the epoch; `1d`: the day before today.

    Raises:
        UsageError: it is no day.
    """
    if ago := re.fullmatch(r"(\d{1,6})d", text):
        return (now_ms // DAY_MS - int(ago.group(1))) * DAY_MS
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC).timestamp() * 1000
    except ValueError:
        raise UsageError(f"{option} {text}: write a day (UTC) as 2026-11-22, or 1d for the one before today") from None
