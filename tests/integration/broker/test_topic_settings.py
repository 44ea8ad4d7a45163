"""AlterConfigs and IncrementalAlterConfigs over the wire: what changes, what does not, and that it holds at once and stays."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.log.record import Record, build_batch
from tests.integration.broker.requests import batch, create_topic, fetch, produce
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

ALTER, INCREMENTAL, DESCRIBE = 33, 44, 32
TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)
INVALID_CONFIG, INVALID_REQUEST, UNKNOWN_TOPIC, INVALID_TOPIC = 40, 42, 3, 17
TOO_LARGE, INVALID_RECORD, NOT_ENOUGH_REPLICAS, OUT_OF_RANGE, INVALID_TIMESTAMP = 10, 87, 19, 1, 32


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("broker"), log_retention_check_interval_ms=100) as running:
        yield running


def altered(
    client: WireClient, name: str, *operations: tuple[str, int, str | None], kind: int = TOPIC, validate_only: bool = False
) -> tuple[int, str | None]:
    """(error, message) of an incremental change."""
    configs = [{"name": key, "config_operation": operation, "value": value} for key, operation, value in operations]
    resource = {"resource_type": kind, "resource_name": name, "configs": configs}
    (answer,) = client.call(INCREMENTAL, 1, {"resources": [resource], "validate_only": validate_only}).responses
    assert (answer.resource_type, answer.resource_name) == (kind, name)
    return int(answer.error_code), answer.error_message


def replaced(client: WireClient, name: str, version: int = 2, **settings: str | None) -> tuple[int, str | None]:
    """(error, message) of AlterConfigs."""
    configs = [{"name": key.replace("_", "."), "value": value} for key, value in settings.items()]
    resource = {"resource_type": TOPIC, "resource_name": name, "configs": configs}
    (answer,) = client.call(ALTER, version, {"resources": [resource], "validate_only": False}).responses
    return int(answer.error_code), answer.error_message


def own_settings(client: WireClient, name: str) -> dict[str, str]:
    """What a topic sets of its own, as DescribeConfigs tells it."""
    resource = {"resource_type": TOPIC, "resource_name": name, "configuration_keys": None}
    body = {"resources": [resource], "include_synonyms": False, "include_documentation": False}
    (result,) = client.call(DESCRIBE, 4, body).results
    return {config.name: config.value for config in result.configs if config.config_source == 1}


def test_a_setting_is_added_without_a_loss_of_others_and_deleted_again(client: WireClient) -> None:
    create_topic(client, "added", retention_ms="60000", segment_bytes="2048")
    assert altered(client, "added", ("retention.bytes", SET, "4096"), ("segment.bytes", SET, "1024")) == (0, None)
    assert own_settings(client, "added") == {"retention.ms": "60000", "segment.bytes": "1024", "retention.bytes": "4096"}
    assert altered(client, "added", ("retention.ms", DELETE, None), ("flush.ms", DELETE, None)) == (0, None)
    assert own_settings(client, "added") == {"segment.bytes": "1024", "retention.bytes": "4096"}


def test_lists_are_appended_to_and_subtracted_from(client: WireClient) -> None:
    create_topic(client, "listed")
    assert altered(client, "listed", ("cleanup.policy", APPEND, "compact")) == (0, None)
    assert own_settings(client, "listed")["cleanup.policy"] == "compact,delete"
    assert altered(client, "listed", ("cleanup.policy", SUBTRACT, "delete")) == (0, None)
    assert own_settings(client, "listed")["cleanup.policy"] == "compact"
    assert altered(client, "listed", ("retention.ms", APPEND, "1"))[0] == INVALID_CONFIG
    assert altered(client, "listed", ("cleanup.policy", SUBTRACT, "compact"))[0] == INVALID_CONFIG


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_old_request_replaces_all_that_a_topic_sets(client: WireClient, version: int) -> None:
    create_topic(client, f"replaced{version}", retention_ms="60000", segment_bytes="2048")
    assert replaced(client, f"replaced{version}", version, retention_bytes="77777") == (0, None)
    assert own_settings(client, f"replaced{version}") == {"retention.bytes": "77777"}


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        ([("no.such.key", SET, "1")], INVALID_CONFIG),
        ([("no.such.key", DELETE, None)], INVALID_CONFIG),
        ([("retention.ms", SET, "-2")], INVALID_CONFIG),
        ([("retention.ms", SET, "soon")], INVALID_CONFIG),
        ([("segment.ms", SET, "5"), ("cleanup.policy", SET, "shred")], INVALID_CONFIG),
        ([("retention.ms", SET, None)], INVALID_REQUEST),
        ([("retention.ms", SET, "1"), ("retention.ms", SET, "2")], INVALID_REQUEST),
        ([("retention.ms", 9, "1")], INVALID_REQUEST),
    ],
)
def test_a_change_with_a_fault_changes_nothing_and_says_why(
    client: WireClient, operations: list[tuple[str, int, str | None]], error: int
) -> None:
    create_topic(client, "faulty", segment_bytes="2048") if not own_settings(client, "faulty") else None
    told, message = altered(client, "faulty", *operations)
    assert told == error
    assert message
    assert own_settings(client, "faulty") == {"segment.bytes": "2048"}


def test_a_change_that_is_only_tried_changes_nothing(client: WireClient) -> None:
    create_topic(client, "tried")
    assert altered(client, "tried", ("retention.ms", SET, "5"), validate_only=True) == (0, None)
    assert altered(client, "tried", ("retention.ms", SET, "x"), validate_only=True)[0] == INVALID_CONFIG
    assert own_settings(client, "tried") == {}


def test_only_topics_that_exist_can_be_changed(client: WireClient) -> None:
    assert altered(client, "absent", ("retention.ms", SET, "5"))[0] == UNKNOWN_TOPIC
    assert altered(client, "a/b", ("retention.ms", SET, "5"))[0] == INVALID_TOPIC
    assert altered(client, "", ("retention.ms", SET, "5"))[0] == INVALID_REQUEST


def test_a_resource_that_is_named_twice_is_refused_both_times(client: WireClient) -> None:
    create_topic(client, "twice")
    resource = {"resource_type": TOPIC, "resource_name": "twice", "configs": []}
    answer = client.call(INCREMENTAL, 0, {"resources": [resource, resource], "validate_only": False})
    assert [each.error_code for each in answer.responses] == [INVALID_REQUEST] * 2


def test_a_brokers_settings_are_its_files(client: WireClient) -> None:
    error, message = altered(client, "1", ("log.retention.ms", SET, "5"), kind=BROKER)
    assert error == INVALID_REQUEST
    assert message is not None
    assert "log.retention.ms" in message
    assert altered(client, "", ("log.retention.ms", SET, "5"), kind=BROKER)[0] == INVALID_REQUEST
    assert altered(client, "2", ("log.retention.ms", SET, "5"), kind=BROKER)[0] == INVALID_REQUEST
    assert altered(client, "1", ("kafka", SET, "DEBUG"), kind=LOGGER)[0] == INVALID_REQUEST


def test_changes_hold_for_the_next_request(client: WireClient) -> None:
    create_topic(client, "now")
    assert produce(client, "now", batch(b"v" * 1000)).error_code == 0
    altered(client, "now", ("max.message.bytes", SET, "500"))
    assert produce(client, "now", batch(b"v" * 1000)).error_code == TOO_LARGE
    altered(client, "now", ("max.message.bytes", DELETE, None), ("cleanup.policy", SET, "compact"))
    assert produce(client, "now", batch(b"v")).error_code == INVALID_RECORD  # no key
    altered(client, "now", ("cleanup.policy", DELETE, None), ("message.timestamp.type", SET, "LogAppendTime"))
    assert produce(client, "now", batch(b"v")).log_append_time is not None
    altered(client, "now", ("message.timestamp.type", DELETE, None), ("min.insync.replicas", SET, "2"))
    assert produce(client, "now", batch(b"v"), acks=-1).error_code == NOT_ENOUGH_REPLICAS
    assert produce(client, "now", batch(b"v"), acks=1).error_code == 0


def test_bounds_of_a_producers_time_change_on_a_live_topic(client: WireClient) -> None:
    create_topic(client, "bounded")
    now_ms = time.time_ns() // 1_000_000

    def told(age_ms: int) -> int:
        return int(produce(client, "bounded", build_batch([Record(b"k", b"v", now_ms - age_ms)])).error_code)

    assert (told(0), told(7_200_000), told(-7_200_000)) == (0, 0, INVALID_TIMESTAMP)
    altered(client, "bounded", ("message.timestamp.before.max.ms", SET, "3600000"))
    assert (told(0), told(7_200_000)) == (0, INVALID_TIMESTAMP)
    altered(client, "bounded", ("message.timestamp.after.max.ms", SET, "9000000"))
    assert (told(-7_200_000), told(-99_000_000)) == (0, INVALID_TIMESTAMP)
    altered(client, "bounded", ("message.timestamp.type", SET, "LogAppendTime"))  # whose time is the producer's no more
    assert (told(7_200_000), told(-99_000_000)) == (0, 0)


def test_retention_goes_by_the_new_value_at_its_next_look(client: WireClient, part: Part) -> None:
    create_topic(client, "kept", segment_bytes="1024")
    for _ in range(5):
        assert produce(client, "kept", batch(b"v" * 900)).error_code == 0
    altered(client, "kept", ("retention.bytes", SET, "2000"))
    for _ in range(100):
        if (fetched := fetch(client, "kept", 0, max_wait=100, min_bytes=1 << 20)).error_code:
            break
    assert fetched.error_code == OUT_OF_RANGE
    assert fetch(client, "kept", 4).error_code == 0


def test_what_was_changed_outlives_kill_9(tmp_path: Path) -> None:
    with broker(tmp_path, log_retention_hours=5) as part:
        with WireClient(part.ports["kafka"]) as client:
            create_topic(client, "t", segment_bytes="2048")
            assert altered(client, "t", ("retention.ms", SET, "-1"), ("max.message.bytes", SET, "400")) == (0, None)
        part.kill()
        part.start()
        with WireClient(part.ports["kafka"]) as client:
            assert own_settings(client, "t") == {"segment.bytes": "2048", "retention.ms": "-1", "max.message.bytes": "400"}
            assert produce(client, "t", batch(b"v" * 500)).error_code == TOO_LARGE


def test_any_settings_of_any_resource_end_in_an_answer(client: WireClient) -> None:
    configs: list[dict[str, Any]] = [{"name": "", "config_operation": SET, "value": ""}]
    for kind in (-1, 0, 1, 3, 16, 32, 127):
        resource = {"resource_type": kind, "resource_name": "x", "configs": configs}
        (answer,) = client.call(INCREMENTAL, 1, {"resources": [resource], "validate_only": False}).responses
        assert answer.error_code == INVALID_REQUEST
