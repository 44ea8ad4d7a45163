"""DescribeConfigs: types as Apache Kafka 4.1 tells them, and names that no topic can have."""

from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from tests.integration.groups.wire_client import WireClient
from tests.processes import broker

DESCRIBE_CONFIGS, CREATE_TOPICS = 32, 19
TOPIC, BROKER = 2, 4
BOOLEAN, STRING, INT, LONG, DOUBLE, LIST = 1, 2, 3, 5, 6, 7


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireClient]:
    with broker(tmp_path_factory.mktemp("settings")) as part, WireClient(part.ports["kafka"]) as connected:
        topic = {"name": "t", "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}
        connected.call(CREATE_TOPICS, 7, {"topics": [topic], "timeout": 5_000, "validate_only": False})
        yield connected


def described(client: WireClient, kind: int, name: str) -> Any:
    resource = {"resource_type": kind, "resource_name": name, "configuration_keys": None}
    body = {"resources": [resource], "include_synonyms": False, "include_documentation": False}
    (result,) = client.call(DESCRIBE_CONFIGS, 4, body).results
    return result


@pytest.mark.parametrize(
    ("kind", "name", "types"),
    [
        (
            TOPIC,
            "t",
            {
                "segment.bytes": INT,
                "retention.bytes": LONG,
                "retention.ms": LONG,
                "min.cleanable.dirty.ratio": DOUBLE,
                "cleanup.policy": LIST,
                "message.timestamp.type": STRING,
            },
        ),
        (
            BROKER,
            "1",
            {
                "num.partitions": INT,
                "log.segment.bytes": INT,
                "log.retention.minutes": INT,
                "log.retention.ms": LONG,
                "log.retention.bytes": LONG,
                "auto.create.topics.enable": BOOLEAN,
            },
        ),
    ],
)
def test_settings_have_kafkas_types(client: WireClient, kind: int, name: str, types: dict[str, int]) -> None:
    told = {config.name: config.config_type for config in described(client, kind, name).configs}
    assert {setting: told[setting] for setting in types} == types


@pytest.mark.parametrize(("name", "error"), [("bad name", 17), ("", 17), ("nobody-made-this", 3)])
def test_a_name_that_no_topic_can_have_is_told_from_one_that_none_has(client: WireClient, name: str, error: int) -> None:
    assert described(client, TOPIC, name).error_code is ErrorCode(error)
