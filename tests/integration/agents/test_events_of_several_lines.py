"""Fault 14 of research/agents.md §2.8, with real processes: a stack trace over read chunks, the flush time-out, a restart, a
rotation is one event wherever its lines were there in time, and nothing is lost or repeated otherwise."""

import os
import time
from typing import Any

import pytest

from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import until

TRACE = b"""\
java.lang.IllegalStateException: %d
\tat com.example.Main.run(Main.java:17)
Caused by: java.io.IOException: gone
\tat com.example.Main.read(Main.java:31)
\t... 12 more
"""


def inputs(parts: Rig, timeout_ms: int = 1000, **more: Any) -> list[dict[str, Any]]:
    multiline = {"traces": ["java"], "timeout_ms": timeout_ms, **more}
    return [{"tail": [str(parts.logs / "*.log")], "topic": "logs", "multiline": multiline}]


def messages(parts: Rig) -> list[bytes]:
    return [event["message"].encode(event["encoding"]) for event in parts.distinct()]


def test_fault_14_traces_over_read_chunks_are_one_event_each_and_the_audit_counts_them_as_such(parts: Rig) -> None:
    written = [TRACE % n if n % 3 == 0 else b"2026-11-26 10:00:00 INFO %d\n" % n for n in range(12_000)]
    (parts.logs / "a.log").write_bytes(b"".join(written))
    assert parts.ship(inputs=inputs(parts))["lines"] == 12_000
    events = parts.distinct()
    assert [event["message"].encode() + b"\n" for event in events] == written
    positions = [0]
    for event in written:
        positions.append(positions[-1] + len(event))
    assert [event["position"] for event in events] == positions[:-1]
    assert all(event["since"] in (event["position"], event["position"] - 1) for event in events)
    parts.check_audit()


@pytest.mark.slow
def test_fault_14_kill_9_in_the_middle_of_traces_repeats_identically(parts: Rig) -> None:
    written = [TRACE % n for n in range(12_000)]
    (parts.logs / "a.log").write_bytes(b"".join(written))
    agent = parts.agent(inputs=inputs(parts))
    for delay_s in (0.3, 0.5, 0.8):
        agent.start()
        time.sleep(delay_s)
        agent.kill()
    parts.ship(inputs=inputs(parts, timeout_ms=0, max_lines=3))  # what was on its way is grouped as it was sent
    found = messages(parts)
    assert b"\n".join(found) + b"\n" == b"".join(written)
    assert len({message + b"\n" for message in found} & set(written)) > 1000
    parts.check_audit()


def test_fault_14_a_trace_over_a_restart_is_one_event(parts: Rig) -> None:
    whole = TRACE % 7
    half = whole.index(b"Caused") + 4  # within a line
    file = parts.logs / "a.log"
    agent = parts.agent(inputs=inputs(parts, timeout_ms=60_000))
    for written, shipped in ((b"first\n" + whole[:half], 1), (whole[half:], 1), (b"last\n", 2)):
        with file.open("ab") as log:
            log.write(written)
        said = len(parts.audit())
        agent.start()
        until(lambda: len(parts.audit()) > said and len(parts.distinct()) == shipped)  # noqa: B023 - called at once
        agent.kill()
    parts.ship(inputs=inputs(parts))
    assert messages(parts) == [b"first", whole[:-1], b"last"]


def test_fault_14_a_trace_whose_file_is_rotated_meanwhile_is_one_event(parts: Rig) -> None:
    whole = TRACE % 7
    half = whole.index(b"Caused")
    with (parts.logs / "a.log").open("ab", buffering=0) as log:
        log.write(b"first\n" + whole[:half])
        agent = parts.agent(inputs=inputs(parts, timeout_ms=60_000)).start()
        until(lambda: len(parts.distinct()) == 1)
        (parts.logs / "a.log").rename(parts.logs / "a.log.1")
        (parts.logs / "a.log").write_bytes(b"of the new file\nand on\n")
        until(lambda: len(parts.distinct()) == 2)
        log.write(whole[half:] + b"last\n")
        until(lambda: len(parts.distinct()) == 3)
    assert agent.stop() == 0
    parts.ship(inputs=inputs(parts))
    assert sorted(messages(parts)) == sorted([b"first", whole[:-1], b"last", b"of the new file", b"and on"])


@pytest.mark.slow
def test_fault_14_the_last_trace_of_a_quiet_file_comes_after_the_time_out_and_late_lines_after_it(parts: Rig) -> None:
    whole = TRACE % 7
    (parts.logs / "a.log").write_bytes(whole)
    agent = parts.agent(inputs=inputs(parts, timeout_ms=500)).start()
    until(lambda: len(parts.distinct()) == 1)
    agent.kill()
    with (parts.logs / "a.log").open("ab") as log:
        log.write(b"\tat com.example.Late.line(Late.java:1)\nnext\n")
    agent.start()
    until(lambda: len(parts.distinct()) == 3)
    agent.stop()
    assert messages(parts) == [whole[:-1], b"\tat com.example.Late.line(Late.java:1)", b"next"]
    assert os.path.getsize(parts.logs / "a.log") == sum(len(message) + 1 for message in messages(parts))
    parts.check_audit()
