"""Putting cleaned segments in the place of the old ones, while the log goes on (`leftovers` has the order, and why it is safe).

`commit` and `settle` block on the disk and may run in a thread; between them `steps` swaps one segment at a time on the loop,
by renames, so that no reader ever finds a name half changed. Segments are swapped in the order of offsets, and if one is not
swapped in, none after it is: a later one may lack the tombstone of a key whose older value is still in an earlier one.
"""

from collections import deque
from collections.abc import Iterator

from headrace.broker.log import leftovers
from headrace.broker.log.compaction.clean import CleanedSegment, CleanResult
from headrace.broker.log.disk import Disk
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.segment import Segment


class Swap:
    """The outcome of one cleaning, on its way into the log; begun on the loop.

    Retention waits until it is settled: what it deletes meanwhile a crash would bring back, with a hole behind it. What it
    deleted while the worker was busy does not matter: what a cleaned segment holds of it lies below the log start.
    """

    def __init__(self, disk: Disk, log: PartitionLog, result: CleanResult) -> None:
        self._disk, self._log, self._result = disk, log, result
        there = {segment.base_offset for segment in log.segments}
        self._is_settled = False
        self._waiting = deque(cleaned for cleaned in result.segments if not there.isdisjoint(cleaned.bases))
        log.retirement.is_swapping = True

    @property
    def is_wanted(self) -> bool:
        """Whether the log is still there, and still to be compacted."""
        log = self._log
        return not log.closed and not log.fenced and log.config.compacts

    def commit(self) -> None:
        """From here on a crash brings the cleaned segments. Raises OSError: it may bring either."""
        if self._waiting:
            leftovers.commit_swaps(self._disk, self._log.path, [cleaned.bases[0] for cleaned in self._waiting])

    def steps(self, now_ms: int) -> Iterator[None]:
        """Swap one segment in after another, as long as they are wanted; on the loop, others may have turns in between.

        Raises:
            OSError: the partition is offline.
        """
        while self._waiting and self.is_wanted:
            self._swap_in(self._waiting.popleft(), now_ms)
            yield

    def _swap_in(self, cleaned: CleanedSegment, now_ms: int) -> None:
        old = [segment for segment in self._log.segments if segment.base_offset in cleaned.bases]
        segment = Segment(
            self._disk,
            self._log.path,
            cleaned.bases[0],
            index_interval_bytes=self._log.config.index_interval_bytes,
            size=cleaned.size,
        )
        segment.next_offset = old[-1].next_offset
        self._log.retirement.swap_in(segment, old, now_ms)

    def settle(self) -> None:
        """Make the new names durable, and remove what was not swapped in. Raises OSError."""
        leftovers.drop_unfinished(self._disk, self._log.path)
        self._disk.sync_directory(self._log.path)
        self._is_settled = True

    def complete(self) -> None:
        """It is over, well or not; where all was swapped in, durably, the log is clean that far."""
        self._log.retirement.is_swapping = False
        if self._is_settled and not self._waiting and self.is_wanted:
            self._log.cleaned_to = self._result.end_offset
            self._log.wake()
