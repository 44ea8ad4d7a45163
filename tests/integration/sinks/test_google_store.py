"""Google Cloud Storage, where it is unlike other stores: pages, uploads in parts, buckets that are not there, credentials."""

from collections.abc import Callable

import pytest

from headrace import cli
from headrace.errors import StorageError
from headrace.sinks.stores import google_bucket
from headrace.sinks.stores.roots import open_root
from tests.object_stores import BUCKET

KIND = "fake-gcs-server"


@pytest.fixture
def url(new_root: Callable[[str], str]) -> str:
    return new_root(KIND)


def test_lists_go_on_after_the_first_page(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_bucket, "PAGE", 10)
    root, names = open_root(url), [f"{number:02}" for number in range(23)]
    store = root.table("table")
    for name in names:
        store.put_if_absent(f"_headrace/log/{name}", b"x")
    assert [entry.name for entry in store.list("_headrace/log", after="", recursive=False)] == names
    assert [entry.name for entry in store.list("_headrace/log", after="00", recursive=False)] == names[1:]
    assert [entry.name for entry in store.list("_headrace", after="", recursive=True)] == [f"log/{name}" for name in names]
    assert root.tables() == ["table"]


def test_a_file_larger_than_a_piece_is_sent_in_pieces(url: str) -> None:
    store, data = open_root(url).table("table"), bytes(range(256)) * (google_bucket.PIECE_BYTES // 100)
    file = store.create("dt=2026-11-22/a")
    file.write(data)
    file.finish()
    assert store.sizes(("dt=2026-11-22/a",)) == (len(data),)
    with store.open("dt=2026-11-22/a") as opened:
        assert opened.read() == data
        opened.seek(google_bucket.PIECE_BYTES + 3)
        assert opened.read(5) == data[google_bucket.PIECE_BYTES + 3 : google_bucket.PIECE_BYTES + 8]


def test_objects_that_stand_for_directories_are_no_files(url: str) -> None:
    store = open_root(url).table("table")
    for name in ("dt=2026-11-22/", "dt=2026-11-22/hour=13/", "dt=2026-11-22/hour=13/a"):
        store.put_if_absent(name, b"")
    assert [entry.name for entry in store.list("dt=2026-11-22", after="", recursive=True)] == ["hour=13/a"]


def test_an_object_that_is_deleted_while_it_is_read_is_an_error_of_the_store(url: str) -> None:
    store = open_root(url).table("table")
    store.put_if_absent("a", b"x" * 3_000_000)
    with store.open("a") as opened:
        opened.read(1)
        store.delete("a")
        opened.seek(2_500_000)
        with pytest.raises(StorageError):
            opened.read(1)


def test_a_bucket_that_is_not_there_is_named(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = url.replace(f"gs://{BUCKET}/", "gs://nowhere/")
    assert cli.main(["check", nowhere]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere" in line
    with pytest.raises(StorageError):
        open_root(nowhere).table("table").put_if_absent("a", b"x")


def test_credentials_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    assert cli.main(["check", "gs://landed/tables?endpoint=http://127.0.0.1:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "File /nowhere/key.json was not found" in line
