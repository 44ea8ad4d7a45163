"""SIGHUP and inputs of dropped files, as processes: inputs come, change and go; each file is shipped once, whole.

It is put away as the configuration says by then.
"""

import random
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents.operate.test_reloading import reload, tail
from tests.integration.agents.rig import Rig
from tests.processes import Part
from tests.waiting import until


def directory(parts: Rig, **more: Any) -> dict[str, Any]:
    """All come by rename."""
    return {"directory": {"path": str(parts.logs / "drop"), "settle_ms": 0, **more}, "topic": "logs"}


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


def drop(parts: Rig, name: str, data: bytes) -> Path:
    file = parts.logs / "drop" / name
    unfinished = file.with_name(f".{name}")
    unfinished.write_bytes(data)
    return unfinished.rename(file)


def names(parts: Rig) -> set[str]:
    return {each.name for each in (parts.logs / "drop").iterdir()}


def started(parts: Rig, *inputs: dict[str, Any]) -> Part:
    (parts.logs / "drop").mkdir()
    section = {"state_dir": str(parts.directory / "agent"), "http": "127.0.0.1:0", "grace_ms": 5000}
    return parts.agent(agent=section, inputs=list(inputs)).start()


def metrics(agent: Part) -> list[str]:
    answer = urllib.request.urlopen(f"http://127.0.0.1:{agent.ports['http']}/metrics").read()
    return list(answer.decode().splitlines())


def behind_bytes(agent: Part) -> float:
    return sum(float(line.split()[-1]) for line in metrics(agent) if line.startswith("headrace_agent_behind_bytes{"))


def told(agent: Part, line: str) -> bool:
    return line in metrics(agent)


def reloaded(agent: Part, *inputs: dict[str, Any], outcome: str = "applied") -> None:
    """Reload, and wait until that is done."""
    counts = [line.split()[1] for line in metrics(agent) if line.startswith(_reloads(outcome))]
    count = float(counts[0]) if counts else 0.0
    reload(agent, *inputs)
    until(lambda: told(agent, f"{_reloads(outcome)} {count + 1}"))


def _reloads(outcome: str) -> str:
    return f'headrace_agent_config_reloads_total{{outcome="{outcome}"}}'


@pytest.mark.slow
def test_one_that_is_added_ships_what_is_there_and_one_that_is_removed_leaves_it(parts: Rig) -> None:
    agent = started(parts, tail(parts, "a"))
    drop(parts, "one", numbered(0, 10))
    (parts.logs / "a.log").write_bytes(b"tailed\n")
    parts.wait_for(1)
    reloaded(agent, tail(parts, "a"), directory(parts, when_done="delete"))
    until(lambda: not names(parts))
    reloaded(agent, tail(parts, "a"))
    drop(parts, "two", numbered(10, 10))
    with (parts.logs / "a.log").open("ab") as file:
        file.write(b"tailed again\n")
    parts.wait_for(12)
    assert names(parts) == {"two"}
    assert not [line for line in metrics(agent) if line.startswith("headrace_agent_streams{") and '"directory"' in line]
    reloaded(agent, tail(parts, "a"), directory(parts, when_done="delete"))
    until(lambda: not names(parts))
    assert agent.stop() == 0
    assert parts.lines() == sorted([*numbered(0, 20).splitlines(), b"tailed", b"tailed again"])
    assert len(parts.events()) == 22
    parts.check_audit()


@pytest.mark.slow
def test_files_that_are_on_their_way_when_their_input_goes_are_acknowledged_and_put_away_when_it_comes_back(parts: Rig) -> None:
    agent = started(parts, directory(parts, when_done="rename"))
    drop(parts, "first", numbered(0, 1))
    until(lambda: names(parts) == {"first.done"})
    parts.broker.kill()
    for number in range(20):
        drop(parts, f"{number:02}", numbered(100 * (number + 1), 100))
    until(lambda: behind_bytes(agent) > 0)
    reloaded(agent, tail(parts, "none"))
    parts.broker.start()
    with (parts.logs / "none.log").open("ab") as file:
        file.write(b"tailed\n")
    until(lambda: b"tailed" in parts.lines())
    assert names(parts) == {"first.done", *(f"{number:02}" for number in range(20))}
    agent.kill()
    agent.start()
    reloaded(agent, tail(parts, "none"), directory(parts, when_done="delete"))
    until(lambda: names(parts) == {"first.done"})
    assert agent.stop() == 0
    assert parts.lines() == sorted([*numbered(0, 1).splitlines(), *numbered(100, 2000).splitlines(), b"tailed"])
    assert len(parts.distinct()) == 2002, "nothing under two identities"
    parts.check_audit()


