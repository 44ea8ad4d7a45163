"""When a log's oldest segment may go; pure.

Never before all of it is exposed (KAFKA-5634). Then: when the log start offset has passed it; and, where `cleanup.policy`
holds `delete`, when what follows it is at least `retention.bytes`, or its newest record is older than `retention.ms`. The
records' timestamps rule, not the time of arrival, as in Kafka.
"""

from dataclasses import dataclass

from headrace.broker.log.config import LogConfig


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest segment: where it ends (offset), its greatest timestamp (ms), and the bytes of all segments after it."""

    end_offset: int
    newest_ms: int
    bytes_after: int


def outlived(oldest: Oldest, config: LogConfig, *, log_start_offset: int, high_watermark: int, now_ms: int) -> bool:
    """Whether the oldest segment may be deleted."""
    if oldest.end_offset > high_watermark:
        return False
    if oldest.end_offset <= log_start_offset:
        return True
    if not config.deletes:
        return False
    too_many = 0 <= config.retention_bytes <= oldest.bytes_after
    too_old = 0 <= config.retention_ms < now_ms - oldest.newest_ms
    return too_many or too_old
