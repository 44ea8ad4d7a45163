"""Whatever a peer sends, its own connection is all that suffers: closed, one line logged; nobody else notices."""

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.integration.broker.bad_peers import closed_lines, connections, is_closed, resident_bytes
from tests.integration.broker.requests import FETCH, batch, create_topic, fetch, fetch_body, metadata, produce, values
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

IDLE_MS = 1500


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    directory = tmp_path_factory.mktemp("broker")
    with broker(directory, socket_request_max_bytes=1_000_000, connections_max_idle_ms=IDLE_MS) as running:
        with WireClient(running.ports["kafka"]) as client:
            create_topic(client, "safe")
        yield running


@pytest.fixture(autouse=True)
def others_are_unharmed(part: Part) -> Iterator[None]:
    """Another client's connection works before and after on the same topic."""
    with WireClient(part.ports["kafka"]) as bystander:
        before = produce(bystander, "safe", batch(b"before"))
        yield
        if part.process is not None:
            assert part.process.poll() is None
    with WireClient(part.ports["kafka"]) as bystander:
        after = produce(bystander, "safe", batch(b"after"))
        assert (after.error_code, after.base_offset) == (0, before.base_offset + 1)


def frame(api_key: int, version: int, body: bytes, *, flexible: bool = False) -> bytes:
    request = struct.pack(">hhih", api_key, version, 9, 2) + b"me" + (b"\0" if flexible else b"") + body
    return struct.pack(">i", len(request)) + request


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame of 1195725856 bytes", id="another protocol"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "the client speaks TLS", id="TLS"),
        pytest.param(b"\xff" * 300, "frame of -1 bytes", id="negative size"),
        pytest.param(struct.pack(">i", 1_000_001) + bytes(100), "frame of 1000001 bytes", id="oversize"),
        pytest.param(struct.pack(">i", 3) + b"abc", "shorter than its header", id="no header"),
        pytest.param(frame(999, 0, b""), "API key 999 (unknown) version 0", id="unknown API"),
        pytest.param(frame(3, 99, b""), "API key 3 (Metadata) version 99", id="unknown version"),
        pytest.param(frame(1, 3, b""), "API key 1 (Fetch) version 3", id="a version that is gone"),
        pytest.param(frame(0, -1, b""), "API key 0 (Produce) version -1", id="negative version"),
        pytest.param(frame(3, 1, b"\x7f\xff\xff\xff"), "topics claims 2147483647 items", id="lying array count"),
        pytest.param(
            frame(10, 4, b"\0\xff\xff\xff\xff\x0f", flexible=True),
            "coordinator_keys claims 4294967294 items",
            id="a claim that no memory has room for",
        ),
        pytest.param(frame(3, 1, b"\0\0\0\1\0\xff"), "BufferUnderflow", id="lying string length"),
        pytest.param(
            frame(0, 9, b"\0\0\1\0\0\0\1\2\2t\2\0\0\0\0\xff\xff\xff\xff\x07", flexible=True),
            "ends in the middle of a field",
            id="lying records",
        ),
        pytest.param(frame(0, 2, b"\0\1\0\0\0\1\0\0\xff\xff"), "Produce v2", id="half an old produce"),
    ],
)
def test_what_is_not_the_protocol_closes_the_connection_with_one_line(part: Part, sent: bytes, said: str) -> None:
    before = len(closed_lines(part))
    with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) as sock:
        sock.sendall(sent)
        assert is_closed(sock)
    deadline = time.monotonic() + 20
    while len(closed_lines(part)) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    new = closed_lines(part)[before:]
    assert len(new) == 1, new
    assert said in new[0]


def test_random_bytes_never_harm_the_broker(part: Part) -> None:
    for size in (1, 5, 64, 4096, 300_000):
        with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) as sock:
            data = os.urandom(size)
            try:
                sock.sendall(struct.pack(">i", size) + data)
                sock.shutdown(socket.SHUT_WR)
                assert is_closed(sock)
            except (ConnectionResetError, BrokenPipeError):
                pass


def test_half_a_frame_and_then_silence_is_closed_after_the_idle_time(part: Part) -> None:
    with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) as sock:
        sock.sendall(struct.pack(">i", 500) + b"half")
        begin = time.monotonic()
        assert is_closed(sock)
        assert time.monotonic() - begin >= IDLE_MS / 1000 - 0.2


def test_answers_that_came_before_the_garbage_are_delivered(part: Part) -> None:
    with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) as sock:
        sock.sendall(frame(3, 1, b"\0\0\0\0") + frame(999, 0, b""))
        answer = sock.recv(65536)
        assert struct.unpack_from(">ii", answer) == (len(answer) - 4, 9)
        assert is_closed(sock)


def test_a_long_poll_is_not_idle(part: Part) -> None:
    with WireClient(part.ports["kafka"]) as client:
        create_topic(client, "polled")
        assert values(fetch(client, "polled", 0, max_wait=IDLE_MS * 2)) == []


def test_a_client_that_never_reads_costs_no_memory_and_is_closed(part: Part) -> None:
    with WireClient(part.ports["kafka"]) as client:
        create_topic(client, "big")
        for _ in range(100):
            produce(client, "big", batch(os.urandom(900_000)))
    before = resident_bytes(part)
    sockets = []
    for _ in range(8):
        client = WireClient(part.ports["kafka"])
        sockets.append(client)
        for _ in range(20):
            client.send(FETCH, 11, fetch_body("big", 0, max_bytes=50_000_000, partition_max_bytes=50_000_000))
    time.sleep(0.5)
    grown = resident_bytes(part) - before
    assert grown < 40_000_000, grown  # 8 × 20 × 50 MB were asked for
    deadline = time.monotonic() + 15
    while connections(part) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert connections(part) <= 1  # the bystander's


def test_many_connections_with_half_a_frame_cost_little(part: Part) -> None:
    before = resident_bytes(part)
    begin = time.monotonic()
    sockets = [socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) for _ in range(500)]
    for sock in sockets:
        sock.sendall(struct.pack(">i", 900_000) + b"half")
    with WireClient(part.ports["kafka"]) as client:
        assert metadata(client, "safe").topics[0].error_code == 0
    grown = resident_bytes(part) - before
    for sock in sockets:
        sock.close()
    assert grown < 500 * 40_000, grown
    assert time.monotonic() - begin < 10
