"""Pipelines in a running agent: kill -9 and another configuration, and what was in flight is repeated equal byte for byte."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import numbered, split, until
from tests.processes import Part

FUNCTION = """
import random

def change(event):
    if event["message"].endswith("7"):
        return None
    return {{**event, "fields": {{"run": "{run}", "drawn": random.random()}}}}
"""


def kill_after_more(parts: Rig, before: int, agent: Part) -> None:
    """Kill an agent as soon as more records are in the log than before its start."""
    until(lambda: parts.count() > before)
    agent.kill()


@pytest.mark.slow
def test_kill_9_and_another_configuration_repeat_what_a_function_answered(parts: Rig, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"

    def inputs(run: int) -> list[dict[str, Any]]:
        with (parts.logs / "a.log").open("ab") as log:
            log.write(numbered(run * 4000, 4000))
        file.write_text(FUNCTION.format(run=run))
        steps: list[dict[str, Any]] = [{"python": f"{file}:change"}, {"add": {"configuration": str(run)}}]
        return [
            {"tail": [str(parts.logs / "*.log")], "topic": "logs", "parse": ("plain", "auto")[run % 2], "transforms": steps}
        ]

    for run in range(3):
        before = parts.count()
        kill_after_more(parts, before, parts.agent(inputs=inputs(run)).start())
    parts.ship(inputs=inputs(3))
    events = parts.distinct()
    assert sorted(event["message"].encode() for event in events) == [
        line for line in split(numbered(0, 16_000)) if not line.endswith(b"7")
    ]
    runs = {(event["fields"]["configuration"], event["fields"]["run"]) for event in events}
    assert {("0", "0"), ("3", "3")} <= runs
    assert all(configured <= asked for configured, asked in runs), "what was not answered yet asks the function as it is now"
    parts.check_audit()


def test_what_is_pushed_is_repeated_with_its_answers_too(parts: Rig, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    inputs = [{"stdin": {}, "topic": "logs", "transforms": [{"python": f"{file}:change"}]}]
    for run in range(3):
        file.write_text(FUNCTION.format(run=run))
        before = parts.count()
        read, write = os.pipe()
        agent = parts.agent(inputs=inputs).start(stdin=read)
        os.close(read)
        os.write(write, numbered(run * 800, 800))
        if run < 2:
            kill_after_more(parts, before, agent)
        else:
            until(lambda: len(parts.distinct()) == len(PUSHED))
            assert agent.stop() == 0
        os.close(write)
    assert parts.lines() == PUSHED
    parts.check_audit()


PUSHED = [line for line in split(numbered(0, 2400)) if not line.endswith(b"7")]


def test_what_is_left_out_or_hidden_is_complete_in_the_audit(parts: Rig, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("never to be seen again")
    lines = [b'{"level": "%s", "to": "user%d@example.com"}' % ((b"debug", b"info")[n % 2], n) for n in range(2000)]
    (parts.logs / "a.log").write_bytes(b"\n".join(lines) + b"\n")
    steps = [
        {"filter": {"exclude": {"field": "level", "equals": "debug"}}},
        {"redact": {"email": True, "secret": f"${{file:{secret}}}"}},
        {"rate_limit": {"lines_per_second": 1, "burst": 300}},
    ]
    inputs = [{"tail": [str(parts.logs / "*.log")], "topic": "logs", "parse": "json", "transforms": steps}]
    parts.ship(inputs=inputs)
    events = parts.distinct()
    assert len(events) == 300
    assert all("@" not in event["message"] and event["fields"]["to"] in event["message"] for event in events)
    assert len({event["fields"]["to"] for event in events}) == 300
    parts.check_audit()
    for written in (parts.directory / "agent").rglob("*"):
        assert not written.is_file() or b"never to be seen again" not in written.read_bytes()
