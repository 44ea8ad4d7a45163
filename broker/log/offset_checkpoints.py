"""The offset checkpoints of one directory as they would be written now: line by line, so that only what has changed is made
anew, and thousands of idle partitions are not even looked at. Pure; the format is `checkpoint.py`'s.
"""

from collections.abc import Callable, Mapping

from headrace.broker.log.checkpoint import (
    CLEANER,
    HIGH_WATERMARK,
    LOG_START,
    RECOVERY_POINT,
    UNKNOWN,
    TopicPartition,
    encode_offsets,
    offset_line,
)
from headrace.broker.log.scanning import Facts

_OFFSETS: Mapping[str, Callable[[Facts], int | None]] = {  # what a partition's line says, if it has one
    RECOVERY_POINT: lambda facts: facts.recovery_point if facts.is_checkpointed else UNKNOWN,
    LOG_START: lambda facts: facts.log_start_offset,
    HIGH_WATERMARK: lambda facts: facts.high_watermark,
    CLEANER: lambda facts: facts.cleaned_to or None,
}
OFFSET_CHECKPOINTS = tuple(_OFFSETS)


class OffsetCheckpoints:
    """What is known of each partition."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[TopicPartition, bytes]] = {name: {} for name in _OFFSETS}

    def note(self, at: TopicPartition, facts: Facts) -> None:
        """So it is with this partition now."""
        for name, offset_of in _OFFSETS.items():
            offset = offset_of(facts)
            if offset is None:
                self._lines[name].pop(at, None)
            else:
                self._lines[name][at] = offset_line(at, offset)

    def forget(self, at: TopicPartition) -> None:
        """There is no such partition any more."""
        for lines in self._lines.values():
            lines.pop(at, None)

    def content(self, name: str) -> bytes:
        """The file of that name."""
        return encode_offsets(self._lines[name].values())
