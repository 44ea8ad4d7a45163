"""Finding a record by its time: the index leads to a batch, and the batch must be looked into, which may take long.

What is on the loop ends with a `BatchAt` or a `PartAt`: a place in a file, which stays what it is whatever becomes of the log,
so that a thread may read it (ADR 0023).
"""

from dataclasses import dataclass

from headrace.broker.log.batch import HEADER_SIZE, MAGIC, BatchHeader, parse_header
from headrace.broker.log.compression import NONE
from headrace.broker.log.disk import DiskFile
from headrace.broker.log.record import Rest, first_at_or_after, latest_timestamp, no_rest
from headrace.errors import CorruptError

_AT_ONCE_BYTES = 16 * 1024
_AT_ONCE_RECORDS = 200  # of which one takes a microsecond


class SlowLookError(Exception):
    """A look into a batch would take long, or may have to wait for the disk: a thread should take it."""


@dataclass(frozen=True, slots=True)
class BatchAt:
    """A batch whose greatest time is not before the one that is wanted."""

    file: DiskFile
    position: int
    header: BatchHeader

    def first_at_or_after(self, timestamp_ms: int, offset: int, rest: Rest = no_rest) -> tuple[int, int] | None:
        """(offset, timestamp ms) of its first record, from `offset` on, that is not before `timestamp_ms`; on any thread, which
        is told when to rest.

        Raises:
            CorruptError: the records cannot be read. OSError: the disk fails.
        """
        return first_at_or_after(self.file.pread(self.header.size, self.position), timestamp_ms, offset, rest=rest)

    def first_at_once(self, timestamp_ms: int, offset: int) -> tuple[int, int] | None:
        """The same where that is quick: of few records, and small ones or not compressed, which are in the page cache.

        Raises:
            SlowLookError: it is not, or what is there is damaged. OSError: the disk fails.
        """
        is_small = self.header.size <= _AT_ONCE_BYTES
        if self.header.record_count > _AT_ONCE_RECORDS or not (is_small or self.header.codec == NONE):
            raise SlowLookError
        data = self.file.pread_cached(min(self.header.size, _AT_ONCE_BYTES), self.position)
        if data is None or len(data) < HEADER_SIZE:
            raise SlowLookError
        try:
            return first_at_or_after(data, timestamp_ms, offset, limit=_AT_ONCE_BYTES)
        except CorruptError as error:  # also where records go on behind what was read
            raise SlowLookError from error


@dataclass(frozen=True, slots=True)
class PartAt:
    """A segment's batches from the one on that holds `offset`, up to `end`, bytes."""

    file: DiskFile
    position: int
    end: int
    offset: int

    def greatest_timestamp(self, rest: Rest = no_rest) -> int:
        """Of the records from `offset` on, ms; -1 if there are none; on any thread, which is told when to rest.

        Raises:
            CorruptError: there is no batch, or no record, where one should be. OSError: the disk fails.
        """
        greatest, position = -1, self.position
        while position < self.end:
            data = self.file.pread(HEADER_SIZE, position)
            header = parse_header(data) if len(data) == HEADER_SIZE else None
            if header is None or header.magic != MAGIC or not HEADER_SIZE <= header.size <= self.end - position:
                raise CorruptError(f"no record batch at byte {position}")
            if header.max_timestamp > greatest:
                greatest = max(greatest, self._of_batch(header, position, rest))
            position += header.size
        return greatest

    def _of_batch(self, header: BatchHeader, position: int, rest: Rest) -> int:
        if header.base_offset >= self.offset:
            return header.max_timestamp
        return latest_timestamp(self.file.pread(header.size, position), self.offset, rest)
