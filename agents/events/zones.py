"""Local times → UTC, for times that are written without a zone.

An hour that comes twice is taken for the first, one that never comes for what the offset before it makes of it. The rules are
the system's, or those of package tzdata.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

Local = Callable[[int], int] | None
"""From µs as if the time were UTC to µs since the epoch; None where it is UTC."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times have no zone yet
_QUARTER_US = 15 * 60 * 1_000_000  # no zone changes its offset within one
_FAR_US = 1 << 53
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


def local_time(name: str) -> Local:
    """The zone of a name (`Europe/Zurich`, `+02:00`, `UTC`).

    Raises:
        ValueError: there is none of that name.
    """
    zone = _zone(name)
    if zone is UTC:
        return None

    @lru_cache(maxsize=64)
    def offset_us(quarter: int) -> int:
        moment = _EPOCH + timedelta(microseconds=quarter * _QUARTER_US)
        offset = moment.replace(tzinfo=zone).utcoffset()
        assert offset is not None
        return offset // timedelta(microseconds=1)

    def utc(naive_us: int) -> int:
        if not 0 <= naive_us < _FAR_US:  # no event's, and perhaps beyond what a datetime holds
            return naive_us
        return naive_us - offset_us(naive_us // _QUARTER_US)

    return utc


def _zone(name: str) -> tzinfo:
    if name in ("UTC", "Z"):
        return UTC
    match = _OFFSET.fullmatch(name)
    if match is not None:
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a folder's name is an OSError
        raise ValueError(f"no time zone is called {name!r}; take a name as Europe/Zurich, or an offset as +02:00") from None
