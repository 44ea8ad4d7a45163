"""What a part says on `/healthz` and `/readyz`; time is moved by hand."""

import asyncio
import contextlib
import socket
import urllib.error
import urllib.request

from headrace.addresses import Address
from headrace.health import STUCK_AFTER_S, Health
from headrace.http import serve_http


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


def test_a_part_that_starts_lives_and_is_not_ready() -> None:
    health = Health(Time())
    assert health.why_not_alive() is None
    assert health.why_not_ready() == "starting"


def test_a_reason_is_asked_for_each_time() -> None:
    health, left = Health(Time()), [3]
    health.not_ready(lambda: f"{left[0]} logs to recover" if left[0] else None)
    assert health.why_not_ready() == "3 logs to recover"
    left[0] = 0
    assert health.why_not_ready() is None


def test_a_loop_that_turns_lives_and_one_that_is_stuck_does_not() -> None:
    time = Time()
    health = Health(time)

    async def run() -> None:
        turns = []
        async with health.watched(lambda: turns.append(1)):
            await asyncio.sleep(0)
            assert turns == [1]
            assert health.why_not_alive() is None
            time.now_s += STUCK_AFTER_S + 5
            assert health.why_not_alive() == "the event loop has not turned for 35 s"

    asyncio.run(run())
    assert health.why_not_alive() is None  # it does not run any more, and need not turn


def test_both_are_answered_over_http() -> None:
    time = Time()
    health = Health(time)
    port = serve_http(Address("127.0.0.1", 0), health)
    assert asked(port, "/healthz") == (200, "ok")
    assert asked(port, "/readyz") == (503, "starting")
    health.ready()
    assert asked(port, "/readyz") == (200, "ok")
    health.turned()
    time.now_s += 2 * STUCK_AFTER_S
    assert asked(port, "/healthz") == (503, "the event loop has not turned for 60 s")
    assert asked(port, "/readyz") == (503, "the event loop has not turned for 60 s")
    assert asked(port, "/elsewhere")[0] == 404
    assert asked(port, "/metrics")[0] == 200


def test_a_page_is_served_where_there_is_one_and_never_in_a_frame() -> None:
    health = Health(Time())
    assert asked(serve_http(Address("127.0.0.1", 0), health), "/")[0] == 404
    port = serve_http(Address("127.0.0.1", 0), health, page=lambda: b"<h1>seen</h1>")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.read() == b"<h1>seen</h1>"
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert answer.headers["Cache-Control"] == "no-store"


def test_clients_that_send_a_byte_at_a_time_keep_nobody_from_asking() -> None:
    health = Health(Time())
    health.ready()
    port = serve_http(Address("127.0.0.1", 0), health)
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            slow.sendall(b"GET /healthz HTTP/1.1\r\nX: a")
        assert [asked(port, "/healthz") for _ in range(3)] == [(200, "ok")] * 3
