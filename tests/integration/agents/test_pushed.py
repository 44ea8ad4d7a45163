"""What is pushed to an agent: durable in its spool first, then in the log, once by identity, whatever ends the agent."""

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.agents.spool.frames import SUFFIX
from tests.integration.agents.rig import TOPIC, Rig, rig, servers
from tests.processes import Part
from tests.waiting import until


def spooled_bytes(parts: Rig) -> int:
    """What the segments of the agent's spools take."""
    return sum(file.stat().st_size for file in (parts.directory / "agent" / "spool").glob(f"*/*{SUFFIX}"))


def piped(parts: Rig, data: bytes) -> int:
    """A descriptor that gives these bytes and then the end."""
    file = parts.directory / "piped"
    file.write_bytes(data)
    return os.open(file, os.O_RDONLY)


def test_once_ships_what_is_piped_to_its_end_and_an_unterminated_line_is_a_line(parts: Rig) -> None:
    lines = [b"plain", b"", b"crlf\r", b"nul\0nul", b"\xff not utf-8", b'{"a": "1"}', b"long " * 20_000, b"no newline"]
    agent = parts.agent("--once", inputs=[{"stdin": {}, "topic": TOPIC, "service": "piper"}])
    reading, writing = os.pipe()
    agent.start(wait=False, stdin=reading)
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"\n".join(lines))
    assert agent.wait() == 0, agent.log_tail()
    assert parts.lines() == sorted(lines)
    events = parts.distinct()
    assert [event["position"] for event in events] == [sum(len(each) + 1 for each in lines[:at]) for at in range(len(lines))]
    assert {(event["source"], event["service"]) for event in events} == {("stdin:", "piper")}
    assert events[5]["fields"] == {"a": "1"}
    parts.check_audit()


def test_a_long_line_is_several_parts(parts: Rig) -> None:
    line = "é".encode() * 500
    descriptor = piped(parts, line + b"\nshort\n")
    agent = parts.agent("--once", inputs=[{"stdin": {}, "topic": TOPIC, "max_line_bytes": 300}])
    agent.start(wait=False, stdin=descriptor)
    os.close(descriptor)
    assert agent.wait() == 0, agent.log_tail()
    events = parts.distinct()
    assert [(event["position"], event["part"]) for event in events] == [(0, 0), (300, 1), (600, 2), (900, 3), (1001, 0)]
    assert b"".join(event["message"].encode() for event in events[:4]) == line
    parts.check_audit()


_APPLICATION = """
import logging, sys, time
import pytest
from headrace.agents.handler import AgentHandler
logger = logging.getLogger("app")
logger.setLevel("INFO")
logger.addHandler(AgentHandler(sys.argv[1], flush_timeout_s=30))
for number in range(int(sys.argv[2])):
    logger.info("record %d", number, extra={"number": number})
    if number % 50 == 0:
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_kill_9_of_the_agent_loses_nothing_that_an_application_logs(parts: Rig) -> None:
    """Fault 1 for the handler: it keeps what the agent has not called durable, so the agent may end at any time."""
    path, count = parts.directory / "app.sock", 5000
    agent = parts.agent(inputs=[{"unix": {"path": str(path)}, "topic": TOPIC, "service": "app"}])
    agent.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    application = subprocess.Popen([sys.executable, "-c", _APPLICATION, str(path), str(count)])
    try:
        for _ in range(3):
            time.sleep(0.2)
            agent.kill()
            agent.start()
        assert application.wait(60) == 0
    finally:
        application.kill()
        application.wait()
    until(lambda: {event["fields"]["number"] for event in parts.events()} == {str(number) for number in range(count)})
    assert agent.stop() == 0
    assert not path.exists()
    events = parts.distinct()
    ends = [event["position"] + len(event["message"].encode()) + 1 for event in events]
    assert [event["since"] for event in events] == [0, *ends[:-1]] == [event["position"] for event in events]
    assert len(events) <= count + 3 * 2000, "more came twice than were on their way"
    assert {event["event_time_source"] for event in events} == {"line"}
    parts.check_audit()


def test_datagrams_are_lines_and_a_path_that_somebody_else_uses_is_an_error_of_the_start(parts: Rig) -> None:
    path = parts.directory / "log.sock"
    inputs = [{"unix": {"path": str(path), "type": "datagram", "mode": "0622"}, "topic": TOPIC}]
    agent = parts.agent(inputs=inputs)
    agent.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for line in (b"one\n", b"two", b"three\nin two lines"):
            sender.sendto(line, str(path))
    until(lambda: parts.count() == 3)
    assert [event["message"] for event in parts.distinct()] == ["one", "two", "three\nin two lines"]
    other = Part("agent", parts.directory / "other", {**agent.config, "agent": {"state_dir": str(parts.directory / "b")}})
    assert other.start(wait=False).wait() == 2
    assert "somebody else listens there" in other.log()
    assert agent.stop() == 0


@pytest.mark.slow
def test_kill_9_loses_nothing_that_is_in_the_spool_and_repeats_it_equal(tmp_path: Path) -> None:
    """Faults 1 and 3: the broker is away while lines are pushed; the agent is killed meanwhile, and while it ships them."""
    with servers(tmp_path) as started, rig(tmp_path, started) as parts:
        parts.broker.kill()
        agent = parts.agent(inputs=[{"stdin": {}, "topic": TOPIC}])
        reading, writing = os.pipe()
        count = 0
        for _ in range(3):
            agent.start(stdin=reading)
            before = spooled_bytes(parts)
            lines = b"".join(b"line %d\n" % number for number in range(count, count + 2000))
            os.write(writing, lines)
            count += 2000
            until(lambda: spooled_bytes(parts) >= before + len(lines))  # noqa: B023
            agent.kill()
        parts.broker.start()
        for _ in range(2):
            agent.start(stdin=reading)
            time.sleep(0.3)
            agent.kill()
        agent.start(stdin=reading)
        os.close(writing)
        os.close(reading)
        until(lambda: parts.count() >= count)
        until(lambda: {b"line %d" % number for number in range(count)} == set(parts.lines()))
        assert [event["message"] for event in parts.distinct()] == [f"line {number}" for number in range(count)]
        assert agent.stop() == 0
        parts.check_audit()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_no_command_of_a_killed_agent_runs_on(parts: Rig) -> None:
    """The program dies with the agent; what it has begun itself is ended by the agent's next start."""
    command = ["sh", "-c", "sleep 1000 & echo $$ $!; wait"]
    inputs = [{"exec": {"command": command}, "topic": TOPIC, "name": "it"}]
    agent = parts.agent(inputs=inputs).start()
    parts.wait_for(1)
    program, child = (int(word) for word in parts.lines()[0].split())
    agent.kill()
    until(lambda: not is_alive(program))
    assert is_alive(child), "the kernel kills the program alone"
    agent.start()
    until(lambda: not is_alive(child))
    until(lambda: len(parts.lines()) == 2)
    (now,) = [line for line in parts.lines() if not line.startswith(b"%d " % program)]
    assert agent.stop() == 0, agent.log_tail()
    until(lambda: not any(is_alive(int(word)) for word in now.split()))
    assert list((parts.directory / "agent" / "commands").iterdir()) == []
