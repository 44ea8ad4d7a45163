"""`headrace audit --config` killed with -9 between two marks of `_SUCCESS`: started again, no mark is wrong or missing.

The disk is slow at marks (tests/slow_disk.c), so that the kill falls between two of them, or between the two steps in which
one is replaced. Most hours are older than the horizon.
"""

import contextlib
import json
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from headrace.cli import main
from tests.landed_tables import AuditWriter, Event, TableWriter, announce
from tests.processes import Part
from tests.waiting import until

HOURS = 30
NOW = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000
FIRST = (NOW // HOUR_MS - 2 - HOURS) * HOUR_MS
EVENTS = [Event("a", n * 30, FIRST + n * HOUR_MS // 2) for n in range(2 * HOURS)]


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory, missing):
    folder = tmp_path_factory.mktemp("shim")
    source, library, control = Path(__file__).parents[2] / "slow_disk.c", folder / "slow_disk.so", folder / "control"
    gcc = shutil.which("gcc") or missing("gcc", "install it")
    subprocess.run([gcc, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    control.write_text(".tmp 0 150\n")  # before a mark is there
    return {"LD_PRELOAD": str(library), "SLOW_DISK": str(control)}


@pytest.fixture
def part(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    say(root, EVENTS)
    part = Part("audit", tmp_path, {"audit": {"root": str(root), "every": "100ms", "horizon": "6h"}})
    yield part
    part.kill()


def say(root, events):
    AuditWriter(root).land(*announce("logs", events, NOW, acked={0: len(events)}, state="active", drained_to_ms=NOW))


def marks(root):
    """What each mark says to have landed, by the start of its hour."""
    found = {}
    for file in (root / "logs").rglob("_SUCCESS"):
        with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
            mark = json.loads(file.read_text())
            found[mark["hour"]] = mark["landed"]
    return found


def landed(events):
    return Counter(time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(event.event_ms / 1000)) for event in events)


def killed_when(part, condition, slow_disk):
    part.start(wait=False, **slow_disk)
    until(condition)
    part.kill()


def test_killed_between_two_marks_and_started_again_no_mark_is_wrong_or_missing(part, tmp_path, slow_disk):
    root = tmp_path / "landed"
    wanted = landed(EVENTS)
    killed_when(part, lambda: len(marks(root)) > 5, slow_disk)
    first = marks(root)
    assert 5 < len(first) < HOURS
    assert first.items() <= wanted.items()
    late = [Event("a", (2 * HOURS + n) * 30, FIRST + n * HOUR_MS + 1, read_ms=NOW) for n in range(HOURS)]
    TableWriter(root, "logs").land_events(late)  # not announced yet: no hour is known to be complete
    part.start(wait=False, **slow_disk)
    until(lambda: marks(root) == {})
    say(root, [*EVENTS, *late])
    wanted = landed([*EVENTS, *late])
    until(lambda: len(marks(root)) > 5)
    part.kill()
    assert 5 < len(marks(root)) < HOURS
    assert marks(root).items() <= wanted.items()
    part.start(timeout_s=90)
    until(lambda: marks(root) == wanted)
    assert part.stop() == 0
    assert main(["check", str(root)]) == 0


def test_killed_while_marks_are_replaced_and_started_again_each_says_what_there_is_now(part, tmp_path, slow_disk):
    root = tmp_path / "landed"
    part.start(timeout_s=90)
    until(lambda: marks(root) == landed(EVENTS))
    part.kill()
    more = [Event("a", (2 * HOURS + n) * 30, FIRST + n * HOUR_MS + 1, read_ms=NOW) for n in range(HOURS)]
    TableWriter(root, "logs").land_events(more)
    say(root, [*EVENTS, *more])
    killed_when(part, lambda: len(marks(root)) < HOURS, slow_disk)
    part.start(timeout_s=90)
    until(lambda: marks(root) == landed([*EVENTS, *more]))
    assert part.stop() == 0
