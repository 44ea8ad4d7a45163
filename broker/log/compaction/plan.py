"""From a log to the job that cleans it: what the choice has to know, and what the worker has to be told."""

from dataclasses import dataclass

from headrace.broker.log.compaction.choice import Cleanable, SealedSegment, cleanable
from headrace.broker.log.compaction.clean import CleanJob
from headrace.broker.log.config import MAX_LONG
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.segment import Segment


@dataclass(frozen=True, slots=True)
class CleanerLimits:
    """What one worker may use of `log.cleaner.dedupe.buffer.size` and `log.cleaner.io.max.bytes.per.second`."""

    key_map_bytes: int = 128 * 1024 * 1024
    bytes_per_second: float = float("inf")


def survey(log: PartitionLog, *, recovery_point: int, now_ms: int) -> Cleanable:
    """What of a log may be cleaned now.

    Args:
        recovery_point: as the checkpoint file says, which a crash falls back to.
    Raises:
        CorruptError, OSError: a time that the topic's settings ask for cannot be read.
    """
    log.wake()
    limit = min(log.high_watermark, recovery_point, log.segments.active.base_offset)
    config = log.config

    def sealed(segment: Segment) -> SealedSegment:
        first_ms = segment.start_timestamp() if config.max_compaction_lag_ms < MAX_LONG else None
        newest_ms = segment.greatest_timestamp() if config.min_compaction_lag_ms else -1
        first_ms = -1 if first_ms is None else first_ms
        return SealedSegment(segment.base_offset, segment.next_offset, segment.size, first_ms, newest_ms)

    below = [sealed(segment) for segment in log.segments if segment.next_offset <= limit and segment is not log.segments.active]
    return cleanable(
        below, config, cleaned_to=log.cleaned_to, log_start_offset=log.log_start_offset, limit=limit, now_ms=now_ms
    )


def job_for(log: PartitionLog, found: Cleanable, limits: CleanerLimits, *, now_ms: int, free_bytes_min: int) -> CleanJob:
    """What a worker has to know to clean what was found."""
    config = log.config
    return CleanJob(
        path=log.path,
        segments=tuple(found.segments),
        dirty_from=found.dirty_from,
        now_ms=now_ms,
        delete_retention_ms=config.delete_retention_ms,
        segment_bytes=config.segment_bytes,
        index_bytes=config.segment_index_bytes,
        index_interval_bytes=config.index_interval_bytes,
        key_map_bytes=limits.key_map_bytes,
        kept_ends=tuple(log.producer_ends()),
        free_bytes_min=free_bytes_min,
        bytes_per_second=limits.bytes_per_second,
    )
