"""How much of one log is on disk: what an fsync must cover, and from where recovery would have to scan.

Two bounds, the second never after the first: before `_synced_offset` batches are on disk; before `recovery_point` their index
entries and a producer snapshot are too (`sync.py` has the order in which they get there). On the loop that owns the log.
"""

from collections.abc import Callable

from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk, DiskFile
from headrace.broker.log.segment import Segment
from headrace.broker.log.segments import Segments
from headrace.broker.log.sync import Checkpoint, PartitionSync


class Durability:
    """What one log knows of its own bytes on disk."""

    def __init__(self, disk: Disk, path: str, segments: Segments, recovery_point: int, now_ms: int) -> None:
        self._disk, self._path = disk, path
        self.recovery_point = recovery_point  # all before it is on disk, with its index entries and a snapshot
        unsynced = segments.after(recovery_point)
        self._unsynced = unsynced  # segments with bytes that no fsync has covered
        self._uncheckpointed = list(unsynced)  # segments with bytes after the recovery point
        self._rolls = int(bool(unsynced))  # new segments' names; `_rolls_synced` of them are durable
        self._rolls_synced = 0
        self._synced_offset = recovery_point if unsynced else segments.active.next_offset
        self._appended_bytes = sum(segment.size for segment in unsynced)
        self._checkpointed_bytes = 0  # `_appended_bytes` at the recovery point
        self._unsynced_since_ms = self._uncheckpointed_since_ms = now_ms

    def appended(self, segment: Segment, base_offset: int, size_bytes: int, now_ms: int) -> None:
        """A batch was written to the segment, at what was the log end."""
        if not self._unsynced or self._unsynced[-1] is not segment:
            self._unsynced.append(segment)
        if not self._uncheckpointed or self._uncheckpointed[-1] is not segment:
            self._uncheckpointed.append(segment)
        if self._synced_offset == base_offset:
            self._unsynced_since_ms = now_ms
        if self._appended_bytes == self._checkpointed_bytes:
            self._uncheckpointed_since_ms = now_ms
        self._appended_bytes += size_bytes

    def rolled(self) -> None:
        """A new segment's name must become durable."""
        self._rolls += 1

    def deleted(self, segment: Segment) -> None:
        """Nobody needs this segment on disk any more."""
        for unsafe in (self._unsynced, self._uncheckpointed):
            if segment in unsafe:
                unsafe.remove(segment)

    def sync_due(self, config: LogConfig, log_end_offset: int, now_ms: int) -> bool:
        """Whether `flush.messages` or `flush.ms` asks for an fsync now."""
        pending = log_end_offset - self._synced_offset
        return pending > 0 and (pending >= config.flush_messages or now_ms - self._unsynced_since_ms >= config.flush_ms)

    @property
    def uncheckpointed_bytes(self) -> int:
        """Bytes that recovery would have to scan."""
        return self._appended_bytes - self._checkpointed_bytes

    def checkpoint_due(self, now_ms: int, *, max_bytes: int, max_age_ms: int) -> bool:
        """Whether the recovery point lags by so many bytes, or so long."""
        pending = self.uncheckpointed_bytes
        return pending >= max_bytes or (pending > 0 and now_ms - self._uncheckpointed_since_ms >= max_age_ms)

    def begin_sync(
        self, end_offset: int, end_position: tuple[int, int], snapshot: bytes | None, *,
        on_complete: Callable[[PartitionSync], None], is_closed: Callable[[], bool],
    ) -> PartitionSync:  # fmt: skip
        """Capture what must be written to make all before `end_offset` durable.

        Args:
            end_position: of the log end: the active segment's base offset, and bytes into it.
            snapshot: the producers' state there; with it the recovery point moves too.
        """
        segments = self._unsynced if snapshot is None else self._uncheckpointed
        files: list[DiskFile] = []
        failed = None
        checkpoint = None
        try:
            checkpoint = None if snapshot is None else _checkpoint(segments, snapshot)
            files = [segment.file for segment in segments]
        except OSError as error:
            failed = error
        return PartitionSync(
            disk=self._disk,
            path=self._path,
            files=files,
            rolls=self._rolls,
            names=self._rolls > self._rolls_synced,
            end_offset=end_offset,
            limit=end_position,
            appended_bytes=self._appended_bytes,
            checkpoint=checkpoint,
            on_complete=on_complete,
            is_closed=is_closed,
            error=failed,
        )

    def synced(self, step: PartitionSync) -> bool:
        """Take note of a step that ran without an error; whether more is durable than before."""
        self._rolls_synced = max(self._rolls_synced, step.rolls)
        self._unsynced = [segment for segment in self._unsynced if segment.next_offset > step.end_offset]
        if step.checkpoint is not None and step.end_offset >= self.recovery_point:
            for segment, (entries, times) in step.checkpoint.index_lengths:
                segment.indexes.saved(entries, times)
            self._uncheckpointed = [segment for segment in self._uncheckpointed if segment.next_offset > step.end_offset]
            self.recovery_point, self._checkpointed_bytes = step.end_offset, step.appended_bytes
        if step.end_offset <= self._synced_offset:
            return False
        self._synced_offset = step.end_offset
        return True


def _checkpoint(segments: list[Segment], snapshot: bytes) -> Checkpoint:
    for segment in segments:
        segment.seal()
    chunks = [chunk for segment in segments for chunk in segment.indexes.unsaved()]
    return Checkpoint(chunks, [(segment, segment.indexes.lengths()) for segment in segments], snapshot)
