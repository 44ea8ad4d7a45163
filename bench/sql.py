"""`headrace query`'s planning beside DuckDB on the same files, read bare: one run, the two in turns.

    python -m bench.sql [DIR]

Makes three tables below DIR (a temporary folder; one that is there already is asked again): `day`, 24 files of 500,000 events,
an hour each; `many`, 10,000 of 60, and `year`, 8,760 of 400, whose logs are folded from a checkpoint. Then each question is
asked three times, by a session and by DuckDB over a glob of the same files with their hive keys; the least of each is shown, in
seconds of time and of CPU, and how many files the session has opened. A goal that is missed is marked.
"""

import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.clock import SystemClock
from headrace.jobs.sql.session import Session
from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import upkeep
from headrace.sinks.table.arrow_schema import encode_schema
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange, OffsetRange
from headrace.sinks.table.store import carry_out
from tests.landed_tables import ENVELOPE, Event

START_MS = 1_735_689_600_000
HOUR_MS = 3_600_000
COMMIT_FILES = 500
DISTINCT_ROWS = 20_000
"""A larger file repeats them, at other offsets and positions."""
TABLES = {"day": (24, 500_000), "many": (10_000, 60), "year": (8_760, 400)}
HIVE = "hive_partitioning=true, hive_types_autocast=false, hive_types={'dt': DATE, 'hour': INTEGER}"
QUESTIONS = (
    ("day", "one hour", "SELECT count(DISTINCT message) FROM {table} WHERE dt = '2025-01-01' AND hour = 7"),
    ("day", "max()", "SELECT max(message) FROM {table}"),
    ("day", "group by", "SELECT fields['status'], count(*) FROM {table} GROUP BY 1 ORDER BY 1"),
    ("day", "like", "SELECT hour, count(*) FROM {table} WHERE message LIKE '%/9% 200%' GROUP BY 1 ORDER BY 1"),
    ("many", "one hour", "SELECT count(DISTINCT message) FROM {table} WHERE dt = '2025-03-05' AND hour = 7"),
    ("many", "max()", "SELECT max(event_time)::VARCHAR FROM {table}"),
    ("many", "count(*)", "SELECT count(*) FROM {table}"),
    ("many", "group by", "SELECT fields['status'], count(*) FROM {table} GROUP BY 1 ORDER BY 1"),
    (
        "year",
        "one hour by time",
        "SELECT count(*), max(position) FROM {table} WHERE event_time BETWEEN '2025-07-01 13:00' AND '2025-07-01 13:59:59'",
    ),
    ("year", "max()", "SELECT max(position) FROM {table}"),
    ("year", "group by", "SELECT fields['status'], count(*) FROM {table} GROUP BY 1 ORDER BY 1"),
)


def main() -> None:
    """Make the tables, ask, and print."""
    with tempfile.TemporaryDirectory() as own:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else own)
        for topic, (files, rows) in TABLES.items():
            if not (root / topic).is_dir():
                land(root, topic, files, rows)
        print(f"{'':28}{'headrace':>18}{'bare':>18}{'ratio':>7}  files")
        for topic, name, sql in QUESTIONS:
            ours, bare = [], []
            for _ in range(3):
                ours.append(asked(root, topic, sql))
                bare.append(asked_bare(root, topic, sql))
            assert ours[0][2] == bare[0][2], (ours[0][2], bare[0][2])
            (time_s, cpu_s, _, opened), (bare_s, bare_cpu_s, *_) = min(ours), min(bare)
            mark = "" if time_s <= 1.1 * bare_s else "  <- slower"
            numbers = f"{time_s:9.2f}{cpu_s:9.2f}{bare_s:9.2f}{bare_cpu_s:9.2f}{time_s / bare_s:7.2f}"
            print(f"{topic:6}{name:22}{numbers}  {opened}{mark}")
        print("planning one hour:", *(f"{planned(root, topic):.3f} s of {topic}" for topic in TABLES))


