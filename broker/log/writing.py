"""One batch on its way into a segment: what may block, apart from what the log notes before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.broker.log.batch import BatchHeader
from headrace.broker.log.disk import Buffer, DiskFile
from headrace.broker.log.segment import Segment


@dataclass(slots=True)
class BatchWrite:
    """Made by `PartitionLog.begin_append`; `run` once, on any thread, then `PartitionLog.complete_append` on the loop.

    Until then the bytes lie behind the segment's end, where nobody reads them; so they do after an error.
    """

    segment: Segment
    file: DiskFile
    buffers: Sequence[Buffer]
    header: BatchHeader
    now_ms: int
    error: OSError | None = None

    def run(self) -> None:
        """Write; blocks, raises nothing."""
        try:
            self.file.pwrite(self.buffers, self.segment.size)
        except OSError as error:
            self.error = error
