"""Syslog, http, OTLP and a journal into a real agent and a real broker; and what senders were told is durable is in the log,
whatever is killed meanwhile."""

import contextlib
import http.client
import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from headrace.audit import SentMessage
from tests.integration.agents.rig import TOPIC, Rig
from tests.integration.agents.sources.test_journald import REMOTE, Journal
from tests.processes import free_port
from tests.waiting import until


def post(port: int, body: bytes, kind: str, path: str) -> int:
    """The status of the answer; raises OSError or HTTPException where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def otlp(*bodies: str) -> bytes:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.add(key="service.name").value.string_value = "shop"
    records = resource_logs.scope_logs.add().log_records
    for body in bodies:
        records.add(severity_text="WARN", time_unix_nano=time.time_ns()).body.string_value = body
    return request.SerializeToString()


def test_each_kind_of_sender_is_in_the_log_with_its_host_service_source_and_fields(parts: Rig) -> None:
    udp, tcp, port = free_port(), free_port(), free_port()
    inputs: list[dict[str, Any]] = [
        {"syslog": {"udp": f"127.0.0.1:{udp}", "tcp": f"127.0.0.1:{tcp}"}, "topic": TOPIC},
        {"http": {"listen": f"127.0.0.1:{port}"}, "topic": TOPIC, "service": "web"},
    ]
    agent = parts.agent(inputs=inputs).start()
    named = {name.rpartition(".")[2]: told for name, told in agent.ports.items()}
    assert (named["udp"], named["tcp"], named["http"]) == (udp, tcp, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<34>Oct 11 22:14:15 mymachine su[7]: by udp\0", ("127.0.0.1", udp))
    with socket.create_connection(("127.0.0.1", tcp)) as stream:
        stream.sendall(b"<165>1 2026-11-26T18:00:00Z host-7 app 4711 ID47 - by tcp\n")
    assert post(port, b'{"level": "info", "text": "by http"}\n', "application/x-ndjson", "/logs") == 200
    assert (
        post(port, otlp('{"severity_text": "not for a body to say", "own": "by otlp"}'), "application/x-protobuf", "/v1/logs")
        == 200
    )
    until(lambda: parts.count() >= 4)
    by_source = {event["source"]: event for event in parts.distinct()}
    by_udp, by_tcp = by_source["syslog+udp://127.0.0.1"], by_source["syslog+tcp://127.0.0.1"]
    assert (by_udp["message"], by_udp["host"], by_udp["service"]) == (
        "<34>Oct 11 22:14:15 mymachine su[7]: by udp",
        "mymachine",
        "su",
    )
    assert (by_udp["fields"]["severity"], by_udp["fields"]["pid"]) == ("crit", "7")
    assert (by_tcp["host"], by_tcp["service"], by_tcp["fields"]["msgid"]) == ("host-7", "app", "ID47")
    assert by_tcp["event_time"].isoformat() == "2026-11-26T18:00:00+00:00"
    by_http, by_otlp = by_source["http://127.0.0.1"], by_source["otlp+http://127.0.0.1"]
    assert (by_http["service"], by_http["fields"]) == ("web", {"level": "info", "text": "by http"})
    assert (by_otlp["service"], by_otlp["fields"]["own"]) == ("shop", "by otlp")
    assert (by_otlp["fields"]["severity_text"], by_otlp["fields"]["resource.service.name"]) == ("WARN", "shop")
    assert agent.stop() == 0, agent.log_tail()
    parts.check_audit()


@pytest.mark.slow
def test_kill_9_loses_nothing_that_a_sender_was_told_is_durable(tmp_path: Path, parts: Rig) -> None:
    port = free_port()
    agent = parts.agent(inputs=[{"http": {"listen": f"127.0.0.1:{port}"}, "topic": TOPIC}]).start()
    acknowledged: list[str] = []
    stop = threading.Event()

    def send(name: str) -> None:
        number = 0
        while not stop.is_set():
            lines = [f"{name} {number + index}" for index in range(20)]
            number += len(lines)
            body, kind, path = "\n".join(lines).encode(), "text/plain", "/logs"
            if name == "otlp":
                body, kind, path = otlp(*lines), "application/x-protobuf", "/v1/logs"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if post(port, body, kind, path) == 200:
                    acknowledged.extend(lines)

    senders = [threading.Thread(target=send, args=(name,)) for name in ("text-1", "text-2", "otlp")]
    for sender in senders:
        sender.start()
    try:
        for _ in range(4):
            before = len(acknowledged)
            until(lambda: len(acknowledged) > before + 200)  # noqa: B023
            agent.kill()
            agent.start()
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    expected = set(acknowledged)
    until(lambda: parts.count() >= len(expected))
    until(lambda: expected <= {event["message"] for event in parts.distinct()})
    assert agent.stop() == 0, agent.log_tail()
    parts.check_audit()


@pytest.mark.slow
def test_a_journal_goes_on_by_its_cursor_and_each_entry_is_there_once_whatever_is_killed(
    tmp_path: Path, parts: Rig, missing: Callable[[str, str], NoReturn]
) -> None:
    if not (REMOTE / "complete").exists() or shutil.which("journalctl") is None:
        missing("journal-remote", "run make peers")
    journal = Journal(tmp_path / "journal")
    agent = parts.agent(inputs=[{"journald": {"directory": str(journal.directory)}, "topic": TOPIC}])
    for round_ in range(3):
        journal.write(f"boot-{round_}", range(1 + 500 * round_, 501 + 500 * round_), f"{round_}123456789abcdef" * 2)
        agent.start()
        until(lambda: parts.count() >= 500 * round_ + 1)  # noqa: B023
        agent.kill()
    agent.start()
    until(lambda: {event["message"] for event in parts.distinct()} == {f"entry {number}" for number in range(1, 1501)})
    events = parts.distinct()
    assert len(events) == 1500, "a cursor lies in the spool beside its line, so no entry is taken in twice"
    assert json.loads(json.dumps(events[0]["fields"]))["unit"] == "odd.service"
    assert agent.stop() == 0, agent.log_tail()
    parts.check_audit()


@pytest.mark.slow
def test_kill_9_while_a_full_spool_drops_the_newest_counts_each_line_as_shipped_or_dropped_and_once(parts: Rig) -> None:
    """A body is one write: its lines are kept, or counted. Whom the kill cut off was not told which."""
    port, in_a_body = free_port(), 50
    spool = {"max_bytes": 1 << 20, "when_full": "drop_newest"}
    inputs = [{"http": {"listen": f"127.0.0.1:{port}"}, "topic": TOPIC, "spool": spool}]
    answered: list[int] = []
    cut_off: list[int] = []
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            try:
                assert (
                    post(port, b"".join(b"%d %0160d\n" % (number, row) for row in range(in_a_body)), "text/plain", "/logs")
                    == 200
                )
                answered.append(number)
            except ConnectionRefusedError:
                pass
            except (OSError, http.client.HTTPException):
                cut_off.append(number)
            number += 1
            time.sleep(0.005)

    agent = parts.agent(inputs=inputs).start()
    parts.broker.kill()
    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: "the spool is full" in agent.log_file.read_text())
        for more in (3, 20, 40):
            before = len(answered)
            until(lambda: len(answered) > before + more)  # noqa: B023
            agent.kill()
            agent.start()
        parts.broker.start()
        until(parts.count)
        agent.kill()
        agent.start()
    finally:
        stop.set()
        sender.join()
    assert agent.stop() == 0
    parts.ship(inputs=inputs)  # what is in the spool yet
    shipped = Counter(int(event["message"].split()[0]) for event in parts.distinct())
    assert set(shipped.values()) == {in_a_body}
    dropped = len(set(answered) - shipped.keys())
    unknown = len(set(cut_off) - shipped.keys())
    counted, rest = divmod(dropped_lines(parts), in_a_body)
    assert (rest, dropped > 60) == (0, True)
    assert dropped <= counted <= dropped + unknown
    assert unknown < 20
    parts.check_audit()


def dropped_lines(parts: Rig) -> int:
    """What was said of all windows at last."""
    said: dict[int, int] = {}
    for message in parts.audit():
        if isinstance(message, SentMessage):
            said[message.window_start_ms] = max(said.get(message.window_start_ms, 0), sum(message.dropped.values()))
    return sum(said.values())
