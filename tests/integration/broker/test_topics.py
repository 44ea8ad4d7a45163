"""Topics over the wire: Metadata, CreateTopics, DeleteTopics, DescribeConfigs, DescribeCluster, ApiVersions."""

import socket
import struct
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.broker.handlers.table import APIS
from tests.integration.broker.requests import CREATE_TOPICS, DELETE_TOPICS, batch, create_topic, metadata, produce
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

INVALID_TOPIC, UNKNOWN_TOPIC, EXISTS, UNKNOWN_ID = 17, 3, 36, 100


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("broker"), num_partitions=4, log_retention_hours=5) as running:
        yield running


def create(client: WireClient, *, validate_only: bool = False, version: int = 7, **topic: Any) -> Any:
    body = {"num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": [], **topic}
    request = {"topics": [body], "timeout": 9000, "validate_only": validate_only}
    return client.call(CREATE_TOPICS, version, request).topics[0]


def delete(client: WireClient, name: str | None, topic_id: uuid.UUID | None = None) -> int:
    body = {"topics": [{"name": name, "topic_id": topic_id}], "timeout": 9000}
    return int(client.call(DELETE_TOPICS, 6, body).responses[0].error_code)


def names(response: Any) -> set[str]:
    return {topic.name for topic in response.topics}


def test_metadata_makes_a_topic_that_is_asked_for(client: WireClient) -> None:
    made = metadata(client, "auto").topics[0]
    assert (made.error_code, len(made.partitions), made.is_internal) == (0, 4, False)
    assert made.topic_id not in (None, uuid.UUID(int=0))
    assert [(each.leader_id, each.isr_nodes) for each in made.partitions] == [(1, (1,))] * 4
    assert metadata(client, "auto", create=False).topics[0].topic_id == made.topic_id


def test_metadata_makes_nothing_unless_it_may(client: WireClient) -> None:
    assert metadata(client, "absent", create=False).topics[0].error_code == UNKNOWN_TOPIC
    assert "absent" not in names(client.call(3, 12, {**_nothing(), "topics": None}))


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ü", "x" * 250, "a/b", "a\0b"])
def test_names_that_cannot_be_are_invalid(client: WireClient, name: str) -> None:
    assert metadata(client, name).topics[0].error_code == INVALID_TOPIC
    assert create(client, name=name).error_code == INVALID_TOPIC


def test_a_name_that_collides_in_metrics_is_invalid(client: WireClient) -> None:
    create_topic(client, "a.collision")
    assert create(client, name="a_collision").error_code == INVALID_TOPIC


def _nothing() -> dict[str, Any]:
    return {
        "topics": [],
        "allow_auto_topic_creation": False,
        "include_cluster_authorized_operations": False,
        "include_topic_authorized_operations": False,
    }


@pytest.mark.parametrize("version", range(13))
def test_metadata_of_all_of_none_and_of_the_cluster(client: WireClient, part: Part, version: int) -> None:
    create_topic(client, f"all{version}")
    everything = client.call(3, version, {**_nothing(), "topics": [] if version == 0 else None})
    assert f"all{version}" in names(everything)
    assert [(each.node_id, each.host, each.port) for each in everything.brokers] == [(1, "127.0.0.1", part.ports["kafka"])]
    if version >= 1:
        nothing = client.call(3, version, _nothing())
        assert (nothing.topics, nothing.controller_id) == ((), 1)
    if version >= 2:
        assert len(everything.cluster_id) == 22


def test_metadata_by_id(client: WireClient) -> None:
    create_topic(client, "known")
    topic_id = metadata(client, "known").topics[0].topic_id
    asked = [{"name": None, "topic_id": topic_id}, {"name": None, "topic_id": uuid.UUID(int=5)}]
    known, unknown = client.call(3, 12, {**_nothing(), "topics": asked}).topics
    assert (known.error_code, known.name) == (0, "known")
    assert (unknown.error_code, unknown.name, unknown.topic_id) == (UNKNOWN_ID, None, uuid.UUID(int=5))


