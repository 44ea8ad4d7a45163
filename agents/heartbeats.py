"""When the agent speaks on `_audit`: every 30 s, soon after all became complete again, and at its end (audit.md, Messages)."""

from collections.abc import Callable
from threading import Event

from confluent_kafka import Producer

from headrace.agents.announcing import Announcer
from headrace.agents.effects import Now
from headrace.audit import HEARTBEAT_INTERVAL_MS, State

NEWS_INTERVAL_MS = 2000  # the least time between heartbeats that say that all is drained again


class Heartbeats:
    """Of one run.

    Args:
        save: makes durable what is about to be said.
        complete_at: the moment that may be claimed.
        now: the clocks.
    """

    def __init__(
        self, announcer: Announcer, save: Callable[[], None], complete_at: Callable[[], Now | None], now: Callable[[], Now]
    ) -> None:
        self._announcer, self._save, self._complete_at, self._now = announcer, save, complete_at, now
        self._due_ms = 0
        self._lines_said = -1

    @property
    def ready(self) -> bool:
        """Whether there is a topic to speak on."""
        return self._announcer.ready

    def prepare(self, producer: Producer) -> None:
        """Look for the topic."""
        if not self._announcer.ready:
            self._announcer.prepare(producer)

    def turn(self, producer: Producer, *, lines: int, caught_up: bool) -> None:
        """Speak if it is time to; never while the last heartbeat is on its way.

        Args:
            lines: how many were delivered in this run.
            caught_up: whether nothing is on its way.
        """
        now = self._now()
        self._announcer.settle(now)
        if not self._announcer.ready or self._announcer.busy:
            return
        due = now.monotonic_ms >= self._due_ms
        rested = now.monotonic_ms >= self._due_ms - HEARTBEAT_INTERVAL_MS + NEWS_INTERVAL_MS
        if due or (caught_up and rested and self._lines_said != lines):
            self._lines_said = lines
            self._say(producer, "active", now)

    def _say(self, producer: Producer, state: State, now: Now) -> None:
        self._save()
        self._announcer.announce(producer, state, self._complete_at(), now)
        self._due_ms = now.monotonic_ms + HEARTBEAT_INTERVAL_MS

    def finish(self, producer: Producer, stop: Event, poll: Callable[[float], None]) -> bool:
        """All is shipped: say so, and wait until that is acknowledged. False if asked to stop before it was."""
        while not stop.is_set():
            if not self._announcer.ready:
                self._announcer.prepare(producer)
            elif not self._announcer.busy:
                self._say(producer, "finished", self._now())
            poll(0.05)
            self._announcer.settle(self._now())
            if self._announcer.finished:
                return True
        return False

    def say_stopped(self, producer: Producer, poll: Callable[[float], None], *, until_ms: int) -> None:
        """Say that the agent stops, and wait until that is acknowledged, until a monotonic time (ms) at most."""
        said = False
        while self._now().monotonic_ms < until_ms:
            self._announcer.settle(self._now())
            if not self._announcer.ready:
                self._announcer.prepare(producer)
            elif not self._announcer.busy:
                if said:
                    return
                self._say(producer, "stopped", self._now())
                said = not self._announcer.more_to_say
            poll(0.05)
