"""Where partitions and tables stand, as Prometheus is told when it asks; by the thread that answers it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.clock import Clock
from headrace.sinks import metrics
from headrace.sinks.lag.backlog import Backlog, Measure
from headrace.sinks.lag.standings import Standings, TableStanding
from headrace.sinks.metrics import Family

MAX_PARTITIONS: Final = 1000
MAX_TABLES: Final = 1000
Sample = tuple[tuple[str, ...], float]


class StandingsCollector(Collector):
    """Reads one loader's standings."""

    def __init__(self, standings: Standings, clock: Clock) -> None:
        self._standings, self._clock = standings, clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is no need to look in order to be registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        tables = sorted(self._standings.tables.copy().items())
        partitions = sorted(self._partitions(), key=lambda one: one.badness)
        yield from _of_partitions(partitions[:MAX_PARTITIONS])
        yield _family(metrics.UNLISTED, [((), max(0, len(partitions) - MAX_PARTITIONS))])
        by_state = sorted(tables, key=lambda one: one[1].recovery.trouble is None)
        yield _family(
            metrics.FAILING, (((topic,), table.recovery.trouble is not None) for topic, table in by_state[:MAX_TABLES])
        )
        yield from _of_tables([(topic, table) for topic, table in tables if table.last_commit_ms is not None][:MAX_TABLES])

    def _partitions(self) -> Iterator["_Partition"]:
        now_ms = self._clock.wall_ms()
        for (topic, number), standing in self._standings.partitions():
            if (backlog := standing.backlog()) is not None:
                retention = self._standings.table(topic).retention
                yield _Partition(topic, number, backlog, backlog.measured(retention, standing.moves_per_second, now_ms))


@dataclass(frozen=True, slots=True)
class _Partition:
    topic: str
    number: int
    backlog: Backlog
    measure: Measure

    @property
    def labels(self) -> tuple[str, str]:
        return self.topic, str(self.number)

    @property
    def badness(self) -> tuple[float, float, str, int]:
        """Orders partitions, the one in most danger first."""
        until = self.measure.seconds_until_retention
        return inf if until is None else until, -self.measure.seconds, self.topic, self.number


def _of_partitions(partitions: Sequence[_Partition]) -> Iterator[Metric]:
    yield _family(metrics.LANDED_OFFSET, ((one.labels, one.backlog.landed) for one in partitions))
    yield _family(metrics.END_OFFSET, ((one.labels, one.backlog.end) for one in partitions))
    yield _family(metrics.LAG_OFFSETS, ((one.labels, one.measure.offsets) for one in partitions))
    yield _family(metrics.LAG_SECONDS, ((one.labels, one.measure.seconds) for one in partitions))
    foretold = ((one.labels, one.measure.seconds_until_retention) for one in partitions)
    yield _family(metrics.UNTIL_RETENTION, ((labels, until) for labels, until in foretold if until is not None))


def _of_tables(tables: Sequence[tuple[str, TableStanding]]) -> Iterator[Metric]:
    yield _family(metrics.LAST_COMMIT, (((topic,), (table.last_commit_ms or 0) / 1000) for topic, table in tables))
    yield _family(metrics.FILES, (((topic,), table.files) for topic, table in tables))
    yield _family(metrics.FILE_BYTES, (((topic,), table.file_bytes) for topic, table in tables))
    rates = (((topic,), table.files * 1e9 / table.file_bytes) for topic, table in tables if table.file_bytes)
    yield _family(metrics.FILES_PER_GB, rates)


def _family(family: Family, samples: Iterable[Sample]) -> Metric:
    told = GaugeMetricFamily(family.name, family.text, labels=family.labels)
    for labels, value in samples:
        told.add_metric(labels, value)
    return told
