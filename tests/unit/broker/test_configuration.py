"""The broker's keys: Kafka's spelling and defaults, and what becomes of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.broker.config import BrokerConfig
from headrace.broker.keys.access import STANDARD_AUTHORIZER
from headrace.broker.keys.network import parse_listeners
from headrace.config import load_config
from headrace.errors import ConfigError


def load(tmp_path: Path, *overrides: str, environment: dict[str, str] | None = None, **keys: Any) -> BrokerConfig:
    file = tmp_path / "broker.yaml"
    file.write_text(yaml.safe_dump({key.replace("_", "."): value for key, value in keys.items()}))
    return load_config(BrokerConfig, file, overrides=overrides, environment=environment or {})


def test_an_empty_file_is_kafkas_defaults_on_loopback(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.listeners == "PLAINTEXT://127.0.0.1:9092"
    assert (config.num_partitions, config.auto_create_topics_enable, config.message_max_bytes) == (1, True, 1_048_588)
    defaults = config.log_directory("cluster").defaults
    assert (defaults.retention_ms, defaults.segment_bytes, defaults.flushes) == (604_800_000, 1 << 30, False)


@pytest.mark.parametrize(
    ("keys", "retention_ms"),
    [
        ({"log_retention_hours": 5}, 18_000_000),
        ({"log_retention_hours": 5, "log_retention_minutes": 7}, 420_000),
        ({"log_retention_minutes": 7, "log_retention_ms": 9}, 9),
        ({"log_retention_hours": -1}, -1),
        ({"log_retention_ms": -1}, -1),
    ],
)
def test_the_finest_unit_of_retention_wins(tmp_path: Path, keys: dict[str, int], retention_ms: int) -> None:
    assert load(tmp_path, **keys).log_directory("cluster").defaults.retention_ms == retention_ms


def test_dotted_keys_are_set_from_the_command_line_and_the_environment(tmp_path: Path) -> None:
    config = load(tmp_path, "log.flush.interval.messages=10", environment={"HEADRACE__NUM_PARTITIONS": "3"})
    assert config.num_partitions == 3
    assert config.log_directory("cluster").defaults.flush_messages == 10


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.retention\.hour: unknown key; did you mean log\.retention\.hours\?"):
        load(tmp_path, log_retention_hour=5)


def test_more_replicas_than_brokers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"default\.replication\.factor"):
        load(tmp_path, default_replication_factor=3)


def test_listeners_are_parsed() -> None:
    first, *_ = parse_listeners("PLAINTEXT://[::1]:9092")
    assert (first.host, first.port, first.is_loopback) == ("::1", 9092, True)
    assert not parse_listeners("PLAINTEXT://:9092")[0].is_loopback
    assert parse_listeners("PLAINTEXT://localhost:0")[0].is_loopback


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:9092", "PLAINTEXT://h", "PLAINTEXT://h:99999", "A B://h:1", "PLAINTEXT://a:1,PLAINTEXT://b:2"]
)
def test_listeners_that_cannot_be_served_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as|not served|name of its own"):
        parse_listeners(text)


@pytest.mark.parametrize(
    ("keys", "directories"),
    [
        ({}, ["headrace-data/broker"]),
        ({"log_dir": "/one"}, ["/one"]),
        ({"log_dir": "/one", "log_dirs": "/two, /three"}, ["/two", "/three"]),
        ({"log_dirs": ["/with,comma", "/b"]}, ["/with,comma", "/b"]),
    ],
)
def test_log_directories_are_named_as_in_kafka_or_by_a_list(
    tmp_path: Path, keys: dict[str, Any], directories: list[str]
) -> None:
    assert list(map(str, load(tmp_path, **keys).log_directories())) == directories


@pytest.mark.parametrize("on", [True, "on", "true", "True", "yes", "ON", 1, "1"])
def test_security_brings_access_rules_however_it_is_spelt(tmp_path: Path, on: object) -> None:
    config = load(tmp_path, security=on, listeners="SASL_SSL://127.0.0.1:9092")
    assert config.security
    assert config.authorizer_class_name == STANDARD_AUTHORIZER
    assert config.super_users == "User:admin"


@pytest.mark.parametrize("off", [False, "off", "no", 0])
def test_without_security_nothing_of_it_is_set(tmp_path: Path, off: object) -> None:
    config = load(tmp_path, security=off)
    assert (config.security, config.authorizer_class_name, config.super_users) == (False, "", "")
