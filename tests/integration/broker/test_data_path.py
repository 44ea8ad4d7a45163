"""Produce, Fetch, ListOffsets and epochs, as their answers read on the wire."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.integration.broker.requests import (
    EPOCHS,
    FETCH,
    METADATA,
    PRODUCE,
    batch,
    create_topic,
    fetch,
    fetch_body,
    list_offset,
    metadata,
    new_producer_id,
    produce,
    produce_body,
    values,
)
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

UNKNOWN_LEADER_EPOCH, OUT_OF_RANGE, UNKNOWN_TOPIC, UNSUPPORTED_VERSION = 75, 1, 3, 35


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("broker"), auto_create_topics_enable=False, message_max_bytes=100_000) as running:
        yield running


@pytest.fixture
def topic(client: WireClient, request: pytest.FixtureRequest) -> str:
    name = "t." + "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:200]
    create_topic(client, name, 3)
    return name


def test_produced_records_are_fetched_from_any_offset(client: WireClient, topic: str) -> None:
    assert produce(client, topic, batch(b"a", b"b")).base_offset == 0
    assert produce(client, topic, batch(b"c")).base_offset == 2
    assert values(fetch(client, topic, 0)) == [b"a", b"b", b"c"]
    assert values(fetch(client, topic, 1)) == [b"a", b"b", b"c"]  # the whole batch; the client skips
    assert values(fetch(client, topic, 2)) == [b"c"]
    assert fetch(client, topic, 2).high_watermark == 3


def test_fetching_beyond_the_end_is_out_of_range_but_at_the_end_is_not(client: WireClient, topic: str) -> None:
    produce(client, topic, batch(b"a"))
    assert fetch(client, topic, 2).error_code == OUT_OF_RANGE
    at_end = fetch(client, topic, 1)
    assert (at_end.error_code, values(at_end), at_end.log_start_offset) == (0, [], 0)


def test_one_batch_comes_however_small_the_limits(client: WireClient, topic: str) -> None:
    produce(client, topic, batch(b"x" * 5000))
    produce(client, topic, batch(b"second"))
    produce(client, topic, batch(b"y" * 5000), partition=1)
    body = fetch_body(topic, 0, partitions=(0, 1), max_bytes=10, partition_max_bytes=10)
    first, second = client.call(FETCH, 11, body).responses[0].partitions
    assert values(first) == [b"x" * 5000]
    assert values(second) == []


def test_a_long_poll_ends_when_enough_bytes_have_come(client: WireClient, topic: str, part: Part) -> None:
    one = batch(b"z" * 400)
    begin = time.monotonic()
    client.send(FETCH, 11, fetch_body(topic, 0, partitions=(0, 1), max_wait=15_000, min_bytes=2 * len(one)))
    with WireClient(part.ports["kafka"]) as other:
        produce(other, topic, one)
        produce(other, topic, one, partition=1)
    first, second = client.receive().responses[0].partitions
    assert values(first) == values(second) == [b"z" * 400]
    assert time.monotonic() - begin < 10


def test_a_long_poll_ends_empty_after_max_wait(client: WireClient, topic: str) -> None:
    begin = time.monotonic()
    assert values(fetch(client, topic, 0, max_wait=300)) == []
    assert 0.25 < time.monotonic() - begin < 20


def test_a_long_poll_ends_when_its_topic_is_deleted(client: WireClient, topic: str, part: Part) -> None:
    client.send(FETCH, 11, fetch_body(topic, 0, max_wait=15_000))
    with WireClient(part.ports["kafka"]) as other:
        deleted = other.call(20, 6, {"topics": [{"name": topic, "topic_id": None}], "timeout": 9000})
        assert deleted.responses[0].error_code == 0
        assert client.receive().responses[0].partitions[0].error_code == UNKNOWN_TOPIC


def test_answers_come_in_the_order_of_requests(client: WireClient, topic: str) -> None:
    client.send(FETCH, 11, fetch_body(topic, 0, max_wait=400))
    client.send(PRODUCE, 9, produce_body(topic, batch(b"later"), partition=1))
    client.send(METADATA, 1, {"topics": []})
    assert values(client.receive().responses[0].partitions[0]) == []
    assert client.receive().responses[0].partition_responses[0].base_offset == 0
    assert client.receive().topics == ()


def test_fetch_by_topic_id(client: WireClient, topic: str) -> None:
    produce(client, topic, batch(b"by id"))
    topic_id = metadata(client, topic).topics[0].topic_id
    assert topic_id is not None
    body = fetch_body(topic, 0)
    body["topics"][0]["topic_id"] = topic_id
    answer = client.call(FETCH, 16, body).responses[0]
    assert (answer.topic_id, values(answer.partitions[0])) == (topic_id, [b"by id"])
    body["topics"][0]["topic_id"] = topic_id.__class__(int=12345)
    assert client.call(FETCH, 16, body).responses[0].partitions[0].error_code == 100


def test_a_leader_epoch_of_the_future_is_unknown(client: WireClient, topic: str) -> None:
    assert fetch(client, topic, 0, epoch=1).error_code == UNKNOWN_LEADER_EPOCH
    assert fetch(client, topic, 0, epoch=0).error_code == 0
    asked = [{"partition": 0, "current_leader_epoch": 0, "leader_epoch": 0}]
    produce(client, topic, batch(b"a", b"b"))
    ended = (
        client.call(EPOCHS, 4, {"replica_id": -2, "topics": [{"topic": topic, "partitions": asked}]}).topics[0].partitions[0]
    )
    assert (ended.error_code, ended.leader_epoch, ended.end_offset) == (0, 0, 2)


def test_an_unknown_fetch_session_is_told_so(client: WireClient, topic: str) -> None:
    body = {**fetch_body(topic, 0), "session_id": 77, "session_epoch": 4}
    answer = client.call(FETCH, 11, body)
    assert (answer.error_code, answer.responses) == (70, ())


def test_offsets_by_time_and_by_special_timestamps(client: WireClient, topic: str) -> None:
    assert list_offset(client, topic, -3) == (0, -1, -1)
    produce(client, topic, batch(b"a", b"b"))
    time.sleep(0.005)
    between_ms = time.time_ns() // 1_000_000
    produce(client, topic, batch(b"c"))
    assert list_offset(client, topic, -1)[2] == 3
    assert list_offset(client, topic, -2)[2] == 0
    assert list_offset(client, topic, -4)[2] == 0
    assert list_offset(client, topic, -5) == (0, -1, -1)
    error, timestamp, offset = list_offset(client, topic, between_ms)
    assert (error, offset, timestamp >= between_ms) == (0, 2, True)
    assert list_offset(client, topic, -3) == (0, timestamp, 2)
    assert list_offset(client, topic, between_ms + 1_000_000) == (0, -1, -1)
    assert list_offset(client, topic, -3, version=6)[0] == UNSUPPORTED_VERSION
    assert list_offset(client, topic, -99)[0] == UNSUPPORTED_VERSION
    assert list_offset(client, "nowhere", -1)[0] == UNKNOWN_TOPIC


@pytest.mark.parametrize("acks", [-1, 1])
def test_faults_of_a_produce_are_named_by_partition(client: WireClient, topic: str, acks: int) -> None:
    good = batch(b"good")
    broken = bytearray(good)
    broken[-1] ^= 1
    lying = bytearray(good)
    struct.pack_into(">i", lying, 57, 1000)
    assert produce(client, topic, bytes(broken), acks=acks).error_code == 2  # CORRUPT_MESSAGE
    assert produce(client, topic, bytes(lying), acks=acks).error_code in (2, 87)
    assert produce(client, topic, good[:40], acks=acks).error_code in (2, 87)
    assert produce(client, topic, None, acks=acks).error_code == 87
    assert produce(client, topic, batch(b"x" * 200_000), acks=acks).error_code == 10  # MESSAGE_TOO_LARGE
    assert produce(client, topic, good, partition=9, acks=acks).error_code == UNKNOWN_TOPIC
    assert produce(client, "no such", good, acks=acks).error_code == UNKNOWN_TOPIC
    assert produce(client, topic, good, acks=5).error_code == 21  # INVALID_REQUIRED_ACKS
    assert values(fetch(client, topic, 0)) == []


def test_a_repeated_batch_of_an_idempotent_producer_is_stored_once(client: WireClient, topic: str) -> None:
    producer_id = new_producer_id(client)
    first = batch(b"a", b"b", producer_id=producer_id, sequence=0)
    assert produce(client, topic, first).base_offset == 0
    assert produce(client, topic, first).base_offset == 0
    assert produce(client, topic, batch(b"d", producer_id=producer_id, sequence=5)).error_code == 45  # OUT_OF_ORDER
    assert produce(client, topic, batch(b"c", producer_id=producer_id, sequence=2)).base_offset == 2
    assert values(fetch(client, topic, 0)) == [b"a", b"b", b"c"]


def test_acks_0_is_not_answered_and_its_failure_closes_the_connection(client: WireClient, topic: str, part: Part) -> None:
    with WireClient(part.ports["kafka"]) as other:
        other.send(PRODUCE, 9, produce_body(topic, batch(b"fire"), acks=0))
        other.forget_oldest()
        other.send(METADATA, 1, {"topics": []})
        assert other.receive().controller_id == 1
        other.send(PRODUCE, 9, produce_body("nowhere", batch(b"forget"), acks=0))
        with pytest.raises(AssertionError, match="closed"):
            other.receive()
    assert values(fetch(client, topic, 0, max_wait=5000)) == [b"fire"]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_produce_before_v3_is_refused_in_its_own_words(part: Part, topic: str, version: int) -> None:
    name = topic.encode()
    body = struct.pack(">hii", 1, 9000, 1) + struct.pack(">h", len(name)) + name + struct.pack(">iii", 1, 0, 3) + b"old"
    frame = struct.pack(">hhih", 0, version, 4711, 2) + b"me" + body
    with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) as sock:
        sock.sendall(struct.pack(">i", len(frame)) + frame)
        answer = sock.recv(4096)
    expected = struct.pack(">iih", 4711, 1, len(name)) + name + struct.pack(">iihq", 1, 0, UNSUPPORTED_VERSION, -1)
    expected += b"\xff" * 8 if version == 2 else b""
    expected += bytes(4) if version >= 1 else b""
    assert answer == struct.pack(">i", len(expected)) + expected
