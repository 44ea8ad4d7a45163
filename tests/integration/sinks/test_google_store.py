"""Google Cloud Storage, where it is unlike other stores: pages, uploads in parts, buckets that are not there, credentials."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from headrace import cli
from headrace.errors import StorageError
from headrace.sinks.stores import google_bucket
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Put
from tests.object_stores import BUCKET, ObjectStoreServer
from tests.store_proxy import Fate, Request, StoreProxy

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


class TokenServer(BaseHTTPRequestHandler):
    """Gives whoever asks a token, as Google does for what a service account has signed; after `refuses` is set, nobody."""

    refuses = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"error": "invalid_grant", "error_description": "account disabled"} if self.refuses else TOKEN
        self.send_response(400 if self.refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        pass


TOKEN = {"access_token": "given-by-the-server", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[TokenServer]]:
    """The environment names the key of an account, whose tokens come from a server on a loopback port."""
    handler = type("Handler", (TokenServer,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    account = {"type": "service_account", "client_email": "loader@example.com", "private_key": key.decode(), "project_id": "p"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps(account | {"token_uri": f"http://127.0.0.1:{server.server_address[1]}/token"}))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    yield handler
    server.shutdown()
    server.server_close()


def test_every_request_carries_a_token_of_the_service_account(
    url: str, object_store: Callable[[str], ObjectStoreServer], service_account: type[TokenServer]
) -> None:
    port, carried = object_store(KIND).port, set()

    def look(request: Request) -> Fate:
        carried.add({name.lower(): value for name, value in request.headers.items()}.get("authorization"))
        return Fate.PASS

    with StoreProxy(port) as proxy:
        proxy.rule = look
        store = open_root(url.replace(f":{port}", f":{proxy.port}")).table("table")
        assert store.put_if_absent("a", b"x") is Put.CREATED
        assert store.get(("a",)) == (b"x",)
        assert [entry.name for entry in store.list("", after="", recursive=True)] == ["a"]
        store.delete("a")
    assert carried == {"Bearer given-by-the-server"}


def test_a_service_account_that_gets_no_token_puts_nothing_and_hears_why(
    url: str, service_account: type[TokenServer], capsys: pytest.CaptureFixture[str]
) -> None:
    service_account.refuses = True
    store = open_root(url).table("table")
    with pytest.raises(StorageError, match="account disabled"):
        store.put_if_absent("a", b"x")
    assert cli.main(["check", url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "account disabled" in line
    assert "PRIVATE KEY" not in line
