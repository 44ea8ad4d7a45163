"""What the loader tells Prometheus beside where its partitions stand (lag/collector.py). docs/metrics.md has the same table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge

_PARTITION: Final = ("topic", "partition")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as Prometheus shows it (a counter's ends in `_total`), and what it counts, with the unit."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()


def _counter(name: str, text: str, labels: Sequence[str]) -> Counter:
    FAMILIES.append(Family(f"{name}_total", "counter", text, tuple(labels)))
    return Counter(name, text, labels)


def _gauge(name: str, text: str, labels: Sequence[str]) -> Gauge:
    FAMILIES.append(Family(name, "gauge", text, tuple(labels)))
    return Gauge(name, text, labels)


def _reading(name: str, text: str, labels: tuple[str, ...] = ()) -> Family:
    FAMILIES.append(Family(name, "gauge", text, labels))
    return FAMILIES[-1]


FAMILIES: Final[list[Family]] = []
"""All of them, in the order in which they are documented."""

LANDED_OFFSET: Final = _reading("headrace_load_landed_offset", "Next offset to land; all before it is in the table", _PARTITION)
END_OFFSET: Final = _reading(
    "headrace_load_end_offset", "Where the log ends for a read_committed consumer, when last asked", _PARTITION
)
LAG_OFFSETS: Final = _reading("headrace_load_lag_offsets", "Offsets that have not landed", _PARTITION)
LAG_SECONDS: Final = _reading(
    "headrace_load_lag_seconds", "Age of the oldest record that has not landed, by its Kafka timestamp", _PARTITION
)
UNTIL_RETENTION: Final = _reading(
    "headrace_load_seconds_until_retention",
    "Until retention may take the oldest record that has not landed; 0 when it has, +Inf if nothing ever does",
    _PARTITION,
)
UNLISTED: Final = _reading(
    "headrace_load_unlisted_partitions", "Partitions beyond 1,000, those that are best off, which have no series of their own"
)
FAILING: Final = _reading("headrace_load_failing", "1 while the table does not land because of an error, else 0", ("topic",))
LAST_COMMIT: Final = _reading("headrace_load_last_commit_timestamp_seconds", "When the table last changed", ("topic",))
FILES: Final = _reading("headrace_load_files", "Live files of the table", ("topic",))
FILE_BYTES: Final = _reading("headrace_load_file_bytes", "Their bytes", ("topic",))
FILES_PER_GB: Final = _reading("headrace_load_files_per_gigabyte", "Files for each 10^9 bytes of them", ("topic",))

ROWS: Final = _counter("headrace_load_rows", "Rows landed (committed)", ["topic"])
BYTES: Final = _counter("headrace_load_bytes", "Bytes of the files that they landed in", ["topic"])
QUARANTINED: Final = _counter("headrace_load_quarantined", "Undecodable records put into quarantine", ["topic"])
DUPLICATES: Final = _counter("headrace_load_duplicates", "Repeats dropped by identity", ["topic"])
LOST: Final = _counter("headrace_load_lost_offsets", "Offsets that were gone before they could land", ["topic"])
WRONG_CRCS: Final = _counter(
    "headrace_load_wrong_crcs",
    "Times that a batch was read whose CRC is wrong: nothing lands from it on until it is right",
    ["topic"],
)
COMMITS: Final = _counter("headrace_load_commits", "Attempts, by how they ended: won, fenced or failed", ["topic", "outcome"])
ICEBERG_COMMITS: Final = _counter(
    "headrace_load_iceberg_commits", "Commits to Iceberg tables, by how they ended: won or failed", ["topic", "outcome"]
)
ICEBERG_SEQ: Final = _gauge(
    "headrace_load_iceberg_seq", "The record of the table's log that the Iceberg table shows", ["topic"]
)
