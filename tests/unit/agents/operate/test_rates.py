"""What `headrace agent top` makes of two looks at an agent's metrics."""

from typing import Any

from headrace.agents.operate.rates import InputRates, view_of


def answer(monotonic_s: float, cpu_s: float, *samples: tuple[str, dict[str, str], float]) -> dict[str, Any]:
    return {
        "host": "h", "pid": 77, "version": "1", "monotonic_s": monotonic_s, "cpu_s": cpu_s, "memory_bytes": 50_000_000,
        "samples": [[f"headrace_agent_{name}", labels, value] for name, labels, value in samples],
    }  # fmt: skip


def input_samples(name: str, events: float, size: float, behind: float) -> list[tuple[str, dict[str, str], float]]:
    labels = {"component_id": name, "component_kind": "source", "component_type": "tail"}
    return [
        ("component_received_events_total", labels, events),
        ("component_received_bytes_total", labels, size),
        ("behind_bytes", labels, behind),
        ("oldest_unacknowledged_seconds", labels, 2.5),
        ("streams", labels, 3),
        ("open_files", labels, 2),
        ("unopened_files", labels, 7),
    ]


def test_rates_are_by_the_second_that_has_passed_and_stands_are_as_last_seen() -> None:
    kafka = {"component_id": "kafka", "component_kind": "sink", "component_type": "kafka", "topic": "app"}
    before = answer(10.0, 1.0, *input_samples("web", 100, 2000, 9), ("component_sent_events_total", kafka, 70))
    after = answer(
        12.0, 1.5, *input_samples("web", 500, 12_000, 30), *input_samples("db", 8, 80, 0),
        ("component_sent_events_total", kafka, 470), ("buffer_size_bytes", {"component_id": "kafka"}, 300),
        ("buffer_size_bytes", {"component_id": "db"}, 40), ("buffer_max_size_bytes", {"component_id": "db"}, 400),
        ("component_errors_total", {"error_type": "disk", "stage": "storing"}, 2), ("config_valid", {}, 1),
    )  # fmt: skip
    view = view_of(before, after)
    assert view.inputs == (
        InputRates("db", "tail", 4.0, 40.0, 0, 2.5, 3, 2, 7, 40, 400),
        InputRates("web", "tail", 200.0, 5000.0, 30, 2.5, 3, 2, 7, None, None),
    )
    assert (view.sent_per_s, view.on_their_way_bytes, view.cpu_percent) == (200.0, 300, 25.0)
    assert (view.errors, view.config_valid, view.lost_bytes) == ({"storing: disk": 2}, True, 0)
