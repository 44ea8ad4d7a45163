"""What a part says of itself on `/healthz` (does it live, or should it be started again?) and `/readyz` (does it serve?).

Written by the part, read by the threads that answer HTTP. A part with an event loop lets it report its turns: a loop that is
stuck fails `/healthz`, which the thread that answers would not notice by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

Reason = Callable[[], str | None]
STUCK_AFTER_S = 30.0  # a loop may wait for a slow disk for some seconds, and that mends itself
_TURN_INTERVAL_S = 1.0


class Health:
    """One part's health; a new one is starting."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._not_ready: Reason = lambda: "starting"
        self._not_alive: Reason = lambda: None
        self._turned_s: float | None = None

    def not_alive(self, reason: Reason) -> None:
        """Ask this too, each time, why it should be started again; None of it means that it should not."""
        self._not_alive = reason

    def not_ready(self, reason: str | Reason) -> None:
        """It does not serve, and why; a callable is asked each time, and None of it means that it serves."""
        self._not_ready = reason if callable(reason) else lambda: reason

    def ready(self) -> None:
        """It serves."""
        self._not_ready = lambda: None

    def why_not_ready(self) -> str | None:
        """Why it does not serve now; None if it does."""
        return self._not_ready()

    def why_not_alive(self) -> str | None:
        """Why it should be started again; None if it should not."""
        if (why := self._not_alive()) is not None or self._turned_s is None:
            return why
        still_s = self._clock_s() - self._turned_s
        return f"the event loop has not turned for {still_s:.0f} s" if still_s > STUCK_AFTER_S else None

    def turned(self) -> None:
        """The event loop has turned; from the first call on it has to."""
        self._turned_s = self._clock_s()

    @contextlib.asynccontextmanager
    async def watched(self, each_turn: Callable[[], None]) -> AsyncIterator[None]:
        """While in the block, the event loop that runs it reports its turns; `each_turn` is called with each."""

        async def report() -> None:
            while True:
                self.turned()
                each_turn()
                await asyncio.sleep(_TURN_INTERVAL_S)

        reporting = asyncio.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()
            self._turned_s = None