def test_operations_are_told_to_who_asks(client: WireClient) -> None:
    create_topic(client, "operated")
    asked = {"topics": [{"name": "operated", "topic_id": None}]}
    answer = client.call(3, 9, {**_nothing(), **asked, "include_topic_authorized_operations": True})
    assert answer.topics[0].topic_authorized_operations == 3576
    assert answer.cluster_authorized_operations == -(1 << 31)


@pytest.mark.parametrize("version", range(2, 8))
def test_created_topics_are_there_in_every_version(client: WireClient, version: int) -> None:
    made = create(client, version=version, name=f"made{version}", num_partitions=2)
    assert made.error_code == 0
    assert len(metadata(client, f"made{version}").topics[0].partitions) == 2
    if version >= 5:
        settings = {config.name: (config.value, config.config_source) for config in made.configs}
        assert settings["retention.ms"] == ("18000000", 5)
    again = create(client, version=version, name=f"made{version}")
    assert again.error_code == EXISTS


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"num_partitions": 0}, 37),
        ({"num_partitions": -2}, 37),
        ({"num_partitions": 1_000_000}, 44),
        ({"replication_factor": 2}, 38),
        ({"replication_factor": 0}, 38),
        ({"configs": [{"name": "no.such.key", "value": "1"}]}, 40),
        ({"configs": [{"name": "retention.ms", "value": "soon"}]}, 40),
        ({"assignments": [{"partition_index": 0, "broker_ids": [1]}]}, 42),
        (
            {
                "num_partitions": -1,
                "replication_factor": -1,
                "assignments": [{"partition_index": 0, "broker_ids": [2]}],
            },
            39,
        ),
    ],
)
def test_topics_that_cannot_be_made_are_refused_and_not_made(client: WireClient, wrong: dict[str, Any], error: int) -> None:
    refused = create(client, name="wrong", **wrong)
    assert refused.error_code == error
    assert refused.error_message
    assert metadata(client, "wrong", create=False).topics[0].error_code == UNKNOWN_TOPIC


def test_counts_of_minus_one_are_the_brokers_defaults(client: WireClient) -> None:
    assert create(client, name="defaults", num_partitions=-1, replication_factor=-1).num_partitions == 4


def test_assigned_partitions_are_made(client: WireClient) -> None:
    assignments = [{"partition_index": index, "broker_ids": [1]} for index in (0, 1, 2)]
    made = create(client, name="assigned", num_partitions=-1, replication_factor=-1, assignments=assignments)
    assert (made.error_code, made.num_partitions) == (0, 3)


