"""Times as people write them on a command line."""

import re
from datetime import UTC, datetime, timedelta

from headrace.errors import UsageError


def parse_time(text: str, option: str, now_ms: int) -> float:
    """A time as ms since the epoch: ISO 8601, UTC unless it says otherwise, or so long ago.

    Raises:
        UsageError: it is neither; `option` names what was given.
    """
    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[ago.group(2)]
        return now_ms - timedelta(**{unit: int(ago.group(1))}).total_seconds() * 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a time as 2026-11-22, 2026-11-22T13:00Z, or 36h for so long ago") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000
