"""A client over a quota is answered, and then not read until its delay is over (KIP-219)."""

import asyncio
from collections.abc import Callable

from headrace.broker.session import Session
from headrace.clock import Clock

_NEVER_MS = 1 << 62


class Muting:
    """Of one connection, as its session says."""

    __slots__ = ("_clock", "_on_end", "_session", "_timer")

    def __init__(self, session: Session, clock: Clock, on_end: Callable[[], None]) -> None:
        """`on_end` is called when a delay is over during which `is_on` was asked."""
        self._session, self._clock, self._on_end = session, clock, on_end
        self._timer: asyncio.TimerHandle | None = None

    def is_on(self) -> bool:
        """Whether the client must not be read now."""
        if not self._session.muted_until_ms:
            return False
        left_ms = self._session.muted_until_ms - self._clock.monotonic_ms()
        if left_ms <= 0:
            self._session.muted_until_ms = 0
            return False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(left_ms / 1000, self._end)
        return True

    def until_closed(self, wait_ms: int, close: Callable[[], None]) -> None:
        """The client is not read any more, and closed after so long."""
        self._session.muted_until_ms = _NEVER_MS
        self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, close)

    def cancel(self) -> None:
        """The connection is gone, and let go of."""
        del self._on_end
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._timer = None
        self._on_end()
