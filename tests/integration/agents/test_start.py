"""Where shipping begins in what is there before the first start, with real processes: decided once, whatever comes after."""

import gzip
import json
import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forks
from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import until

HOUR_S = 3600


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


def inputs(parts: Rig, start: str, **more: Any) -> list[dict[str, Any]]:
    return [{"tail": [str(parts.logs / "*.log*")], "topic": "logs", "start": start, **more}]


def state(parts: Rig) -> dict[str, dict[str, Any]]:
    """What the agent remembers, by the file's name."""
    command = [*forks.PREFIX, "agent", "state", "list", "--state-dir", str(parts.directory / "agent")]
    done = forks.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
    return {Path(row["path"]).name: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
def test_the_end_is_where_the_last_line_ended_at_the_first_start_though_it_was_killed_before_anything_could_be_sent(
    parts: Rig,
) -> None:
    """The broker is away then, the log is rotated and packed before the next start, and lines are written meanwhile."""
    log, old = parts.logs / "a.log", parts.logs / "old.log.gz"
    log.write_bytes(numbered(0, 1000) + b"begun be")
    old.write_bytes(gzip.compress(numbered(5000, 10)))
    parts.broker.kill()
    agent = parts.agent(inputs=inputs(parts, "end")).start(wait=False)
    until(lambda: "passed over" in agent.log_tail())
    agent.kill()
    passed = len(numbered(0, 1000))
    assert f"{passed:,} bytes passed over" in agent.log()
    remembered = state(parts)
    assert (remembered["a.log"]["begin"], remembered["a.log"]["position"]) == (passed, passed)
    assert (remembered["old.log.gz"]["state"], remembered["old.log.gz"]["behind"]) == ("passed over", 0)
    with log.open("ab") as out:
        out.write(b"fore\n" + numbered(1000, 5))
    (parts.logs / "a.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.write_bytes(numbered(2000, 7))
    (parts.logs / "new.log").write_bytes(numbered(3000, 3))
    parts.broker.start()
    assert parts.ship(inputs=inputs(parts, "end"))["lines"] == 6 + 7 + 3
    wanted = b"begun before\n" + numbered(1000, 5) + numbered(2000, 7) + numbered(3000, 3)
    assert parts.lines() == sorted(wanted.split(b"\n")[:-1])
    first = min((event for event in parts.distinct() if event["position"] >= passed), key=lambda event: event["position"])
    assert (first["since"], first["message"]) == (passed, "begun before")
    assert parts.ship(inputs=inputs(parts, "end"))["lines"] == 0
    parts.check_audit()


def test_a_time_passes_over_older_files_and_the_older_lines_of_the_others(parts: Rig) -> None:
    now_s = time.time()

    def written(*hours_ago: int) -> bytes:
        moments = {hours: datetime.fromtimestamp(now_s - hours * HOUR_S, UTC).isoformat() for hours in hours_ago}
        return b"".join(f"{moment} {hours} hours ago\n\tand more of it\n".encode() for hours, moment in moments.items())

    files = {"a.log": written(50, 30, 20, 3), "b.log": written(40, 30), "untimed.log": b"one\ntwo\n", "c.log": written(90)}
    for name, data in files.items():
        (parts.logs / name).write_bytes(data)
    for name, data, hours in (("c.log", written(90), 80), ("d.log.1.gz", written(9), 90), ("e.log.1.gz", written(60, 9), 9)):
        (parts.logs / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        os.utime(parts.logs / name, (now_s - hours * HOUR_S,) * 2)
    parts.ship(inputs=inputs(parts, "24h"))
    wanted = written(20, 3) + files["untimed.log"] + written(60, 9)
    assert parts.lines() == sorted(wanted.split(b"\n")[:-1])
    with (parts.logs / "c.log").open("ab") as out:
        out.write(b"and on\n")
    (parts.logs / "f.log").write_bytes(written(70))
    assert parts.ship(inputs=inputs(parts, "1h"))["lines"] == 3
    parts.check_audit()


def test_an_input_that_is_added_begins_by_itself_and_a_name_that_was_known_is_not_passed_over(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 10))
    assert parts.ship(inputs=inputs(parts, "beginning"))["lines"] == 10
    (parts.logs / "a.log").rename(parts.logs / "a.log.1")
    (parts.logs / "a.log").write_bytes(numbered(10, 5))
    (parts.logs / "b.log").write_bytes(numbered(20, 4))
    other = parts.directory / "other.log"
    other.write_bytes(numbered(100, 50))
    renamed = inputs(parts, "end", name="renamed")
    more = [*renamed, {"tail": [str(other)], "topic": "logs", "start": "end", "name": "other"}]
    assert parts.ship(inputs=more)["lines"] == 5
    with other.open("ab") as out:
        out.write(numbered(150, 2))
    assert parts.ship(inputs=more)["lines"] == 2
    parts.check_audit()


def test_an_input_that_a_reload_adds_begins_then(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(numbered(0, 10))
    other = parts.directory / "other.log"
    other.write_bytes(numbered(100, 50))
    agent = parts.agent().start()
    parts.wait_for(10)
    added = {"tail": [str(other)], "topic": "logs", "start": "end", "name": "o"}
    config = {**agent.config, "inputs": [*agent.config["inputs"], added]}
    agent.config_file.write_text(yaml.safe_dump(config))
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: "input o begins" in agent.log_tail())
    with other.open("ab") as out:
        out.write(numbered(150, 3))
    parts.wait_for(13)
    assert agent.stop() == 0
    assert parts.lines() == sorted((numbered(0, 10) + numbered(150, 3)).split(b"\n")[:-1])


@pytest.mark.slow
def test_kill_9_at_any_time_of_the_first_start_loses_no_line_that_is_written_then(parts: Rig) -> None:
    log = parts.logs / "a.log"
    log.write_bytes(numbered(0, 20_000))
    agent, count, rng = parts.agent(inputs=inputs(parts, "end")), 20_000, random.Random(7)
    for _ in range(4):
        agent.start(wait=False)
        deadline = time.monotonic() + rng.uniform(0.3, 0.9)
        while time.monotonic() < deadline:
            with log.open("ab") as out:
                out.write(numbered(count, 10))
            count += 10
            time.sleep(0.01)
        agent.kill()
    parts.ship(inputs=inputs(parts, "end"))
    first = log.read_bytes()[: state(parts)["a.log"]["begin"]].count(b"\n")
    assert first >= 20_000
    assert parts.lines() == sorted(b"line %d" % number for number in range(first, count))
    parts.check_audit()
