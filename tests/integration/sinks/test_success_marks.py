"""`_SUCCESS` on real stores: written, replaced, taken away and found again, whatever the store is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.jobs.audit.marks import Marks
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Store

HOUR = "dt=2025-11-23/hour=12"
MARK = {"version": 1, "landed": 7, "judged": "2025-11-23T13:06:00Z", "table": {"seq": 3}}


@pytest.fixture(params=["local", "hdfs-native", "versitygw"])
def store(request: pytest.FixtureRequest, tmp_path: Path, new_root: Callable[[str], str]) -> Store:
    return open_root(tmp_path if request.param == "local" else new_root(request.param)).table("logs")


def held(store: Store) -> object:
    (data,) = store.get((f"{HOUR}/_SUCCESS",))
    return None if data is None else json.loads(data)


def test_a_mark_is_written_once_replaced_when_its_facts_change_and_taken_away(store: Store) -> None:
    store.put_if_absent(f"{HOUR}/data.parquet", b"rows")
    marks = Marks(store)
    marks.set(HOUR, MARK)
    assert held(store) == MARK
    marks.set(HOUR, {**MARK, "judged": "later", "table": {"seq": 4}})
    assert held(store) == MARK
    marks.set(HOUR, {**MARK, "landed": 8})
    assert held(store) == {**MARK, "landed": 8}
    marks.set(HOUR, None)
    assert held(store) is None
    marks.set(HOUR, None)
    assert (marks.written, marks.taken) == (2, 1)


def test_what_another_has_written_is_found_and_what_is_no_mark_of_ours_replaced(store: Store) -> None:
    Marks(store).set(HOUR, MARK)
    again = Marks(store)
    assert again.there() == {HOUR: True}
    again.set(HOUR, MARK)
    assert again.written == 0
    again.set(HOUR, None)
    store.put_if_absent(f"{HOUR}/_SUCCESS", b"")
    again.forget()
    again.set(HOUR, MARK)
    assert held(store) == MARK


def test_a_put_that_finds_another_mark_is_believed_only_when_it_was_read(store: Store) -> None:
    marks = Marks(store)
    marks.set(HOUR, None)
    store.put_if_absent(f"{HOUR}/_SUCCESS", b"{}")
    marks.set(HOUR, MARK)
    assert held(store) == {}
    marks.set(HOUR, MARK)
    assert held(store) == MARK
