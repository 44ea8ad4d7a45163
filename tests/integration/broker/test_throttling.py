"""Clients over a quota: what they are told, and for how long they are not read."""

import re
import socket
import struct
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.handlers.api import Charged
from headrace.broker.handlers.table import APIS
from tests.integration.broker.requests import batch, create_topic, fetch_body, metadata, produce_body
from tests.integration.broker.test_quotas import alter, alteration
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker, free_port

PRODUCE, FETCH, METADATA, HEARTBEAT = 0, 1, 3, 12
ME = {"client-id": "wire"}  # what WireClient calls itself, where a test has a broker to itself
ASK = {
    "topics": [],
    "allow_auto_topic_creation": False,
    "include_cluster_authorized_operations": False,
    "include_topic_authorized_operations": False,
}
ALL = {**ASK, "topics": None}
NOTHING_KNOWN = {"group_id": "g", "generation_id": 1, "member_id": "m", "group_instance_id": None}


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


@pytest.fixture
def who(request: pytest.FixtureRequest) -> str:
    """The client id of this test, over whose quota it goes at a broker of all tests, and its topic."""
    return re.sub(r"\W+", ".", request.node.name)


@pytest.fixture
def admin(part: Part, who: str) -> Iterator[WireClient]:
    """Without a quota; its topic is there."""
    with wire(part) as connected:
        create_topic(connected, who)
        yield connected


@pytest.fixture
def client(part: Part, who: str, admin: WireClient) -> Iterator[WireClient]:
    with WireClient(part.ports["kafka"], client_id=who) as connected:
        yield connected


def limit(admin: WireClient, who: str, **quotas: float | None) -> None:
    assert alter(admin, alteration({"client-id": who}, **quotas)) == [0]


def milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def fetched(client: WireClient, topic: str, version: int = 11, **body: Any) -> tuple[int, int]:
    """The delay in ms, and how many bytes of records came."""
    answer = client.call(FETCH, version, fetch_body(topic, 0, **body))
    size = sum(len(each.records or b"") for response in answer.responses for each in response.partitions)
    return milliseconds(answer.throttle_time), size


def test_a_producer_over_its_quota_is_answered_at_once_and_read_again_after_the_delay(
    admin: WireClient, client: WireClient, who: str
) -> None:
    limit(admin, who, producer_byte_rate=1000)
    began = time.monotonic()
    answer = client.call(PRODUCE, 9, produce_body(who, batch(b"x" * 11_000)))
    answered_s = time.monotonic() - began
    delay_ms = milliseconds(answer.throttle_time)
    assert answer.responses[0].partition_responses[0].error_code == 0
    assert 1000 < delay_ms < 1500  # 1,100/s and a little over ten seconds, where 1,000/s are allowed
    assert answered_s < delay_ms / 1000
    client.call(METADATA, 9, ASK)
    assert time.monotonic() - began > delay_ms / 1000
    admin.call(METADATA, 9, ASK)  # another connection is not delayed


def test_requests_that_were_sent_ahead_wait_too(admin: WireClient, client: WireClient, who: str) -> None:
    limit(admin, who, producer_byte_rate=1000)
    began = time.monotonic()
    for _ in range(3):
        client.send(PRODUCE, 9, produce_body(who, batch(b"x" * 5_200)))
    delays_ms = [milliseconds(client.receive().throttle_time) for _ in range(3)]
    assert delays_ms[0] == 0
    assert delays_ms[1] > 0
    assert time.monotonic() - began >= delays_ms[1] / 1000


def test_unanswered_produce_is_throttled_by_its_bytes(admin: WireClient, client: WireClient, who: str) -> None:
    limit(admin, who, producer_byte_rate=1000)
    client.send(PRODUCE, 9, produce_body(who, batch(b"x" * 11_000), acks=0))
    client._expected.clear()  # there is no answer to it
    began = time.monotonic()
    client.call(METADATA, 9, ASK)
    assert 1 < time.monotonic() - began < 20


@pytest.mark.parametrize("version", [4, 11, 16])
def test_a_fetch_over_the_quota_has_no_records_and_does_not_count(
    admin: WireClient, client: WireClient, who: str, version: int
) -> None:
    client.call(PRODUCE, 9, produce_body(who, batch(b"x" * 6_000)))
    topic_id = metadata(admin, who, create=False).topics[0].topic_id
    limit(admin, who, consumer_byte_rate=1000)

    def get() -> tuple[int, int]:
        body = fetch_body(who, 0)
        body["topics"][0]["topic_id"] = topic_id
        answer = client.call(FETCH, version, body)
        size = sum(len(each.records or b"") for response in answer.responses for each in response.partitions)
        return milliseconds(answer.throttle_time), size

    assert get()[0] == 0
    delay_ms, size = get()
    assert delay_ms > 1000
    assert size == 0


def test_a_batch_larger_than_any_burst_is_sent_once_nothing_went_before_it(tmp_path: Path) -> None:
    with broker(tmp_path, quota_window_num=3) as part, wire(part) as client:
        create_topic(client, "t")
        client.call(PRODUCE, 9, produce_body("t", batch(b"x" * 30_000)))
        assert alter(client, alteration(ME, consumer_byte_rate=10_000)) == [0]
        delay_ms, size = fetched(client, "t")
        assert size > 30_000
        assert 500 < delay_ms < 2000
        delay_ms, size = fetched(client, "t")
        assert (delay_ms > 0, size) == (True, 0)


