"""Refusals that differed when the same requests went to Apache Kafka 4.1 and to us (docs/compat.md)."""

from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from headrace.broker.log.record import Record, build_batch
from tests.integration.broker.requests import (
    CREATE_TOPICS,
    DELETE_TOPICS,
    PRODUCE,
    batch,
    create_topic,
    fetch,
    metadata,
    produce,
    produce_body,
)
from tests.integration.groups.wire_client import WireClient
from tests.processes import broker

DESCRIBE_CLUSTER = 60
ZSTD = 4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireClient]:
    with broker(tmp_path_factory.mktemp("refusals")) as part, WireClient(part.ports["kafka"]) as connected:
        yield connected


@pytest.mark.parametrize("version", [5, 6])
def test_a_topic_named_twice_for_deletion_is_told_once_and_stays(client: WireClient, version: int) -> None:
    name = f"twice-{version}"
    create_topic(client, name)
    named = [{"name": name, "topic_id": None}] * 2 if version >= 6 else None
    answer = client.call(DELETE_TOPICS, version, {"topics": named, "topic_names": [name, name], "timeout": 9000})
    assert [(each.name, each.error_code) for each in answer.responses] == [(name, ErrorCode.invalid_request)]
    assert metadata(client, name, create=False).topics[0].error_code is ErrorCode.none


def test_a_null_setting_is_an_invalid_one(client: WireClient) -> None:
    settings = [{"name": "retention.ms", "value": None}]
    topic = {"name": "null", "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": settings}
    (answer,) = client.call(CREATE_TOPICS, 7, {"topics": [topic], "timeout": 9000, "validate_only": False}).topics
    assert answer.error_code is ErrorCode.invalid_config
    assert metadata(client, "null", create=False).topics[0].error_code is ErrorCode.unknown_topic_or_partition


@pytest.mark.parametrize(("version", "error"), [(6, ErrorCode.unsupported_compression_type), (7, ErrorCode.none)])
def test_zstd_needs_a_client_that_knows_it(client: WireClient, version: int, error: ErrorCode) -> None:
    create_topic(client, f"zstd-{version}")
    packed = build_batch([Record(None, b"v" * 100, 1_700_000_000_000)], codec=ZSTD)
    body = produce_body(f"zstd-{version}", packed)
    (partition,) = client.call(PRODUCE, version, body).responses[0].partition_responses
    assert partition.error_code is error


def test_an_offset_out_of_range_tells_no_offsets(client: WireClient) -> None:
    create_topic(client, "short")
    produce(client, "short", batch(b"only"))
    answer = fetch(client, "short", 7)
    assert answer.error_code is ErrorCode.offset_out_of_range
    assert (answer.high_watermark, answer.last_stable_offset, answer.log_start_offset) == (-1, -1, -1)


def describe_cluster(client: WireClient, endpoint_type: int) -> Any:
    body = {"include_cluster_authorized_operations": False, "endpoint_type": endpoint_type, "include_fenced_brokers": False}
    return client.call(DESCRIBE_CLUSTER, 2, body)


@pytest.mark.parametrize(("kind", "error"), [(2, ErrorCode.mismatched_endpoint_type), (7, ErrorCode.unsupported_endpoint_type)])
def test_only_brokers_are_described(client: WireClient, kind: int, error: ErrorCode) -> None:
    answer = describe_cluster(client, kind)
    assert (answer.error_code, int(answer.controller_id), answer.brokers) == (error, -1, ())
    assert len(describe_cluster(client, 1).brokers) == 1
