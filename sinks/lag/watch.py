"""Asks the broker where logs start and end, and what retention takes; on a thread of its own: the loop waits for nothing."""

import logging
from threading import Event, Thread
from typing import Final

from confluent_kafka import KafkaException

from headrace.clock import Clock
from headrace.errors import PeerError
from headrace.librdkafka import reason
from headrace.sinks.lag.standings import Standings
from headrace.sinks.topics import Topics

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 10.0
FIRST_LOOKS: Final = 10
"""How many looks of a loader that has just begun are a second apart."""
SETTINGS_INTERVAL_MS: Final = 60_000


class Watch:
    """Keeps `standings` up to what the broker says."""

    def __init__(self, topics: Topics, standings: Standings, clock: Clock) -> None:
        self._topics, self._standings, self._clock = topics, standings, clock
        self._stop = Event()
        self._asked_ms: dict[str, int] = {}
        """When a topic's settings were last asked for (monotonic)."""
        self._thread = Thread(target=self._run, name="lag", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is being asked now may still be answered, and is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        looks = 0
        while not self._stop.wait(1.0 if looks < FIRST_LOOKS else LOOK_INTERVAL_S):
            looks += 1
            try:
                self.look()
            except (PeerError, KafkaException) as error:
                logger.warning("lag is not known: %s", reason(error))

    def look(self) -> None:
        """Ask once.

        Raises:
            PeerError, KafkaException: no answer.
        """
        known = dict(self._standings.partitions())
        bounds = self._topics.bounds(known)
        now_ms = self._clock.monotonic_ms()
        for where, (log_start, end) in bounds.items():
            known[where].bounds(log_start, end, wall_ms=self._clock.wall_ms(), monotonic_ms=now_ms)
        self._ask_settings({topic for topic, _ in known}, now_ms)

    def _ask_settings(self, topics: set[str], now_ms: int) -> None:
        due = [topic for topic in sorted(topics) if now_ms - self._asked_ms.get(topic, now_ms) >= SETTINGS_INTERVAL_MS]
        due += topics - self._asked_ms.keys()
        self._asked_ms.update(dict.fromkeys(due, now_ms))
        for topic, retention in self._topics.retention(due).items():
            self._standings.table(topic).retention = retention
