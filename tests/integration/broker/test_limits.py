"""Each bound of a broker's connections, on a real process with real sockets."""

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.broker.bad_peers import closed_lines, greatest_resident_bytes, is_closed, resident_bytes
from tests.integration.broker.requests import batch, create_topic, metadata, produce, produce_body
from tests.integration.groups.wire_client import WireClient
from tests.processes import AFRESH, Part, broker


def connect(part: Part) -> socket.socket:
    return socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10)


def test_a_connection_beyond_the_bound_of_its_address_is_closed_and_those_before_go_on(tmp_path: Path) -> None:
    with (
        broker(tmp_path, max_connections_per_ip=3) as part,
        WireClient(part.ports["kafka"]) as first,
        connect(part) as second,
        connect(part),
    ):
        metadata(first, "t")
        with connect(part) as beyond:
            assert is_closed(beyond)
        assert closed_lines(part) == ["connection closed: as many as max.connections.per.ip allows are open"]
        assert metadata(first, "t").topics[0].error_code == 0
        second.close()
        time.sleep(0.1)
        with WireClient(part.ports["kafka"]) as another:
            assert metadata(another, "t").topics[0].error_code == 0


def test_max_connections_bounds_all_addresses_together(tmp_path: Path) -> None:
    with broker(tmp_path, max_connections=2) as part, connect(part), connect(part), connect(part) as beyond:
        assert is_closed(beyond)
        assert closed_lines(part) == ["connection closed: as many as max.connections allows are open"]


def test_a_flood_is_answered_in_order_and_another_client_hardly_waits_for_it(tmp_path: Path) -> None:
    count = 60_000  # of which the first reads alone hold ten thousands
    with broker(tmp_path) as part, connect(part) as flood, WireClient(part.ports["kafka"]) as other:
        metadata(other, "t")
        sender = threading.Thread(target=flood.sendall, args=(b"".join(_api_versions(number) for number in range(count)),))
        sender.start()
        flood.settimeout(20)
        answers, waits = flood.makefile("rb"), []
        for number in range(count):
            (size,) = struct.unpack(">i", answers.read(4))
            assert int.from_bytes(answers.read(size)[:4], "big") == number
            if number % 2000 == 1000:
                began = time.monotonic()
                assert metadata(other, "t").topics[0].error_code == 0
                waits.append(time.monotonic() - began)
        sender.join()
        assert sorted(waits)[len(waits) // 2] < 0.05, waits  # the whole flood takes more than a second


def _api_versions(correlation_id: int) -> bytes:
    return struct.pack(">ihhih", 11, 18, 0, correlation_id, 1) + b"f"


def test_half_sent_giants_cost_what_was_sent_and_no_more_than_the_bound_in_all(tmp_path: Path) -> None:
    bound = 50_000_000
    with broker(tmp_path, queued_max_request_bytes=bound) as part, WireClient(part.ports["kafka"]) as other:
        create_topic(other, "t")
        before = resident_bytes(part)
        socks = [connect(part) for _ in range(100)]
        for sock in socks:
            sock.sendall(struct.pack(">i", 100_000_000) + bytes(100_000))
        assert produce(other, "t", batch(b"beside them")).error_code == 0
        assert resident_bytes(part) - before < 100 * 150_000
        os.kill(part.pid, signal.SIGSTOP)  # so that all of them have sent much when it looks next
        for sock in socks:
            _send_what_goes(sock, bytes(3_000_000))
        os.kill(part.pid, signal.SIGCONT)
        for sock in socks:
            _send_what_goes(sock, bytes(3_000_000))
        began = time.monotonic()
        assert produce(other, "t", batch(b"beside them")).error_code == 0
        assert time.monotonic() - began < 10
        assert greatest_resident_bytes(part) - before < bound + 20_000_000
        while not any("queued.max.request.bytes" in line or "memory is short" in line for line in closed_lines(part)):
            assert time.monotonic() - began < 20, "who does not go on is closed after some seconds"
            time.sleep(0.1)


def test_requests_that_are_larger_than_the_bound_together_come_one_after_another(tmp_path: Path) -> None:
    with broker(tmp_path, queued_max_request_bytes=80_000_000, num_partitions=20) as part:
        with WireClient(part.ports["kafka"]) as client:
            create_topic(client, "t", partitions=20)
        value = os.urandom(900_000)
        data = [
            {"index": index, "records": batch(value)} for index in range(20)
        ]  # 18 MB: a quarter of the bound has room for it
        body = {"transactional_id": None, "acks": 1, "timeout": 9000, "topic_data": [{"name": "t", "partition_data": data}]}

        def send(_: int) -> list[int]:
            with WireClient(part.ports["kafka"]) as client:
                answer = client.call(0, 9, body)
                return [partition.error_code for partition in answer.responses[0].partition_responses]

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(send, range(6))) == [[0] * 20] * 6


