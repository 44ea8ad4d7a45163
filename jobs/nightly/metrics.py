"""What a night tells Prometheus, by a file for node_exporter's textfile collector. docs/metrics.md has the same table. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.jobs.nightly.report import Entry
from headrace.sinks.metrics import Family

Sample = tuple[tuple[str, ...], float]


def _family(name: str, text: str, *labels: str) -> Family:
    FAMILIES.append(Family(f"headrace_nightly_{name}", "gauge", text, labels))
    return FAMILIES[-1]


FAMILIES: Final[list[Family]] = []
"""All of them, in the order in which they are documented."""

LAST_END: Final = _family("last_end_timestamp_seconds", "When a night last came to its end")
EXIT_STATUS: Final = _family("exit_status", "Its exit status: 0 well, 1 failed, 3 held as incomplete, 4 held as unknown")
DAYS: Final = _family(
    "days", "Days of a job's table, of those that are looked at, by what became of them", "job", "table", "outcome"
)
NEWEST: Final = _family(
    "newest_day_timestamp_seconds", "The beginning (UTC) of the newest day that a job's table holds", "job", "table"
)


class NightCollector(Collector):
    """What one night has done, when it ended, and with which exit status."""

    def __init__(self, entries: Sequence[Entry], ended_ms: int, status: int) -> None:
        self._entries, self._ended_ms, self._status = entries, ended_ms, status

    def collect(self) -> Iterator[Metric]:
        yield _gauge(LAST_END, [((), self._ended_ms / 1000)])
        yield _gauge(EXIT_STATUS, [((), self._status)])
        days = Counter((entry.job, entry.table, entry.outcome) for entry in self._entries)
        yield _gauge(DAYS, sorted(days.items()))
        there: dict[tuple[str, ...], str] = {}
        for entry in self._entries:
            if entry.attempt is not None:
                there[entry.job, entry.table] = max(entry.day, there.get((entry.job, entry.table), ""))
        yield _gauge(NEWEST, ((labels, _begin_s(newest)) for labels, newest in there.items()))


def as_text(entries: Sequence[Entry], ended_ms: int, status: int) -> str:
    """Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(NightCollector(entries, ended_ms, status))
    return generate_latest(registry).decode()


def _begin_s(date: str) -> float:
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()


def _gauge(family: Family, samples: Iterable[Sample]) -> GaugeMetricFamily:
    shown = GaugeMetricFamily(family.name, family.text, labels=family.labels)
    for values, value in samples:
        shown.add_metric(values, value)
    return shown
