"""How often those who watch an agent are told that its loop turns; time is moved by hand."""

import socket
from pathlib import Path

import pytest

from headrace.agents.pulse import Pulse
from headrace.health import STUCK_AFTER_S, Health


class HandClock:
    def __init__(self) -> None:
        self.now_ms = 5_000

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return 1_790_000_000_000 + self.now_ms


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return told


def test_a_loop_that_turns_fast_tells_its_watchdog_once_a_second(systemd: socket.socket) -> None:
    clock = HandClock()
    pulse = Pulse(Health(lambda: clock.now_ms / 1000), clock)
    for _ in range(2500):
        pulse.beat()
        clock.now_ms += 1
    assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_a_loop_that_has_not_turned_for_long_does_not_live() -> None:
    clock = HandClock()
    health = Health(lambda: clock.now_ms / 1000)
    pulse = Pulse(health, clock)
    assert health.why_not_alive() is None
    pulse.beat()
    clock.now_ms += round(STUCK_AFTER_S * 1000) + 7_000
    assert "has not turned for 37 s" in (health.why_not_alive() or "")
    pulse.beat()
    assert health.why_not_alive() is None
