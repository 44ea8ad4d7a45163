"""What the loader counts for /metrics."""

from typing import Final

from prometheus_client import Counter, Gauge

ROWS: Final = Counter("headrace_load_rows", "Rows landed (committed).", ["topic"])
QUARANTINED: Final = Counter("headrace_load_quarantined", "Undecodable records put into quarantine.", ["topic"])
DUPLICATES: Final = Counter("headrace_load_duplicates", "Repeats dropped by identity.", ["topic"])
LOST: Final = Counter("headrace_load_lost_offsets", "Offsets that were gone before they could land.", ["topic"])
COMMITS: Final = Counter("headrace_load_commits", "Attempts, by how they ended: won, fenced or failed.", ["topic", "outcome"])
LAG: Final = Gauge("headrace_load_lag_records", "Records that have been written and not read.", ["topic", "partition"])
ICEBERG_COMMITS: Final = Counter(
    "headrace_load_iceberg_commits", "Commits to Iceberg tables, by how they ended: won or failed.", ["topic", "outcome"]
)
ICEBERG_SEQ: Final = Gauge(
    "headrace_load_iceberg_seq", "The record of the table's log that the Iceberg table shows.", ["topic"]
)
