"""Landed files, counted again from their rows, say what the records of the table say, and what the agents had sent."""

import pytest

from headrace.audit import window_start_ms
from headrace.jobs.audit.recount import count_file, merged
from headrace.sinks.table.fold import AuditTotal
from headrace.sinks.table.reader import snapshot
from tests.landed_tables import TEXT, Event, TableWriter

T0 = 1_763_900_400_000
EVENTS = [Event(agent, n * 30, T0 + n * 45_000, message=f"GET /{n} 200") for n in range(60) for agent in ("a", "b")]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "landed").mkdir()
    return tmp_path / "landed"


def recounted(root, topic):
    sums = {}
    for file in snapshot(root, topic).files:
        merged(sums, count_file(root, topic, file))
    return sums


def test_the_sums_of_all_files_are_those_of_the_records(root):
    table = TableWriter(root, "logs")
    for first in range(0, 120, 40):
        table.land_events(EVENTS[first : first + 40])
    assert recounted(root, "logs") == snapshot(root, "logs").audit


def test_a_message_counts_in_the_bytes_that_its_line_had(root):
    latin = Event("a", 0, T0, message="caf\u00e9")
    row = {**latin.row(), "encoding": "iso-8859-1"}
    TableWriter(root, "logs").land([row])
    (total,) = recounted(root, "logs").values()
    assert total.bytes == 4


def test_rows_of_no_agent_are_counted_by_window_for_nobody(root):
    rows = [{"_key": b"k", "value": "{}", "_timestamp": T0 + n * 60_000} for n in range(30)]
    TableWriter(root, "orders", TEXT).land(rows)
    assert recounted(root, "orders") == {(None, window_start_ms(T0 + n * 600_000)): AuditTotal(10) for n in range(3)}
