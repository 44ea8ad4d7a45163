"""SIGHUP, as processes: inputs come and go under load, and nothing is lost or sent twice."""

import os
import random
import signal
import time
import urllib.request
from typing import Any

import pytest
import yaml

from tests.integration.agents.rig import Rig
from tests.processes import Part
from tests.waiting import until


def reload(agent: Part, *inputs: dict[str, Any]) -> None:
    """Write other inputs into an agent's configuration, as an editor does, and tell it."""
    config = yaml.safe_load(agent.config_file.read_text())
    fresh = agent.config_file.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({**config, "inputs": list(inputs)}))
    fresh.rename(agent.config_file)
    os.kill(agent.pid, signal.SIGHUP)


def tail(parts: Rig, name: str, **more: Any) -> dict[str, Any]:
    return {"tail": [str(parts.logs / f"{name}*.log")], "topic": "logs", **more}


class Writer:
    """Lines for two logs, and all of them in the end."""

    def __init__(self, parts: Rig) -> None:
        self._parts, self.count = parts, 0

    def write(self, lines: int = 40) -> None:
        for name in ("a.log", "b.log"):
            with (self._parts.logs / name).open("ab") as file:
                file.write(b"".join(b"%s %d\n" % (name.encode(), self.count + number) for number in range(lines)))
        self.count += lines

    def lines(self) -> list[bytes]:
        return sorted(b"%s %d" % (name, number) for name in (b"a.log", b"b.log") for number in range(self.count))


def test_fault_18_fifty_reloads_under_load_lose_nothing_and_repeat_nothing(parts: Rig) -> None:
    writer = Writer(parts)
    writer.write()
    agent = parts.agent(inputs=[tail(parts, "a"), tail(parts, "b")]).start()
    until(lambda: parts.count() > 0)
    rng = random.Random(5)
    choices = [
        [tail(parts, "a")],
        [tail(parts, "b", parse="plain")],
        [tail(parts, "a"), tail(parts, "b", max_line_bytes=100)],
        [tail(parts, "a", parse="json", transforms=[{"add": {"env": "prod"}}]), tail(parts, "b")],
        [tail(parts, "nothing")],
    ]
    for _ in range(50):
        reload(agent, *rng.choice(choices))
        writer.write()
        time.sleep(rng.random() / 20)
    reload(agent, tail(parts, "a"), tail(parts, "b"))
    until(lambda: len(parts.lines()) == 2 * writer.count)
    assert agent.stop() == 0
    assert parts.lines() == writer.lines()
    assert len(parts.events()) == 2 * writer.count
    assert len({event["stream_id"] for event in parts.events()}) == 2
    parts.check_audit()


@pytest.mark.slow
def test_fault_18_an_agent_killed_while_it_reloads_repeats_identically_and_loses_nothing(parts: Rig) -> None:
    writer = Writer(parts)
    writer.write(2000)
    agent = parts.agent(inputs=[tail(parts, "a"), tail(parts, "b")])
    for round_ in range(4):
        agent.start()
        for number in range(6):
            reload(agent, tail(parts, "a", parse=("json", "plain")[number % 2]), *([tail(parts, "b")] if number % 3 else []))
            writer.write(500)
            time.sleep(0.03 * round_)
        agent.kill()
    parts.ship(inputs=[tail(parts, "a"), tail(parts, "b")])
    assert parts.lines() == writer.lines()
    parts.check_audit()


def test_fault_18_an_invalid_file_is_told_and_the_agent_goes_on_as_it_was(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"one\n")
    section = {"state_dir": str(parts.directory / "agent"), "http": "127.0.0.1:0"}
    agent = parts.agent(agent=section, inputs=[tail(parts, "a")]).start()
    until(lambda: parts.count() == 1)

    def told(line: str) -> bool:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{agent.ports['http']}/metrics").read().decode()
        return line in answer.splitlines()

    reload(agent, {"tail": ["/a"], "tpoic": "logs"})
    until(lambda: told("headrace_agent_config_valid 0.0"))
    assert "did you mean topic?" in agent.log()
    with (parts.logs / "a.log").open("ab") as file:
        file.write(b"two\n")
    (parts.logs / "b.log").write_bytes(b"three\n")
    until(lambda: parts.count() == 2)
    reload(agent, tail(parts, "a"), tail(parts, "b"))
    until(lambda: parts.count() == 3)
    until(lambda: told("headrace_agent_config_valid 1.0"))
    assert agent.stop() == 0
    assert parts.lines() == [b"one", b"three", b"two"]


@pytest.mark.slow
def test_what_no_input_asks_for_any_more_stops_nobodys_claim_of_completeness(parts: Rig) -> None:
    """A topic that no input ships to is not asked for at the start; its files must not keep the others from being complete."""
    for name in ("a.log", "b.log"):
        (parts.logs / name).write_bytes(b"one\n")
    agent = parts.agent(inputs=[tail(parts, "a"), {**tail(parts, "b"), "topic": "other"}]).start()
    until(lambda: parts.count() == 1 and len(parts.records("other")) == 1)
    reload(agent, tail(parts, "a"))
    until(lambda: "configuration read again" in agent.log_tail())
    assert agent.stop() == 0
    claims = len(parts.audit())
    agent.start()
    until(lambda: len(parts.audit()) > claims)
    with (parts.logs / "a.log").open("ab") as file:
        file.write(b"two\n")  # news, for which the next heartbeat does not wait half a minute
    until(lambda: any(getattr(said, "drained_to_ms", None) is not None for said in parts.audit()[claims:]))
    assert agent.stop() == 0
