"""What an agent tells of itself as numbers."""

from pathlib import Path

from prometheus_client import REGISTRY

import headrace.agents.sources.metrics  # noqa: F401 - they are documented with the others
from headrace.agents.effects import Input, Now, Seen
from headrace.agents.metrics import FAMILIES, Component, Metrics
from headrace.agents.operate.standing import Standing, standing_of, standing_of_unopened
from headrace.agents.rows import StreamRow
from headrace.agents.tail.identity import FileStat
from headrace.agents.tail.stream import Stream

DOCUMENT = Path(__file__).parents[4] / "docs" / "metrics.md"
STARTED = Now(1_000, 1_790_000_000_000)


def stream(name: str, *, size: int, position: int, complete: Now | None = None, handle: int | None = 7) -> Stream:
    row = StreamRow("s", "app", 0, "host", "a", "/a", "/a", 1, 2, 0, position=position, size_seen=size)
    found = Stream(row, Input("app", name=name), complete=complete, now=STARTED, saved=True)
    found.handle = handle
    return found


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_every_metric_of_the_agent_is_documented_as_it_is() -> None:
    _, _, agents = DOCUMENT.read_text().partition("## The agent's")
    table = [line for line in agents.splitlines() if line.startswith("| `")]
    assert table == [f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.text} |" for each in FAMILIES]


def test_every_metric_has_a_name_of_its_own_and_none_a_label_for_a_file() -> None:
    names = [each.name for each in FAMILIES]
    assert len(names) == len(set(names))
    for each in FAMILIES:
        assert each.name.startswith("headrace_agent_")
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert not {"file", "path", "stream_id"} & set(each.labels)


def test_an_input_is_behind_by_the_bytes_of_all_its_files_and_for_as_long_as_the_one_that_waits_longest() -> None:
    streams = [
        stream("web", size=500, position=200, complete=Now(9_000, 0)),
        stream("web", size=80, position=30, complete=Now(4_000, 0)),
        stream("db", size=60, position=60, complete=Now(2_000, 0)),
    ]
    found = standing_of(["web", "db", "idle"], streams, [], Now(10_000, 0), STARTED)
    assert found == {"web": Standing(2, 2, 350, 6_000), "db": Standing(1, 1, 0, 0), "idle": Standing()}


def test_what_was_never_acknowledged_is_as_old_as_the_agent() -> None:
    found = standing_of(["web"], [stream("web", size=9, position=0)], [], Now(10_000, 0), STARTED)
    assert found["web"].oldest_ms == 9_000


def test_files_that_wait_to_be_opened_are_behind_by_what_is_listed_of_them() -> None:
    def seen(name: str, size: int) -> Seen:
        return Seen("/a", FileStat(1, 2, size, 0, 1), Input("app", name=name))

    closed = stream("web", size=100, position=100, complete=Now(8_000, 0), handle=None)
    left_by_the_last_run = stream("web", size=100, position=100, handle=None)
    left_by_the_last_run.input = None
    streams = [closed, left_by_the_last_run, stream("web", size=9, position=9)]
    found = standing_of(["web", "db"], streams, [], Now(10_000, 0), STARTED)
    assert found["web"] == Standing(streams=2, open_files=1)
    waiting = [
        (seen("web", 130), closed, closed.complete),
        (seen("web", 140), left_by_the_last_run, None),
        (seen("web", 50), None, Now(7_000, 0)),
        (seen("db", 0), None, None),
        (seen("gone", 7), None, None),
    ]
    assert standing_of_unopened(found, waiting, Now(10_000, 0), STARTED) == {
        "web": Standing(streams=4, open_files=1, behind_bytes=30 + 40 + 50, oldest_ms=9_000, unopened=3),
        "db": Standing(streams=1, unopened=1),
    }


def test_an_input_that_is_no_more_is_told_no_more() -> None:
    metrics = Metrics()
    web, db = Component("web", "tail"), Component("db", "tail")
    labels = {"component_id": "web", "component_kind": "source", "component_type": "tail"}
    metrics.inputs({"web": web, "db": db})
    standings = {"web": Standing(1, 1, 30, 1500), "db": Standing()}
    metrics.observe(standings, on_their_way_bytes=5, most_bytes=50, queued=3)
    assert value("headrace_agent_behind_bytes", **labels) == 30
    assert value("headrace_agent_oldest_unacknowledged_seconds", **labels) == 1.5
    metrics.inputs({"db": db})
    assert value("headrace_agent_behind_bytes", **labels) is None
    metrics.received("web", 7, 70, {"filter": 2})  # what was on its way
    assert value("headrace_agent_component_received_events_total", **labels) == 0


def test_a_configuration_that_does_not_run_is_told_until_one_does() -> None:
    metrics = Metrics()
    metrics.reloaded("invalid")
    assert value("headrace_agent_config_valid") == 0
    metrics.reloaded("applied")
    assert value("headrace_agent_config_valid") == 1
