"""Fault 16, and of fault 19 what is about places, with real file systems and processes.

Disks that are full or read-only, files that may be read only later; logs on overlays and bind mounts; a state that came to
another host, or whose device has another number.
"""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from headrace.agents.tail.files import path_birth_ns
from headrace.audit import AgentMessage
from tests.integration.agents.file_systems import Mounting, fill
from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import numbered, split, until
from tests.processes import Part, free_port

WITHOUT_RIGHTS = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


# ---- fault 16


def start_and_wait(agent: Part, place: Path, **variables: str) -> None:
    """Until it has said, once, that it waits for room in a place."""
    agent.log_file.unlink(missing_ok=True)
    agent.start(wait=False, **variables)
    until(lambda: "waiting for room on the disk" in agent.log_tail())
    time.sleep(1.2)  # it tries again once a second
    (said,) = [line for line in map(json.loads, agent.log_file.read_text().splitlines()) if line["level"] == "error"]
    assert re.fullmatch(rf"{place}: .+; [\d,]+ bytes are free there: make room", said["error"])


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


def small_blocks(image: Path) -> list[str]:
    """What mounts an ext4 of 2 MiB with blocks of 1 KiB, as small partitions have; skips where that cannot be."""
    program = shutil.which("mkfs.ext4", path="/sbin:/usr/sbin")
    if program is None or subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode:
        pytest.skip("there is no mkfs.ext4, or no loop device")
    with image.open("wb") as file:
        file.truncate(2 << 20)
    subprocess.run([program, "-q", "-b", "1024", "-m", "0", "-O", "^has_journal", str(image)], check=True)
    return ["-o", "loop", str(image)]


@pytest.mark.slow
@pytest.mark.parametrize("ended", ["killed", "stopped", "killed on small blocks"])
def test_fault_16_started_on_a_full_disk_it_waits_and_with_room_it_goes_on_as_itself(
    parts: Rig, mounting: Mounting, ended: str
) -> None:
    on_tmpfs = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"]
    disk = small_blocks(parts.directory / "image") if ended.endswith("blocks") else on_tmpfs
    state = mounting(parts.directory / "agent", *disk)
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    agent = parts.agent().start()
    parts.wait_for(100)
    if ended.startswith("killed"):
        agent.kill()
    else:
        agent.stop()
    filler = fill(state)
    (parts.logs / "a.log").write_bytes(numbered(0, 200))
    start_and_wait(agent, state)
    agent.kill()
    start_and_wait(agent, state)
    assert agent.stop() == 0
    start_and_wait(agent, state)
    assert parts.count() == 100
    filler.unlink()
    parts.wait_for(200)
    assert "there is room on the disk" in agent.log()
    assert agent.stop() == 0
    assert parts.lines() == split(numbered(0, 200))
    assert len({event["agent_id"] for event in parts.events()}) == 1
    assert not set(state.glob("agent.db.damaged*")) | set(state.glob("agent.db.stale"))
    parts.check_audit()


def test_fault_16_a_first_start_on_a_full_disk_waits_and_answers_for_itself_meanwhile(parts: Rig, mounting: Mounting) -> None:
    disk = mounting(parts.directory / "agent", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    filler = fill(disk)
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    http, told = free_port(), parts.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(told))
        systemd.settimeout(30)
        agent = parts.agent(agent={"state_dir": str(disk / "state"), "http": f"127.0.0.1:{http}"})
        start_and_wait(agent, disk / "state", NOTIFY_SOCKET=str(told))
        assert systemd.recv(1000).startswith(b"READY=1\nSTATUS=waiting for room: ")
        assert systemd.recv(1000) == b"WATCHDOG=1"
        assert urllib.request.urlopen(f"http://127.0.0.1:{http}/healthz").read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz")
        assert refused.value.code == 503
        assert re.search(rb"waiting for room: .*/state: .*; 0 bytes are free there: make room", refused.value.read())
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics").read().decode()
        assert 'headrace_agent_component_errors_total{error_type="disk",stage="storing"}' in metrics
        (age,) = [line for line in metrics.splitlines() if line.startswith("headrace_agent_checkpoint_age_seconds ")]
        assert float(age.split()[1]) >= 1
        filler.unlink()
        parts.wait_for(100)
        until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz").status == 200)
    assert agent.stop() == 0
    assert parts.lines() == split(numbered(0, 100))
    assert len({event["agent_id"] for event in parts.events()}) == 1


