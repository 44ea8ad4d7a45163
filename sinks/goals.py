"""Up to where `--once` lands: the ends of all partitions as they are at its start. Pure.

A partition whose leader is away says no end, or is not read: it is waited for, and then left, so that the others are landed all
the same and the run ends.
"""

from collections.abc import Collection, Mapping
from enum import Enum

from headrace.clock import MonotonicMs
from headrace.sinks.recovery import PATIENCE_MS
from headrace.sinks.topics import Where


class Reach(Enum):
    """Where a partition is: before its goal, there, or out of reach."""

    AHEAD = "ahead"
    REACHED = "reached"
    SILENT = "silent"


class Goals:
    """The offsets, and which partitions are left."""

    def __init__(self, begun_ms: MonotonicMs) -> None:
        self._begun_ms = begun_ms
        self.ends: Mapping[Where, int] | None = None
        """None: not known yet."""
        self._left: set[Where] = set()

    def heard(self, every: Collection[Where], ends: Mapping[Where, int], now_ms: MonotonicMs) -> list[Where]:
        """Some of the partitions have said their ends; those that are left, because they have not and others wait for them."""
        silent = [where for where in every if where not in ends]
        if silent and now_ms - self._begun_ms <= PATIENCE_MS:
            return []
        self.ends = dict(ends)
        return silent

    def reach(self, where: Where, next_offset: int | None, silent_since_ms: MonotonicMs | None, now_ms: MonotonicMs) -> Reach:
        """Where a partition is whose goal is known. SILENT is said once.

        Args:
            next_offset: None while it is not read.
            silent_since_ms: since when it has been asked about and has not answered; None: it has, or was not asked about.
        """
        assert self.ends is not None, "goals are known"
        if next_offset is not None:
            return Reach.REACHED if next_offset >= self.ends[where] else Reach.AHEAD
        if where in self._left:
            return Reach.REACHED
        if silent_since_ms is None or now_ms - silent_since_ms <= PATIENCE_MS:
            return Reach.AHEAD
        self._left.add(where)
        return Reach.SILENT
