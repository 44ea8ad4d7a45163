"""What the commit protocol rests on, asked of every store alike."""

from pathlib import Path

import pytest

from headrace.errors import CorruptError
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table.store import Put, Store
from tests.sim.table.store import SimStore


@pytest.fixture(params=["local", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "table") if request.param == "local" else SimStore()


def names(store: Store, directory: str, *, after: str = "", recursive: bool = False) -> list[str]:
    return [entry.name for entry in store.list(directory, after=after, recursive=recursive)]


def test_the_second_put_of_a_name_changes_nothing_and_says_so(store: Store) -> None:
    assert store.put_if_absent("log/7.json", b"first") is Put.CREATED
    assert store.put_if_absent("log/7.json", b"second") is Put.EXISTS
    assert store.get(("log/7.json",)) == (b"first",)


def test_a_put_leaves_no_temporary_behind(store: Store) -> None:
    store.put_if_absent("log/7.json", b"first")
    store.put_if_absent("log/7.json", b"second")
    assert names(store, "log") == ["7.json"]


def test_what_is_absent_is_listed_as_nothing_and_read_as_none(store: Store) -> None:
    assert names(store, "log") == []
    assert store.get(("log/1", "log/2")) == (None, None)


def test_a_list_is_sorted_and_starts_after_the_name_asked_for(store: Store) -> None:
    for name in ("03", "01", "02"):
        store.put_if_absent(f"log/{name}", b"x")
    assert names(store, "log", after="01") == ["02", "03"]


def test_a_list_goes_below_directories_only_when_asked(store: Store) -> None:
    store.put_if_absent("_headrace/staging/dt=2026-11-22/hour=13/a", b"abc")
    assert names(store, "_headrace/staging") == []
    (entry,) = store.list("_headrace/staging", after="", recursive=True)
    assert (entry.name, entry.size_bytes) == ("dt=2026-11-22/hour=13/a", 3)


def test_a_moved_file_is_found_at_its_target_only(store: Store) -> None:
    store.put_if_absent("_headrace/staging/dt=2026-11-22/a", b"abc")
    store.move("_headrace/staging/dt=2026-11-22/a", "dt=2026-11-22/a")
    assert store.get(("_headrace/staging/dt=2026-11-22/a", "dt=2026-11-22/a")) == (None, b"abc")


def test_moving_what_is_gone_does_nothing(store: Store) -> None:
    store.put_if_absent("place/a", b"abc")
    store.move("staging/a", "place/a")
    assert store.get(("place/a",)) == (b"abc",)


def test_a_move_never_overwrites_another_file(store: Store) -> None:
    store.put_if_absent("staging/a", b"new")
    store.put_if_absent("place/a", b"old")
    with pytest.raises(CorruptError):
        store.move("staging/a", "place/a")
    assert store.get(("place/a",)) == (b"old",)


def test_deleting_twice_is_deleting_once(store: Store) -> None:
    store.put_if_absent("_headrace/staging/dt=2026-11-22/a", b"abc")
    for _ in range(2):
        store.delete("_headrace/staging/dt=2026-11-22/a")
    assert names(store, "_headrace/staging", recursive=True) == []


def test_entries_are_stamped_by_the_clock_that_the_store_tells(store: Store) -> None:
    before = store.now_ms()
    store.put_if_absent("log/1", b"x")
    (entry,) = store.list("log", after="", recursive=False)
    assert before <= entry.changed_ms <= store.now_ms()
