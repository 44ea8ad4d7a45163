"""Topic settings: Kafka's keys and defaults, and errors that name the key."""

import pytest

from headrace.broker.log.config import LogConfig, broker_defaults, describe, with_overrides
from headrace.errors import ConfigError


def test_defaults_are_kafkas() -> None:
    values = describe(LogConfig())
    assert values["retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert values["segment.bytes"] == str(1 << 30)
    assert values["max.message.bytes"] == "1048588"
    assert values["flush.messages"] == values["flush.ms"] == str((1 << 63) - 1)
    assert values["cleanup.policy"] == "delete"


def test_overrides_change_what_they_name_and_none_is_the_default() -> None:
    defaults = LogConfig(retention_ms=5)
    config = with_overrides(defaults, {"retention.bytes": "77", "retention.ms": None, "cleanup.policy": "delete, compact"})
    assert (config.retention_bytes, config.retention_ms, config.cleanup_policy) == (77, 5, "compact,delete")
    assert (config.compacts, config.deletes, config.flushes) == (True, True, False)
    assert with_overrides(config, describe(config)) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("retention.ms", "-2"),
        ("retention.ms", "1.5"),
        ("segment.bytes", "13"),
        ("segment.bytes", str(1 << 31)),
        ("flush.messages", "0"),
        ("cleanup.policy", "archive"),
        ("cleanup.policy", ""),
        ("compression.type", "brotli"),
        ("compression.gzip.level", "0"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "18"),
        ("compression.zstd.level", "23"),
        ("message.timestamp.type", "createtime"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("no.such.key", "1"),
    ],
)
def test_a_bad_override_is_named(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        with_overrides(LogConfig(), {key: value})


def test_broker_keys_give_the_defaults_and_the_finest_unit_wins() -> None:
    config = broker_defaults({"log.retention.hours": 2, "log.segment.bytes": "1000", "listeners": "x", "log.roll.hours": 3})
    assert (config.retention_ms, config.segment_bytes, config.segment_ms) == (7_200_000, 1000, 10_800_000)
    assert broker_defaults({"log.retention.hours": 2, "log.retention.minutes": 5}).retention_ms == 300_000
    assert broker_defaults({"log.retention.hours": -1}).retention_ms == -1
    with pytest.raises(ConfigError, match=r"log.retention.hours=soon"):
        broker_defaults({"log.retention.hours": "soon"})
