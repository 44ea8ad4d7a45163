"""Directories of dropped files, as processes: each file once, whole, and put away, whatever ends the agent and whoever errs."""

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.audit import SentMessage
from tests import forks
from tests.integration.agents.rig import Rig
from tests.processes import Part
from tests.waiting import until


def directory(parts: Rig, below: str = "", **more: Any) -> list[dict[str, Any]]:
    """One input: all come by rename."""
    (parts.logs / below).mkdir(exist_ok=True)
    return [{"directory": {"path": str(parts.logs / below), "settle_ms": 0, **more}, "topic": "logs"}]


def drop(parts: Rig, name: str, data: bytes) -> Path:
    """As programs do: written under another name, then renamed."""
    file = parts.logs / name
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_bytes(data)
    unfinished.rename(file)
    return file


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"2026-11-26 08:00:00 INFO line %d\n" % number for number in range(first, first + count))


def names(parts: Rig) -> set[str]:
    return {each.name for each in parts.logs.iterdir()}


def states(agent: Part) -> dict[str, str]:
    """What `agent state list` says of each file."""
    words = ["agent", "state", "list", "--config", str(agent.config_file), "--format", "json"]
    out = forks.run([*forks.PREFIX, *words], capture_output=True, check=True).stdout
    return {Path(row["path"]).name: row["state"] for row in map(json.loads, out.splitlines())}


def test_finished_files_are_shipped_whole_and_deleted_and_no_others(parts: Rig) -> None:
    drop(parts, "a.csv", numbered(0, 500)[:-1])  # its last line has no newline
    drop(parts, "b.json.gz", gzip.compress(numbered(500, 300)) + gzip.compress(numbered(800, 100)))
    for name in ("c.tmp", ".d", "e.part", "f.done"):
        (parts.logs / name).write_bytes(b"not finished\n")
    (parts.logs / "empty").write_bytes(b"")
    (parts.logs / "sub").mkdir()
    (parts.logs / "sub" / "g").write_bytes(b"below\n")
    (parts.logs / "link").symlink_to("/etc/hostname")
    inputs = directory(parts, when_done="delete")
    assert parts.ship(inputs=inputs)["lines"] == 900
    assert parts.lines() == sorted(numbered(0, 900).splitlines())
    assert names(parts) == {"c.tmp", ".d", "e.part", "f.done", "empty", "sub", "link"}
    assert parts.ship(inputs=directory(parts, when_done="delete", subfolders=True))["lines"] == 1
    assert {event["service"] for event in parts.events()} == {"a", "b", "g"}
    assert len(parts.events()) == 901
    parts.check_audit()


def test_a_name_and_content_dropped_twice_are_two_files(parts: Rig) -> None:
    inputs = directory(parts, when_done="rename")
    for _ in range(2):
        drop(parts, "a", b"the same\n")
        assert parts.ship(inputs=inputs)["lines"] == 1
    assert [event["position"] for event in parts.events()] == [0, 0]
    assert len({event["stream_id"] for event in parts.events()}) == 2
    assert len(names(parts)) == 2
    assert all(name.endswith(".done") for name in names(parts))
    assert parts.ship(inputs=directory(parts))["lines"] == 0  # `keep` ships none that is done, either


@pytest.mark.slow
def test_kept_files_are_shipped_once_over_restarts(parts: Rig) -> None:
    inputs = directory(parts)
    drop(parts, "a", numbered(0, 10))
    assert parts.ship(inputs=inputs)["lines"] == 10
    drop(parts, "b", numbered(10, 5))
    assert parts.ship(inputs=inputs)["lines"] == 5
    drop(parts, "a", numbered(20, 3))  # another file takes its name
    assert parts.ship(inputs=inputs)["lines"] == 3
    assert parts.ship(inputs=inputs)["lines"] == 0
    assert set(states(parts.agents[0]).values()) == {"done"}
    parts.check_audit()


