"""A retention hold in a running broker: records wait for the group's commit, and Prometheus tells of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from headrace.broker.log.record import Record, build_batch
from tests.integration.broker.requests import create_topic, list_offset, produce
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker, free_port

OFFSET_COMMIT, DELETE_GROUPS, INCREMENTAL, EARLIEST = 8, 42, 44, -2
HOUR_MS = 3_600_000


def held_broker(directory: Path, **config: str) -> Part:
    return broker(directory, log_retention_check_interval_ms=100, http=f"127.0.0.1:{free_port()}", **config)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with held_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def fill(client: WireClient, topic: str, **settings: str) -> None:
    """Six segments of one record, two hours old, and one of now."""
    create_topic(client, topic, segment_bytes="600", retention_ms=str(HOUR_MS), **settings)
    now_ms = time.time_ns() // 1_000_000
    for age_ms in [2 * HOUR_MS] * 6 + [0]:
        assert produce(client, topic, build_batch([Record(b"k", b"v" * 500, now_ms - age_ms)])).error_code == 0


def commit(client: WireClient, group: str, topic: str, offset: int) -> None:
    partition = {"partition_index": 0, "committed_offset": offset, "committed_leader_epoch": -1, "committed_metadata": ""}
    body = {
        "group_id": group,
        "generation_id_or_member_epoch": -1,
        "member_id": "",
        "group_instance_id": None,
        "topics": [{"name": topic, "partitions": [partition]}],
    }
    assert client.call(OFFSET_COMMIT, 8, body).topics[0].partitions[0].error_code == 0


def start(client: WireClient, topic: str) -> int:
    return list_offset(client, topic, EARLIEST)[2]


def metric(part: Part, name: str, **labels: str) -> float | None:
    with urlopen(f"http://127.0.0.1:{part.ports['http']}/metrics", timeout=10) as response:
        text = response.read().decode()
    for line in text.splitlines():
        if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    return None


def until(is_so: Callable[[], bool], timeout_s: float = 12) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.05)


def test_records_wait_for_the_commit_of_every_group(part: Part, client: WireClient) -> None:
    fill(client, "free")
    fill(client, "held", headrace_retention_hold="table,nightly")
    until(lambda: start(client, "free") == 6)
    assert start(client, "held") == 0
    commit(client, "headrace-load", "held", 4)
    commit(client, "nightly", "held", 2)
    until(lambda: start(client, "held") == 2)
    until(lambda: (metric(part, "headrace_broker_retention_held_bytes", topic="held") or 0) > 2000)
    late = metric(part, "headrace_broker_seconds_until_retention", topic="held", group="nightly")
    assert late == pytest.approx(-3600, abs=30)
    commit(client, "nightly", "held", 7)
    until(lambda: start(client, "held") == 4)
    commit(client, "headrace-load", "held", 7)
    until(lambda: start(client, "held") == 6)
    until(lambda: metric(part, "headrace_broker_seconds_until_retention", topic="held", group="nightly") == float("inf"))
    assert metric(part, "headrace_broker_retention_held_bytes", topic="held") == 0
    assert metric(part, "headrace_broker_seconds_until_retention", topic="free") is None


def test_a_deleted_group_holds_everything_and_a_changed_setting_lets_go(client: WireClient) -> None:
    fill(client, "orphaned", headrace_retention_hold="gone")
    commit(client, "gone", "orphaned", 3)
    until(lambda: start(client, "orphaned") == 3)
    assert client.call(DELETE_GROUPS, 2, {"groups_names": ["gone"]}).results[0].error_code == 0
    time.sleep(1.5)  # a look of retention or more
    assert start(client, "orphaned") == 3
    change = {"name": "headrace.retention.hold", "config_operation": 3, "value": "gone"}
    resource = {"resource_type": 2, "resource_name": "orphaned", "configs": [change]}
    assert client.call(INCREMENTAL, 1, {"resources": [resource], "validate_only": False}).responses[0].error_code == 0
    until(lambda: start(client, "orphaned") == 6)


def test_the_brokers_default_is_for_what_is_landed_and_a_topic_may_say_otherwise(tmp_path: Path) -> None:
    with held_broker(tmp_path, log_retention_hold="table") as part, WireClient(part.ports["kafka"]) as client:
        fill(client, "landed")
        fill(client, "_audit")
        fill(client, "_private")
        fill(client, "apart", headrace_retention_hold="")
        until(lambda: start(client, "_private") == 6 and start(client, "apart") == 6)
        assert (start(client, "landed"), start(client, "_audit")) == (0, 0)
        part.kill()
        part.start()
        with WireClient(part.ports["kafka"]) as again:
            time.sleep(1.5)
            assert start(again, "landed") == 0
            commit(again, "headrace-load", "landed", 5)
            until(lambda: start(again, "landed") == 5)
