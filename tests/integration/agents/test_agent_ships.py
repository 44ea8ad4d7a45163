"""The agent as a process, before a real broker: what is in the files is in the log, once by identity, whatever ends the
agent."""

import base64
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.audit import AgentMessage, SentMessage
from tests.integration.agents.rig import Rig, rig, servers
from tests.waiting import until


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Rig]:
    """With a broker that may be killed."""
    with servers(tmp_path) as started, rig(tmp_path, started) as ours:
        yield ours


def numbered(first: int, count: int) -> bytes:
    return b"".join(
        b"2026-11-23 08:%02d:%02d,123 INFO line %d\n" % (n // 60 % 60, n % 60, n) for n in range(first, first + count)
    )


def split(data: bytes) -> list[bytes]:
    return sorted(data.split(b"\n")[:-1])


def test_once_ships_every_byte_of_every_kind_of_line(parts: Rig) -> None:
    lines = [
        b"plain",
        b"",
        b"crlf\r",
        b"nul\0nul",
        b"latin \xe9",
        "utf-8 é".encode(),
        b"x" * 1_300_000,
        b"\xe9" * 700_000,
        b"no end",
    ]
    (parts.logs / "a.log").write_bytes(b"\n".join(lines))
    (parts.logs / "empty.log").write_bytes(b"")
    size = len(b"\n".join(lines))
    assert parts.ship() == {"lines": len(lines), "bytes": size, "bytes_total": size}
    found: list[bytes] = []
    for event in parts.distinct():
        line = event["message"].encode(event["encoding"])
        assert len(event["message"].encode()) <= 512 * 1024
        assert event["service"] == "a"
        if event["part"]:
            found[-1] += line
        else:
            found.append(line)
    assert found == lines
    parts.check_audit()
    last = parts.audit()[-1]
    assert isinstance(last, AgentMessage)
    assert (last.state, last.drained_to_ms) == ("finished", None)


def test_a_second_run_ships_what_is_new_only(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(b"one\ntwo")
    assert parts.ship()["lines"] == 2
    file.write_bytes(b"one\ntwo\nthree\n")
    assert parts.ship() == {"lines": 1, "bytes": 14, "bytes_total": 14}
    assert [event["message"] for event in parts.events()] == ["one", "two", "three"]
    assert [(event["position"], event["since"]) for event in parts.events()] == [(0, 0), (4, 4), (8, 7)]


def test_a_line_that_grows_after_a_run_sent_it_goes_on_as_a_part(parts: Rig) -> None:
    file = parts.logs / "a.log"
    whole = "one\n2026-11-23 08:00:00 grüezi und adieu\nthree\n".encode()
    for end in (whole.index(b"\xbc"), whole.index(b" und"), len(whole)):  # the first cut is in the middle of a character
        file.write_bytes(whole[:end])
        parts.ship()
    events = parts.distinct()
    assert [event["part"] for event in events] == [0, 0, 1, 2, 0]
    assert b"".join(event["message"].encode(event["encoding"]) for event in events) == whole.replace(b"\n", b"")
    assert len({event["event_time"] for event in events[1:4]}) == 1
    assert sum(len(event["message"].encode(event["encoding"])) for event in events[1:4]) == len(whole.splitlines()[1])
    parts.check_audit()


def test_a_file_left_out_of_a_run_is_not_shipped_again(parts: Rig) -> None:
    first, second = parts.logs / "a.log", parts.logs / "b.log"
    first.write_bytes(b"one\ntwo\n")
    second.write_bytes(b"three\n")
    only_first = [{"tail": [str(first)], "topic": "logs"}]
    only_second = [{"tail": [str(second)], "topic": "logs"}]
    assert parts.ship(inputs=only_first)["lines"] == 2
    assert parts.ship(inputs=only_second) == {"lines": 1, "bytes": 6, "bytes_total": 6}
    assert parts.ship(inputs=only_first)["lines"] == 0
    assert len(parts.events()) == 3


def test_a_file_named_twice_and_through_a_link_is_one(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(b"one\n")
    (parts.logs / "b.log").symlink_to(file)
    inputs = [{"tail": [str(file), str(file), str(parts.logs / "b.log")], "topic": "logs"}]
    assert parts.ship(inputs=inputs)["lines"] == 1
    assert parts.lines() == [b"one"]


@pytest.mark.slow
def test_kill_9_at_any_time_repeats_identically_and_loses_nothing(parts: Rig) -> None:
    data = numbered(0, 60_000)
    (parts.logs / "a.log").write_bytes(data)
    agent = parts.agent()
    for delay_s in (0.45, 0.6, 0.8):
        agent.start()
        time.sleep(delay_s)
        agent.kill()
    assert parts.ship()["bytes"] == len(data)
    assert parts.lines() == split(data)
    parts.check_audit()


@pytest.mark.slow
def test_a_broker_that_restarts_in_the_middle_costs_nothing(alone: Rig) -> None:
    data = numbered(0, 40_000)
    (alone.logs / "a.log").write_bytes(data[: len(data) // 2])
    agent = alone.agent().start()
    until(lambda: alone.count() > 0)
    alone.broker.kill()
    with (alone.logs / "a.log").open("ab") as file:
        file.write(data[len(data) // 2 :])
    alone.broker.start()
    until(lambda: alone.count() >= 40_000)
    assert agent.stop() == 0
    assert alone.lines() == split(data)
    alone.check_audit()


def test_rotation_while_it_runs_loses_and_repeats_nothing(parts: Rig) -> None:
    agent = parts.agent().start()
    file = parts.logs / "a.log"
    expected = b""
    for number in range(5):
        data = numbered(number * 3000, 3000)
        with file.open("ab") as out:
            out.write(data[:-20])
        if number == 3:
            until(lambda: parts.count() > 9000)
            (parts.logs / "a.log.copy").write_bytes(file.read_bytes())
        file.rename(parts.logs / f"a.log.{number}")
        with (parts.logs / f"a.log.{number}").open("ab") as out:  # the writer goes on for a moment
            out.write(data[-20:])
        expected += data
        time.sleep(0.3)
    file.write_bytes(b"")
    until(lambda: parts.count() >= 15_000)
    assert agent.stop() == 0
    assert parts.lines() == split(expected)
    assert len(parts.events()) == 15_000
    parts.check_audit()


def test_rotations_while_it_is_down_are_found_and_older_ones_are_left(parts: Rig) -> None:
    file, first, second = (parts.logs / name for name in ("a.log", "a.log.1", "a.log.2"))
    first.write_bytes(b"rotated before anybody asked for these logs\n")
    os.utime(first, (1_700_000_000, 1_700_000_000))
    file.write_bytes(numbered(0, 100))
    agent = parts.agent().start()
    until(lambda: parts.count() == 100)
    time.sleep(0.5)
    assert agent.stop() == 0
    with file.open("ab") as out:
        out.write(numbered(100, 50))
    file.rename(second)
    first.write_bytes(numbered(150, 70))  # made, written and rotated, and nobody looked
    file.write_bytes(numbered(220, 30))
    agent.start()
    until(lambda: parts.count() >= 250)
    assert agent.stop() == 0
    assert parts.lines() == split(numbered(0, 250))
    assert {event["source"] for event in parts.events()} == {str(file)}
    parts.check_audit()


def test_truncation_in_place_begins_a_new_stream(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 100))
    agent = parts.agent().start()
    until(lambda: parts.count() == 100)
    os.truncate(file, 0)
    with file.open("ab") as out:
        out.write(numbered(500, 200))
    until(lambda: parts.count() >= 300)
    assert agent.stop() == 0
    assert parts.lines() == split(numbered(0, 100) + numbered(500, 200))
    assert len({event["stream_id"] for event in parts.events()}) == 2


def test_a_record_refused_for_good_is_kept_and_passed(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"one\n" + b"x" * 5000 + b"\nthree\n")
    kafka = {"bootstrap.servers": parts.bootstrap, "message.max.bytes": 3000, "batch.size": 2000}
    assert parts.ship(kafka=kafka)["bytes"] == 5011
    assert parts.lines() == [b"one", b"three"]
    (row,) = (parts.directory / "agent" / "rejected" / "logs.jsonl").read_text().splitlines()
    assert json.loads(row)["error"] == "MSG_SIZE_TOO_LARGE"
    assert b"x" * 5000 in base64.b64decode(json.loads(row)["value"])
    sent = [message for message in parts.audit() if isinstance(message, SentMessage)]
    assert [(message.count, message.rejected) for message in sent] == [(2, 1)]
    parts.check_audit()


def test_metrics_say_what_was_shipped(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"one\ntwo\n")
    section = {"state_dir": str(parts.directory / "agent"), "http": "127.0.0.1:0"}
    agent = parts.agent(agent=section).start()
    address = f"http://127.0.0.1:{agent.ports['http']}"
    assert urllib.request.urlopen(f"{address}/healthz").read() == b"ok\n"

    def metrics() -> str:
        return str(urllib.request.urlopen(f"{address}/metrics").read().decode())

    sent = 'component_sent_events_total{component_id="kafka",component_kind="sink",component_type="kafka",topic="logs"} 2.0'
    until(lambda: f"headrace_agent_{sent}" in metrics())
    source = 'component_id="tail-logs",component_kind="source",component_type="tail"'
    assert f"headrace_agent_component_received_events_total{{{source}}} 2.0" in metrics()
    until(lambda: f"headrace_agent_streams{{{source}}} 1.0" in metrics())
    assert f"headrace_agent_behind_bytes{{{source}}} 0.0" in metrics()
    assert 'headrace_agent_lost_bytes_total{reason="destroyed"} 0.0' in metrics()
    assert urllib.request.urlopen(f"{address}/readyz").read() == b"ok\n"
    assert agent.stop() == 0


def test_an_agent_does_not_ship_its_own_log(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"one\n")
    agent = parts.agent(inputs=[{"tail": [str(parts.directory / "**" / "*.log")], "topic": "logs"}])
    agent.start()
    until(lambda: "this agent's own log" in agent.log_tail())
    until(lambda: b"one" in parts.lines())
    assert agent.stop() == 0
    assert str(agent.log_file) not in {event["source"] for event in parts.events()}


def test_sigterm_drains_and_says_stopped(parts: Rig) -> None:
    data = numbered(0, 5000)
    (parts.logs / "a.log").write_bytes(data)
    agent = parts.agent().start()
    until(lambda: parts.count() > 0)
    assert agent.stop() == 0
    last = parts.audit()[-1]
    assert isinstance(last, AgentMessage)
    assert last.state == "stopped"
    parts.check_audit()


def test_an_agent_without_files_says_that_it_is_there_and_that_it_stopped(parts: Rig) -> None:
    agent = parts.agent().start()
    until(lambda: parts.audit() != [])
    assert agent.stop() == 0
    said = [message.state for message in parts.audit() if isinstance(message, AgentMessage)]
    assert (said[0], said[-1]) == ("active", "stopped")


def test_a_dead_registry_stops_nobody_who_has_shipped_before(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"one\n")
    parts.ship()
    url = f"http://127.0.0.1:{parts.registry.ports['http']}"
    parts.registry.kill()
    (parts.logs / "a.log").write_bytes(b"one\ntwo\n")
    assert parts.ship(registry=url)["lines"] == 1
    parts.registry.start()


@pytest.mark.slow
def test_a_topic_that_cannot_be_had_stops_no_other(tmp_path: Path) -> None:
    with servers(tmp_path, auto_create_topics_enable=False) as strict, rig(tmp_path, strict) as parts:
        parts.make_topic("logs", "_audit")
        (parts.logs / "a.log").write_bytes(numbered(0, 100))
        (parts.logs / "b.txt").write_bytes(numbered(0, 10))
        agent = parts.agent(
            inputs=[
                {"tail": [str(parts.logs / "*.txt")], "topic": "later"},
                {"tail": [str(parts.logs / "*.log")], "topic": "logs"},
            ]
        )
        agent.start()
        until(lambda: parts.count() == 100)
        until(lambda: len(parts.audit()) > 1)
        assert {message.drained_to_ms for message in parts.audit() if isinstance(message, AgentMessage)} == {None}
        parts.make_topic("later")
        until(lambda: len(parts.records("later")) == 10)
        assert agent.stop() == 0
        assert "waiting for topic later" in agent.log()
