"""What one partition has that has not landed: how much, how old, and for how long it is safe from retention. Pure.

*Lag in offsets*: from the next offset to land to the end of what a read_committed consumer may see; markers of transactions and
what compaction took are counted, as everywhere in Kafka. *Lag in seconds*: the age of the oldest record that has not landed, by
its Kafka timestamp; as long as nobody has read that record, the time since it was known to be there.

*Until retention*: by age, that record's timestamp and `retention.ms`; the broker deletes whole segments by their newest record,
so this is the least it can be (broker/log/retention.py has the rule itself). By size, the offsets before that record, at the
pace at which the log's start has moved of late: Kafka's clients are not told how large a partition is, so a log that has not
reached `retention.bytes` yet, or has been watched for less than ten minutes, foretells nothing.
"""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

PACE_WINDOW_MS: Final = 3_600_000
PACE_STEP_MS: Final = 300_000
PACE_LEAST_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Retention:
    """When a topic's oldest records are deleted; None: never for that reason."""

    ms: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Offsets [landed, end) of a log that begins at `log_start`.

    `oldest_ms` is the Kafka timestamp of the first record in it, None while nobody has read it; `since_ms` is when it was first
    seen that there is something (wall time, ms; None if there is nothing).
    """

    landed: int
    log_start: int
    end: int
    oldest_ms: int | None = None
    since_ms: int | None = None

    @property
    def offsets(self) -> int:
        return max(0, self.end - self.landed)

    def seconds(self, now_ms: int) -> float:
        """The age of the oldest record in it; 0 where there is none, or its time has not come yet."""
        if not self.offsets:
            return 0.0
        begun_ms = self._begun_ms
        return 0.0 if begun_ms is None else max(0.0, (now_ms - begun_ms) / 1000)

    def seconds_until_retention(self, retention: Retention, pace: float | None, now_ms: int) -> float:
        """Until its first record may be deleted; 0 if that has happened, infinite if nothing ever does it.

        Args:
            pace: offsets per second by which the log's start moves; None: not known.
        """
        if not self.offsets:
            return inf
        if self.log_start > self.landed:
            return 0.0
        by_age = by_size = inf
        if retention.ms is not None and (begun_ms := self._begun_ms) is not None:
            by_age = (begun_ms + retention.ms - now_ms) / 1000
        if retention.bytes is not None and pace:
            by_size = (self.landed - self.log_start) / pace
        return max(0.0, min(by_age, by_size))

    def measured(self, retention: Retention | None, pace: float | None, now_ms: int) -> "Measure":
        """What is told of it; without `retention`, which is not known then, nothing is foretold."""
        until = None if retention is None else self.seconds_until_retention(retention, pace, now_ms)
        return Measure(self.offsets, self.seconds(now_ms), until)

    @property
    def _begun_ms(self) -> int | None:
        return self.since_ms if self.oldest_ms is None else self.oldest_ms


@dataclass(frozen=True, slots=True)
class Measure:
    """A backlog at one moment: its offsets, the age of the oldest record, and how long that is safe (None: not known)."""

    offsets: int
    seconds: float
    seconds_until_retention: float | None


class Pace:
    """How fast the start of a log has moved within the last hour. Times are monotonic, ms."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def saw(self, log_start: int, now_ms: int) -> float | None:
        """Note where the log starts now; offsets per second since up to an hour ago, None if it is too early to say."""
        seen = self._seen
        while len(seen) > 1 and now_ms - seen[1][0] >= PACE_WINDOW_MS:
            seen.popleft()
        if not seen or now_ms - seen[-1][0] >= PACE_STEP_MS:
            seen.append((now_ms, log_start))
        first_ms, first_start = seen[0]
        span_ms = now_ms - first_ms
        return None if span_ms < PACE_LEAST_MS else max(0.0, (log_start - first_start) * 1000 / span_ms)