def test_a_long_poll_wants_no_more_than_the_quota_allows(admin: WireClient, client: WireClient, who: str) -> None:
    client.call(PRODUCE, 9, produce_body(who, batch(b"x" * 3_000)))
    limit(admin, who, consumer_byte_rate=200)
    began = time.monotonic()
    fetched(client, who, min_bytes=1_000_000, max_wait=20_000)
    assert time.monotonic() - began < 10


def with_throttle_time() -> list[tuple[int, int]]:
    """Every API and version that can be told of a delay and is counted by its time."""
    from dataclasses import fields

    from kio.index import load_response_schema

    return [
        (api.key, version)
        for api in APIS.values()
        if api.charged is Charged.TIME
        for version in (api.min_version, api.max_version)
        if any(field.name == "throttle_time" for field in fields(load_response_schema(api.key, version)))
    ]


BODIES: dict[int, dict[str, Any]] = {
    3: ALL,
    12: NOTHING_KNOWN,
    18: {"client_software_name": "wire", "client_software_version": "1"},
    16: {"states_filter": (), "types_filter": ()},
    60: {"include_cluster_authorized_operations": False, "endpoint_type": 1, "include_fenced_brokers": False},
}


@pytest.fixture(scope="module")
def two_windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("broker"), quota_window_num=2) as running:
        yield running


@pytest.mark.parametrize(("key", "version"), [each for each in with_throttle_time() if each[0] in BODIES])
def test_whoever_takes_too_much_time_is_told_in_every_answer_that_can_say_so(
    two_windows: Part, who: str, key: int, version: int
) -> None:
    with wire(two_windows) as admin, WireClient(two_windows.ports["kafka"], client_id=who) as client:
        limit(admin, who, request_percentage=0.000001)
        answer = client.call(key, version, BODIES[key])
    assert milliseconds(answer.throttle_time) == 1000  # one window at most
    assert getattr(answer, "error_code", 0) in (0, 25)


def test_a_quota_that_is_taken_away_binds_no_more(admin: WireClient, client: WireClient, who: str) -> None:
    limit(admin, who, producer_byte_rate=1000)
    limit(admin, who, producer_byte_rate=None)
    answer = client.call(PRODUCE, 9, produce_body(who, batch(b"x" * 50_000)))
    assert milliseconds(answer.throttle_time) == 0


def test_addresses_that_connect_too_often_are_not_served(tmp_path: Path) -> None:
    with broker(tmp_path, http=f"127.0.0.1:{free_port()}") as part, wire(part) as admin:
        assert alter(admin, alteration({"ip": "127.0.0.1"}, connection_creation_rate=1)) == [0]
        opened = [socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=5) for _ in range(30)]
        frame = struct.pack(">hhih", 18, 0, 7, 1) + b"w"
        served = 0
        for each in opened:
            each.sendall(struct.pack(">i", len(frame)) + frame)
        for each in opened:
            served += bool(_received(each))
            each.close()
        assert 5 <= served <= 15
        with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}/metrics", timeout=20) as response:
            assert b'closed_connections_total{reason="connection_creation_rate"}' in response.read()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(10)
    except ConnectionResetError:
        return b""


def test_a_muted_client_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    with broker(tmp_path) as part, wire(part) as admin:
        create_topic(admin, "t")
        assert alter(admin, alteration(ME, producer_byte_rate=10_000)) == [0]
        for _ in range(5):
            with wire(part) as client:
                client.call(PRODUCE, 9, produce_body("t", batch(b"x" * 110_000)))
        assert alter(admin, alteration(ME, producer_byte_rate=None)) == [0]
        assert part.stop() == 0
        assert "Traceback" not in part.log_tail()


def test_a_throttled_client_does_not_keep_the_broker_from_stopping(tmp_path: Path) -> None:
    part = broker(tmp_path)
    with part, wire(part) as admin, wire(part) as client:
        create_topic(admin, "t")
        assert alter(admin, alteration(ME, producer_byte_rate=10)) == [0]
        client.call(PRODUCE, 9, produce_body("t", batch(b"x" * 100_000)))  # not read for hours
        client.send(METADATA, 9, ASK)
        began = time.monotonic()
        assert part.stop() == 0
        assert time.monotonic() - began < 20


def test_quotas_of_a_user_bind_all_of_its_client_ids(tmp_path: Path) -> None:
    with broker(tmp_path) as part, wire(part) as admin, wire(part) as client:
        create_topic(admin, "t")
        assert alter(admin, alteration({"user": "ANONYMOUS"}, producer_byte_rate=1000)) == [0]
        assert milliseconds(client.call(PRODUCE, 9, produce_body("t", batch(b"x" * 6_000))).throttle_time) == 0
        assert milliseconds(admin.call(PRODUCE, 9, produce_body("t", batch(b"x" * 6_000))).throttle_time) > 0
