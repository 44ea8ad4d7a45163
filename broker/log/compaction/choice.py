"""Which log is cleaned next, and how far; pure.

    log start … clean … first dirty offset … dirty … end … not to be touched yet

The clean part was cleaned before, so no key is in it twice; the dirty part has been written since. Never cleaned are the active
segment, what is not exposed (KAFKA-13194), what a crash could still take (beyond the recovery point as it is on disk: so that
recovery never meets a hole that it cannot explain), and what is younger than `min.compaction.lag.ms`.
Source: Kafka's LogCleanerManager (grabFilthiestCompactedLog, cleanableOffsets, maxCompactionDelay); KIP-354.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.broker.log.config import MAX_LONG, LogConfig


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A segment that is no longer written: offsets from `base_offset` up to `next_offset`, `size` in bytes.

    Attributes:
        first_ms: time of its first batch, -1 if it has none; looked at where `max.compaction.lag.ms` is set.
        newest_ms: its greatest time, -1 if it has none; looked at where `min.compaction.lag.ms` is set.
    """

    base_offset: int
    next_offset: int
    size: int
    first_ms: int = -1
    newest_ms: int = -1


@dataclass(frozen=True, slots=True)
class Cleanable:
    """What cleaning a log now would do; offsets and bytes.

    Attributes:
        segments: all that may be rewritten, oldest first.
        dirty_from: the first offset that was not cleaned before.
        overdue: some dirty record is older than `max.compaction.lag.ms`.
    """

    segments: Sequence[SealedSegment]
    dirty_from: int
    clean_bytes: int
    dirty_bytes: int
    overdue: bool

    @property
    def end(self) -> int:
        """The first offset that is not to be touched."""
        return self.segments[-1].next_offset if self.segments else self.dirty_from

    @property
    def dirty_ratio(self) -> float:
        """Dirty bytes of all bytes that may be cleaned."""
        both = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / both if both else 0.0

    def is_due(self, config: LogConfig) -> bool:
        """Whether the topic's settings ask for it."""
        return self.dirty_bytes > 0 and (self.overdue or self.dirty_ratio > config.min_cleanable_dirty_ratio)


def cleanable(
    sealed: Sequence[SealedSegment], config: LogConfig, *, cleaned_to: int, log_start_offset: int, limit: int, now_ms: int
) -> Cleanable:
    """What of a log may be cleaned now.

    Args:
        sealed: all segments but the active one, oldest first.
        cleaned_to: where the last cleaning ended; 0 if there was none.
        limit: offset from which nothing may be touched, whatever the times say.
    """
    allowed = []
    for segment in sealed:
        too_young = config.min_compaction_lag_ms > 0 and segment.newest_ms > now_ms - config.min_compaction_lag_ms
        if segment.next_offset > limit or (too_young and segment.next_offset > cleaned_to):
            break
        allowed.append(segment)
    dirty_from = max(cleaned_to, log_start_offset)
    dirty = [segment for segment in allowed if segment.next_offset > dirty_from]
    dirty_bytes = sum(segment.size for segment in dirty)
    oldest_ms = min((segment.first_ms for segment in dirty if segment.first_ms > 0), default=now_ms)
    overdue = config.max_compaction_lag_ms < MAX_LONG and now_ms - oldest_ms > config.max_compaction_lag_ms
    return Cleanable(allowed, dirty_from, sum(segment.size for segment in allowed) - dirty_bytes, dirty_bytes, overdue)
