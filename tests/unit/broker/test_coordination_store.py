"""The contract of coordination stores, run on each of them."""

import sqlite3
import stat
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.broker.coordination.sqlite import SqliteStore
from headrace.broker.coordination.store import CoordinationStore, TopicExistsError, TopicRecord
from headrace.errors import StorageError, VersionError
from tests.memory_store import MemoryStore

Opener = Callable[[], CoordinationStore]


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the store; a second call is a restart (of a memory store: the same object)."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    return lambda: SqliteStore(tmp_path / "coordination.db")


def topic(name: str, number: int, **configs: str) -> TopicRecord:
    return TopicRecord(name, uuid.UUID(int=number), 3, {key.replace("_", "."): value for key, value in configs.items()})


def test_created_topics_are_listed_by_name_and_survive(opened: Opener) -> None:
    store = opened()
    second, first = topic("b", 2, retention_ms="7"), topic("a", 1)
    store.create_topic(second)
    store.create_topic(first)
    assert store.topics() == [first, second]
    store.close()
    assert opened().topics() == [first, second]


def test_a_name_cannot_be_taken_twice(opened: Opener) -> None:
    store = opened()
    store.create_topic(topic("a", 1))
    with pytest.raises(TopicExistsError):
        store.create_topic(topic("a", 2))
    assert store.topics() == [topic("a", 1)]


def test_a_deletion_cut_short_is_known_after_a_restart(opened: Opener) -> None:
    store = opened()
    store.create_topic(topic("a", 1))
    store.begin_deletion(uuid.UUID(int=1))
    store.close()
    store = opened()
    assert store.topics() == []
    assert store.deletions() == [topic("a", 1)]
    store.finish_deletion(uuid.UUID(int=1))
    assert store.deletions() == []


def test_a_name_is_free_while_its_deletion_is_not_finished(opened: Opener) -> None:
    store = opened()
    store.create_topic(topic("a", 1))
    store.begin_deletion(uuid.UUID(int=1))
    store.create_topic(topic("a", 2))
    store.finish_deletion(uuid.UUID(int=1))
    assert store.topics() == [topic("a", 2)]


def test_deleting_what_is_unknown_or_not_marked_does_nothing(opened: Opener) -> None:
    store = opened()
    store.create_topic(topic("a", 1))
    store.begin_deletion(uuid.UUID(int=9))
    store.finish_deletion(uuid.UUID(int=1))
    assert store.topics() == [topic("a", 1)]


def test_the_first_cluster_id_stays(opened: Opener) -> None:
    store = opened()
    assert store.cluster_id("first") == "first"
    store.close()
    assert opened().cluster_id("second") == "first"


def test_producer_ids_are_never_given_twice(opened: Opener) -> None:
    store = opened()
    first = store.allocate_producer_ids(1000)
    second = store.allocate_producer_ids(5)
    store.close()
    third = opened().allocate_producer_ids(1)
    assert (second - first, third - second) == (1000, 5)
    assert first >= 0


def test_a_topic_s_settings_are_replaced_as_a_whole(opened: Opener) -> None:
    store = opened()
    store.create_topic(topic("a", 1, retention_ms="7", segment_bytes="99"))
    store.create_topic(topic("b", 2, retention_ms="8"))
    store.configure_topic(uuid.UUID(int=1), {"flush.ms": "3"})
    store.configure_topic(uuid.UUID(int=5), {"flush.ms": "4"})
    store.close()
    assert opened().topics() == [topic("a", 1, flush_ms="3"), topic("b", 2, retention_ms="8")]


def test_entries_are_kept_by_kind_and_changed_all_or_none(opened: Opener) -> None:
    store = opened()
    store.change_entries("acl", {"2": "two", "1": "one"})
    store.change_entries("user", {"1": "alice"})
    store.change_entries("acl", {"1": None, "3": "three", "2": "TWO", "absent": None})
    store.close()
    store = opened()
    assert list(store.entries("acl").items()) == [("2", "TWO"), ("3", "three")]
    assert store.entries("user") == {"1": "alice"}
    assert store.entries("quota") == {}


def test_a_store_of_version_1_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "coordination.db"
    store = SqliteStore(path)
    store.create_topic(topic("a", 1))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE entries; PRAGMA user_version=1;")
    connection.close()
    store = SqliteStore(path)
    store.change_entries("acl", {"1": "one"})
    assert (store.topics(), store.entries("acl")) == ([topic("a", 1)], {"1": "one"})


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "coordination.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(VersionError, match="99"):
        SqliteStore(path)


def test_a_file_that_is_no_store_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "coordination.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(StorageError, match=r"coordination\.db"):
        SqliteStore(path)


def test_only_its_owner_reads_what_passwords_could_be_guessed_from(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "coordination.db")
    store.change_entries("user", {"alice": "salted"})
    files = sorted(tmp_path.glob("coordination.db*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files if not file.name.endswith("-reserve")} == {0o600}
    store.close()


def test_threads_write_one_after_another_and_what_comes_after_the_end_is_a_storage_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "coordination.db")

    def put(number: int) -> int:
        store.change_entries("test", {str(number): "there"})
        return store.allocate_producer_ids(10)

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(put, range(12))) == [*range(0, 120, 10)]
        assert len(store.entries("test")) == 12
        store.close()
        with pytest.raises(StorageError, match="closed"):
            threads.submit(put, 12).result()
