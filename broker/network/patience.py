"""How long a peer is waited for that has begun something: its first request, a frame, a login, or reading its answers. Pure.

A frame may take `request.receive.timeout.ms`, and longer only if its bytes keep coming at a modest rate: a slow line may send a
large request, a byte a second is no line. Time in which we do not read counts for nobody.
"""

_LEAST_BYTES_PER_MS = 16
_LEAST_PROGRESS_BYTES = 64 << 10  # from one look to the next (a second), while memory is short
_LOOKS = 3  # with less: a peer whose machine, or ours, is busy for a second is not stuck


class Patience:
    """With one connection."""

    __slots__ = ("_came_bytes", "_limit_ms", "_since_ms", "_total_bytes", "_total_seen", "_vain_looks", "_was_waited_for")

    def __init__(self, limit_ms: int, now_ms: int) -> None:
        self._limit_ms = limit_ms
        self._since_ms: int | None = now_ms  # something is waited for since then; at first the first request
        self._came_bytes = 0  # since then
        self._total_bytes = 0
        self._total_seen = 0
        self._was_waited_for = False
        self._vain_looks = 0

    def came(self, count: int, now_ms: int, *, is_in_frame: bool) -> None:
        """So many bytes have come, and are all handled or kept but for what `is_in_frame` says."""
        self._total_bytes += count
        if not is_in_frame:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms, self._came_bytes = now_ms, count
        else:
            self._came_bytes += count

    def read(self, count: int) -> None:
        """The peer has read so much of its answers."""
        self._total_bytes += count

    def is_over(self, now_ms: int, *, is_read: bool) -> bool:
        """Whether it is waited for too long; `is_read` says whether we have been ready to receive."""
        if self._since_ms is None:
            return False
        if not is_read:
            self._since_ms, self._came_bytes = now_ms, 0
            return False
        return now_ms - self._since_ms > self._limit_ms + self._came_bytes // _LEAST_BYTES_PER_MS

    def looks_stuck(self, *, is_waited_for: bool) -> bool:
        """Whether it has been waited for over the last looks, and hardly anything has gone either way from each to the next."""
        was_waited_for, self._was_waited_for = self._was_waited_for, is_waited_for
        progress, self._total_seen = self._total_bytes - self._total_seen, self._total_bytes
        is_vain = was_waited_for and is_waited_for and progress < _LEAST_PROGRESS_BYTES
        self._vain_looks = self._vain_looks + 1 if is_vain else 0
        return self._vain_looks >= _LOOKS
