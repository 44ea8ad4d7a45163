"""The control socket: for the agent's user, whatever the path, and never in the way."""

import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.agents.operate.asking import Sent, metrics_of, tap
from headrace.agents.operate.control import Control
from headrace.agents.operate.control_socket import SOCKET_NAME, address_in, unix_socket
from headrace.agents.operate.taps import Taps
from headrace.agents.state import AgentState
from headrace.errors import PeerError, UsageError


@pytest.fixture
def taps() -> Taps:
    return Taps(lambda: time.monotonic_ns() // 1_000_000)


@pytest.fixture
def directory(tmp_path: Path, taps: Taps) -> Iterator[Path]:
    control = Control(tmp_path, taps, {"host": "h", "agent_id": "a"})
    control.start()
    yield tmp_path
    control.close()


def test_metrics_come_with_what_the_process_takes(directory: Path) -> None:
    found = metrics_of(directory)
    assert found["host"] == "h"
    assert found["memory_bytes"] > 1_000_000
    assert "headrace_agent_config_valid" in {name for name, _, _ in found["samples"]}


def test_the_socket_is_its_owners_alone(directory: Path) -> None:
    mode = (directory / SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_what_is_sent_is_seen_and_silence_is_told(directory: Path, taps: Taps) -> None:
    seen = tap(directory)
    assert next(seen) is None  # it watches by now
    taps.offer("web", "app", "{}", [b"one", b"", b"three"])
    assert next(seen) == Sent("web", "app", "{}", [b"one", b"", b"three"], 0)


def test_a_long_path_is_no_obstacle(tmp_path: Path, taps: Taps) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    control = Control(deep, taps, {"host": "h"})
    control.start()
    assert metrics_of(deep)["host"] == "h"
    control.close()


def test_the_socket_of_one_that_was_killed_is_replaced_and_at_the_end_there_is_none(tmp_path: Path, taps: Taps) -> None:
    with unix_socket() as stale, address_in(tmp_path) as address:
        stale.bind(address)
    with pytest.raises(UsageError, match="no agent runs on that state"):
        metrics_of(tmp_path)
    control = Control(tmp_path, taps, {"host": "h"})
    control.start()
    assert metrics_of(tmp_path)["host"] == "h"
    control.close()
    assert not (tmp_path / SOCKET_NAME).exists()


def test_an_agent_that_waits_for_room_at_its_start_is_not_told_of_as_none(tmp_path: Path) -> None:
    state = AgentState(tmp_path, machine_id="m", host="h", new_agent_id="agent-1")
    with pytest.raises(PeerError, match="does not answer: it is starting, or waits for room; its log says which"):
        metrics_of(tmp_path)
    state.close()


@pytest.mark.parametrize("request_bytes", [b"\n", b"[]\n", b"not json\n", b"\xff\n", b'{"ask": "secrets"}\n', b"x" * 10_000])
def test_what_is_no_request_is_hung_up_on(directory: Path, request_bytes: bytes) -> None:
    with unix_socket() as asking, address_in(directory) as address:
        asking.settimeout(10)
        asking.connect(address)
        try:
            asking.sendall(request_bytes)
            assert asking.recv(100) == b""
        except ConnectionError:
            pass
    assert metrics_of(directory)["host"] == "h"


def test_eight_may_ask_at_a_time(directory: Path) -> None:
    silent: list[socket.socket] = []
    for _ in range(8):
        asking = unix_socket()
        with address_in(directory) as address:
            asking.connect(address)
        silent.append(asking)
    with pytest.raises(PeerError, match="eight others"):
        metrics_of(directory)
    for asking in silent:
        asking.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert metrics_of(directory)["host"] == "h"
            return
        except PeerError:
            assert time.monotonic() < deadline
