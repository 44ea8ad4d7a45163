"""An HTTP port with a door: health is for everybody, and nothing else; time is moved by hand."""

import base64
import http.client
import threading

import pytest

from headrace.addresses import Address
from headrace.clock import MonotonicMs, WallMs
from headrace.errors import PeerError
from headrace.health import Health
from headrace.http import serve_http
from headrace.http_access import Credentials, Rights
from headrace.http_door import LoginDoor

USERS = {"monitor": Rights(cluster=frozenset({"DESCRIBE"})), "nobody": Rights()}


class Broker:
    """Users whose password is their name twice."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def rights(self, credentials: Credentials) -> Rights | None:
        self.asked += 1
        assert self.goes_on.wait(20)
        if self.away:
            raise PeerError("no broker")
        return USERS.get(credentials.name) if credentials.password == credentials.name * 2 else None


class HandClock:
    now_ms = 5_000_000

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)


class Port:
    """A served port."""

    def __init__(self) -> None:
        self.broker, self.clock, self.slept_s = Broker(), HandClock(), list[float]()
        self.health = Health(lambda: 7.0)
        self.health.not_ready("the secret reason")
        door = LoginDoor(self.broker, self.clock, self.slept_s.append)
        self.port = serve_http(Address("127.0.0.1", 0), self.health, door=door)

    def get(self, path: str, user: str | None = None, password: str | None = None) -> tuple[int, str, str | None]:
        headers = {}
        if user is not None:
            said = f"{user}:{user * 2 if password is None else password}"
            headers["Authorization"] = f"Basic {base64.b64encode(said.encode()).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers["WWW-Authenticate"]


@pytest.fixture(scope="module")
def port() -> Port:
    return Port()


def test_metrics_are_for_who_may_describe_the_cluster(port: Port) -> None:
    for user, password in ((None, None), ("monitor", "wrong"), ("absent", None), ("monitor", "")):
        status, text, challenge = port.get("/metrics", user, password)
        assert (status, text) == (401, "unauthorized\n")
        assert challenge is not None
        assert challenge.startswith("Basic ")
    assert port.get("/metrics", "nobody")[:2] == (403, "forbidden\n")
    status, text, _ = port.get("/metrics", "monitor")
    assert status == 200
    assert "process_cpu_seconds_total" in text


def test_health_is_for_everybody_without_its_reasons(port: Port) -> None:
    assert port.get("/healthz")[:2] == (200, "ok\n")
    assert port.get("/readyz")[:2] == (503, "not ok\n")


def test_what_there_is_is_told_to_users_only(port: Port) -> None:
    assert port.get("/absent")[0] == 401
    assert port.get("/absent", "monitor")[0] == 404
    assert port.get("/metrics/", "nobody")[0] == 403


def test_failures_are_held_back_and_proofs_are_kept_for_a_while() -> None:
    port = Port()
    for _ in range(4):
        port.get("/metrics", "monitor", "guess")
    assert port.slept_s == [0.1, 0.2, 0.4, 0.8]
    asked = port.broker.asked
    assert [port.get("/metrics", "monitor")[0] for _ in range(3)] == [200] * 3
    assert port.broker.asked == asked + 1
    port.broker.away = True
    assert port.get("/metrics", "monitor")[0] == 200
    port.clock.now_ms += 30_000
    assert port.get("/metrics", "monitor")[0] == 503


def test_more_logins_than_can_be_checked_are_turned_away_and_health_goes_on() -> None:
    port = Port()
    port.broker.goes_on.clear()
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(port.get("/metrics", "nobody", "x")[0])) for _ in range(4)]
    for thread in asking:
        thread.start()
    while port.broker.asked < 4:
        pass
    assert port.get("/metrics", "monitor")[0] == 429
    assert port.get("/healthz")[0] == 200
    port.broker.goes_on.set()
    for thread in asking:
        thread.join()
    assert answers == [401] * 4
