"""What the audit tells Prometheus, by the thread that answers it. docs/metrics.md has the same table."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.clock import Clock
from headrace.jobs.audit.gate import EXIT_STATUS, GateVerdict
from headrace.jobs.audit.judged import TopicVerdict
from headrace.jobs.audit.watching import Watching
from headrace.sinks.metrics import Family

MAX_TOPICS: Final = 1000
Sample = tuple[tuple[str, ...], float]


def _family(name: str, text: str, *labels: str, kind: str = "gauge") -> Family:
    FAMILIES.append(Family(f"headrace_audit_{name}", kind, text, labels))
    return FAMILIES[-1]


FAMILIES: Final[list[Family]] = []
"""All of them, in the order in which they are documented."""

WINDOW_STATE: Final = _family("window_state", "Windows within the horizon that are over, by their state", "topic", "state")
MISSING: Final = _family(
    "missing_events", "Events of incomplete windows that were sent and have not landed, were lost, or dropped", "topic"
)
FRONTIER_AGE: Final = _family(
    "frontier_age_seconds", "Since the time up to which no window is unknown; at most the horizon", "topic"
)
UNLISTED: Final = _family("unlisted_topics", "Topics beyond 1,000, those that are best off, which have no series of their own")
SILENT_AGENTS: Final = _family("silent_agents", "Agents that keep a window unknown and silent for 90 s, or never heard")
LAST_JUDGED: Final = _family("last_judged_timestamp_seconds", "When the last round that could judge began")
ROUND: Final = _family("round_seconds", "How long it took")
FAILING: Final = _family("failing", "1 while the last round failed because of an error, else 0")
SUCCESS_FILES: Final = _family(
    "success_files_total", "`_SUCCESS` written and taken away, by outcome: written, taken_away", "outcome", kind="counter"
)


class AuditCollector(Collector):
    """Reads one audit's last standing."""

    def __init__(self, watching: Watching, clock: Clock) -> None:
        self._watching, self._clock = watching, clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is no need to look in order to be registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield _gauge(FAILING, [((), self._watching.trouble is not None)])
        standing = self._watching.standing
        if standing is None:
            return
        verdict = standing.verdict
        worst_first = sorted(verdict.topics, key=lambda topic: (topic.state == "complete", topic.topic))
        topics = worst_first[:MAX_TOPICS]
        yield _gauge(WINDOW_STATE, _by_state(topics))
        yield _by_topic(MISSING, topics, missing_events)
        now_ms = self._clock.wall_ms()
        yield _by_topic(FRONTIER_AGE, topics, lambda topic: (now_ms - known_until_ms(topic, verdict.until_ms)) / 1000)
        yield _gauge(UNLISTED, [((), len(worst_first) - len(topics))])
        yield _gauge(SILENT_AGENTS, [((), len(silent_agents(verdict)))])
        yield _gauge(LAST_JUDGED, [((), verdict.judged_ms / 1000)])
        yield _gauge(ROUND, [((), standing.took_s)])
        files = CounterMetricFamily(SUCCESS_FILES.name, SUCCESS_FILES.text, labels=SUCCESS_FILES.labels)
        files.add_metric(["written"], standing.written)
        files.add_metric(["taken_away"], standing.taken)
        yield files


def missing_events(topic: TopicVerdict) -> int:
    """Events of incomplete windows that were sent and have not landed, were lost, or dropped."""
    rows = [row for window in topic.windows.of_state("incomplete") for row in window.rows]
    return sum(max(0, (row.sent or 0) - row.landed) * (row.agent is not None) + row.lost + (row.dropped or 0) for row in rows)


def known_until_ms(topic: TopicVerdict, until_ms: float) -> float:
    """The start of the first window that is unknown; `until_ms` if there is none."""
    return next((start_ms for start_ms, state in topic.windows.states() if state == "unknown"), until_ms)


def silent_agents(verdict: GateVerdict) -> set[str]:
    """Agents that keep some window unknown, and are not heard."""
    reasons = (reason for topic in verdict.topics for _, of_window in topic.windows.reasons() for reason in of_window)
    return {reason.agent for reason in reasons if reason.agent and reason.kind in ("silent", "unheard")}


def _by_state(topics: Iterable[TopicVerdict]) -> Iterator[Sample]:
    for topic in topics:
        for state in EXIT_STATUS:
            yield (topic.topic, state), topic.windows.count_of(state)


def _by_topic(family: Family, topics: Iterable[TopicVerdict], value: Callable[[TopicVerdict], float]) -> GaugeMetricFamily:
    return _gauge(family, (((topic.topic,), value(topic)) for topic in topics))


def _gauge(family: Family, samples: Iterable[Sample]) -> GaugeMetricFamily:
    shown = GaugeMetricFamily(family.name, family.text, labels=family.labels)
    for values, value in samples:
        shown.add_metric(values, value)
    return shown
