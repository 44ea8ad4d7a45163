"""When a log's oldest segments may go, and what holds them back; pure.

Never before all of a segment is exposed (KAFKA-5634). Then: when the log start offset has passed it; and, where
`cleanup.policy` holds `delete`, when what follows it is at least `retention.bytes`, or its newest record is older than
`retention.ms`. The records' timestamps rule, not the time of arrival, as in Kafka.

A hold (ADR 0024) keeps what age and size would take from the first offset on that a group has not committed. A log start
that was moved on purpose wins over it; so does a disk that is nearly full, oldest segments first (`LogDirectory`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from headrace.broker.log.config import LogConfig


@dataclass(frozen=True, slots=True)
class Aged:
    """One segment: where it ends (offset), its greatest timestamp (ms), its bytes, and those of all segments after it."""

    end_offset: int
    newest_ms: int
    size_bytes: int
    bytes_after: int


def outlived(oldest: Aged, config: LogConfig, *, log_start_offset: int, high_watermark: int, now_ms: int) -> bool:
    """Whether the oldest segment may be deleted, if nothing holds it."""
    if oldest.end_offset > high_watermark:
        return False
    if oldest.end_offset <= log_start_offset:
        return True
    if not config.deletes:
        return False
    too_many = 0 <= config.retention_bytes <= oldest.bytes_after
    too_old = 0 <= config.retention_ms < now_ms - oldest.newest_ms
    return too_many or too_old


def is_held(oldest: Aged, held_from: int | None, *, log_start_offset: int) -> bool:
    """Whether it has records that must not go yet: those from `held_from` on, None for none."""
    return held_from is not None and oldest.end_offset > max(held_from, log_start_offset)


def ms_until_taken(ages: Iterable[Aged], offset: int, config: LogConfig, now_ms: int) -> float:
    """How long until age or size takes the record at `offset`, and all before it, if nothing holds them.

    Args:
        ages: all segments, oldest first.
    Returns:
        ms; negative, or 0 where size takes it, when it would be gone already; infinite where neither ever takes it.
    """
    left: float = -inf
    for aged in ages:
        by_age = aged.newest_ms + config.retention_ms - now_ms if config.retention_ms >= 0 else inf
        by_size = 0 if 0 <= config.retention_bytes <= aged.bytes_after else inf
        left = max(left, min(by_age, by_size))
        if aged.end_offset > offset:
            return left if config.deletes else inf
    return inf
