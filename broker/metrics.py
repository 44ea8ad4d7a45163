"""What the broker counts, as plain integers: they change with every request, and a Prometheus counter takes a lock."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Metrics(Collector):
    """Counted since the process began; read by the thread that serves `/metrics`, where a slightly old number does no harm."""

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.connections = 0
        self.connections_refused = 0  # closed by us for what the peer sent
        self.requests: Counter[str] = Counter()
        self.partitions: Callable[[], int] = int

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("headrace_broker_received_bytes", "Bytes received from clients", value=self.bytes_in)
        yield CounterMetricFamily("headrace_broker_sent_bytes", "Bytes sent to clients", value=self.bytes_out)
        yield GaugeMetricFamily("headrace_broker_connections", "Open connections", value=self.connections)
        yield CounterMetricFamily(
            "headrace_broker_refused_connections",
            "Connections closed by us",
            value=self.connections_refused,
        )
        yield GaugeMetricFamily("headrace_broker_partitions", "Partitions", value=self.partitions())
        requests = CounterMetricFamily("headrace_broker_requests", "Requests handled", labels=["api"])
        for name, count in list(self.requests.items()):
            requests.add_metric([name], count)
        yield requests
