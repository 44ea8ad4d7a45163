"""What a log keeps, how it is cut into segments and made durable: the defaults of topics, and where their files lie."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from headrace.broker.keys.numbers import DAY_MS, MAX_LONG, MinusOneOrMore, NotNegative, Positive
from headrace.config import Section


class LogKeys(Section):
    """The log's keys."""

    log_dirs: tuple[Path, ...] | None = Field(
        None, alias="log.dirs", description="directories where the logs are kept, separated by commas, or a list"
    )
    log_dir: Path = Field(
        Path("headrace-data/broker"), alias="log.dir", description="the same for one; log.dirs goes before it"
    )
    log_dirs_given_up: tuple[str, ...] = Field(
        (),
        alias="log.dirs.given.up",
        description="ours: ids (`directory.id`), by commas or as a list, of log directories that do not come back: what was in"
        " them is made anew, empty",
    )
    num_recovery_threads_per_data_dir: Positive | None = Field(
        None,
        alias="num.recovery.threads.per.data.dir",
        description="after a crash, how many logs of a directory are scanned at a time; by default as many as there are cores",
    )
    message_max_bytes: Positive = Field(1_048_588, alias="message.max.bytes", description="largest record batch, as sent")
    log_retention_hours: int = Field(
        168, alias="log.retention.hours", ge=-1, description="age at which a sealed segment is deleted; -1 never"
    )
    log_retention_minutes: int | None = Field(
        None, alias="log.retention.minutes", ge=-1, description="the same, finer; goes before the hours"
    )
    log_retention_ms: int | None = Field(
        None, alias="log.retention.ms", ge=-1, description="the same, finer still; goes before both"
    )
    log_retention_bytes: MinusOneOrMore = Field(
        -1, alias="log.retention.bytes", description="size of a partition above which its oldest segments are deleted; -1 any"
    )
    log_retention_check_interval_ms: Positive = Field(
        300_000, alias="log.retention.check.interval.ms", description="how often that is looked at"
    )
    log_retention_hold: str = Field(
        "",
        alias="log.retention.hold",
        description="ours: consumer groups, by commas, that must have read a record before age or size deletes it, `table` for"
        " what the loader has landed; for topics whose names do not begin with `_`, and `_audit`",
    )
    log_segment_bytes: int = Field(
        1 << 30, alias="log.segment.bytes", ge=1024, le=(1 << 31) - 1, description="size at which a segment is sealed"
    )
    log_roll_hours: Positive = Field(168, alias="log.roll.hours", description="age at which a segment is sealed")
    log_roll_ms: Positive | None = Field(None, alias="log.roll.ms", description="the same, finer; goes before the hours")
    log_index_interval_bytes: NotNegative = Field(
        4096, alias="log.index.interval.bytes", description="bytes of log between two entries of an index"
    )
    log_index_size_max_bytes: int = Field(
        10 << 20, alias="log.index.size.max.bytes", ge=4096, description="size of an index at which its segment is sealed"
    )
    log_segment_delete_delay_ms: NotNegative = Field(
        60_000, alias="log.segment.delete.delay.ms", description="how long a deleted segment's files stay for who reads them"
    )
    log_flush_interval_messages: Positive = Field(
        MAX_LONG,
        alias="log.flush.interval.messages",
        description="fsync after so many records; consumers see and acks=all waits for what is synced only",
    )
    log_flush_interval_ms: NotNegative | None = Field(
        None, alias="log.flush.interval.ms", description="the same after so long; by default the page cache is trusted"
    )
    log_flush_offset_checkpoint_interval_ms: Positive = Field(
        60_000,
        alias="log.flush.offset.checkpoint.interval.ms",
        description="how often the point is written from which recovery scans",
    )
    replica_high_watermark_checkpoint_interval_ms: Positive = Field(
        5_000,
        alias="replica.high.watermark.checkpoint.interval.ms",
        description="how often high watermarks and the other offsets of logs are written to files, if they have moved",
    )
    log_message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = Field(
        "CreateTime",
        alias="log.message.timestamp.type",
        description="whose time a record bears: the producer's or the broker's",
    )
    log_message_timestamp_before_max_ms: NotNegative = Field(
        MAX_LONG, alias="log.message.timestamp.before.max.ms", description="how far a producer's time may lie in the past"
    )
    log_message_timestamp_after_max_ms: NotNegative = Field(
        3_600_000, alias="log.message.timestamp.after.max.ms", description="how far it may lie in the future"
    )
    log_dirs_free_bytes_min: NotNegative | None = Field(
        None,
        alias="log.dirs.free.bytes.min",
        description="ours: produce is refused when the disk has less free space; by default 256 MiB, or 5 % where that is less",
    )

    log_cleanup_policy: str = Field(
        "delete",
        alias="log.cleanup.policy",
        description="`delete` by age and size, `compact` to the last value of every key, or both",
    )
    compression_type: Literal["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"] = Field(
        "producer", alias="compression.type", description="`producer` stores batches as they came; else with this codec"
    )
    compression_gzip_level: int = Field(
        -1, alias="compression.gzip.level", description="how hard gzip tries then, 1 to 9; -1 its default"
    )
    compression_lz4_level: int = Field(9, alias="compression.lz4.level", ge=1, le=17, description="the same of lz4")
    compression_zstd_level: int = Field(3, alias="compression.zstd.level", ge=-131_072, le=22, description="the same of zstd")
    min_insync_replicas: Positive = Field(
        1, alias="min.insync.replicas", description="replicas that acks=all wants in sync; there is one"
    )

    producer_id_expiration_ms: Positive = Field(
        DAY_MS, alias="producer.id.expiration.ms", description="how long an idempotent producer's sequence is remembered"
    )
    producer_id_expiration_check_interval_ms: Positive = Field(
        600_000, alias="producer.id.expiration.check.interval.ms", description="how often that is looked at"
    )

    @field_validator("log_dirs", mode="before")
    @classmethod
    def _directories(cls, value: object) -> object:
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
        if isinstance(names, list) and ("" in names or not names):
            raise ValueError("name a directory")
        if isinstance(names, list) and len(set(map(str, names))) < len(names):
            raise ValueError("a directory is named twice")
        return names

    @field_validator("log_dirs_given_up", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("log_dir", mode="before")
    @classmethod
    def _directory(cls, value: object) -> object:
        if value == "":
            raise ValueError("name a directory")
        return value

    def log_directories(self) -> list[Path]:
        """`log.dirs`, else `log.dir`; the first holds the coordination store."""
        return list(self.log_dirs or (self.log_dir,))
