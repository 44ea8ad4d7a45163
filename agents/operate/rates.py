"""What `top` shows, from two looks at an agent's metrics. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_PREFIX = "headrace_agent_"


@dataclass(frozen=True, slots=True)
class InputRates:
    """One input between two looks. `buffer_*` are of its spool, None where it has none."""

    name: str
    kind: str
    events_per_s: float
    bytes_per_s: float
    behind_bytes: int
    oldest_unacknowledged_s: float
    streams: int
    open_files: int
    unopened_files: int
    buffer_bytes: int | None
    buffer_max_bytes: int | None
    stopped_files: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """The agent between two looks. `errors` and `lost_bytes` count since it began."""

    host: str
    pid: int
    version: str
    inputs: tuple[InputRates, ...]
    sent_per_s: float
    sent_bytes_per_s: float
    on_their_way_bytes: int
    queued: int
    checkpoint_age_s: float
    errors: Mapping[str, int]
    lost_bytes: int
    rejected: int
    memory_bytes: int
    cpu_percent: float
    config_valid: bool

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class _Look:
    """One answer of the agent's."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, labels, value in answer["samples"]:
            self._samples.setdefault(name.removeprefix(_PREFIX), []).append((labels, value))

    def each(self, name: str) -> list[tuple[dict[str, str], float]]:
        return self._samples.get(name, [])

    def total(self, name: str, **labels: str) -> float:
        """The sum of what has these labels."""
        return sum(value for found, value in self.each(name) if labels.items() <= found.items())

    def known(self, name: str, **labels: str) -> int | None:
        """The same, None where nothing has them."""
        has = any(labels.items() <= found.items() for found, _ in self.each(name))
        return int(self.total(name, **labels)) if has else None


def view_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> View:
    """What happened between two answers of one agent to `metrics`, and how it stands at the second."""
    first, last = _Look(before), _Look(after)
    seconds: float = max(after["monotonic_s"] - before["monotonic_s"], 1e-6)

    def rate(name: str, **labels: str) -> float:
        return max(0.0, last.total(name, **labels) - first.total(name, **labels)) / seconds

    def one(name: str, kind: str) -> InputRates:
        return InputRates(
            name=name,
            kind=kind,
            events_per_s=rate("component_received_events_total", component_id=name),
            bytes_per_s=rate("component_received_bytes_total", component_id=name),
            behind_bytes=int(last.total("behind_bytes", component_id=name)),
            oldest_unacknowledged_s=last.total("oldest_unacknowledged_seconds", component_id=name),
            streams=int(last.total("streams", component_id=name)),
            stopped_files=int(last.total("stopped_files", component_id=name)),
            open_files=int(last.total("open_files", component_id=name)),
            unopened_files=int(last.total("unopened_files", component_id=name)),
            buffer_bytes=last.known("buffer_size_bytes", component_id=name),
            buffer_max_bytes=last.known("buffer_max_size_bytes", component_id=name),
        )

    inputs = {labels["component_id"]: labels["component_type"] for labels, _ in last.each("behind_bytes")}
    return View(
        host=after["host"],
        pid=after["pid"],
        version=after["version"],
        inputs=tuple(one(name, kind) for name, kind in sorted(inputs.items())),
        sent_per_s=rate("component_sent_events_total"),
        sent_bytes_per_s=rate("component_sent_bytes_total"),
        on_their_way_bytes=int(last.total("buffer_size_bytes", component_id="kafka")),
        queued=int(last.total("kafka_queue_messages")),
        checkpoint_age_s=last.total("checkpoint_age_seconds"),
        errors={f"{labels['stage']}: {labels['error_type']}": int(n) for labels, n in last.each("component_errors_total")},
        lost_bytes=int(last.total("lost_bytes_total")),
        rejected=int(last.total("rejected_records_total")),
        memory_bytes=after["memory_bytes"],
        cpu_percent=100 * (after["cpu_s"] - before["cpu_s"]) / seconds,
        config_valid=bool(last.total("config_valid")),
    )
