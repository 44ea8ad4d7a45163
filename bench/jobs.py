"""Batch jobs over a landed day, beside DuckDB asked the same of the same files by SQL.

    python -m bench.jobs [--rows N] [--runner R] [--json]

A day of made-up events of the envelope (a map of two keys, 5,500 messages, 20,000 users, Pareto), a file an hour, on the local
disk. Each job runs in a process of its own: seconds and CPU-seconds of `run_job` alone, so without the imports, with the
commit; peak is the process's resident memory (VmHWM), with Beam and Arrow imported on either side. DuckDB runs in a process of
its own, too, with its threads, and writes nothing. That both have as many rows is checked here; that they are equal, in
tests/integration/jobs/test_jobs.py.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from headrace.clock import SystemClock
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.job import Runner
from headrace.jobs.batch.running import run_job
from headrace.sinks.content_hash import content_hash
from headrace.sinks.derived.slices import day
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table.arrow_schema import encode_schema
from headrace.sinks.table.commit import Won, commit, read_head
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange
from headrace.sinks.table.store import carry_out
from tests.integration.jobs.test_jobs import masked
from tests.landed_tables import ENVELOPE

DAY = "2025-11-23"
_HOUR_US = 3_600_000_000
_HOUR = "time_bucket(INTERVAL 1 hour, event_time)"
_LEVEL = (
    "CASE WHEN fields['status'] >= '500' THEN 'error' WHEN fields['status'] >= '400' THEN 'warning' "
    "WHEN fields['status'] IS NOT NULL THEN 'info' END"
)
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "counts": ({}, f"SELECT host, {_HOUR}, count(*) FROM t GROUP BY ALL"),
    "sessions": (
        {"by": "fields.user", "gap": "30m"},
        """WITH gaps AS (SELECT *, fields['user'] AS key, event_time - lag(event_time) OVER w > INTERVAL 30 minute AS is_new
        FROM t WINDOW w AS (PARTITION BY fields['user'] ORDER BY event_time, _offset)),
        numbered AS (SELECT *, sum(coalesce(is_new, true)::INT) OVER w AS n FROM gaps
        WINDOW w AS (PARTITION BY key ORDER BY event_time, _offset))
        SELECT key, min(event_time) AS start, max(event_time) AS last, count(*), arg_min(message, (event_time, _offset)),
        arg_max(message, (event_time, _offset)) FROM numbered GROUP BY key, n
        HAVING (last + INTERVAL 30 minute)::DATE = '2025-11-23'""",
    ),
    "top": (
        {"by": "fields.user"},
        f"""WITH counted AS (SELECT {_HOUR} AS hour, fields['user'] AS value, count(*) AS events FROM t GROUP BY ALL)
        SELECT *, sum(events) OVER (PARTITION BY hour) AS total FROM counted
        QUALIFY events * 1000 >= total AND row_number() OVER (PARTITION BY hour ORDER BY events DESC, value) <= 10""",
    ),
    "errors": (
        {},
        f"""WITH levels AS (SELECT *, {_LEVEL} AS level FROM t)
        SELECT service, {_HOUR}, level, fields['status'], CASE WHEN level = 'error' THEN {masked("message")} END AS pattern,
        count(*), min(event_time), arg_min(message, (event_time, _offset)) FROM levels GROUP BY ALL""",
    ),
}


def events(count: int) -> pa.Table:
    """A day's rows, by time."""
    random = np.random.default_rng(1)
    begin = day(DAY).start_ms * 1000
    times = np.sort(random.integers(0, 24 * _HOUR_US, count)) + begin
    users = np.array([f"user-{number}" for number in range(20_000)])[(random.pareto(1.2, count) * 30).astype(int) % 20_000]
    statuses = np.array(["200", "404", "503"])[random.choice(3, count, p=[0.95, 0.04, 0.01])]
    texts = [f"GET /item/{number} took {number % 97} ms" for number in range(5_000)]
    texts += [f"no route to 10.0.{number % 256}.{number % 7} after {number} ms" for number in range(500)]
    messages = np.array(texts)[random.integers(0, len(texts), count)]
    pairs = np.stack([users, statuses], 1).ravel()
    keys = pa.array(np.tile(["user", "status"], count))
    ends = pa.array(np.arange(count + 1, dtype=np.int32) * 2)
    ones, micros = np.ones(count, np.int64), pa.timestamp("us", "UTC")
    columns = {
        "event_time": pa.array(times).cast(micros),
        "read_time": pa.array(times).cast(micros),
        "position": pa.array(np.arange(count) * 100),
        "since": pa.array(np.arange(count) * 100),
        "part": pa.array(ones * 0).cast(pa.int32()),
        "host": pa.array(np.array([f"web-{number}" for number in range(20)])[random.integers(0, 20, count)]),
        "service": pa.array(np.array(["shop", "search", "pay"])[random.integers(0, 3, count)]),
        "message": pa.array(messages),
        "fields": pa.MapArray.from_arrays(ends, keys, pa.array(pairs)),
        "_incarnation": pa.array(ones * 0).cast(pa.int32()),
        "_partition": pa.array(ones * 0).cast(pa.int32()),
        "_offset": pa.array(np.arange(count)),
        "_timestamp": pa.array(times // 1000).cast(pa.timestamp("ms", "UTC")),
    }
    said = {"event_time_source": "line", "agent_id": "a", "stream_id": "s", "source": "/var/log/app.log", "encoding": "utf-8"}
    filled = {name: columns.get(name, pa.repeat(said.get(name, ""), count)) for name in ENVELOPE.names}
    return pa.table(list(filled.values()), schema=ENVELOPE)


def land(root: Path, rows: pa.Table) -> None:
    """Commit the rows as the table `logs`, a file an hour."""
    store, attempt = LocalStore(root / "logs"), str(uuid.uuid4())
    hours = rows["event_time"].cast(pa.int64()).to_numpy() // _HOUR_US
    files = []
    for hour in np.unique(hours).tolist():
        first, last = np.searchsorted(hours, [hour, hour + 1]).tolist()
        some, path = rows.slice(first, last - first), f"dt={DAY}/hour={hour % 24:02}/{attempt}-{hour}.parquet"
        target = root / "logs" / "_headrace" / "staging" / path
        target.parent.mkdir(parents=True)
        pq.write_table(some, target, compression="zstd", compression_level=1)
        times = some["_timestamp"].cast(pa.int64()).to_numpy()
        hashed, size = f"{content_hash(some):016x}", target.stat().st_size
        bounds = int(times.min()), int(times.max())
        files.append(DataFile(path, "parquet", some.num_rows, size, "crc32c:00000000", hashed, *bounds))
    count, clock = rows.num_rows, SystemClock()
    landed = LandedRange(0, 0, 0, count, count, 0, 0, (), count - 1, 0, int(times.max()), "f")
    draft = CommitRecord(
        "load", attempt, "bench:1", clock.wall_ms(), (landed,), tuple(files), arrow_schema=encode_schema(rows.schema)
    )
    done = carry_out(commit(draft, carry_out(read_head(), store), started_ms=clock.monotonic_ms()), store, clock)
    assert isinstance(done, Won)


def measure(root: Path, name: str, what: str, runner: str) -> dict[str, Any]:
    """One run, in this process."""
    options, sql = CASES[name]
    paths = [file.path for file in snapshot(root, "logs").files]
    began, cpu_s = time.monotonic(), _cpu_s()
    if what == "duckdb":
        connection = duckdb.connect()
        rows = "read_parquet($paths, hive_partitioning = false)"
        naive = f"SELECT * REPLACE (make_timestamp(epoch_us(event_time)) AS event_time) FROM {rows}"
        asked = sql.replace("WITH ", ", ", 1) if sql.startswith("WITH ") else sql
        count = len(connection.execute(f"WITH t AS ({naive}) {asked}", {"paths": paths}).fetchall())
    else:
        count = run_job(made(name, options), root, day(DAY), topics=["logs"], runner=Runner(runner)).rows
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "job": name,
        "by": what,
        "rows": count,
        "seconds": round(time.monotonic() - began, 2),
        "cpu_s": round(_cpu_s() - cpu_s, 2),
        "peak_mb": int(peak.split()[1]) // 1000,
    }


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Make the day, and measure each job and its SQL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runner", default="inprocess")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("ROOT", "JOB", "WHAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        root, name, what = args.one
        print(json.dumps(measure(Path(root), name, what, args.runner)))
        return
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as folder:
        land(Path(folder), events(args.rows))
        for name in CASES:
            for what in ("headrace", "duckdb"):
                command = [sys.executable, "-m", "bench.jobs", "--runner", args.runner, "--one", folder, name, what]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
                assert what == "headrace" or found[-1]["rows"] == found[-2]["rows"], found[-2:]
    if args.json:
        print("\n".join(map(json.dumps, found)))
        return
    shown = Table(*found[0], "rows read a CPU-second")
    for each in found:
        shown.add_row(*map(str, each.values()), f"{args.rows / each['cpu_s']:,.0f}")
    Console().print(shown)


if __name__ == "__main__":
    main()
