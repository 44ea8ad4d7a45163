"""Who may ask the registry for what, on every route that it has: one without an entry in `schemas/access.py` fails here."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import PeerError
from headrace.http_access import Credentials, Rights
from headrace.schemas.access import OPEN, AccessControl
from headrace.schemas.registry import Registry
from headrace.schemas.service import application
from tests.unit.schemas.memory_log import MemoryLog

ALL = frozenset({"READ", "WRITE", "ALTER_CONFIGS", "DESCRIBE", "CREATE", "DELETE", "ALTER"})
USERS = {
    "admin": Rights(ALL, ALL),
    "reader": Rights(frozenset({"READ", "DESCRIBE"}), frozenset()),
    "writer": Rights(frozenset({"WRITE", "DESCRIBE"}), frozenset()),
    "nobody": Rights(),
    "monitor": Rights(frozenset(), frozenset({"DESCRIBE"})),
}
SECRET_SUBJECT = "payroll"


class Broker:
    """Users whose password is their name twice; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.users = dict(USERS)

    def rights(self, credentials: Credentials) -> Rights | None:
        self.asked += 1
        if self.away:
            raise PeerError("the broker cannot be asked who this is")
        return self.users.get(credentials.name) if credentials.password == credentials.name * 2 else None


class HandClock:
    now_ms = 1_000_000

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)


class Api:
    """A guarded registry in this process."""

    def __init__(self, client: TestClient[Any, Any], broker: Broker, clock: HandClock, slept_s: list[float]) -> None:
        self.client, self.broker, self.clock, self.slept_s = client, broker, clock, slept_s

    async def __call__(self, method: str, path: str, user: str | None, password: str | None = None) -> tuple[int, str, Any]:
        headers = {}
        if user is not None:
            said = f"{user}:{user * 2 if password is None else password}"
            headers["Authorization"] = f"Basic {base64.b64encode(said.encode()).decode()}"
        async with self.client.request(method, path, headers=headers, data=b"{}") as response:
            return response.status, await response.text(), response.headers


def serve(scenario: Callable[[Api], Awaitable[None]]) -> None:
    async def main() -> None:
        log, broker, clock, slept_s = MemoryLog(), Broker(), HandClock(), list[float]()

        async def sleep(seconds: float) -> None:
            slept_s.append(seconds)

        registry = Registry(log)
        log.follow(registry)
        access = AccessControl(broker, clock, sleep)
        try:
            async with TestClient(TestServer(application(registry, access))) as client:
                await client.post(
                    f"/subjects/{SECRET_SUBJECT}/versions",
                    json={"schema": '"string"'},
                    headers={"Authorization": "Basic " + base64.b64encode(b"admin:adminadmin").decode()},
                )
                await scenario(Api(client, broker, clock, slept_s))
        finally:
            access.close()

    asyncio.run(main())


def routes() -> list[tuple[str, str]]:
    """Every route of the registry, as a request would name it."""
    found = set()
    for route in application(Registry(MemoryLog())).router.routes():
        assert route.resource is not None
        path = route.resource.canonical.replace("{subject}", SECRET_SUBJECT).replace("{version}", "1")
        path = path.replace("{id}", "1").replace("{guid}", "x").replace("{context}", ".c")
        path = path.replace("{resource}", "r").replace("{namespace}", "-").replace("{name}", "t")
        assert not re.search(r"[{}]", path)
        found.add((route.method, path))
    return sorted(found)


GUARDED = [(method, path) for method, path in routes() if path not in OPEN]


def needed(method: str, path: str) -> str:
    path = path.removeprefix("/contexts/.c").rstrip("/")
    if method in ("GET", "HEAD") or path.startswith("/compatibility/") or (method == "POST" and path.count("/") == 2):
        return "READ"
    return "ALTER_CONFIGS" if path.startswith(("/config", "/mode")) else "WRITE"


def test_there_are_routes_to_guard() -> None:
    assert len(GUARDED) > 70


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_valid_credentials_nothing_is_told(method: str, path: str) -> None:
    async def scenario(api: Api) -> None:
        for user, password in ((None, None), ("admin", "wrong"), ("stranger", None), ("admin", ""), ("", "adminadmin")):
            status, text, headers = await api(method, path, user, password)
            assert status == 401
            assert headers["WWW-Authenticate"].startswith("Basic ")
            assert SECRET_SUBJECT not in text
            assert "string" not in text

    serve(scenario)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_the_right_nothing_is_told_and_with_it_the_answer_is_given(method: str, path: str) -> None:
    async def scenario(api: Api) -> None:
        if path == "/metrics":
            allowed = {"admin", "monitor"}
        else:
            allowed = {"READ": {"admin", "reader"}, "WRITE": {"admin", "writer"}, "ALTER_CONFIGS": {"admin"}}[
                needed(method, path)
            ]
        for user in sorted(USERS, key=lambda user: user in allowed):  # who may change something comes last
            status, text, _ = await api(method, path, user)
            assert (status == 403) == (user not in allowed), (user, status, text)
            assert status not in (401, 500)
            assert user in allowed or (SECRET_SUBJECT not in text and "string" not in text)

    serve(scenario)


def test_health_is_told_to_everybody() -> None:
    async def scenario(api: Api) -> None:
        assert (await api("GET", "/healthz", None))[:2] == (200, "ok\n")

    serve(scenario)


def test_a_path_that_is_not_there_is_told_to_users_only() -> None:
    async def scenario(api: Api) -> None:
        assert (await api("GET", "/absent", None))[0] == 401
        assert (await api("GET", "/absent", "nobody"))[0] == 404
        assert (await api("PATCH", "/subjects", "nobody"))[0] == 405

    serve(scenario)


def test_a_proof_holds_for_half_a_minute_and_a_right_that_ends_ends_then() -> None:
    async def scenario(api: Api) -> None:
        asked = api.broker.asked
        for _ in range(5):
            assert (await api("GET", "/subjects", "reader"))[0] == 200
        assert api.broker.asked == asked + 1
        api.broker.users["reader"] = Rights()
        api.broker.away = True
        assert (await api("GET", "/subjects", "reader"))[0] == 200
        assert (await api("GET", "/subjects", "reader", "wrong"))[0] == 503
        api.clock.now_ms += 30_000
        assert (await api("GET", "/subjects", "reader"))[0] == 503
        api.broker.away = False
        assert (await api("GET", "/subjects", "reader"))[0] == 403

    serve(scenario)


def test_failures_are_held_back_longer_and_longer_and_who_has_the_password_is_not() -> None:
    async def scenario(api: Api) -> None:
        api.slept_s.clear()
        for _ in range(8):
            await api("GET", "/subjects", "reader", "guess")
        assert api.slept_s == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert (await api("GET", "/subjects", "reader"))[0] == 200
        assert api.slept_s[-1] == 0

    serve(scenario)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Bearer abc",
        "Basic " + "A" * 10_000,
        "Basic /w==",
    ],
)
def test_what_is_no_basic_credential_is_none(header: str) -> None:
    assert Credentials.of_header(header) is None


def test_a_password_may_hold_colons_and_any_letters_and_is_not_shown() -> None:
    found = Credentials.of_header("basic " + base64.b64encode("zoë:a:b ü".encode()).decode())
    assert found == Credentials("zoë", "a:b ü")
    assert "a:b" not in repr(found)
