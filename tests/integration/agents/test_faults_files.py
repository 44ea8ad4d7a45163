"""Faults 1, 5, 7, 8, 10 and 11 of twenty, with real processes: what is written is in the log, once by identity, in order.

Fault 2: tests/unit/agents/test_state_generations.py, 6: test_faults_archives.py, 9: tests/sim/tailer/test_histories.py.
HEADRACE_KILLS says how often the agent is killed.
"""

import os
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.integration.agents.rig import Rig

KILLS = min(100, int(os.environ.get("HEADRACE_KILLS", "5")))


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"2026-11-23 08:00:00 INFO line %d\n" % number for number in range(first, first + count))


def check_exactly(parts: Rig, *files: bytes) -> None:
    """The distinct events are the lines of these files, and each stream's are in order."""
    assert parts.lines() == sorted(line for data in files for line in data.split(b"\n")[:-1])
    parts.check_audit()


def test_fault_01_kill_9_at_random_times_under_load_loses_nothing(parts: Rig) -> None:
    file, stop, written = parts.logs / "a.log", threading.Event(), [0]

    def write() -> None:
        with file.open("ab", buffering=0) as out:
            while not stop.is_set():
                out.write(numbered(written[0], 200))
                written[0] += 200
                time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        agent, rng = parts.agent(), random.Random(1)
        for _ in range(KILLS):
            agent.start(wait=False)
            time.sleep(rng.uniform(0.4, 1.2))
            agent.kill()
    finally:
        stop.set()
        writer.join()
    parts.ship()
    check_exactly(parts, numbered(0, written[0]))
    numbers = [int(event["message"].rsplit(" ", 1)[1]) for event in parts.events()]
    first = {number: index for index, number in reversed(list(enumerate(numbers)))}
    assert [first[number] for number in range(written[0])] == sorted(first.values()), "order is lost"


def test_fault_05_five_rotations_while_nothing_can_be_sent_are_all_drained(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 50))
    agent = parts.agent().start()
    parts.wait_for(50)
    parts.broker.kill()
    for number in range(1, 6):
        with file.open("ab") as out:
            out.write(numbered(number * 3000, 3000))
        file.rename(parts.logs / f"a.log.{number}")
        file.write_bytes(b"")
        time.sleep(0.15)
    parts.broker.start()
    parts.wait_for(50 + 5 * 3000, timeout_s=60)
    assert agent.stop() == 0
    check_exactly(parts, numbered(0, 50), *(numbered(number * 3000, 3000) for number in range(1, 6)))


def test_fault_07_copytruncate_live_and_regrown_and_while_down_ships_every_line(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 100))
    agent = parts.agent().start()
    parts.wait_for(100)
    shutil.copy(file, parts.logs / "a.log.1")
    file.write_bytes(numbered(1000, 300))  # truncated, and beyond where it was before anybody looks
    parts.wait_for(400)
    assert agent.stop() == 0
    with file.open("ab") as out:
        out.write(numbered(2000, 50))
    shutil.copy(file, parts.logs / "a.log.2")
    file.write_bytes(numbered(3000, 700))
    parts.ship()
    check_exactly(parts, numbered(0, 100), numbered(1000, 300), numbered(2000, 50), numbered(3000, 700))


def test_fault_08_truncated_and_begun_again_with_the_same_first_line_is_another_stream(parts: Rig) -> None:
    file, banner = parts.logs / "a.csv.log", b"time,level,message\n"
    file.write_bytes(banner + numbered(0, 20))
    parts.ship()
    file.write_bytes(banner)
    parts.ship()
    with file.open("ab") as out:
        out.write(numbered(100, 40))
    parts.ship()
    assert len({event["stream_id"] for event in parts.distinct()}) == 2
    check_exactly(parts, banner + numbered(0, 20), banner + numbered(100, 40))


def test_fault_10_files_that_begin_alike_are_shipped_each_and_so_are_small_ones(parts: Rig) -> None:
    head = b"x" * 99 + b"\n"
    files = {"a.log": head * 41 + b"a\n", "b.log": head * 41 + b"b\n", "c.log": head * 41, "small.log": b"s\n", "none.log": b""}
    for name, data in files.items():
        (parts.logs / name).write_bytes(data)
    parts.ship()
    for name in ("c.log", "none.log"):
        with (parts.logs / name).open("ab") as out:
            out.write(b"more\n")
        files[name] += b"more\n"
    parts.ship()
    found: dict[str, bytes] = {}
    for event in parts.distinct():
        name = Path(event["source"]).name
        assert event["position"] == len(found.get(name, b""))
        found[name] = found.get(name, b"") + event["message"].encode() + b"\n"
    assert found == files
    assert len(parts.events()) == len(parts.distinct())


@pytest.mark.slow
def test_fault_11_a_file_deleted_while_unread_is_drained(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 10))
    agent = parts.agent().start()
    parts.wait_for(10)
    parts.broker.kill()
    with file.open("ab") as out:
        out.write(numbered(10, 60_000))
    time.sleep(0.5)
    file.unlink()
    parts.broker.start()
    parts.wait_for(60_010, timeout_s=60)
    assert agent.stop() == 0
    check_exactly(parts, numbered(0, 60_010))