def test_fault_16_a_start_waits_for_room_in_its_spools(parts: Rig, mounting: Mounting) -> None:
    (parts.directory / "agent").mkdir()
    spool = mounting(parts.directory / "agent" / "spool", "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    filler = fill(spool)
    agent = parts.agent(inputs=[{"unix": {"path": str(parts.directory / "pushed")}, "topic": "logs", "name": "pushed"}])
    start_and_wait(agent, spool)
    assert agent.stop() == 0
    start_and_wait(agent, spool)
    filler.unlink()
    until(agent.run_file.exists)
    with socket.socket(socket.AF_UNIX) as program:
        program.connect(str(parts.directory / "pushed"))
        program.sendall(numbered(0, 10))
    parts.wait_for(10)
    assert agent.stop() == 0
    assert parts.lines() == split(numbered(0, 10))
    parts.check_audit()


def test_fault_16_a_finite_run_on_a_full_disk_ends_at_once_and_says_why(parts: Rig, mounting: Mounting) -> None:
    state = mounting(parts.directory / "agent", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    fill(state)
    agent = parts.agent("--once").start(wait=False)
    assert agent.wait() == 1
    assert re.search(rf"headrace agent: {state}: .*; 0 bytes are free there: make room\n$", agent.log_tail())


def test_fault_16_a_state_directory_that_is_read_only_is_refused_and_logs_may_be(parts: Rig, mounting: Mounting) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    (parts.directory / "agent").mkdir()
    place = str(parts.directory / "agent")
    mounting(parts.directory / "agent", "--bind", "-o", "ro", place)
    agent = parts.agent()
    assert agent.start(wait=False).wait() == 2
    assert "Read-only file system" in agent.log()
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


def test_fault_19_a_mount_that_was_away_at_a_start_and_is_back_repeats_nothing(parts: Rig, mounting: Mounting) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    inputs = [{"tail": [str(parts.directory / "mounted" / "*.log")], "topic": "logs"}]
    mounted = mounting(parts.directory / "mounted", "--bind", str(parts.logs))
    parts.ship(inputs=inputs)
    subprocess.run(["umount", str(mounted)], check=True)
    parts.ship(inputs=inputs)
    with (parts.logs / "a.log").open("ab") as out:
        out.write(numbered(100, 50))
    mounting(mounted, "--bind", str(parts.logs))
    parts.ship(inputs=inputs)
    assert parts.lines() == split(numbered(0, 150))
    events = parts.events()
    if path_birth_ns(str(parts.logs / "a.log")):
        assert (len(events), len({event["stream_id"] for event in events})) == (150, 1)


@pytest.mark.slow
def test_fault_02_a_state_put_back_from_a_backup_repeats_under_new_identities(parts: Rig) -> None:
    state, backup = parts.directory / "agent", parts.directory / "backup"
    (parts.logs / "a.log").write_bytes(numbered(0, 100))
    parts.ship()
    shutil.copytree(state, backup)
    for first in (100, 150):
        with (parts.logs / "a.log").open("ab") as out:
            out.write(numbered(first, 50))
        parts.ship()
        shutil.rmtree(state)
        shutil.copytree(backup, state)
    parts.ship()
    assert set(parts.lines()) == set(split(numbered(0, 200)))
    if path_birth_ns(str(state)):
        events = parts.events()
        assert len({event["agent_id"] for event in events}) == 3
        assert len(parts.distinct()) == len(events) == 100 + 50 + 100 + 100


@pytest.mark.slow
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
