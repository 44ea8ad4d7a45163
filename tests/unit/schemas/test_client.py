"""The registry client against peers that are slow, wrong, huge, or gone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headrace.errors import PeerError, RefusedError, UsageError
from headrace.schemas.client import MAX_ANSWER_BYTES, RegistryClient
from tests.processes import free_port

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def peer(answer: Answer) -> Iterator[str]:
    """A server whose every answer is written by `answer`; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(status: int, body: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_refusal_carries_status_code_and_message_and_is_not_retriable() -> None:
    answer = reply(409, b'{"error_code":409,"message":"Schema is incompatible"}')
    with peer(answer) as url, pytest.raises(RefusedError, match="Schema is incompatible") as refused:
        RegistryClient(url).register("a-value", '"string"')
    assert (refused.value.status, refused.value.code, refused.value.retriable) == (409, 409, False)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_overloaded_registry_is_worth_trying_again(status: int) -> None:
    with peer(reply(status, b"<html>oops</html>")) as url, pytest.raises(PeerError, match=f"{status}") as failed:
        RegistryClient(url).subjects()
    assert failed.value.retriable


@pytest.mark.parametrize("code", [40401, 40402])
def test_a_subject_without_versions_has_no_latest(code: int) -> None:
    with peer(reply(404, b'{"error_code":%d,"message":"not found"}' % code)) as url:
        assert RegistryClient(url).latest("a-value") is None


def test_a_404_of_something_else_is_no_missing_subject() -> None:
    with peer(reply(404, b"no such page")) as url, pytest.raises(RefusedError):
        RegistryClient(url).latest("a-value")


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"id":"7"}', b'{"id":true}', b"null", b"\xff"])
def test_an_answer_that_is_none_of_a_registry_is_a_peer_error(body: bytes) -> None:
    with peer(reply(200, body)) as url, pytest.raises(PeerError, match="none of a schema registry"):
        RegistryClient(url).register("a-value", '"string"')


def test_an_endless_answer_is_cut_off() -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(MAX_ANSWER_BYTES // 65536 + 100):
                handler.wfile.write(b" " * 65536)
        except OSError:
            pass

    with peer(endless) as url, pytest.raises(PeerError, match="more than"):
        RegistryClient(url).subjects()


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.02):
            handler.wfile.write(b" ")

    with peer(drip) as url:
        try:
            with pytest.raises(PeerError, match="within"):
                RegistryClient(url, timeout_s=0.2).subjects()
        finally:
            done.set()


def test_a_silent_registry_is_given_up_in_time() -> None:
    done = threading.Event()
    with peer(lambda _: (done.wait(10) and None) or None) as url:
        try:
            with pytest.raises(PeerError, match="timed out"):
                RegistryClient(url, timeout_s=0.2).subjects()
        finally:
            done.set()


def test_a_registry_that_is_not_running_is_named_with_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PeerError, match=f"{url}.*is it running"):
        RegistryClient(url).subjects()


@pytest.mark.parametrize("url", ["", "localhost:8081", "ftp://localhost", "file:///etc/passwd", "http://"])
def test_what_is_no_http_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="http://host:port"):
        RegistryClient(url)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with peer(reply(200, b'["a"]')) as url:
        assert RegistryClient(url).subjects() == ["a"]
