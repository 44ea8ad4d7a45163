"""A running agent is looked into: events as it sends them, its inputs by the second, its state."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.integration.agents.rig import Rig
from tests.processes import AFRESH


def command(*words: str) -> list[str]:
    return [*forks.PREFIX, "agent", *words]


def asked(*words: str) -> list[dict[str, Any]]:
    """What a command of the agent's says as JSON."""
    done = forks.run(command(*words, "--format", "json"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def until_it_ships(parts: Rig, count: int) -> None:
    deadline = time.monotonic() + 30
    while parts.count() < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_tap_shows_events_of_one_input_that_hold_a_pattern_while_they_are_sent(parts: Rig) -> None:
    inputs = [
        {"tail": [str(parts.logs / "*.log")], "topic": "logs", "name": "web"},
        {"tail": [str(parts.logs / "*.txt")], "topic": "logs"},
    ]
    agent = parts.agent(inputs=inputs).start()
    (parts.logs / "a.log").write_bytes(b"before\n")
    until_it_ships(parts, 1)
    words = ("tap", "--config", str(agent.config_file), "--input", "web", "--filter", "n=[13]", "--count", "2")
    watching = forks.Headrace(command(*words, "--format", "json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    try:
        number = 0
        while watching.poll() is None:
            number += 1
            assert time.monotonic() < deadline
            for name in ("a.log", "b.txt"):
                with (parts.logs / name).open("ab") as file:
                    file.write(b'{"n": %d, "of": "%s"}\n' % (number % 4, name.encode()))
            time.sleep(0.05)
        out, told = watching.communicate()
    finally:
        watching.kill()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["fields"]["n"] in ("1", "3") and event["fields"]["of"] for event in events] == ["a.log"] * 2
    assert {event["input"] for event in events} == {"web"}
    assert all(event["event_time"][10] + event["event_time"][-1] == "TZ" for event in events)
    assert "2 events shown" in told
    assert agent.stop() == 0


@pytest.mark.slow
def test_top_and_state_tell_how_a_running_agent_stands(parts: Rig) -> None:
    data = b"".join(b"line %d\n" % number for number in range(2000))
    (parts.logs / "a.log").write_bytes(data + b"no end yet")
    agent = parts.agent().start(under=AFRESH)
    until_it_ships(parts, 2000)
    deadline = time.monotonic() + 30
    while True:
        (view,) = asked("top", "--once", "--interval", "0.2", "--config", str(agent.config_file))
        (tail,) = view["inputs"]
        if tail["streams"] == 1 and tail["behind_bytes"] == len(b"no end yet"):
            break
        assert time.monotonic() < deadline, view
    assert (tail["name"], tail["kind"], tail["open_files"]) == ("tail-logs", "tail", 1)
    assert view["pid"] == agent.pid
    assert 10_000_000 < view["memory_bytes"] < 200_000_000
    (row,) = asked("state", "list", "--config", str(agent.config_file))
    assert (row["position"], row["behind"], row["state"]) == (len(data), len(b"no end yet"), "goes on")
    assert agent.stop() == 0
    (verdict,) = asked("state", "verify", "--config", str(agent.config_file))
    assert verdict["state"] == "goes on"
    asked("state", "forget", "--yes", "--config", str(agent.config_file), os.path.join(str(parts.logs), "*"))
    assert parts.ship()["lines"] == 2001  # again, from the beginning


def test_nobody_runs_there(tmp_path: Path) -> None:
    for words in (("top", "--once"), ("tap",)):
        done = forks.run(command(*words, "--state-dir", str(tmp_path)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "no agent runs on that state" in done.stderr
