"""Segments that leave a log: by retention (retention.py has the rules), by DeleteRecords, for a full disk, or because a
cleaned one takes their place; and their files, which go after `file.delete.delay.ms`.

A segment leaves in two steps: its files get the suffix `.deleted`, after which nothing finds it but readers that have it open;
later `take_deleted` hands out the names, to be removed off the loop. On the loop that owns the log.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from headrace.broker.log.disk import Disk, is_full
from headrace.broker.log.durability import Durability
from headrace.broker.log.file_names import LOG
from headrace.broker.log.leftovers import finish_swap
from headrace.broker.log.readable_log import ReadableLog
from headrace.broker.log.retention import Aged, is_held, outlived
from headrace.broker.log.segment import Segment
from headrace.errors import CorruptError

logger = logging.getLogger(__name__)


class Retirement:
    """What takes the oldest segments of one log away, and what holds them back."""

    def __init__(self, disk: Disk, log: ReadableLog, durability: Durability, roll: Callable[[], Segment]) -> None:
        self._disk, self._log, self._durability, self._roll = disk, log, durability, roll
        self.is_swapping = False  # cleaned segments are taking old ones' place (compaction/swap.py)
        self.held_from: int | None = None  # records from here on are held back from retention
        self.hold_anew()
        self.unlanded_deleted_bytes = self.unlanded_deleted_records = 0  # that were held, and went all the same
        self._deleted: list[tuple[int, list[str], Segment]] = []  # when to remove, names, segment

    def hold_anew(self) -> None:
        """Other groups hold the log, from its begin on until it is known what they have committed; or none."""
        self.held_from = 0 if self._log.config.hold_groups else None

    def retain(self, now_ms: int) -> None:
        """Delete segments that time, size or the log start offset allow, and that nothing holds."""
        self._delete_while(self._may_take_oldest, now_ms)

    def release_oldest(self, now_ms: int) -> int:
        """Delete the oldest segment although it is held, its files at once; how many bytes that frees, 0 where it fails."""
        log = self._log
        first, end = log.segments.first, log.segments.end_of_first()
        records = end - max(first.base_offset, log.log_start_offset, self.held_from or 0)
        self._delete_while(lambda _: log.segments.first is first, now_ms)
        if log.segments.first is first:
            return 0
        self._deleted[-1] = (now_ms, *self._deleted[-1][1:])
        self.unlanded_deleted_bytes += first.size
        self.unlanded_deleted_records += records
        logger.error(
            "records deleted before they were landed: the disk is nearly full",
            extra={"topic": log.topic, "partition": log.partition, "before": log.log_start_offset, "records": records},
        )
        return first.size

    def delete_records(self, offset: int, now_ms: int) -> None:
        """Records before `offset`, at most the high watermark, are no longer to be read; segments without others go now."""
        log = self._log
        log.log_start_offset = max(log.log_start_offset, min(offset, log.high_watermark))
        log.wake()
        self._delete_while(lambda _: log.segments.end_of_first() <= log.log_start_offset, now_ms)

    def ages(self) -> Iterator[Aged]:
        """The segments as retention sees them, oldest first. Raises OSError, CorruptError."""
        self._log.wake()
        bytes_after = self._log.size_bytes
        for segment, end_offset in self._log.segments.with_ends():
            newest_ms = segment.greatest_timestamp()
            if newest_ms < 0:
                newest_ms = self._disk.modified_ms(segment.path(LOG))
            bytes_after -= segment.size
            yield Aged(end_offset, newest_ms, segment.size, bytes_after)

    def swap_in(self, cleaned: Segment, old: Sequence[Segment], now_ms: int) -> None:
        """Put a cleaned segment, whose files are `.swap`, in the place of old ones that follow one another.

        Raises:
            OSError: the names may be anything in between; the partition is offline, and the next start finishes it.
        """
        try:
            for segment in old:
                self._set_aside(segment, now_ms)
            finish_swap(self._disk, self._log.path, cleaned.base_offset)
        except OSError as error:
            self._log.fence(error)
            raise
        self._log.replaced(old, cleaned)

    @property
    def has_deleted(self) -> bool:
        """Whether files of deleted segments are still to be removed."""
        return bool(self._deleted)

    @property
    def deleted_bytes(self) -> int:
        """Bytes of segments that are deleted, and whose files are still there."""
        return sum(segment.size for _, _, segment in self._deleted)

    def take_deleted(self, now_ms: int) -> list[str]:
        """The files of deleted segments whose delay is over: to be removed by the caller, who need not hurry."""
        if not self._deleted:
            return []
        due = [entry for entry in self._deleted if entry[0] <= now_ms]
        self._deleted = [entry for entry in self._deleted if entry[0] > now_ms]
        for _, _, segment in due:
            segment.close()
        return [name for _, names, _ in due for name in names]

    def close(self) -> None:
        """Give back the files that wait; the next start removes them."""
        for _, _, segment in self._deleted:
            segment.close()

    def _may_take_oldest(self, now_ms: int) -> bool:
        oldest, log = next(self.ages()), self._log
        start, end = log.log_start_offset, log.high_watermark
        is_due = outlived(oldest, log.config, log_start_offset=start, high_watermark=end, now_ms=now_ms)
        return is_due and not is_held(oldest, self.held_from, log_start_offset=start)

    def _delete_while(self, is_due: Callable[[int], bool], now_ms: int) -> None:
        log = self._log
        if log.fenced or self.is_swapping:
            return
        if log.is_writing:  # into the active segment, which may have to be rolled first: next time
            return
        try:
            while log.segments.first.size and is_due(now_ms):
                if len(log.segments) == 1:
                    self._roll()
                self._delete_first(now_ms)
        except CorruptError as error:
            logger.error("retention stopped", extra={"topic": log.topic, "partition": log.partition, "error": str(error)})
        except OSError as error:
            if not is_full(error):
                log.fence(error)

    def _delete_first(self, now_ms: int) -> None:
        log = self._log
        segment = log.segments.pop_first()
        log.log_start_offset = max(log.log_start_offset, log.segments.first.base_offset)
        self._durability.deleted(segment)
        self._set_aside(segment, now_ms)
        logger.info(
            "segment deleted", extra={"topic": log.topic, "partition": log.partition, "base_offset": segment.base_offset}
        )

    def _set_aside(self, segment: Segment, now_ms: int) -> None:
        self._log.wake()
        self._deleted.append((now_ms + self._log.config.file_delete_delay_ms, segment.rename_deleted(), segment))