def test_a_topic_named_twice_in_one_request_is_refused(client: WireClient) -> None:
    topic = {"name": "twin", "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}
    answer = client.call(CREATE_TOPICS, 7, {"topics": [topic, topic], "timeout": 9000, "validate_only": False})
    assert [(each.name, each.error_code) for each in answer.topics] == [("twin", 42)]


def test_validate_only_makes_nothing(client: WireClient) -> None:
    assert create(client, validate_only=True, name="dry").error_code == 0
    assert metadata(client, "dry", create=False).topics[0].error_code == UNKNOWN_TOPIC


def test_deleted_by_name_and_by_id_and_made_again_empty(client: WireClient) -> None:
    create_topic(client, "mortal")
    produce(client, "mortal", batch(b"old"))
    first_id = metadata(client, "mortal").topics[0].topic_id
    assert delete(client, "mortal") == 0
    assert delete(client, "mortal") == UNKNOWN_TOPIC
    assert metadata(client, "mortal", create=False).topics[0].error_code == UNKNOWN_TOPIC
    create_topic(client, "mortal")
    assert produce(client, "mortal", batch(b"new")).base_offset == 0
    second_id = metadata(client, "mortal").topics[0].topic_id
    assert second_id != first_id
    assert delete(client, None, first_id) == UNKNOWN_ID
    assert delete(client, None, second_id) == 0
    assert delete(client, None, None) == 42


def test_the_brokers_own_topic_cannot_be_deleted_or_written(client: WireClient) -> None:
    assert metadata(client, "__consumer_offsets").topics[0].is_internal is True
    assert delete(client, "__consumer_offsets") == 44
    assert produce(client, "__consumer_offsets", batch(b"forged")).error_code == INVALID_TOPIC
    assert produce(client, metadata(client, "_ordinary").topics[0].name, batch(b"fine")).error_code == 0


@pytest.mark.parametrize("version", range(1, 5))
def test_settings_of_a_topic_say_where_they_come_from(client: WireClient, version: int) -> None:
    create_topic(client, f"set{version}", retention_bytes="12345")
    asked = [{"resource_type": 2, "resource_name": f"set{version}", "configuration_keys": None}]
    body = {"resources": asked, "include_synonyms": True, "include_documentation": False}
    (result,) = client.call(32, version, body).results
    settings = {config.name: config for config in result.configs}
    assert (settings["retention.bytes"].value, settings["retention.bytes"].config_source) == ("12345", 1)
    assert (settings["retention.ms"].value, settings["retention.ms"].config_source) == ("18000000", 5)
    assert [each.value for each in settings["retention.bytes"].synonyms] == ["12345", "-1"]
    if version >= 3:
        assert settings["cleanup.policy"].config_type == 7


def test_settings_of_the_broker_and_of_what_is_not_there(client: WireClient) -> None:
    asked = [
        {"resource_type": 4, "resource_name": "1", "configuration_keys": ["num.partitions", "log.roll.hours"]},
        {"resource_type": 4, "resource_name": "2", "configuration_keys": None},
        {"resource_type": 2, "resource_name": "nowhere", "configuration_keys": None},
    ]
    body = {"resources": asked, "include_synonyms": False, "include_documentation": False}
    ours, other, nowhere = client.call(32, 4, body).results
    assert {config.name: (config.value, config.config_source) for config in ours.configs} == {
        "num.partitions": ("4", 4),
        "log.roll.hours": ("168", 5),
    }
    assert (other.error_code, nowhere.error_code) == (42, UNKNOWN_TOPIC)


@pytest.mark.parametrize("version", [1, 2])
def test_the_cluster_is_described(client: WireClient, part: Part, version: int) -> None:
    body = {"include_cluster_authorized_operations": True, "endpoint_type": 1, "include_fenced_brokers": False}
    cluster = client.call(60, version, body)
    assert [(each.broker_id, each.port) for each in cluster.brokers] == [(1, part.ports["kafka"])]
    assert cluster.cluster_authorized_operations == 8096
    assert client.call(60, version, {**body, "endpoint_type": 2}).error_code == 114


def test_transactions_are_refused(client: WireClient) -> None:
    body = {"transactional_id": "tx", "transaction_timeout": 9000, "producer_id": -1, "producer_epoch": -1}
    answer = client.call(22, 4, body)
    assert (answer.error_code, answer.producer_id) == (53, -1)


def api_versions(part: Part, version: int, body: bytes, header: bytes = b"\0\2me") -> bytes:
    """The answer's bytes after the correlation id; its header is v0 in every version."""
    request = struct.pack(">hhi", 18, version, 5) + header + body
    with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10) as sock:
        sock.sendall(struct.pack(">i", len(request)) + request)
        data = sock.recv(65536)
    assert struct.unpack_from(">ii", data) == (len(data) - 4, 5)
    return data[8:]


def test_api_versions_of_the_future_are_answered_in_v0(part: Part) -> None:
    answer = api_versions(part, 77, b"whatever")
    error, count = struct.unpack_from(">hi", answer)
    assert (error, len(answer)) == (35, 6 + 6 * count)
    keys = {key: (low, high) for key, low, high in struct.iter_unpack(">hhh", answer[6:])}
    assert keys == {api.key: (0 if api.key == 0 else api.min_version, api.max_version) for api in APIS.values()}


def test_api_versions_v3_has_no_tagged_fields_in_its_header(part: Part) -> None:
    answer = api_versions(part, 3, b"\0" + b"\4lib" + b"\0041.2" + b"\0")
    assert answer[:2] == b"\0\0"
    assert answer[2] == len(APIS) + 1


def test_api_versions_of_a_nameless_client_is_an_invalid_request(part: Part) -> None:
    answer = api_versions(part, 3, b"\0" + b"\1" + b"\0041.2" + b"\0")
    assert answer[:2] == b"\0\x2a"
