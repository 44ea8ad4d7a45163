"""`headrace expire _audit` takes what no verdict needs any more, and nothing else."""

import json

import pytest

from headrace.audit import AgentMessage, RetiredMessage
from headrace.cli import main
from headrace.jobs.audit.auditor import Auditor
from headrace.sinks.table.reader import snapshot
from tests.landed_tables import AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000
DAY = 24 * 3_600_000
LATER = T0 + 10 * DAY


def event(at_ms, agent="a"):
    return Event(agent, (at_ms - T0) // 1000, at_ms)


@pytest.fixture
def root(tmp_path):
    """Topic `logs` of ten days: what agent a sent on the first and the last, and b on the first; each said after it."""
    root = tmp_path / "landed"
    root.mkdir()
    table, audit = TableWriter(root, "logs"), AuditWriter(root)
    table.land_events([event(T0), event(T0 + 1000, "b")])
    audit.land(*announce("logs", [event(T0)], T0 + 5_000, acked={0: 1}, state="active", drained_to_ms=T0 + 4_000))
    audit.land(*announce("logs", [event(T0 + 1000, "b")], T0 + 6_000, acked={0: 2}, state="active", drained_to_ms=T0 + 5_000))
    table.land_events([event(LATER)])
    audit.land(*announce("logs", [event(LATER)], LATER + 5_000, acked={0: 3}, state="active", drained_to_ms=LATER + DAY))
    return root


def expire(root, capsys, topic, *arguments):
    assert main(["expire", topic, "--root", str(root), "--older-than", "1d", "--format", "json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_nothing_goes_that_speaks_of_rows_that_are_there(root, capsys):
    before = Auditor(root).judge("logs", now_ms=LATER)
    gone = expire(root, capsys, "_audit")
    assert (gone["files"], gone["kept"]) == (0, 3)
    assert Auditor(root).judge("logs", now_ms=LATER) == before


def test_with_the_rows_goes_what_was_said_of_them_but_not_the_last_that_was_heard_of_an_agent(root, capsys):
    first = next(file for file in snapshot(root, "logs").files if file.max_event_time_ms < T0 + DAY)
    TableWriter(root, "logs").land_events([event(LATER + 1000)])
    TableWriter(root, "logs").take_out(first.name)
    gone = expire(root, capsys, "_audit")
    assert (gone["files"], gone["kept"]) == (1, 2)  # a has been heard since, b has not
    agents = Auditor(root).agents
    assert agents["b"].heard_ms == T0 + 6_001
    assert agents["a"].known_since_ms == LATER + 5_000
    assert "agent b" in str(Auditor(root).judge("logs", now_ms=LATER, since_ms=LATER - DAY).windows[0].reasons)


def test_that_an_agent_was_retired_stays_known(root, capsys):
    AuditWriter(root).land((T0 + DAY, RetiredMessage("b", None)))
    AuditWriter(root).land((LATER, AgentMessage("c", "1", "h", "1", "active", LATER, {})))
    first = next(file for file in snapshot(root, "logs").files if file.max_event_time_ms < T0 + DAY)
    TableWriter(root, "logs").take_out(first.name)
    assert expire(root, capsys, "_audit")["files"] == 1
    assert Auditor(root).agents["b"].retired_ms is not None
