"""Fault 18, and of fault 19 what is about time and a second agent, with real processes.

Stops, with brokers away in every way; a state that is in use; a wall clock that jumps by an hour, to and fro (tests/moved_clock
moves that of a real agent; the monotonic one goes on).
"""

import os
import signal
import time
from pathlib import Path

import pytest

from headrace.audit import AgentMessage
from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import numbered, split, until
from tests.processes import Part

HOUR_S = 3600
MOVED_CLOCK = Path(__file__).parents[2] / "moved_clock"
GRACE_MS = 2000


# ---- fault 18 (reloads: operate/test_reloading.py)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["it is gone", "it stands still", "it was never there"])
def test_fault_18_sigterm_without_a_broker_ends_within_the_grace_and_loses_nothing(parts: Rig, how: str) -> None:
    data = numbered(0, 5000)
    (parts.logs / "a.log").write_bytes(data)
    agent = parts.agent(agent={"state_dir": str(parts.directory / "agent"), "grace_ms": GRACE_MS})
    process = parts.broker.process
    assert process is not None
    if how == "it was never there":
        parts.broker.kill()
        agent.start()
        until(lambda: "broker connection" in agent.log_tail())
    else:
        agent.start()
        until(lambda: parts.count() > 0)
        if how == "it is gone":
            parts.broker.kill()
        else:
            process.send_signal(signal.SIGSTOP)
        with (parts.logs / "a.log").open("ab") as out:
            out.write(numbered(5000, 100_000))
        data += numbered(5000, 100_000)
        time.sleep(0.5)  # some of it is on its way
    began = time.monotonic()
    try:
        assert agent.stop(timeout_s=30) == 0
        took_s = time.monotonic() - began
    finally:
        if how == "it stands still":
            process.send_signal(signal.SIGCONT)
        else:
            parts.broker.start()
    assert took_s < GRACE_MS / 1000 + 5
    parts.ship()
    assert parts.lines() == split(data)
    parts.check_audit()


# ---- fault 19


def test_fault_19_a_second_agent_on_a_state_directory_is_refused_and_the_first_goes_on(parts: Rig) -> None:
    first = parts.agent().start()
    second = Part("agent", parts.directory / "second", {}, "--set", f"agent.state_dir={parts.directory / 'agent'}")
    second.config_file.write_text(first.config_file.read_text())
    assert second.start(wait=False).wait() == 2
    assert "another agent uses it" in second.log()
    (parts.logs / "a.log").write_bytes(numbered(0, 10))
    parts.wait_for(10)
    first.kill()
    second.start()  # what held the directory is dead
    with (parts.logs / "a.log").open("ab") as out:
        out.write(numbered(10, 10))
    parts.wait_for(20)
    assert second.stop() == 0
    assert parts.lines() == split(numbered(0, 20))


class Clock:
    """The wall clock of agents that are started with its `variables`."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.move(0)

    def move(self, by_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(by_s))
        fresh.rename(self._file)

    @property
    def variables(self) -> dict[str, str]:
        path = os.pathsep.join([str(MOVED_CLOCK), os.environ["PYTHONPATH"]])
        return {"MOVED_CLOCK": str(self._file), "PYTHONPATH": path}


@pytest.mark.slow
def test_fault_19_a_clock_that_jumps_by_an_hour_loses_and_repeats_nothing_and_claims_no_future(parts: Rig) -> None:
    clock, log = Clock(parts.directory), parts.logs / "a.log"
    agent = parts.agent().start(**clock.variables)
    data = b""
    for number, offset_s in enumerate((HOUR_S, 0, -HOUR_S, 0, HOUR_S)):
        fresh = numbered(number * 1000, 1000) + b"no time of its own %d\n" % number
        data += fresh
        clock.move(offset_s)
        with log.open("ab") as out:
            out.write(fresh)
        parts.wait_for((number + 1) * 1001)
        if number % 2:
            agent.kill()
            agent.start(**clock.variables)
        if offset_s < 0:
            log.rename(parts.logs / "a.log.1")
    until(lambda: any(isinstance(said, AgentMessage) and said.drained_to_ms is not None for said in parts.audit()))
    assert agent.stop() == 0
    now_ms = time.time() * 1000
    claims = [said.drained_to_ms for said in parts.audit() if isinstance(said, AgentMessage)]
    assert all(claim is None or claim <= now_ms for claim in claims), "complete up to a moment that is still to come"
    clocks = {round((event["read_time"].timestamp() * 1000 - now_ms) / 3_600_000) for event in parts.events()}
    assert clocks == {-1, 0, 1}, "the clock did jump"
    parts.ship()
    assert parts.lines() == split(data)
    parts.check_audit()


@pytest.mark.slow
def test_fault_19_a_log_made_and_rotated_while_down_is_found_though_the_clock_was_an_hour_ahead(parts: Rig) -> None:
    clock, log = Clock(parts.directory), parts.logs / "a.log"
    log.write_bytes(numbered(0, 100))
    clock.move(HOUR_S)
    agent = parts.agent().start(**clock.variables)
    parts.wait_for(100)
    time.sleep(0.5)  # its last look is durable
    assert agent.stop() == 0
    log.rename(parts.logs / "a.log.2")
    (parts.logs / "a.log.1").write_bytes(numbered(100, 70))
    log.write_bytes(numbered(170, 30))
    parts.ship()
    assert parts.lines() == split(numbered(0, 200))
    assert len(parts.events()) == 200
