"""The offset checkpoints of one directory: as they are on disk, and as they would be written now.

They are kept line by line, so that only what has changed is made anew, and thousands of idle partitions are not even looked at.
The format is `checkpoint.py`'s. On the loop that owns the directory, but for `CheckpointWrite.run`.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from headrace.broker.log.checkpoint import (
    CLEANER,
    HIGH_WATERMARK,
    LOG_START,
    RECOVERY_POINT,
    UNKNOWN,
    TopicPartition,
    decode_offsets,
    encode_offsets,
    offset_line,
)
from headrace.broker.log.disk import Disk, read_whole
from headrace.broker.log.scanning import Facts
from headrace.broker.log.steps import CheckpointWrite
from headrace.errors import CorruptError

logger = logging.getLogger(__name__)
_OFFSETS: Mapping[str, Callable[[Facts], int | None]] = {  # what a partition's line says, if it has one
    RECOVERY_POINT: lambda facts: facts.recovery_point if facts.is_checkpointed else UNKNOWN,
    LOG_START: lambda facts: facts.log_start_offset,
    HIGH_WATERMARK: lambda facts: facts.high_watermark,
    CLEANER: lambda facts: facts.cleaned_to or None,
}
_ALL = tuple(_OFFSETS)


class OffsetCheckpoints:
    """What is known of each partition."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk, self._path = disk, path
        self._lines: dict[str, dict[TopicPartition, bytes]] = {name: {} for name in _ALL}
        self._written: dict[str, bytes] = {}  # as they are on disk
        self._recovery_points: dict[TopicPartition, bytes] = {}  # lines that are on disk
        self.gone: dict[str, set[int]] = {}  # topic → partitions of which they say something on disk still

    def read(self) -> Callable[[TopicPartition, bool], Facts]:
        """What they say on disk of each partition; the second argument is whether the last stop was clean.

        Raises:
            OSError. VersionError: one was written by a newer version.
        """
        points = {name: self._read(name) for name in _ALL}
        self._recovery_points = {at: offset_line(at, offset) for at, offset in points[RECOVERY_POINT].items()}
        for at in dict.fromkeys(at for offsets in points.values() for at in offsets):
            self._lose(at)

        def facts(at: TopicPartition, clean: bool) -> Facts:
            recovery_point, log_start, high_watermark, cleaned_to = (points[name].get(at, 0) for name in _ALL)
            is_checkpointed = RECOVERY_POINT in self._written and recovery_point != UNKNOWN
            return Facts(clean, max(recovery_point, 0), log_start, high_watermark, cleaned_to, is_checkpointed)

        return facts

    def _read(self, name: str) -> dict[TopicPartition, int]:
        content = read_whole(self._disk, f"{self._path}/{name}")
        if content is None:
            return {}
        try:
            offsets = decode_offsets(content, f"{self._path}/{name}")
        except CorruptError as error:
            logger.warning("a checkpoint is damaged; logs are scanned instead", extra={"error": str(error)})
            return {}
        self._written[name] = content
        return offsets

    def recovery_point(self, at: TopicPartition) -> int:
        """What a crash falls back to."""
        line = self._recovery_points.get(at)
        return 0 if line is None else int(line.rsplit(b" ", 1)[1])

    def note(self, at: TopicPartition, facts: Facts) -> None:
        """So it is with this partition now."""
        for name, offset_of in _OFFSETS.items():
            offset = offset_of(facts)
            if offset is None:
                self._lines[name].pop(at, None)
            else:
                self._lines[name][at] = offset_line(at, offset)

    def _lose(self, at: TopicPartition) -> None:
        self.gone.setdefault(at[0], set()).add(at[1])

    def found(self, partitions: Iterable[TopicPartition]) -> None:
        """They are there, or nothing on disk says anything of them any more: they are not `gone`."""
        for topic, partition in partitions:
            gone = self.gone.get(topic, set())
            gone.discard(partition)
            if not gone:
                self.gone.pop(topic, None)

    def deleted(self, at: TopicPartition) -> None:
        """There is no such partition any more."""
        self._lose(at)
        for lines in self._lines.values():
            lines.pop(at, None)

    def write(self, on_failure: Callable[[OSError], None], names: Collection[str] = _ALL) -> CheckpointWrite:
        """Those that would not be written as they are on disk; one write at a time."""
        contents = {name: encode_offsets(self._lines[name].values()) for name in names}
        changed = {name: content for name, content in contents.items() if self._written.get(name) != content}
        forgotten = [(topic, at) for topic, partitions in self.gone.items() for at in partitions] if names is _ALL else []
        recovery_points = self._recovery_points if RECOVERY_POINT not in changed else dict(self._lines[RECOVERY_POINT])

        def on_success() -> None:
            self._written.update(changed)
            self._recovery_points = recovery_points
            self.found(forgotten)

        return CheckpointWrite(self._disk, self._path, changed, on_success, on_failure)
