"""How many lines of a stream a rate limit lets pass: a bucket of tokens, filled with time. Pure.

What a chunk may use is decided when it is read, and durable in its row; what it did not use stays in the bucket. A restart
begins with a full one.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Lines a second on average, and at most so many (`burst`) at once."""

    lines_per_second: float
    burst: int


class Bucket:
    """One stream's tokens."""

    __slots__ = ("_filled_ms", "_tokens")

    def __init__(self) -> None:
        self._filled_ms: int | None = None
        self._tokens = 0.0

    def allowance(self, limit: RateLimit, now_ms: int) -> int:
        """How many lines may pass now; `now_ms` is monotonic."""
        if self._filled_ms is None:
            self._tokens = limit.burst
        else:
            gained = limit.lines_per_second * (now_ms - self._filled_ms) / 1000
            self._tokens = min(limit.burst, self._tokens + gained)
        self._filled_ms = now_ms
        return int(self._tokens)

    def use(self, lines: int) -> None:
        self._tokens = max(0.0, self._tokens - lines)
