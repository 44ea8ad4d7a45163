"""Where shipping begins in the files that are there when an input begins: `start` in its configuration. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime

_AGE = re.compile(r"(\d{1,9})(s|m|h|d)\Z")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Start:
    """With all `None`: at a file's first byte. `end`: behind what it holds. `time_ms`: with the first line of that wall time
    (ms) or later; `age_ms`: the same, so long before the input begins."""

    end: bool = False
    time_ms: int | None = None
    age_ms: int | None = None

    @property
    def from_beginning(self) -> bool:
        """Whether nothing is passed over."""
        return self == BEGINNING

    def earliest_ms(self, now_ms: int) -> int | None:
        """The wall time (ms) from which on lines are shipped, for an input that begins now; None: of what is there, no line."""
        return None if self.end else self.time_ms if self.age_ms is None else now_ms - self.age_ms


BEGINNING = Start()


def start_of(text: str) -> Start:
    """Read `beginning`, `end`, a time as RFC 3339 writes it, or an age as `90s`, `30m`, `24h` or `7d`.

    Raises:
        ValueError: it is none of these.
    """
    if text in ("beginning", "end"):
        return Start(end=text == "end")
    if age := _AGE.match(text):
        return Start(age_ms=int(age[1]) * _UNIT_MS[age[2]])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or len(text) <= len("2026-11-26"):
        raise ValueError("start is beginning, end, a time as 2026-11-26T00:00:00Z, or an age as 24h")
    if time.tzinfo is None:
        raise ValueError(f"start {text}: say its zone: {text}Z, or +02:00")
    return Start(time_ms=int(time.timestamp() * 1000))
