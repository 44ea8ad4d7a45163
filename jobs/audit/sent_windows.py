"""The windows of one topic that one agent has announced. Pure.

Each message takes the place of what its window said before, however late it comes, so windows are not summed by day as those
of a table are (`sinks/table/audit_totals.py`). But of a window that its agent's claim has passed, all that a verdict needs is
count and hash, in 24 bytes: the claim tells what was acknowledged by then. Whole are kept those that are open, those of which
something was dropped or rejected, and those that gained after the claim (ADR 0055).
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from headrace.audit import HASH_MODULUS, SentMessage


@dataclass(frozen=True, slots=True)
class Sent:
    """One agent's window of one topic: the sum over the window's chapters (audit.py), nearly always one.

    `late` events were announced after the agent's claimed time had passed the window + lateness, and `acked` is what the
    messages that came then say is acknowledged, by partition: what was announced before is below the claim's own offsets.
    """

    count: int
    content_hash: int
    late: int = 0
    acked: Mapping[int, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    rejected: int = 0


_NOTHING: Final = Sent(0, 0)


@dataclass(slots=True)
class _Window:
    """`chapters`: of each the message with the greatest count. `on_time`: what was announced when a claim had passed it."""

    chapters: dict[int, Sent]
    on_time: int | None

    @property
    def count(self) -> int:
        return sum(chapter.count for chapter in self.chapters.values())

    def is_plain(self) -> bool:
        """Whether its count and hash say all that there is to say."""
        first = self.chapters.get(0, _NOTHING)
        is_only = self.chapters.keys() == {0} and self.on_time == first.count
        return is_only and not first.rejected and not any(first.dropped.values())

    def joined(self) -> Sent:
        whole = _NOTHING
        for other in self.chapters.values():
            ends = {partition: max(end, whole.acked.get(partition, 0)) for partition, end in other.acked.items()}
            dropped = {reason: count + whole.dropped.get(reason, 0) for reason, count in other.dropped.items()}
            whole = Sent(
                count=whole.count + other.count,
                content_hash=(whole.content_hash + other.content_hash) % HASH_MODULUS,
                acked={**whole.acked, **ends},
                dropped={**whole.dropped, **dropped},
                rejected=whole.rejected + other.rejected,
            )
        return whole if self.on_time is None else replace(whole, late=whole.count - self.on_time)


class SentWindows(Mapping[int, Sent]):
    """By window start (ms, within 64 bits)."""

    __slots__ = ("_counts", "_hashes", "_starts", "_whole", "open")

    def __init__(self) -> None:
        self.open: set[int] = set()
        """The windows that no claim has passed."""
        self._whole: dict[int, _Window] = {}
        self._starts, self._counts, self._hashes = array("q"), array("Q"), array("Q")
        """The others, in the order of their starts."""

    def say(self, message: SentMessage, *, is_past: bool) -> Sent | None:
        """An agent tells of a window; what of it that takes the place of; None: of nothing, as more was told before.

        `is_past`: whether a claim has passed the window before it was ever told of.
        """
        start_ms = message.window_start_ms
        window = self._taken(start_ms)
        if window is None:
            window = _Window({}, 0 if is_past else None)
            if not is_past:
                self.open.add(start_ms)
        known = window.chapters.get(message.chapter, _NOTHING)
        is_taken = message.count >= known.count
        if is_taken:
            acked = {} if window.on_time is None else message.acked
            window.chapters[message.chapter] = Sent(
                message.count, message.content_hash, 0, acked, message.dropped, message.rejected
            )
        self._keep(start_ms, window)
        return known if is_taken else None

    def close(self, starts: Iterable[int]) -> None:
        """A claim has passed these of the open windows."""
        for start_ms in starts:
            self.open.remove(start_ms)
            window = self._whole.pop(start_ms)
            window.on_time = window.count
            self._keep(start_ms, window)

    def _keep(self, start_ms: int, window: _Window) -> None:
        if not window.is_plain():
            self._whole[start_ms] = window
            return
        at, only = bisect_left(self._starts, start_ms), window.chapters[0]
        self._starts.insert(at, start_ms)
        self._counts.insert(at, only.count)
        self._hashes.insert(at, only.content_hash)

    def _taken(self, start_ms: int) -> _Window | None:
        """A window, which is kept no more."""
        at = self._at(start_ms)
        if at is None:
            return self._whole.pop(start_ms, None)
        self._starts.pop(at)
        only = Sent(self._counts.pop(at), self._hashes.pop(at))
        return _Window({0: only}, only.count)

    def _at(self, start_ms: int) -> int | None:
        at = bisect_left(self._starts, start_ms)
        return at if at < len(self._starts) and self._starts[at] == start_ms else None

    def __getitem__(self, start_ms: int) -> Sent:
        at = self._at(start_ms)
        return self._whole[start_ms].joined() if at is None else Sent(self._counts[at], self._hashes[at])

    def __iter__(self) -> Iterator[int]:
        return chain(self._whole, self._starts)

    def __len__(self) -> int:
        return len(self._whole) + len(self._starts)
