"""Tells those who watch the agent that its loop turns: `/healthz`, and systemd's watchdog. One that hangs falls silent."""

from headrace import systemd
from headrace.clock import Clock
from headrace.health import Health

_INTERVAL_MS = 1000


class Pulse:
    """Of one agent; used by its one thread."""

    def __init__(self, health: Health, clock: Clock) -> None:
        self._health, self._clock = health, clock
        self._due_ms = 0

    def beat(self) -> None:
        """The loop turns, or a long step of it gets on; told once a second at most."""
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._due_ms:
            self._due_ms = now_ms + _INTERVAL_MS
            self._health.turned()
            systemd.alive()