@pytest.mark.slow
def test_kill_9_at_any_time_ships_each_file_once_and_puts_it_away(parts: Rig) -> None:
    ways = {"delete": parts.logs / "delete", "rename": parts.logs / "rename"}
    inputs = [each for way in ways for each in directory(parts, way, when_done=way)]
    agent = parts.agent(inputs=inputs)
    count = 0
    for delay_s in (0.6, 0.8, 1.1):
        for _ in range(80):
            name, data = f"{('delete', 'rename')[count % 2]}/{count}", numbered(1000 * count, 1 + count % 300)
            drop(parts, *((f"{name}.gz", gzip.compress(data)) if count % 5 == 0 else (name, data)))
            count += 1
        agent.start(wait=False)
        time.sleep(delay_s)
        agent.kill()
    parts.ship(inputs=inputs)
    expected = [line for number in range(count) for line in numbered(1000 * number, 1 + number % 300).splitlines()]
    assert parts.lines() == sorted(expected)
    assert len(parts.distinct()) == len(expected)
    assert list(ways["delete"].iterdir()) == []
    assert len(list(ways["rename"].iterdir())) == count // 2
    assert all(file.suffix == ".done" for file in ways["rename"].iterdir())
    parts.check_audit()


def test_thousands_dropped_at_once_are_shipped_in_order_with_few_descriptors(parts: Rig) -> None:
    parts.make_topic("logs")
    for number in range(3000):
        file = drop(parts, f"{number:04}", b"%d\n" % number)
        os.utime(file, ns=(0, 1_700_000_000_000_000_000 - number // 2))  # two and two of one time: by name
    agent = parts.agent(inputs=directory(parts, when_done="delete")).start(wait=False)
    most = 0
    while parts.count() < 3000:
        most = max(most, len(list(Path(f"/proc/{agent.pid}/fd").iterdir())))
        time.sleep(0.02)
    until(lambda: not names(parts))
    assert agent.stop() == 0
    assert most < 100
    order = [int(event["message"]) for event in parts.events()]
    assert order == sorted(range(3000), key=lambda number: (-(number // 2), number))
    parts.check_audit()


@pytest.mark.slow
def test_a_file_that_changes_while_it_is_shipped_stops_alone(parts: Rig) -> None:
    inputs = directory(parts, when_done="delete")
    agent = parts.agent(inputs=inputs)
    big = drop(parts, "big", numbered(0, 900_000))  # more than is shipped before it is looked at
    agent.start(wait=False)
    parts.wait_for(1)
    agent.kill()
    drop(parts, "other", numbered(1_000_000, 10))
    with big.open("ab") as file:
        file.write(b"late\n")
    agent.start()
    until(lambda: names(parts) == {"big"})
    until(lambda: states(agent)["big"] == "changed")
    assert agent.stop() == 0
    assert b"late" not in parts.lines()
    assert {b"2026-11-26 08:00:00 INFO line %d" % number for number in range(1_000_000, 1_000_010)} <= set(parts.lines())
    dropped = [message.dropped for message in parts.audit() if isinstance(message, SentMessage) and message.dropped]
    assert {reason for each in dropped for reason in each} == {"changed"}
    assert "changed" in agent.log()
    assert parts.ship(inputs=inputs)["lines"] == 0  # said and counted once
    parts.check_audit()


def test_a_directory_that_goes_away_and_comes_back_costs_nothing(parts: Rig) -> None:
    agent = parts.agent(inputs=directory(parts, when_done="rename")).start()
    drop(parts, "a", numbered(0, 10))
    until(lambda: names(parts) == {"a.done"})
    away = parts.directory / "away"
    parts.logs.rename(away)
    until(lambda: "cannot be looked into" in agent.log_tail())
    (away / "b").write_bytes(numbered(10, 10))
    away.rename(parts.logs)
    until(lambda: names(parts) == {"a.done", "b.done"})
    assert agent.stop() == 0
    assert parts.lines() == sorted(numbered(0, 20).splitlines())
    assert len(parts.events()) == 20


@pytest.mark.slow
def test_a_file_that_cannot_be_renamed_is_said_and_not_shipped_again(parts: Rig) -> None:
    long = "x" * 252  # with the suffix it is longer than a name may be
    drop(parts, "a", numbered(0, 5))
    drop(parts, long, numbered(5, 5))
    inputs = directory(parts, when_done="rename")
    for lines in (10, 0):
        assert parts.ship(inputs=inputs)["lines"] == lines
        assert "cannot be put away" in parts.agents[-1].log()
    assert names(parts) == {"a.done", long}
    assert parts.ship(inputs=directory(parts, when_done="delete"))["lines"] == 0
    assert names(parts) == {"a.done"}
    parts.check_audit()