@pytest.mark.slow
def test_what_is_kept_is_put_away_and_not_shipped_again_once_that_is_asked_for(parts: Rig) -> None:
    agent = started(parts, directory(parts))
    for number in range(3):
        drop(parts, str(number), numbered(10 * number, 10))
    parts.wait_for(30)
    assert names(parts) == {"0", "1", "2"}
    reloaded(agent, directory(parts, when_done="rename"))
    until(lambda: names(parts) == {"0.done", "1.done", "2.done"})
    drop(parts, "3", numbered(30, 10))
    until(lambda: "3.done" in names(parts))
    reloaded(agent, directory(parts, when_done="delete"))
    drop(parts, "4", numbered(40, 10))
    parts.wait_for(50)
    until(lambda: names(parts) == {f"{number}.done" for number in range(4)})
    reloaded(agent, directory(parts))
    drop(parts, "5", numbered(50, 10))
    parts.wait_for(60)
    assert agent.stop() == 0
    assert names(parts) == {"0.done", "1.done", "2.done", "3.done", "5"}
    assert parts.lines() == sorted(numbered(0, 60).splitlines())
    assert len(parts.events()) == 60
    parts.check_audit()


@pytest.mark.slow
def test_one_that_is_invalid_or_would_put_away_the_agents_own_changes_nothing(parts: Rig) -> None:
    agent = started(parts, directory(parts))
    own = {"directory": {"path": str(agent.config_file.parent), "settle_ms": 0, "when_done": "delete"}, "topic": "logs"}
    for number, wrong in enumerate((directory(parts, when_done="move"), directory(parts, suffix="a/b"), own)):
        reloaded(agent, wrong, outcome="invalid")
        assert told(agent, "headrace_agent_config_valid 0.0")
        drop(parts, str(number), numbered(10 * number, 10))
        parts.wait_for(10 * number + 10)
    assert f"{agent.config_file} is the agent's own" in agent.log()
    assert names(parts) == {"0", "1", "2"}
    assert agent.config_file.exists()
    reloaded(agent, directory(parts, when_done="delete"))
    until(lambda: not names(parts))
    assert told(agent, "headrace_agent_config_valid 1.0")
    assert agent.stop() == 0
    assert len(parts.events()) == 30


@pytest.mark.slow
def test_reloads_under_load_with_kill_9_between_ship_each_file_once_and_put_it_away(parts: Rig) -> None:
    rng, count = random.Random(5), 0
    choices = [
        [directory(parts)],
        [directory(parts, when_done="rename")],
        [directory(parts, when_done="delete")],
        [directory(parts, when_done="delete"), directory(parts, when_done="rename") | {"name": "again"}],
        [{**directory(parts, when_done="rename"), "parse": "json", "transforms": [{"add": {"env": "prod"}}]}],
        [tail(parts, "none")],
    ]
    agent = started(parts, *choices[0])
    for _ in range(3):
        for _ in range(12):
            for _ in range(5):
                drop(parts, str(count), numbered(1000 * count, 1 + count % 300))
                count += 1
            reload(agent, *rng.choice(choices))
            time.sleep(rng.random() / 20)
        agent.kill()
        agent.start()
    reload(agent, *choices[2])
    until(lambda: all(name.endswith(".done") for name in names(parts)))
    assert agent.stop() == 0
    expected = [line for number in range(count) for line in numbered(1000 * number, 1 + number % 300).splitlines()]
    assert parts.lines() == sorted(expected)
    assert len(parts.distinct()) == len(expected)
    parts.check_audit()
