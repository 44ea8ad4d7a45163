"""Bad neighbours of a broker: each a function that misbehaves towards a port until its process is ended."""

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kio.index import load_request_schema

from headrace.broker.log.compression import ZSTD
from headrace.broker.log.record import Record, build_batch
from headrace.broker.wire.encode import entity_writer

FLAT, WIDE, PACKED = "flat", "wide", "packed"  # topics: the second has many partitions
WIDE_PARTITIONS = 2000


def request(api_key: int, version: int, body: Mapping[str, Any], client: str = "neighbour") -> bytes:
    """A whole frame; durations are in ms, fields that the version lacks are dropped."""
    schema = load_request_schema(api_key, version)
    out = bytearray(struct.pack(">hhihs", api_key, version, 7, len(client), b"")[:-1] + client.encode())
    if schema.__flexible__:
        out.append(0)
    entity_writer(schema)(out, body)
    return struct.pack(">i", len(out)) + bytes(out)


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_answer(sock: socket.socket) -> bytes:
    (size,) = struct.unpack(">i", _exactly(sock, 4))
    return _exactly(sock, size)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if not count:
            raise ConnectionResetError("the broker closed the connection")
        view = view[count:]
    return bytes(data)


def metadata(topics: Sequence[str] | None, *, operations: bool = False) -> bytes:
    named = None if topics is None else [{"name": name, "topic_id": None} for name in topics]
    flags = {"include_cluster_authorized_operations": False, "include_topic_authorized_operations": operations}
    return request(3, 10, {"topics": named, "allow_auto_topic_creation": False, **flags})


def produce(topic: str, records: bytes, *, client: str = "neighbour", acks: int = 1) -> bytes:
    data = [{"name": topic, "partition_data": [{"index": 0, "records": records}]}]
    return request(0, 9, {"transactional_id": None, "acks": acks, "timeout": 30000, "topic_data": data}, client)


def fetch(
    topic: str, offset: int, *, max_bytes: int, partitions: int = 1, client: str = "neighbour", wait_ms: int = 500
) -> bytes:
    asked = [
        {
            "partition": partition,
            "current_leader_epoch": -1,
            "fetch_offset": offset,
            "last_fetched_epoch": -1,
            "log_start_offset": -1,
            "partition_max_bytes": max_bytes,
        }
        for partition in range(partitions)
    ]
    body = {
        "replica_id": -1,
        "max_wait": wait_ms,
        "min_bytes": 1,
        "max_bytes": max_bytes,
        "isolation_level": 0,
        "session_id": 0,
        "session_epoch": -1,
        "topics": [{"topic": topic, "partitions": asked}],
        "forgotten_topics_data": [],
        "rack_id": "",
    }
    return request(1, 11, body, client)


def list_offsets(topic: str, partitions: int, timestamp: int) -> bytes:
    asked = [
        {"partition_index": index % WIDE_PARTITIONS, "current_leader_epoch": -1, "timestamp": timestamp}
        for index in range(partitions)
    ]
    return request(2, 7, {"replica_id": -1, "isolation_level": 0, "topics": [{"name": topic, "partitions": asked}]})


def batch(*values: bytes) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    return build_batch([Record(None, value, now_ms) for value in values])


def flood(port: int, frame: bytes, connections: int = 1) -> None:
    """Send one request as often as it goes through, reading the answers."""
    selector = selectors.DefaultSelector()
    block = frame * max(1, 262_144 // len(frame))
    left: dict[socket.socket, memoryview] = {}
    for _ in range(connections):
        sock = connect(port)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        left[sock] = memoryview(block)
    while True:
        for key, events in selector.select():
            sock: Any = key.fileobj
            if events & selectors.EVENT_READ:
                sock.recv(1 << 20)
            if events & selectors.EVENT_WRITE:
                left[sock] = left[sock][sock.send(left[sock]) :] or memoryview(block)


def creator(port: int) -> None:
    """Make and delete topics of many partitions, one after another."""
    sock = connect(port)
    number = 0
    while True:
        number += 1
        name = f"made-{os.getpid()}-{number}"
        topic = {"name": name, "num_partitions": 200, "replication_factor": 1, "assignments": [], "configs": []}
        sock.sendall(request(19, 5, {"topics": [topic], "timeout": 30000, "validate_only": False}))
        read_answer(sock)
        sock.sendall(request(20, 4, {"topic_names": [name], "timeout": 30000}))
        read_answer(sock)


def churn(port: int) -> None:
    """Connect, ask once, go."""
    frame = metadata([FLAT])
    while True:
        with connect(port) as sock:
            sock.sendall(frame)
            read_answer(sock)


def half_frames(port: int) -> None:
    """Five hundred connections that promise 100 MB each, send a part of it, and then a byte a second."""
    socks = [connect(port) for _ in range(500)]
    for sock in socks:
        sock.sendall(struct.pack(">i", 100_000_000) + bytes(100_000))
    while True:
        time.sleep(1)
        for sock in list(socks):
            try:
                sock.send(b"x")
            except OSError:
                socks.remove(sock)


def deaf(port: int) -> None:
    """Fifty connections that ask for much and read nothing."""
    frames = fetch(FLAT, 0, max_bytes=50_000_000) + metadata(None, operations=True) * 20
    socks = [connect(port) for _ in range(50)]
    for sock in socks:
        sock.sendall(frames * 3)
    time.sleep(3600)


def giants(port: int) -> None:
    """Requests of 90 MB, as fast as they go through."""
    sock = connect(port)
    frame = produce(FLAT, os.urandom(90_000_000))
    while True:
        sock.sendall(frame)
        read_answer(sock)


def packed_times(port: int) -> None:
    """ListOffsets by time, which has to look into batches of 10,000 records each, compressed."""
    now_ms = time.time_ns() // 1_000_000
    records = [Record(None, os.urandom(8), now_ms + at) for at in range(10_000)]
    sock = connect(port)
    sock.sendall(produce(PACKED, build_batch(records, codec=ZSTD)))
    read_answer(sock)
    flood(port, list_offsets(PACKED, 1, now_ms + 9_000))


NEIGHBOURS: dict[str, Callable[[int], None]] = {
    "small requests, pipelined": lambda port: flood(port, request(18, 0, {})),
    "the same on 50 connections": lambda port: flood(port, request(18, 0, {}), 50),
    "one-record batches, pipelined": lambda port: flood(port, produce(FLAT, batch(bytes(200)))),
    "1 MB batches of 100,000 records": lambda port: flood(port, produce(FLAT, batch(*[b""] * 100_000))),
    "1 MB batches of random bytes": lambda port: flood(port, produce(FLAT, batch(os.urandom(1_000_000)))),
    "Metadata of everything": lambda port: flood(port, metadata(None)),
    "the same, with operations": lambda port: flood(port, metadata(None, operations=True)),
    "ListOffsets, 10,000 partitions": lambda port: flood(port, list_offsets(WIDE, 10_000, -1)),
    "ListOffsets by time": lambda port: flood(port, list_offsets(FLAT, 1, 1)),
    "the same, in large compressed batches": packed_times,
    "Fetch of 2,000 partitions": lambda port: flood(port, fetch(WIDE, 0, max_bytes=1 << 20, partitions=2000, wait_ms=0)),
    "Fetch of 50 MB": lambda port: flood(port, fetch(FLAT, 0, max_bytes=50_000_000)),
    "requests of 90 MB": giants,
    "topics made and deleted": creator,
    "connections that come and go": churn,
    "500 half frames, a byte a second": half_frames,
    "50 clients that do not read": deaf,
}
