"""What has landed of each agent's windows, over all records of a table: in bounded room. Pure.

A thousand agents have 144,000 windows a day. Days of event time that no record has touched for two days are kept as one sum of
all agents and windows: who knows what agents sent can still tell that all of it is there, and that it is the same (ADR 0056).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headrace.audit import HASH_MODULUS, WINDOW_MS

DAY_MS: Final = 24 * 3_600_000
KEEP_WINDOWS_MS: Final = 2 * DAY_MS

WindowKey = tuple[str, int]  # (agent_id, window_start_ms)


@dataclass(frozen=True, slots=True)
class AuditTotal:
    """Sums over all records: rows landed of an agent in a window, their message bytes, their hash, and repeats dropped."""

    count: int = 0
    bytes: int = 0
    hash: int = 0
    duplicates: int = 0

    def __add__(self, other: "AuditTotal") -> "AuditTotal":
        return AuditTotal(
            self.count + other.count,
            self.bytes + other.bytes,
            (self.hash + other.hash) % HASH_MODULUS,
            self.duplicates + other.duplicates,
        )

    def without(self, other: "AuditTotal") -> "AuditTotal":
        """The same less what was landed; repeats were dropped all the same."""
        return AuditTotal(
            max(0, self.count - other.count),
            max(0, self.bytes - other.bytes),
            (self.hash - other.hash) % HASH_MODULUS,
            self.duplicates,
        )


def day_start_ms(at_ms: int) -> int:
    """The start of the UTC day of a time."""
    return at_ms // DAY_MS * DAY_MS


@dataclass(frozen=True, slots=True)
class Day:
    """A day of event time: when a record last told of it (the table's time), and its sum if its windows are not told apart."""

    touched_ms: int
    total: AuditTotal | None = None


@dataclass(slots=True)
class AuditTotals:
    """`windows` are those of the days without a sum; `days` are all that records have told of, by their start."""

    windows: dict[WindowKey, AuditTotal] = field(default_factory=dict)
    days: dict[int, Day] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.days)

    @property
    def count(self) -> int:
        """Rows of agents."""
        return sum(total.count for total in (*self.windows.values(), *self.settled().values()))

    @property
    def end_ms(self) -> int:
        """Where the last window ends, or the last day of which windows are not told apart; 0: there is none."""
        ends = [start_ms + WINDOW_MS for _, start_ms in self.windows] + [start_ms + DAY_MS for start_ms in self.settled()]
        return max(ends, default=0)

    def copy(self) -> "AuditTotals":
        return AuditTotals(dict(self.windows), dict(self.days))

    def add(self, key: WindowKey, total: AuditTotal, now_ms: int) -> None:
        """A record tells of a window."""
        start_ms = day_start_ms(key[1])
        day = self.days.get(start_ms)
        if day is None or day.total is None:
            self.windows[key] = self.windows.get(key, AuditTotal()) + total
            self.days[start_ms] = Day(now_ms)
        else:
            self.days[start_ms] = Day(now_ms, day.total + total)

    def take_back(self, key: WindowKey, total: AuditTotal) -> None:
        """Rows of a window have not landed after all."""
        start_ms = day_start_ms(key[1])
        day = self.days.get(start_ms)
        if day is not None and day.total is not None:
            self.days[start_ms] = Day(day.touched_ms, day.total.without(total))
        else:
            self.windows[key] = self.windows.get(key, AuditTotal()).without(total)

    def settle(self, now_ms: int) -> None:
        """Keep one sum of each day that no record has told of for long."""
        sums = {
            start_ms: AuditTotal()
            for start_ms, day in self.days.items()
            if day.total is None and day.touched_ms < now_ms - KEEP_WINDOWS_MS
        }
        if not sums:
            return
        windows = {}
        for key, total in self.windows.items():
            if (start_ms := day_start_ms(key[1])) in sums:
                sums[start_ms] += total
            else:
                windows[key] = total
        self.windows = windows
        self.days |= {start_ms: Day(self.days[start_ms].touched_ms, total) for start_ms, total in sums.items()}

    def settled(self) -> Mapping[int, AuditTotal]:
        """The days of which windows are not told apart."""
        return {start_ms: day.total for start_ms, day in self.days.items() if day.total is not None}

    def agrees_with(self, other: "AuditTotals") -> bool:
        """Whether two say the same, as far as both tell windows apart; of other days by their sums."""
        mine, its = self.copy(), other.copy()
        for one, another in ((mine, other), (its, self)):
            for start_ms, day in another.days.items():
                if day.total is not None and start_ms in one.days and one.days[start_ms].total is None:
                    one.days[start_ms] = Day(-KEEP_WINDOWS_MS)
            one.settle(1)
        return mine.windows == its.windows and mine.settled() == its.settled()
