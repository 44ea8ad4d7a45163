"""How fast something goes: a sum over a few windows of time, and the delay that brings it down to a bound. Pure.

The same arithmetic as Kafka's, so that a quota throttles as it does there: a client that was silent is granted as if windows
without traffic lay before its first, hence bursts up to (samples - 1) windows of the bound pass. Times are monotonic ms.
Sources: Kafka's Rate, SampledStat and WindowedSum (`org.apache.kafka.common.metrics.stats`), QuotaUtils.throttleTime.
"""

from dataclasses import dataclass

MAX_THROTTLE_MS = (1 << 31) - 1  # what the wire can say


@dataclass(frozen=True, slots=True)
class Windows:
    """`quota.window.num` and `quota.window.size.seconds`: windows that are remembered, the current one included."""

    count: int
    size_ms: int

    @property
    def span_ms(self) -> int:
        """After so long without an event nothing of a rate is left."""
        return self.count * self.size_ms


class _Window:
    __slots__ = ("last_event_ms", "start_ms", "value")

    def __init__(self, now_ms: int) -> None:
        self.reset(now_ms)

    def reset(self, now_ms: int) -> None:
        self.start_ms = self.last_event_ms = now_ms
        self.value = 0.0


class Rate:
    """Units a second of one client."""

    __slots__ = ("_current", "_ring", "_windows")

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._ring: list[_Window] = []
        self._current = 0

    def record(self, value: float, now_ms: int) -> None:
        """Count so many units now; a negative value takes back what was counted."""
        if not self._ring:
            self._ring.append(_Window(now_ms))
        window = self._ring[self._current]
        if now_ms - window.start_ms >= self._windows.size_ms:
            window = self._advance(now_ms)
        window.value += value
        window.last_event_ms = now_ms

    def per_second(self, now_ms: int) -> float:
        """The rate over the windows that still count."""
        self._purge(now_ms)
        return sum(window.value for window in self._ring) * 1000 / self._elapsed_ms(now_ms)

    def throttle_ms(self, bound: float, now_ms: int) -> int:
        """For how long to do nothing so that the rate falls to `bound`; 0 if it is not above it.

        With the rate R over W, waiting X makes it R·W / (W + X): X = (R - bound) / bound · W.
        """
        rate = self.per_second(now_ms)
        if rate <= bound:
            return 0
        return int(min((rate - bound) / bound * self._elapsed_ms(now_ms) + 0.5, MAX_THROTTLE_MS))

    def is_forgotten(self, now_ms: int) -> bool:
        """Whether nothing that was recorded counts any more: a new one would say the same."""
        return all(now_ms - window.last_event_ms >= self._windows.span_ms for window in self._ring)

    def _advance(self, now_ms: int) -> _Window:
        self._current = (self._current + 1) % (self._windows.count + 1)  # one more, as those that overlap the span count
        if self._current == len(self._ring):
            self._ring.append(_Window(now_ms))
        else:
            self._ring[self._current].reset(now_ms)
        return self._ring[self._current]

    def _purge(self, now_ms: int) -> None:
        for window in self._ring:
            if now_ms - window.last_event_ms >= self._windows.span_ms:
                window.reset(now_ms)

    def _elapsed_ms(self, now_ms: int) -> int:
        """Since the oldest window began; windows that are missing count as ones without events."""
        elapsed_ms = now_ms - min((window.start_ms for window in self._ring), default=now_ms)
        missing = self._windows.count - 1 - elapsed_ms // self._windows.size_ms
        return max(elapsed_ms + max(missing, 0) * self._windows.size_ms, 1)
