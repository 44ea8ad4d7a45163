"""The agent's metrics, named as Vector names them, under `headrace_agent_`; no label per file, because files come and go.

Source: Vector's instrumentation specification (component_received_events_total …); docs/metrics.md tells each.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge

from headrace import __version__
from headrace.agents.operate.standing import Standing
from headrace.agents.windows import ChunkResult

_PREFIX: Final = "headrace_agent_"
_INPUT: Final = ("component_id", "component_kind", "component_type")
_SINK: Final = ("kafka", "sink", "kafka")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as Prometheus shows it (a counter's ends in `_total`), and what it counts, with the unit."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()


FAMILIES: Final[list[Family]] = []
"""All of them, in the order in which they are documented."""


def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
    """A counter that is documented; sources have some of their own (agents/sources/metrics.py)."""
    FAMILIES.append(Family(f"{_PREFIX}{name}_total", "counter", text, tuple(labels)))
    return Counter(_PREFIX + name, text, labels)


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    FAMILIES.append(Family(_PREFIX + name, "gauge", text, tuple(labels)))
    return Gauge(_PREFIX + name, text, labels)


_received_events = counter("component_received_events", "Records made from what an input read", _INPUT)
_received_bytes = counter("component_received_bytes", "Bytes that they were made from", _INPUT)
_sent_events = counter("component_sent_events", "Lines acknowledged by the broker", (*_INPUT, "topic"))
_sent_bytes = counter("component_sent_bytes", "Bytes of the lines acknowledged by the broker", (*_INPUT, "topic"))
_discarded = counter(
    "component_discarded_events",
    "Lines left out: intentional (filter, sample, rate_limit), or not (spool_full)",
    (*_INPUT, "intentional", "reason"),
)
_errors = counter("component_errors", "What went wrong and is tried again, or was told", ("error_type", "stage"))
_rejected = counter("rejected_records", "Records refused for good, kept in rejected/", ("topic",))
_lost = counter("lost_bytes", "Bytes that were seen and can never be shipped", ("reason",))
_buffer = _gauge("buffer_size_bytes", "What is on its way (kafka: memory) or in a spool (disk)", ("component_id",))
_buffer_max = _gauge("buffer_max_size_bytes", "What that may be at most", ("component_id",))
_queue = _gauge("kafka_queue_messages", "Records that librdkafka holds and the broker has not acknowledged")
_input_up = _gauge("input_up", "1 while a pushed input takes in, 0 while it has failed or come to its end", _INPUT)
_behind = _gauge("behind_bytes", "Bytes known to be there and not acknowledged yet", _INPUT)
_oldest = _gauge("oldest_unacknowledged_seconds", "For how long the oldest of them has waited, at most", _INPUT)
_streams = _gauge("streams", "Files (or spools) that an input has", _INPUT)
_open_files = _gauge("open_files", "Files held open", _INPUT)
_unopened_files = _gauge("unopened_files", "Files that wait to be opened: too many are open, or there was no time yet", _INPUT)
_stopped = _gauge(
    "stopped_files", "Dropped files that changed while they were shipped, or are damaged: left where they are", _INPUT
)
_checkpoint_age = _gauge(
    "checkpoint_age_seconds", "For how long an acknowledged position has waited to be durable, or a start for room on its disk"
)
_reloads = counter("config_reloads", "Reloads of the configuration, by how they ended: applied, invalid, refused", ("outcome",))
_config_valid = _gauge("config_valid", "1 while the configuration file, as last read, is what runs, else 0")
_info = _gauge("info", "Always 1", ("version",))

_lost.labels("destroyed")
_lost.labels("spool_full")  # both there from the start, so that an increase is seen
_config_valid.set(1)
_info.labels(__version__).set(1)


@dataclass(frozen=True, slots=True)
class Component:
    """An input as metrics name it: its name and its kind (tail, syslog …)."""

    name: str
    kind: str

    @property
    def labels(self) -> tuple[str, str, str]:
        return self.name, "source", self.kind


class Metrics:
    """What the loop reports."""

    def __init__(self) -> None:
        self._components: dict[str, Component] = {}

    def inputs(self, components: Mapping[str, Component]) -> None:
        """These are the inputs from now on; what stood for others is told no more."""
        for name in self._components.keys() - components.keys():
            for metric in (_behind, _oldest, _streams, _open_files, _unopened_files, _stopped, _input_up):
                with contextlib.suppress(KeyError):  # it was never observed
                    metric.remove(*self._components[name].labels)
            for metric in (_buffer, _buffer_max):
                with contextlib.suppress(KeyError):
                    metric.remove(name)
        self._components = dict(components)
        for component in components.values():
            _received_events.labels(*component.labels)

    def received(self, name: str, events: int, size_bytes: int, left_out: Mapping[str, int]) -> None:
        """A chunk of an input was made into records; `left_out` counts its lines that are not sent, by reason."""
        component = self._components.get(name)
        if component is not None:
            _received_events.labels(*component.labels).inc(events)
            _received_bytes.labels(*component.labels).inc(size_bytes)
            for reason, lines in left_out.items():
                _discarded.labels(*component.labels, "true", reason).inc(lines)

    def count(self, result: ChunkResult) -> None:
        """A chunk was delivered."""
        _sent_events.labels(*_SINK, result.topic).inc(result.lines)
        _sent_bytes.labels(*_SINK, result.topic).inc(sum(tally.bytes_total for tally in result.windows.values()))
        if result.rejected:
            _rejected.labels(result.topic).inc(sum(result.rejected.values()))

    def error(self, error_type: str, stage: str, count: int = 1) -> None:
        """Something went wrong, so many times; `stage` is receiving, processing, sending or storing."""
        _errors.labels(error_type, stage).inc(count)

    def lost(self, reason: str, size_bytes: int) -> None:
        """Bytes are lost."""
        _lost.labels(reason).inc(size_bytes)

    def discarded(self, name: str, events: int, size_bytes: int) -> None:
        """Lines of a pushed input are counted as dropped, because its spool was full. From the thread that takes in."""
        _discarded.labels(*self._components[name].labels, "false", "spool_full").inc(events)
        _lost.labels("spool_full").inc(size_bytes)

    def input_up(self, name: str, *, up: bool) -> None:
        """A pushed input takes in, or does not. From the thread that takes in."""
        _input_up.labels(*self._components[name].labels).set(up)

    def spool(self, name: str, *, size_bytes: int, most_bytes: int) -> None:
        """What an input's spool takes on the disk, and may take."""
        _buffer.labels(name).set(size_bytes)
        _buffer_max.labels(name).set(most_bytes)

    def reloaded(self, outcome: str) -> None:
        """The configuration was read again."""
        _reloads.labels(outcome).inc()
        _config_valid.set(outcome == "applied")

    def observe(self, standings: Mapping[str, Standing], *, on_their_way_bytes: int, most_bytes: int, queued: int) -> None:
        """How things stand."""
        for name, standing in standings.items():
            labels = self._components[name].labels
            _behind.labels(*labels).set(standing.behind_bytes)
            _oldest.labels(*labels).set(standing.oldest_ms / 1000)
            _streams.labels(*labels).set(standing.streams)
            _open_files.labels(*labels).set(standing.open_files)
            _unopened_files.labels(*labels).set(standing.unopened)
            if labels[-1] == "directory":
                _stopped.labels(*labels).set(standing.stopped)
        _buffer.labels("kafka").set(on_their_way_bytes)
        _buffer_max.labels("kafka").set(most_bytes)
        _queue.set(queued)

    def checkpoint_age(self, age_s: Callable[[], float]) -> None:
        """Asked whenever the metrics are: also while the loop waits for a disk."""
        _checkpoint_age.set_function(age_s)
