"""Retention holds: what each held log waits for, from the groups' committed offsets; and what Prometheus is told (ADR 0024).

Before each look of retention `look` tells every log from which offset on it is held: the least that one of its groups has
committed. A group that has committed nothing, whose offsets cannot be read now, or that has committed beyond the log's end (it
read another log of that name) holds everything: what is kept for nothing is seen in the metrics, what is lost is lost.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.broker.log.config import HOLD, LogConfig
from headrace.broker.log.holding import held, seconds_until_retention
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.topic_names import may_be_landed
from headrace.errors import StorageError

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

logger = logging.getLogger(__name__)
_MEASURE_INTERVAL_MS = 5_000


@dataclass(frozen=True, slots=True)
class HeldLog:
    """One held log, as it was when last measured; seconds by group."""

    held_bytes: int
    seconds_until_retention: dict[str, float]


class Holds:
    """All holds of one broker; on the loop, but for `measured`, which any thread may read."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._measured_ms = -_MEASURE_INTERVAL_MS
        self.measured: dict[tuple[str, int], HeldLog] = {}

    def groups_of(self, topic: str) -> tuple[str, ...]:
        """The groups that hold a topic: its own setting, else the broker's default, which is for topics that are landed."""
        record = self._broker.topics.get(topic)
        if record is None:
            return ()
        own = record.configs.get(HOLD)
        if own is not None:
            return LogConfig(headrace_retention_hold=own).hold_groups
        return self._broker.log_defaults.hold_groups if may_be_landed(topic) else ()

    def keeps(self, group: str, topic: str) -> bool:
        """Whether this group's offsets of the topic must not expire."""
        return group in self.groups_of(topic)

    def look(self, now_ms: int) -> Iterator[None]:
        """Tell logs what they are held from, and measure what is held: before retention looks, and every few seconds.

        `now_ms` is wall time. Yields after each log, as others may have the loop meanwhile.
        """
        measures = now_ms - self._measured_ms >= _MEASURE_INTERVAL_MS
        if not measures and not self._broker.logs.takes_segments(now_ms):
            return
        measured = {}
        for log in self._held_logs():
            yield
            groups = self.groups_of(log.topic)
            committed = {group: self._committed(group, log) for group in groups}
            log.retirement.held_from = min(committed.values()) if committed else None
            if measures and committed:
                measured[log.at] = self._measure(log, committed, now_ms)
        if measures:
            self._measured_ms, self.measured = now_ms, measured

    def _held_logs(self) -> Iterator[PartitionLog]:
        """Those whose settings name groups: their topics', or the broker's, which are every log's."""
        for topic in self._broker.topics.all():
            if self._broker.log_defaults.hold_groups or HOLD in topic.configs:
                for partition in range(topic.partitions):
                    log = self._broker.logs.get(topic.name, partition)
                    if log is not None:
                        yield log

    def _committed(self, group: str, log: PartitionLog) -> int:
        groups = self._broker.groups
        if groups is None or not groups.is_available(group):
            return 0
        offset = groups.committed(group, log.topic, log.partition)
        return 0 if offset is None or offset.offset > log.log_end_offset else int(offset.offset)

    def _measure(self, log: PartitionLog, committed: dict[str, int], now_ms: int) -> HeldLog:
        try:
            held_bytes = sum(aged.size_bytes for aged in held(log, now_ms))
            seconds = {group: seconds_until_retention(log, offset, now_ms) for group, offset in committed.items()}
        except (OSError, StorageError):  # retention meets it too, and says so
            return HeldLog(0, {})
        before = self.measured.get(log.at)
        if held_bytes and not (before and before.held_bytes):
            about = {"topic": log.topic, "partition": log.partition, "bytes": held_bytes, "committed": committed}
            logger.warning("retention is held back: a group has not read what is due to be deleted", extra=about)
        return HeldLog(held_bytes, seconds)
