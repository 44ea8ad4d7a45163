"""Fault 16, and of fault 19 what is about places, with real file systems and processes.

Disks that are full or read-only, files that may be read only later; logs on overlays and bind mounts; a state that came to
another host, or whose device has another number.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.audit import AgentMessage
from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import numbered, split, until

Mounting = Callable[..., Path]
WITHOUT_RIGHTS = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.fixture
def mounting(missing: Callable[[str, str], NoReturn]) -> Iterator[Mounting]:
    """`mounting(place, "-t", "tmpfs", "-o", "size=4m", "tmpfs")`: makes the place, and mounts there."""
    with contextlib.ExitStack() as mounted:

        def mount(place: Path, *arguments: str) -> Path:
            place.mkdir(exist_ok=True)
            if subprocess.run(["mount", *arguments, str(place)], capture_output=True, check=False).returncode:
                missing("mount", "run as root, where file systems may be mounted")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(place)], check=False)
            return place

        yield mount


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    return filler


# ---- fault 16


def test_fault_16_with_a_full_state_disk_nothing_is_sent_and_it_goes_on_by_itself(parts: Rig, mounting: Mounting) -> None:
    state = mounting(parts.directory / "agent", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    agent = parts.agent().start()
    parts.wait_for(100)
    filler = fill(state)
    with (parts.logs / "a.log").open("ab") as out:
        out.write(numbered(100, 20_000))
    until(lambda: "waiting for the disk" in agent.log_tail())
    there = parts.count()
    time.sleep(1.5)  # it tries again once a second
    assert parts.count() == there, "nothing is sent that could not be repeated"
    filler.unlink()
    parts.wait_for(20_100)
    assert agent.stop() == 0
    assert parts.lines() == split(numbered(0, 20_100))
    parts.check_audit()


@pytest.mark.parametrize("ended", ["killed", "stopped"])
def test_fault_16_on_a_full_disk_it_does_not_start_and_says_why_and_with_room_it_goes_on(
    parts: Rig, mounting: Mounting, ended: str
) -> None:
    state = mounting(parts.directory / "agent", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    agent = parts.agent().start()
    parts.wait_for(100)
    if ended == "killed":
        agent.kill()
    else:
        agent.stop()
    filler = fill(state)
    assert agent.start(wait=False).wait() == 1
    assert "bytes are free there: make room" in agent.log_tail() or "disk is full" in agent.log_tail()
    assert not (state / "agent.db.damaged").exists()
    filler.unlink()
    (parts.logs / "a.log").write_bytes(numbered(0, 200))
    parts.ship()
    assert parts.lines() == split(numbered(0, 200))
    parts.check_audit()


def test_fault_16_a_state_directory_that_is_read_only_is_refused_and_logs_may_be(parts: Rig, mounting: Mounting) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    (parts.directory / "agent").mkdir()
    place = str(parts.directory / "agent")
    mounting(parts.directory / "agent", "--bind", "-o", "ro", place)
    agent = parts.agent()
    assert agent.start(wait=False).wait() == 2
    assert "Read-only file system" in agent.log_tail()
    logs = mounting(parts.directory / "read-only", "--bind", "-o", "ro", str(parts.logs))
    section = {"state_dir": str(parts.directory / "elsewhere")}
    parts.ship(agent=section, inputs=[{"tail": [str(logs / "*.log")], "topic": "logs"}])
    assert parts.lines() == split(numbered(0, 100))


def test_fault_16_a_file_that_may_be_read_only_later_is_said_once_and_shipped_then(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 100))
    file.chmod(0)
    (parts.logs / "b.log").write_bytes(numbered(100, 10))
    agent = parts.agent().start(under=WITHOUT_RIGHTS if os.getuid() == 0 else ())
    parts.wait_for(10)
    until(lambda: "cannot be read: Permission denied" in agent.log_tail())
    file.chmod(0o400)
    parts.wait_for(110)
    assert agent.stop() == 0
    assert agent.log_file.read_text().count("cannot be read") == 1
    assert parts.lines() == split(numbered(0, 110))


# ---- fault 19


def test_fault_19_logs_on_an_overlay_are_followed_from_its_lower_layer_through_rotation(parts: Rig, mounting: Mounting) -> None:
    """As in a container whose image has a log in it: the first write copies the file up while the agent holds it open."""
    lower, upper, work = (parts.directory / name for name in ("lower", "upper", "work"))
    for folder in (lower, upper, work):
        folder.mkdir()
    (lower / "a.log").write_bytes(numbered(0, 100))
    logs = mounting(
        parts.directory / "merged", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay"
    )
    inputs = [{"tail": [str(logs / "*.log")], "topic": "logs"}]
    agent = parts.agent(inputs=inputs).start()
    parts.wait_for(100)
    for first in (100, 200):
        with (logs / "a.log").open("ab") as out:
            out.write(numbered(first, 50))
        parts.wait_for(first + 50 if first == 100 else 250)
        (logs / "a.log").rename(logs / f"a.log.{first}")
        (logs / "a.log").write_bytes(numbered(first + 50, 50))
        parts.wait_for(first + 100)
    agent.kill()
    with (logs / "a.log").open("ab") as out:
        out.write(numbered(300, 50))
    parts.ship(inputs=inputs)
    assert parts.lines() == split(numbered(0, 350))


def test_fault_19_a_file_that_is_seen_through_a_bind_mount_too_is_one(parts: Rig, mounting: Mounting) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    again = mounting(parts.directory / "again", "--bind", str(parts.logs))
    inputs = [{"tail": [str(parts.logs / "*.log"), str(again / "*.log")], "topic": "logs"}]
    parts.ship(inputs=inputs)
    (parts.logs / "a.log").write_bytes(numbered(0, 150))
    parts.ship(inputs=[{"tail": [str(again / "*.log")], "topic": "logs"}])  # under the other name alone
    assert len(parts.events()) == 150
    assert parts.lines() == split(numbered(0, 150))


def test_fault_19_a_state_that_came_to_another_host_is_another_agent_there(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    parts.ship()
    shutil.copytree(parts.directory / "agent", parts.directory / "moved")
    parts.ship(agent={"state_dir": str(parts.directory / "moved"), "host": "elsewhere"})
    said = {(message.agent_id, message.host) for message in parts.audit() if isinstance(message, AgentMessage)}
    assert len(said) == 2
    assert len({event["agent_id"] for event in parts.events()}) == 2
    assert len(parts.distinct()) == 200, "each host's lines are its own"


def test_fault_19_a_device_with_another_number_loses_and_repeats_nothing(parts: Rig) -> None:
    """As after a restart of the machine, or on another kernel: the files are the same, and their device's number is not."""
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    parts.ship()
    with sqlite3.connect(parts.directory / "agent" / "agent.db") as db:
        db.execute("UPDATE streams SET device = device + 1")
    db.close()
    with (parts.logs / "a.log").open("ab") as out:
        out.write(numbered(100, 50))
    parts.ship()
    assert parts.lines() == split(numbered(0, 150))
    assert len(parts.events()) == 150