def asked(root: Path, topic: str, sql: str) -> tuple[float, float, list[tuple[object, ...]], int]:
    """Seconds, seconds of CPU, rows, files opened: with a session's start and end."""
    opened = 0

    def work() -> list[tuple[object, ...]]:
        nonlocal opened
        with Session.open(root) as session, session.ask(sql.format(table=topic)) as reader:
            opened = session.progress.needed
            return [tuple(row.values()) for row in reader.read_all().to_pylist()]

    return *timed(work), opened


def asked_bare(root: Path, topic: str, sql: str) -> tuple[float, float, list[tuple[object, ...]]]:
    """The same of DuckDB alone."""
    files = f"read_parquet('{root}/{topic}/dt=*/hour=*/*.parquet', {HIVE})"

    def work() -> list[tuple[object, ...]]:
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql.format(table=files)).fetchall()

    return timed(work)


def timed(work: Callable[[], list[tuple[object, ...]]]) -> tuple[float, float, list[tuple[object, ...]]]:
    """Seconds, seconds of CPU, and what came of it."""
    started, cpu = time.perf_counter(), time.process_time()
    rows = work()
    return time.perf_counter() - started, time.process_time() - cpu, rows


def planned(root: Path, topic: str) -> float:
    """Seconds from a statement to its first file, which one statement of no rows takes."""
    sql = f"SELECT 1 FROM {topic} WHERE event_time < '2000-01-01'"
    return min(asked(root, topic, sql)[0] for _ in range(3))


def land(root: Path, topic: str, files: int, rows: int) -> None:
    """A table as a loader would make it: files of an hour each, 500 a record, and a checkpoint."""
    store, clock, offset = LocalStore(root / topic), SystemClock(), 0
    for first in range(0, files, COMMIT_FILES):
        fold, attempt, start = carry_out(read_head(), store), str(uuid.uuid4()), offset
        added = []
        for hour in range(first, min(files, first + COMMIT_FILES)):
            added.append(written(store, attempt, hour, offset, rows))
            offset += rows
        landed = LandedRange(0, 0, start, offset, offset - start, 0, 0, (), offset - 1, 0, START_MS, "f")
        schema = encode_schema(ENVELOPE) if first == 0 else None
        draft = CommitRecord("load", attempt, "bench:1", clock.wall_ms(), (landed,), tuple(added), arrow_schema=schema)
        fold = carry_out(commit(draft, fold, started_ms=clock.monotonic_ms()), store, clock).fold
    carry_out(upkeep.write_checkpoint(fold), store)


def written(store: LocalStore, attempt: str, hour: int, offset: int, rows: int) -> DataFile:
    """One file of an hour."""
    start_ms = START_MS + hour * HOUR_MS
    made = min(rows, DISTINCT_ROWS)
    events = []
    for n in range(made):
        fields = {"status": str(200 + n % 3), "user": f"u{n % 17}"}
        at_ms, message = start_ms + n * HOUR_MS // made, f"GET /items/{n} 200 {hour}"
        event = Event("agent-1", offset + n, at_ms, message=message, fields=fields)
        events.append({**event.row(), "_incarnation": 0, "_partition": 0, "_offset": offset + n})
    table = pa.Table.from_pylist(events, schema=ENVELOPE)
    table = pa.concat_tables([table] * -(-rows // made)).slice(0, rows)
    for name in ("_offset", "position"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, ENVELOPE.field(name), pa.array(range(offset, offset + rows), pa.int64()))
    moment = datetime.fromtimestamp(start_ms / 1000, UTC)
    file = LandingFile(store, f"dt={moment:%Y-%m-%d}/hour={moment:%H}/{attempt}-{hour}.parquet", ENVELOPE, Output())
    times = pa.chunked_array([pa.array([start_ms, start_ms + (rows - 1) * HOUR_MS // rows])])
    file.append(table, times, [OffsetRange(0, 0, offset, offset + rows)])
    return file.close([])


if __name__ == "__main__":
    main()
