"""What the commit protocol rests on, asked of every store alike: the local disk, HDFS, object stores, and the simulated one."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import CorruptError
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Put, Store, landing
from tests.integration.sinks.conftest import REMOTE
from tests.sim.table.store import SimStore

KINDS = ("local", *REMOTE)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, new_root: Callable[[str], str]) -> str:
    return str(tmp_path) if request.param == "local" else new_root(request.param)


@pytest.fixture(params=["simulated", *KINDS])
def store(request: pytest.FixtureRequest, tmp_path: Path, new_root: Callable[[str], str]) -> Store:
    if request.param == "simulated":
        return SimStore()
    return open_root(tmp_path if request.param == "local" else new_root(request.param)).table("table")


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
    store.put_if_absent("dt=2026-11-22/a", b"abc")
    store.move("dt=2026-11-22/a", "_headrace/removed/dt=2026-11-22/a")
    assert store.get(("dt=2026-11-22/a", "_headrace/removed/dt=2026-11-22/a")) == (None, b"abc")


def test_a_file_in_staging_is_moved_where_files_are_staged(store: Store) -> None:
    if not store.stages:
        return
    store.put_if_absent("_headrace/staging/dt=2026-11-22/a", b"abc")
    for _ in range(2):
        store.move("_headrace/staging/dt=2026-11-22/a", "dt=2026-11-22/a")
    assert store.get(("_headrace/staging/dt=2026-11-22/a", "dt=2026-11-22/a")) == (None, b"abc")


def test_moving_what_is_gone_does_nothing(store: Store) -> None:
    store.put_if_absent("place/a", b"abc")
    store.move("staging/a", "place/a")
    assert store.get(("place/a",)) == (b"abc",)


def test_a_file_that_is_moved_onto_itself_stays(store: Store) -> None:
    store.put_if_absent("dt=2026-11-22/a", b"abc")
    store.move("dt=2026-11-22/a", "dt=2026-11-22/a")
    assert store.get(("dt=2026-11-22/a",)) == (b"abc",)


def test_a_move_never_overwrites_another_file(store: Store) -> None:
    store.put_if_absent("new/a", b"newer")
    store.put_if_absent("place/a", b"old")
    with pytest.raises(CorruptError):
        store.move("new/a", "place/a")
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


def test_a_file_taken_out_is_stamped_when_it_is_and_not_when_it_was_written(store: Store) -> None:
    store.put_if_absent("dt=2026-11-22/a", b"abc")
    if isinstance(store, SimStore):
        store.clock_ms += 5
    while store.now_ms() <= (before := store.list("dt=2026-11-22", after="", recursive=False)[0].changed_ms):
        time.sleep(0.05)  # some stores tell the time in seconds
    store.move("dt=2026-11-22/a", "_headrace/removed/dt=2026-11-22/a")
    (entry,) = store.list("_headrace/removed", after="", recursive=True)
    assert entry.changed_ms > before


def test_a_new_file_is_there_whole_once_it_is_finished(store: Store) -> None:
    path = landing(store, "dt=2026-11-22/hour=13/a")
    file = store.create(path)
    for piece in (b"abc", memoryview(b"defg"), b"x" * 6_000_000):
        assert file.write(piece) == len(piece)
    file.finish()
    file.discard()
    assert store.sizes((path, "dt=2026-11-22/hour=13/b")) == (6_000_007, None)
    with store.open(path) as opened:
        assert opened.read(5) == b"abcde"
        opened.seek(-2, 2)
        assert opened.read() == b"xx"
        opened.seek(3)
        assert opened.read(4) == b"defg"


def test_a_file_given_up_leaves_nothing(store: Store) -> None:
    path = landing(store, "dt=2026-11-22/hour=13/a")
    file = store.create(path)
    file.write(b"abc")
    file.discard()
    assert store.sizes((path,)) == (None,)
    assert names(store, "", recursive=True) == []


def test_what_is_absent_cannot_be_opened(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.open("dt=2026-11-22/hour=13/a")


def test_many_files_are_read_together_in_the_order_asked_for(store: Store) -> None:
    for number in range(5):
        store.put_if_absent(f"log/{number}", b"%d" % number)
    assert store.get(tuple(f"log/{number}" for number in (4, 0, 9, 2))) == (b"4", b"0", None, b"2")


def test_a_root_is_made_ready_and_has_the_tables_that_have_a_log(url: str) -> None:
    root = open_root(url)
    root.prepare()
    root.table("one").put_if_absent("_headrace/log/g000001/0.json", b"{}")
    root.table("none").put_if_absent("dt=2026-11-22/a", b"x")
    assert root.is_there()
    assert root.tables() == ["one"]
    assert root.location("one", "dt=2026-11-22/a") == f"{url.partition('?')[0]}/one/dt=2026-11-22/a"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "moto"])
def test_of_several_processes_that_put_one_name_one_creates_it(
    kind: str, tmp_path: Path, new_root: Callable[[str], str]
) -> None:
    """Not of moto, which looks for the name and then puts: 2 of 150 rounds of three plain requests were answered 200 twice."""
    url = str(tmp_path) if kind == "local" else new_root(kind)
    open_root(url).prepare()
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, spawn.Pool(3) as pool:
        barrier = manager.Barrier(3)
        answers = pool.starmap(race, [(url, barrier, number) for number in range(3)], chunksize=1)
    held = open_root(url).table("t").get(tuple(f"log/{number}" for number in range(ROUNDS)))
    for number in range(ROUNDS):
        created = [who for who, answer in enumerate(answers) if answer[number] is Put.CREATED]
        assert len(created) == 1, (number, answers)
        assert {answer[number] for who, answer in enumerate(answers) if who not in created} == {Put.EXISTS}
        assert held[number] == b"%d" % created[0]


ROUNDS = 12


def race(url: str, barrier: object, who: int) -> list[Put]:
    """Put the same names at the same moments as others do."""
    store = open_root(url).table("t")
    answers = []
    for number in range(ROUNDS):
        barrier.wait(60)  # type: ignore[attr-defined]
        answer = Put.UNKNOWN
        while answer is Put.UNKNOWN:
            answer = store.put_if_absent(f"log/{number}", b"%d" % who)
        answers.append(answer)
    return answers
