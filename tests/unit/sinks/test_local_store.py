"""What only the local disk has: half-done moves, empty directories, temporaries."""

import os
from pathlib import Path

import pytest

from headrace.errors import StorageError
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table.store import Put


def test_a_move_that_a_crash_left_half_done_is_finished_by_the_next(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_if_absent("_headrace/staging/dt=2026-11-22/a", b"abc")
    (tmp_path / "dt=2026-11-22").mkdir()
    os.link(tmp_path / "_headrace/staging/dt=2026-11-22/a", tmp_path / "dt=2026-11-22/a")
    store.move("_headrace/staging/dt=2026-11-22/a", "dt=2026-11-22/a")
    assert not (tmp_path / "_headrace/staging/dt=2026-11-22/a").exists()
    assert (tmp_path / "dt=2026-11-22/a").read_bytes() == b"abc"


def test_emptied_hour_directories_of_staging_go_and_staging_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_if_absent("_headrace/staging/dt=2026-11-22/hour=13/a", b"abc")
    store.move("_headrace/staging/dt=2026-11-22/hour=13/a", "dt=2026-11-22/hour=13/a")
    assert list((tmp_path / "_headrace/staging").iterdir()) == []
    assert (tmp_path / "dt=2026-11-22/hour=13/a").exists()


def test_a_temporary_of_a_dead_process_is_no_record(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / ".dead.tmp").write_bytes(b"half a rec")
    assert store.put_if_absent("log/1.json", b"{}") is Put.CREATED
    assert [entry.name for entry in store.list("log", after="0")] == ["1.json"]


def test_a_disk_that_refuses_is_a_storage_error_that_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a file where a directory should be")
    with pytest.raises(StorageError, match="log"):
        LocalStore(tmp_path).put_if_absent("log/1.json", b"{}")
