"""Log compaction: what it may use, and the defaults of topics."""

from pydantic import Field

from headrace.broker.keys.numbers import DAY_MS, MAX_LONG, NotNegative, Positive
from headrace.config import Section


class CleanerKeys(Section):
    """The log cleaner's keys."""

    log_cleaner_threads: Positive = Field(
        1, alias="log.cleaner.threads", description="processes that compact logs; they end when there is nothing to do"
    )
    log_cleaner_backoff_ms: Positive = Field(
        15_000, alias="log.cleaner.backoff.ms", description="how long to wait when no log is worth compacting"
    )
    log_cleaner_dedupe_buffer_size: int = Field(
        128 * 1024 * 1024,
        alias="log.cleaner.dedupe.buffer.size",
        ge=1 << 20,
        description="memory for keys, of all the processes; 200 bytes each, and what does not fit is compacted the next time",
    )
    log_cleaner_io_max_bytes_per_second: float = Field(
        float("inf"),
        alias="log.cleaner.io.max.bytes.per.second",
        gt=0,
        description="bytes read and written a second, of all the processes",
    )
    log_cleaner_min_cleanable_ratio: float = Field(
        0.5,
        alias="log.cleaner.min.cleanable.ratio",
        ge=0,
        le=1,
        description="a log is compacted when more than this share of its bytes was written since the last time",
    )
    log_cleaner_delete_retention_ms: NotNegative = Field(
        DAY_MS, alias="log.cleaner.delete.retention.ms", description="how long consumers have to see that a key was deleted"
    )
    log_cleaner_min_compaction_lag_ms: NotNegative = Field(
        0, alias="log.cleaner.min.compaction.lag.ms", description="age below which a record is not compacted"
    )
    log_cleaner_max_compaction_lag_ms: Positive = Field(
        MAX_LONG, alias="log.cleaner.max.compaction.lag.ms", description="age at which a log is compacted whatever the ratio"
    )
