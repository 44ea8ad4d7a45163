"""The loader's thread that keeps Iceberg tables up to their logs; landing neither waits for it nor fails with it.

A catalog that cannot be reached is asked again later: what it has missed is in the log, and follows in one commit.
"""

import logging
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from headrace.clock import Clock
from headrace.errors import HeadraceError
from headrace.sinks import metrics
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection

logger = logging.getLogger(__name__)

RETRY_MS: Final = 30_000
LOOK_ANYWAY_MS: Final = 600_000
"""How often a table is compared in which this loader has landed nothing: another loader may have, or a compaction."""
PATIENCE_S: Final = 30.0
"""How long the loader waits for the last commits when it ends; what is not done then, the next start does."""


class Projector:
    """Syncs tables one after another: those that were landed in, at most once in `interval`, and every one now and then."""

    def __init__(self, config: Iceberg, root: Path | str, clock: Clock) -> None:
        self._config, self._root, self._clock = config, root, clock
        self._lock = Lock()
        self._due_ms: dict[str, int] = {}
        self._last_ms: dict[str, int] = {}
        self._wake, self._ends = Event(), False
        self._projection: Projection | None = None
        self._thread = Thread(target=self._run, name="iceberg", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def landed(self, topic: str) -> None:
        """Say that a table has new records, or may have. Returns at once."""
        if not self._config.shows(topic):
            return
        now_ms = self._clock.monotonic_ms()
        with self._lock:
            due_ms = max(now_ms, self._last_ms.get(topic, 0) + self._interval_ms)
            self._due_ms[topic] = min(self._due_ms.get(topic, due_ms), due_ms)
        self._wake.set()

    def close(self) -> None:
        """Bring every table up to its log, for the last time, and end; not later than PATIENCE_S."""
        self._ends = True
        self._wake.set()
        self._thread.join(PATIENCE_S)

    @property
    def _interval_ms(self) -> int:
        return int(self._config.interval * 1000)

    def _run(self) -> None:
        while not self._ends:
            self._wake.wait(self._sleep_s())
            self._wake.clear()
            for topic in self._due():
                self._sync_one(topic)
        for topic in [topic for topic in self._due_ms if topic not in self._quiet()]:
            self._sync_one(topic)

    def _quiet(self) -> set[str]:
        """Tables that nothing was landed in since they were synced."""
        return {topic for topic, due_ms in self._due_ms.items() if due_ms == self._last_ms.get(topic, 0) + LOOK_ANYWAY_MS}

    def _sleep_s(self) -> float | None:
        with self._lock:
            if not self._due_ms:
                return None
            return max(0.0, (min(self._due_ms.values()) - self._clock.monotonic_ms()) / 1000)

    def _due(self) -> list[str]:
        now_ms = self._clock.monotonic_ms()
        with self._lock:
            return sorted(topic for topic, due_ms in self._due_ms.items() if due_ms <= now_ms)

    def _sync_one(self, topic: str) -> None:
        with self._lock:  # before the log is read: what lands meanwhile makes it due again
            self._last_ms[topic] = now_ms = self._clock.monotonic_ms()
            self._due_ms[topic] = now_ms + LOOK_ANYWAY_MS
        try:
            self._project(topic)
        except Exception as error:  # the supervisor of Iceberg tables: the others are kept up
            metrics.ICEBERG_COMMITS.labels(topic, "failed").inc()
            unforeseen = None if isinstance(error, HeadraceError) else error
            logger.warning("the iceberg table stays behind: %s", error, exc_info=unforeseen, extra={"topic": topic})
            with self._lock:
                self._due_ms[topic] = self._clock.monotonic_ms() + max(RETRY_MS, self._interval_ms)

    def _project(self, topic: str) -> None:
        if self._projection is None:
            self._projection = Projection(self._config, self._root, self._clock)
        done = self._projection.sync(topic)
        if done.marks is None or not (done.added or done.removed):
            return
        metrics.ICEBERG_COMMITS.labels(topic, "won").inc()
        metrics.ICEBERG_SEQ.labels(topic).set(done.marks.seq)
        logger.info("iceberg", extra={"topic": topic, "seq": done.marks.seq, "added": done.added, "removed": done.removed})