def test_a_request_in_steps_is_done_before_the_next_of_its_connection_and_others_have_turns_meanwhile(tmp_path: Path) -> None:
    with broker(tmp_path) as part, WireClient(part.ports["kafka"]) as client, WireClient(part.ports["kafka"]) as other:
        create_topic(client, "t", partitions=30)
        large = batch(os.urandom(900_000))
        data = [{"index": index, "records": large} for index in range(30)]
        body = {"transactional_id": None, "acks": 1, "timeout": 9000, "topic_data": [{"name": "t", "partition_data": data}]}
        client.send(0, 9, body)
        client.send(0, 9, produce_body("t", batch(b"small"), partition=29))
        asked = [{"partition_index": index % 30, "current_leader_epoch": -1, "timestamp": -1} for index in range(5000)]
        client.send(2, 7, {"replica_id": -1, "isolation_level": 0, "topics": [{"name": "t", "partitions": asked}]})
        assert metadata(other, "t").topics[0].error_code == 0
        first, second, offsets = client.receive(), client.receive(), client.receive()
        assert [each.base_offset for each in first.responses[0].partition_responses] == [0] * 30
        assert second.responses[0].partition_responses[0].base_offset == 1
        assert [each.partition_index for each in offsets.topics[0].partitions] == [index % 30 for index in range(5000)]
        assert {each.offset for each in offsets.topics[0].partitions} == {1, 2}


def test_settings_of_thousands_of_topics_cost_little_more_than_their_answer(tmp_path: Path) -> None:
    asked = {"resource_type": 2, "resource_name": "t", "configuration_keys": None}
    with broker(tmp_path) as part, WireClient(part.ports["kafka"]) as client:
        create_topic(client, "t", retention_ms="70000")
        before = greatest_resident_bytes(part)
        answer = client.call(32, 4, {"resources": [asked] * 6000, "include_synonyms": True, "include_documentation": False})
        assert {config.value for each in answer.results for config in each.configs if config.name == "retention.ms"} == {
            "70000"
        }
        assert len(answer.results) == 6000  # 9.5 MB
        assert greatest_resident_bytes(part) - before < 60_000_000


def test_what_does_not_come_in_time_closes_its_connection(tmp_path: Path) -> None:
    with broker(tmp_path, request_receive_timeout_ms=1000) as part, WireClient(part.ports["kafka"]) as idle:
        metadata(idle, "t")
        with connect(part) as silent, connect(part) as half:
            half.sendall(struct.pack(">i", 500) + b"half")
            began = time.monotonic()
            while time.monotonic() - began < 15 and not _is_readable(half):
                half.send(b"a")
                time.sleep(0.2)
            assert is_closed(silent, 15)
            assert is_closed(half, 15)
            assert 0.9 < time.monotonic() - began < 20
        assert metadata(idle, "t").topics[0].error_code == 0, "who has asked may be silent"
        reason = "connection closed: a request did not come in time (request.receive.timeout.ms)"
        assert closed_lines(part) == [reason, reason]


@pytest.mark.slow
def test_answers_that_nobody_reads_are_bounded(tmp_path: Path) -> None:
    bound = 20_000_000
    with broker(tmp_path, queued_max_request_bytes=bound) as part, WireClient(part.ports["kafka"]) as other:
        create_topic(other, "wide", partitions=200)
        everything = {"topics": None, "allow_auto_topic_creation": False, "include_topic_authorized_operations": True}
        body = {**everything, "include_cluster_authorized_operations": True}
        before = resident_bytes(part)
        deaf = [WireClient(part.ports["kafka"]) for _ in range(100)]
        for client in deaf:
            for _ in range(200):  # 6 KB each, more than the kernel takes for a client that does not read
                client.send(3, 8, body)
        deadline = time.monotonic() + 3
        worst = 0
        while time.monotonic() < deadline:
            worst = max(worst, resident_bytes(part) - before)
            metadata(other, "wide")
            time.sleep(0.05)
        assert worst < bound + 40_000_000, worst


def test_five_thousand_idle_connections_cost_less_than_100_mb_with_the_broker(tmp_path: Path) -> None:
    with broker(tmp_path).start(under=AFRESH) as part, WireClient(part.ports["kafka"]) as other:
        socks = []
        for _ in range(5000):
            sock = connect(part)
            sock.sendall(_api_versions(7))
            socks.append(sock)
        for sock in socks:
            assert sock.recv(65536)
        assert metadata(other, "t").topics[0].error_code == 0
        assert resident_bytes(part) < 100_000_000
        for sock in socks:
            sock.close()


def _send_what_goes(sock: socket.socket, data: bytes) -> None:
    """As much as the broker takes within a moment."""
    sock.settimeout(0.05)
    with contextlib.suppress(OSError):
        sock.sendall(data)


def _is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])
