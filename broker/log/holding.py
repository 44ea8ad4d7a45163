"""What a retention hold keeps in one log, and letting go of it where the disk is nearly full (ADR 0024)."""

import logging
from collections.abc import Collection

from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.retention import Aged, is_held, ms_until_taken, outlived
from headrace.errors import StorageError

logger = logging.getLogger(__name__)


def held(log: PartitionLog, now_ms: int) -> list[Aged]:
    """The oldest segments that are there only because they are held, oldest first."""
    kept: list[Aged] = []
    if log.retirement.held_from is None or log.fenced:
        return kept
    start, end = log.log_start_offset, log.high_watermark
    for aged in log.retirement.ages():
        if not aged.size_bytes or not outlived(aged, log.config, log_start_offset=start, high_watermark=end, now_ms=now_ms):
            break
        if is_held(aged, log.retirement.held_from, log_start_offset=start):
            kept.append(aged)
    return kept


def seconds_until_retention(log: PartitionLog, committed: int, now_ms: int) -> float:
    """How long until retention takes, or how long ago but for the hold it would have taken, the first record from
    `committed` on; infinite where there is none."""
    first = max(committed, log.log_start_offset)
    if first >= log.high_watermark or log.fenced:
        return float("inf")
    return ms_until_taken(log.retirement.ages(), first, log.config, now_ms) / 1000


def release(logs: Collection[PartitionLog], shortfall_bytes: int, now_ms: int) -> None:
    """Delete held segments, those with the oldest records first, until so many bytes are freed or none is left."""
    while shortfall_bytes > 0:
        oldest = [(kept[0].newest_ms, log) for log in logs if (kept := _held_safely(log, now_ms))]
        if not oldest:
            return
        _, log = min(oldest, key=lambda pair: pair[0])
        freed = log.retirement.release_oldest(now_ms)
        if not freed:
            return
        shortfall_bytes -= freed


def _held_safely(log: PartitionLog, now_ms: int) -> list[Aged]:
    try:
        return held(log, now_ms)
    except (OSError, StorageError) as error:
        logger.error("held segments are not known", extra={"topic": log.topic, "partition": log.partition, "error": str(error)})
        return []
