"""What the broker counts, as Prometheus sees it."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from headrace.broker.telemetry import metric_families
from headrace.broker.telemetry.metric_families import BYTES_IN, LOG_SIZE, RECEIVED_BYTES, TOTAL_TIME
from headrace.broker.telemetry.metrics import MAX_SERIES, Family, Metrics

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def shown(metrics: Metrics) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def families() -> list[Family]:
    return [family for family in vars(metric_families).values() if isinstance(family, Family)]


def test_a_number_that_is_watched_is_read_when_somebody_looks() -> None:
    metrics = Metrics()
    metrics.watch(RECEIVED_BYTES, lambda: metrics.bytes_in)
    metrics.bytes_in = 7
    assert shown(metrics)[RECEIVED_BYTES.name] == 7


def test_a_reading_with_labels_has_one_series_for_each() -> None:
    metrics = Metrics()
    metrics.watch(LOG_SIZE, lambda: [(("orders", "3"), 17), (("orders", "4"), 18)])
    assert shown(metrics) == {
        'kafka_log_log_size{partition="3",topic="orders"}': 17,
        'kafka_log_log_size{partition="4",topic="orders"}': 18,
    }


def test_the_total_of_traffic_has_no_label_and_outlives_its_topics() -> None:
    metrics = Metrics()
    metrics.watch(BYTES_IN, metrics.traffic.reading("bytes_in"))
    metrics.traffic.of("kept").bytes_in += 5
    metrics.traffic.of("gone").bytes_in += 11
    metrics.traffic.unknown.bytes_in += 100
    metrics.traffic.topic_deleted("gone")
    assert shown(metrics) == {BYTES_IN.name: 116, BYTES_IN.name + '{topic="kept"}': 5}


def test_topics_beyond_the_bound_are_counted_in_the_total_only() -> None:
    metrics = Metrics()
    metrics.watch(BYTES_IN, metrics.traffic.reading("bytes_in"))
    for number in range(MAX_SERIES + 20):
        metrics.traffic.of(f"t{number}").bytes_in += 2
    told = shown(metrics)
    assert len(told) == MAX_SERIES + 1
    assert told[BYTES_IN.name] == 2 * (MAX_SERIES + 20)


def test_durations_are_a_histogram_in_milliseconds() -> None:
    metrics = Metrics()
    times = metrics.api("Produce")
    metrics.watch_durations(TOTAL_TIME, lambda: [(("Produce",), times.total)])
    for duration_ns in (90_000, 100_000, 3_000_000, 9_000_000_000):
        times.total.add(duration_ns)
    told = shown(metrics)
    name = TOTAL_TIME.name
    assert told[name + '_bucket{le="0.1",request="Produce"}'] == 2
    assert told[name + '_bucket{le="5",request="Produce"}'] == 3
    assert told[name + '_bucket{le="+Inf",request="Produce"}'] == told[name + '_count{request="Produce"}'] == 4
    assert told[name + '_sum{request="Produce"}'] == 9003.19


def test_a_reading_is_taken_again_when_the_loop_changed_what_it_goes_through() -> None:
    metrics = Metrics()
    attempts = []

    def read() -> float:
        attempts.append(1)
        if len(attempts) < 3:
            raise RuntimeError("dictionary changed size during iteration")
        return 4

    metrics.watch(RECEIVED_BYTES, read)
    assert shown(metrics)[RECEIVED_BYTES.name] == 4


def test_every_family_has_a_name_of_its_own_and_the_ending_of_its_kind() -> None:
    names = [family.name for family in families()]
    assert len(names) == len(set(names))
    for family in families():
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.name.startswith(("kafka_", "headrace_broker_")), family.name


def test_the_document_has_a_line_for_every_family() -> None:
    brokers, _, _ = DOCUMENT.read_text().partition("## The loader's")
    table = [line for line in brokers.splitlines() if line.startswith("| `")]
    assert table == [f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.text} |" for each in families()]
