"""Making a partition durable, in three steps so that the slow one may run in a thread.

`PartitionLog.begin_sync` captures on the loop what must be written; `run` writes and fsyncs (files only, no state of the log);
`complete` tells the log, on the loop again. Order inside `run`, which recovery rests on: segments oldest first, so that a
synced batch never follows a lost one; then the directory, so that a new segment's name is there; then, for a checkpoint,
indexes and producer snapshot; only then may the recovery point move.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.broker.log.disk import Disk, DiskFile, is_full, write_whole
from headrace.broker.log.segment import Segment
from headrace.broker.log.snapshots import KEPT, remove_snapshots, snapshot_name, snapshot_offsets


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What lets recovery start at `PartitionSync.end_offset`: index bytes, and the producers' state there."""

    index_chunks: Sequence[tuple[str, int, bytes]]
    index_lengths: Sequence[tuple[Segment, tuple[int, int]]]
    snapshot: bytes


@dataclass(slots=True)
class PartitionSync:
    """One fsync of one partition: all before `end_offset` is durable once `complete` has been called without `error`.

    Several may be under way at once, and end in any order: each covers all that none has covered when it began.
    """

    disk: Disk
    path: str
    files: Sequence[DiskFile]
    rolls: int
    names: bool
    end_offset: int
    limit: tuple[int, int]
    appended_bytes: int
    checkpoint: Checkpoint | None
    on_complete: Callable[["PartitionSync"], None]
    is_closed: Callable[[], bool]
    error: OSError | None = None

    def run(self) -> None:
        """Write and fsync; blocks, raises nothing, may run on any thread.

        For a log that is closed it does nothing: another may have its directory's name by now.
        """
        if self.error is not None or self.is_closed():
            return
        try:
            for file in self.files:
                file.sync()
            if self.names:
                self.disk.sync_directory(self.path)
            if self.checkpoint is not None and not self._write_checkpoint(self.checkpoint):
                self.checkpoint = None
        except OSError as error:
            self.error = error

    def _write_checkpoint(self, checkpoint: Checkpoint) -> bool:
        """False where the disk is full: the recovery point stays where it is, and the next attempt writes the same again."""
        try:
            for path, position, data in checkpoint.index_chunks:
                file = self.disk.open(path, create=True)
                try:
                    file.pwrite([data], position)
                    file.sync()
                finally:
                    file.close()
            write_whole(self.disk, self.path, snapshot_name(self.end_offset), checkpoint.snapshot)
            remove_snapshots(self.disk, self.path, snapshot_offsets(self.disk.list(self.path))[:-KEPT])
        except OSError as error:
            if not is_full(error):
                raise
            return False
        return True

    def complete(self) -> None:
        """Let the log know; on the loop that owns it."""
        self.on_complete(self)
