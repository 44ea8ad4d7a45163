"""What a partition's log answers: appends, reads, and where bytes lie.

Nobody changes these; they are not frozen because one is made per batch, and that takes twice as long (0.4 µs), as do tuples.
"""

from dataclasses import dataclass

from headrace.broker.log.disk import DiskFile


@dataclass(slots=True)
class AppendResult:
    """What became of an append.

    Attributes:
        error: wire code, 0 if the batch is in the log (or was already: a retry gets its first offsets again).
        message: why not, for the producer; None if it is.
        base_offset, last_offset, log_start_offset: of the batch, and where its log starts; -1 on an error.
        log_append_time_ms: the broker's time if the topic stamps LogAppendTime, else -1.
    """

    error: int
    message: str | None
    base_offset: int
    last_offset: int
    log_append_time_ms: int
    log_start_offset: int


def refused(error: int, message: str) -> AppendResult:
    """Nothing was appended."""
    return AppendResult(int(error), message, -1, -1, -1, -1)


@dataclass(slots=True)
class FileRegion:
    """Whole batches as they lie in a segment: `size` bytes from `position` of `file` (for pread in pieces, or sendfile)."""

    file: DiskFile
    position: int
    size: int


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What was read: whole batches, the one that holds the asked offset first; empty at the high watermark."""

    error: int
    records: bytes
    high_watermark: int
    log_start_offset: int


@dataclass(slots=True)
class LocateResult:
    """Where it lies: like `ReadResult`, with the region instead of the bytes; None is empty."""

    error: int
    region: FileRegion | None
    high_watermark: int
    log_start_offset: int
