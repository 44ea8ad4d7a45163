"""A log's settings: Kafka's topic keys with Kafka's defaults, checked where they come in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from headrace.broker.log.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD
from headrace.errors import ConfigError

HOLD = "headrace.retention.hold"
TABLE_GROUP = "headrace-load"  # as the loader calls itself: what it has committed is in the table
_MAX_HOLD_GROUPS, _MAX_GROUP_LENGTH = 16, 249

MAX_INT = (1 << 31) - 1
MAX_LONG = (1 << 63) - 1


@dataclass(frozen=True)
class LogConfig:
    """Settings of one topic's logs. Sizes in bytes, times in ms; -1 in a retention means for ever.

    What follows from them is worked out once, when it is first asked for: it is asked for with every batch.
    """

    cleanup_policy: str = "delete"
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_type: str = "producer"
    compression_zstd_level: int = 3
    delete_retention_ms: int = 86_400_000
    file_delete_delay_ms: int = 60_000
    flush_messages: int = MAX_LONG
    flush_ms: int = MAX_LONG
    headrace_retention_hold: str = ""
    index_interval_bytes: int = 4096
    max_compaction_lag_ms: int = MAX_LONG
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = MAX_LONG
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    min_insync_replicas: int = 1
    retention_bytes: int = -1
    retention_ms: int = 604_800_000
    segment_bytes: int = 1_073_741_824
    segment_index_bytes: int = 10_485_760
    segment_ms: int = 604_800_000

    @cached_property
    def flushes(self) -> bool:
        """Whether records of this log must be fsynced before they are exposed (design D3)."""
        return self.flush_messages < MAX_LONG or self.flush_ms < MAX_LONG

    @cached_property
    def deletes(self) -> bool:
        """Whether retention may delete segments."""
        return "delete" in self.cleanup_policy

    @cached_property
    def compacts(self) -> bool:
        """Whether every record needs a key."""
        return "compact" in self.cleanup_policy

    @cached_property
    def hold_groups(self) -> tuple[str, ...]:
        """The groups that must have committed a record before retention takes it (ADR 0024)."""
        words = self.headrace_retention_hold.split(",") if self.headrace_retention_hold else []
        return tuple(TABLE_GROUP if word == "table" else word for word in words)

    @cached_property
    def looks_inside(self) -> bool:
        """Whether batches that are not compressed are decoded too: for their keys, or to be compressed."""
        return self.compacts or self.codec not in (None, NONE)

    @cached_property
    def codec(self) -> int | None:
        """The codec that all batches are stored with; None where each stays as it came."""
        return _CODECS[self.compression_type]

    @cached_property
    def codec_level(self) -> int | None:
        """How hard that codec tries; None is its default."""
        levels = {GZIP: self.compression_gzip_level, LZ4: self.compression_lz4_level, ZSTD: self.compression_zstd_level}
        level = levels.get(self.codec or NONE)
        return None if level == _GZIP_DEFAULT_LEVEL and self.codec == GZIP else level

    @cached_property
    def roll_ms(self) -> int:
        """Age at which the active segment is sealed; where records must be compacted in time, they must be sealed before."""
        return min(self.segment_ms, self.max_compaction_lag_ms) if self.compacts else self.segment_ms

    @cached_property
    def stamps_append_time(self) -> bool:
        """Whether the broker's time replaces the producer's."""
        return self.message_timestamp_type == "LogAppendTime"


_CODECS = {"producer": None, "uncompressed": NONE, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
_GZIP_DEFAULT_LEVEL = -1


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be an integer from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return parse


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("must be a number from 0 to 1") from None
    if not 0 <= value <= 1:
        raise ValueError("must be from 0 to 1")
    return value


def _gzip_level(text: str) -> int:
    if text not in map(str, (_GZIP_DEFAULT_LEVEL, *range(1, 10))):
        raise ValueError("must be from 1 to 9, or -1 for the default")
    return int(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _policy(text: str) -> str:
    words = sorted({word.strip() for word in text.split(",")})
    if not words or any(word not in ("compact", "delete") for word in words):
        raise ValueError("must be delete, compact or compact,delete")
    return ",".join(words)


def _groups(text: str) -> str:
    words = list(dict.fromkeys(word for word in (each.strip() for each in text.split(",")) if word))
    if len(words) > _MAX_HOLD_GROUPS or any(len(word) > _MAX_GROUP_LENGTH for word in words):
        raise ValueError(f"must be up to {_MAX_HOLD_GROUPS} consumer groups, or `table` for the loader's")
    return ",".join(words)


_LONG = _integer(0, MAX_LONG)
_PARSERS: dict[str, Callable[[str], Any]] = {
    "cleanup.policy": _policy,
    "compression.gzip.level": _gzip_level,
    "compression.lz4.level": _integer(1, 17),
    "compression.type": _one_of(*_CODECS),
    "compression.zstd.level": _integer(-131_072, 22),
    "delete.retention.ms": _LONG,
    "file.delete.delay.ms": _LONG,
    "flush.messages": _integer(1, MAX_LONG),
    "flush.ms": _LONG,
    HOLD: _groups,
    "index.interval.bytes": _integer(0, MAX_INT),
    "max.compaction.lag.ms": _integer(1, MAX_LONG),
    "max.message.bytes": _integer(0, MAX_INT),
    "message.timestamp.after.max.ms": _LONG,
    "message.timestamp.before.max.ms": _LONG,
    "message.timestamp.type": _one_of("CreateTime", "LogAppendTime"),
    "min.cleanable.dirty.ratio": _ratio,
    "min.compaction.lag.ms": _LONG,
    "min.insync.replicas": _integer(1, MAX_INT),
    "retention.bytes": _integer(-1, MAX_LONG),
    "retention.ms": _integer(-1, MAX_LONG),
    "segment.bytes": _integer(14, MAX_INT),
    "segment.index.bytes": _integer(12, MAX_INT),
    "segment.ms": _integer(1, MAX_LONG),
}
TOPIC_KEYS: tuple[str, ...] = tuple(_PARSERS)
LIST_KEYS = frozenset({"cleanup.policy", HOLD})

# What a broker calls the default of a topic key; the first that is given wins, then the factor makes it the topic's unit.
_BROKER_KEYS: dict[str, tuple[tuple[str, int], ...]] = {
    "cleanup.policy": (("log.cleanup.policy", 1),),
    "compression.gzip.level": (("compression.gzip.level", 1),),
    "compression.lz4.level": (("compression.lz4.level", 1),),
    "compression.type": (("compression.type", 1),),
    "compression.zstd.level": (("compression.zstd.level", 1),),
    "delete.retention.ms": (("log.cleaner.delete.retention.ms", 1),),
    "file.delete.delay.ms": (("log.segment.delete.delay.ms", 1),),
    "flush.messages": (("log.flush.interval.messages", 1),),
    "flush.ms": (("log.flush.interval.ms", 1),),
    HOLD: (("log.retention.hold", 1),),
    "index.interval.bytes": (("log.index.interval.bytes", 1),),
    "max.compaction.lag.ms": (("log.cleaner.max.compaction.lag.ms", 1),),
    "max.message.bytes": (("message.max.bytes", 1),),
    "message.timestamp.after.max.ms": (("log.message.timestamp.after.max.ms", 1),),
    "message.timestamp.before.max.ms": (("log.message.timestamp.before.max.ms", 1),),
    "message.timestamp.type": (("log.message.timestamp.type", 1),),
    "min.cleanable.dirty.ratio": (("log.cleaner.min.cleanable.ratio", 1),),
    "min.compaction.lag.ms": (("log.cleaner.min.compaction.lag.ms", 1),),
    "min.insync.replicas": (("min.insync.replicas", 1),),
    "retention.bytes": (("log.retention.bytes", 1),),
    "retention.ms": (("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)),
    "segment.bytes": (("log.segment.bytes", 1),),
    "segment.index.bytes": (("log.index.size.max.bytes", 1),),
    "segment.ms": (("log.roll.ms", 1), ("log.roll.hours", 3_600_000)),
}
BROKER_KEYS: frozenset[str] = frozenset(name for names in _BROKER_KEYS.values() for name, _ in names)


def _parse(key: str, value: object) -> Any:
    try:
        return _PARSERS[key](str(value).strip())
    except ValueError as error:
        raise ConfigError(f"{key}={value}: {error}") from None


def with_overrides(defaults: LogConfig, overrides: Mapping[str, str | None]) -> LogConfig:
    """The settings of a topic: the broker's defaults under the topic's own values.

    Args:
        overrides: Kafka's topic keys; None means the default, as in CreateTopics.
    Raises:
        ConfigError: an unknown key or a bad value; CreateTopics answers INVALID_CONFIG with its text.
    """
    changes: dict[str, Any] = {}
    for key, value in overrides.items():
        if key not in _PARSERS:
            raise ConfigError(f"{key}: unknown topic setting; valid are {', '.join(TOPIC_KEYS)}")
        if value is not None:
            changes[key.replace(".", "_")] = _parse(key, value)
    return replace(defaults, **changes)


def broker_defaults(keys: Mapping[str, object]) -> LogConfig:
    """The defaults that a broker's own keys (`log.retention.hours` …) give its topics; keys that are not of the log are left
    alone.

    Raises:
        ConfigError: a bad value, named by the broker's key.
    """
    changes: dict[str, Any] = {}
    for topic_key, names in _BROKER_KEYS.items():
        for name, factor in names:
            value = keys.get(name)
            if value is None:
                continue
            try:
                whole = value if factor == 1 or int(str(value)) < 0 else int(str(value)) * factor
                changes[topic_key.replace(".", "_")] = _PARSERS[topic_key](str(whole).strip())
            except ValueError as error:
                raise ConfigError(f"{name}={value}: {error}") from None
            break
    return replace(LogConfig(), **changes)


def describe(config: LogConfig) -> dict[str, str]:
    """Every topic key with its value, spelled as DescribeConfigs shows it."""
    return {field.name.replace("_", "."): str(getattr(config, field.name)) for field in fields(config)}
