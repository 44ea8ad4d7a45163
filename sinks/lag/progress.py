"""How a run gets on, computed from where partitions stand whenever somebody looks. Times are monotonic, in seconds."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from headrace.sinks.lag.standings import Standings

WINDOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class TopicProgress:
    """Of the offsets that `--once` has to land, from where it began to the end at its start: how many are read, and landed."""

    topic: str
    offsets: int
    read: int
    landed: int

    @property
    def left(self) -> int:
        return self.offsets - self.read


@dataclass(slots=True)
class Progress:
    """One run of a loader, looked at again and again."""

    standings: Standings
    _seen: deque[tuple[float, int, int]] = field(default_factory=deque)
    """(when, records taken, offsets left) of the last ten seconds."""

    def topics(self) -> list[TopicProgress]:
        """Each topic of which there was something to land, by name; none while the ends are not known."""
        found: dict[str, TopicProgress] = {}
        standings = dict(self.standings.partitions())
        for (topic, partition), goal in (self.standings.goals or {}).items():
            standing = standings.get((topic, partition))
            if standing is None or goal <= standing.begun:
                continue
            so_far = found.get(topic, TopicProgress(topic, 0, 0, 0))
            read, landed = (min(at, goal) - standing.begun for at in (standing.read, standing.landed))
            offsets = so_far.offsets + goal - standing.begun
            found[topic] = TopicProgress(topic, offsets, so_far.read + read, so_far.landed + landed)
        return [found[topic] for topic in sorted(found)]

    def speed(self, now_s: float, left: int) -> "Speed":
        """How fast it has been of late; `left` offsets are left now."""
        seen = self._seen
        if seen and left > seen[-1][2]:  # more has become known
            seen.clear()
        while len(seen) > 1 and now_s - seen[0][0] > WINDOW_S:
            seen.popleft()
        records = sum(table.records for table in self.standings.tables.copy().values())
        seen.append((now_s, records, left))
        since_s, records_then, left_then = seen[0]
        if now_s <= since_s:
            return Speed(0.0, None)
        seconds_left = left * (now_s - since_s) / (left_then - left) if left_then > left else None
        return Speed((records - records_then) / (now_s - since_s), seconds_left)


@dataclass(frozen=True, slots=True)
class Speed:
    """Records taken a second, and at that pace the seconds until all is read; None if it does not get on."""

    records_per_second: float
    seconds_left: float | None


def total(topics: list[TopicProgress]) -> TopicProgress:
    """All of them together."""
    return TopicProgress("all", *(sum(getattr(one, name) for one in topics) for name in ("offsets", "read", "landed")))
