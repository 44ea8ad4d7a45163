"""What the broker tells Prometheus: families with their readings, and what the hot paths count.

Who knows a number hands it in: `metrics.watch(FAMILY, read)`, where the family stands in `metric_families.py` and `read` gives
a number, or pairs of label values and number. Readings are taken by the thread that serves `/metrics`, while the loop goes on:
they copy what they iterate over (`list(…)`), may be a little old, and are taken again where a dict changed under them. What
the hot paths count are plain integers, because a Prometheus counter takes a lock.

Bounds: a topic beyond the first thousand that carried traffic has no series of its own, nor has a partition beyond the first
thousand; totals count them all.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_SERIES = 1000  # of topics, and of partitions
Labelled = Iterable[tuple[Sequence[str], float]]
Read = Callable[[], float | Labelled]
_BOUNDS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 5000)
_BOUNDS_NS = [int(bound * 1_000_000) for bound in _BOUNDS_MS]
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as Prometheus shows it (a counter's ends in `_total`), and what it counts, with the unit."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()


class Durations:
    """A histogram of durations, in ms for who reads it."""

    __slots__ = ("_counts", "_sum_ns")

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_NS) + 1)
        self._sum_ns = 0

    def add(self, duration_ns: int) -> None:
        self._counts[bisect_left(_BOUNDS_NS, duration_ns)] += 1
        self._sum_ns += duration_ns

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Upper bound and how many lie at or below it, and the sum of all, in ms."""
        told, below = [], 0
        for bound, count in zip([*map(str, _BOUNDS_MS), "+Inf"], list(self._counts), strict=True):
            below += count
            told.append((bound, float(below)))
        return told, self._sum_ns / 1_000_000


class ApiTimes:
    """Requests of one API, by where their time went."""

    __slots__ = ("errors", "local", "throttle", "total", "versions")

    def __init__(self) -> None:
        self.versions: Counter[int] = Counter()
        self.errors = 0
        self.total, self.local, self.throttle = Durations(), Durations(), Durations()

    def at_once(self, spent_ns: int) -> None:
        """A request was answered when its handler returned: all its time was the handler's."""
        self.local.add(spent_ns)
        self.total.add(spent_ns)


class TopicTraffic:
    """What went through one topic."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "failed_fetch_requests",
        "failed_produce_requests",
        "fetch_requests",
        "messages_in",
        "produce_requests",
    )

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = self.messages_in = 0
        self.produce_requests = self.fetch_requests = self.failed_produce_requests = self.failed_fetch_requests = 0

    def absorb(self, other: "TopicTraffic") -> None:
        """Add what another counted."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Traffic:
    """Counts by topic; those of topics that are gone, or beyond the bound, are kept in one sum."""

    def __init__(self) -> None:
        self._topics: dict[str, TopicTraffic] = {}
        self._others = TopicTraffic()

    def of(self, topic: str) -> TopicTraffic:
        """The counts of a topic that exists."""
        counts = self._topics.get(topic)
        if counts is None:
            if len(self._topics) >= MAX_SERIES:
                return self._others
            counts = self._topics[topic] = TopicTraffic()
        return counts

    @property
    def unknown(self) -> TopicTraffic:
        """The counts of requests for topics that do not exist: clients must not make series."""
        return self._others

    def topic_deleted(self, topic: str) -> None:
        counts = self._topics.pop(topic, None)
        if counts is not None:
            self._others.absorb(counts)

    def reading(self, name: str) -> Read:
        """One of the counts: the total, without a label, and each topic's."""

        def read() -> Labelled:
            topics = [(topic, getattr(counts, name)) for topic, counts in list(self._topics.items())]
            total = getattr(self._others, name) + sum(count for _, count in topics)
            return [((), total), *(((topic,), count) for topic, count in topics)]

        return read


class Metrics(Collector):
    """Everything counted or watched since the process began."""

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.connections: Counter[str] = Counter()  # open now, by listener
        self.connections_closed: Counter[str] = Counter()  # by us, by reason
        self.traffic = Traffic()
        self.flushes = Durations()
        self._apis: dict[str, ApiTimes] = {}
        self._watched: list[tuple[Family, Read]] = []
        self._histograms: list[tuple[Family, Callable[[], Iterable[tuple[Sequence[str], Durations]]]]] = []

    def api(self, name: str) -> ApiTimes:
        """Where the requests of an API are counted."""
        times = self._apis.get(name)
        if times is None:
            times = self._apis[name] = ApiTimes()
        return times

    def apis(self) -> list[tuple[str, ApiTimes]]:
        """Those that were asked for."""
        return list(self._apis.items())

    def watch(self, family: Family, read: Read) -> None:
        """Show what `read` says, whenever somebody looks; it is called from another thread."""
        self._watched.append((family, read))

    def watch_durations(self, family: Family, read: Callable[[], Iterable[tuple[Sequence[str], Durations]]]) -> None:
        """The same of histograms."""
        self._histograms.append((family, read))

    def describe(self) -> Iterator[Metric]:
        """The families without their numbers: to be registered reads nothing, and starts no look at the logs."""
        for family, _ in self._watched:
            yield Metric(family.name.removesuffix("_total"), family.text, family.kind)
        for family, _ in self._histograms:
            yield Metric(family.name, family.text, "histogram")

    def collect(self) -> Iterator[Metric]:
        for family, read in self._watched:
            said = _steadily(read)
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name.removesuffix("_total"), family.text, labels=family.labels)
            for labels, value in [((), said)] if isinstance(said, int | float) else said:
                metric.add_sample(family.name, dict(zip(family.labels, labels, strict=False)), value)
            yield metric
        for family, read_durations in self._histograms:
            histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
            for labels, durations in read_durations():
                histogram.add_metric(labels, *durations.buckets())
            yield histogram


def _steadily(read: Read) -> float | list[tuple[Sequence[str], float]]:
    """Take a reading; again, where the loop changed what it iterates over."""
    for attempt in range(_ATTEMPTS):
        try:
            said = read()
            return said if isinstance(said, int | float) else list(said)
        except (RuntimeError, LookupError):
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")
