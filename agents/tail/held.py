"""Deleted files that are held open because not all of them is shipped: they take room on a disk, and no name shows them. Pure.

They are held without end unless the input bounds them. What is let go beyond a bound is lost, and counted by that bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.agents.effects import Now
from headrace.agents.tail.stream import Stream

BY_AGE, BY_BYTES = "held_age", "held_bytes"  # why bytes are lost


@dataclass(slots=True)
class Held:
    """Since when each is held (stream id → monotonic ms)."""

    _since: dict[str, int] = field(default_factory=dict)

    def beyond(self, files: Sequence[tuple[Stream, int]], now: Now) -> list[tuple[Stream, int, str]]:
        """Those to let go, with their size (bytes) and why: the ones held too long, then of each input the longest held.

        Args:
            files: the deleted files of inputs with a bound, and how large each is.
        """
        self._since = {stream.row.stream_id: self._since.get(stream.row.stream_id, now.monotonic_ms) for stream, _ in files}
        gone: list[tuple[Stream, int, str]] = []
        used: dict[str, int] = {}
        for stream, size in sorted(files, key=lambda each: self._since[each[0].row.stream_id], reverse=True):
            how = stream.input
            assert how is not None
            used[how.name] = used.get(how.name, 0) + size
            age_ms = now.monotonic_ms - self._since[stream.row.stream_id]
            if how.held_ms is not None and age_ms >= how.held_ms:
                gone.append((stream, size, BY_AGE))
            elif how.held_bytes is not None and used[how.name] > how.held_bytes:
                gone.append((stream, size, BY_BYTES))
        return gone
