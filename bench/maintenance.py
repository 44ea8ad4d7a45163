"""Maintenance of landed tables, measured: compaction, and a start behind a long history.

    python -m bench.maintenance compact [ROWS]      rows/s, peak memory, files per landed GB
    python -m bench.maintenance restart [RECORDS]   seconds from nothing in memory to the next commit
    python -m bench.maintenance idle [TOPICS]       seconds of `headrace load --once` where nothing is new

`compact` lands ROWS made-up access log events (14 columns of the envelope) in 60 files of one hour, as a loader with many
commits would, and merges them. `restart` makes a log of RECORDS commits with a checkpoint before its last 50, and commits.
`idle` lands a record of each topic of a real broker, and then runs the command again, three times.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.clock import SystemClock
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import checkpoint, names, record
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import AuditSum, CommitRecord, DataFile, LandedRange, OffsetRange, StreamLanded
from headrace.sinks.table.store import carry_out
from tests.processes import Part, broker

START_MS = 1_780_000_000_000 // 3_600_000 * 3_600_000
HOURS, FILES = 1, 60
_UTC = pa.timestamp("us", tz="UTC")


def main() -> None:
    """Run what is asked for in a process of its own, so that its memory is its own."""
    what, number = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if what == "compact":
        with tempfile.TemporaryDirectory() as root:
            land(Path(root), number or 3_000_000)
            subprocess.run([sys.executable, "-m", "bench.maintenance", "merge", "0", root], check=True)
    elif what == "merge":
        merge(Path(sys.argv[3]))
    elif what == "idle":
        with tempfile.TemporaryDirectory() as directory:
            idle(Path(directory), number or 100)
    else:
        restart(number or 100_000)


def land(root: Path, rows: int) -> None:
    """One commit a round, with a file for each hour: so every hour has one file a commit."""
    rng, clock = random.Random(7), SystemClock()
    store = LocalStore(root / "logs")
    each = rows // (HOURS * FILES)
    for number in range(FILES):
        fold = carry_out(read_head(), store)
        files, at, began_ms = [], fold.end(0, 0), clock.monotonic_ms()
        for hour in range(HOURS):
            table = _rows(rng, at, each, START_MS + hour * 3_600_000)
            path = f"dt=2026-05-28/hour={hour:02d}/a{number}-{hour}.parquet"
            file = LandingFile(store, path, table.schema, Output(format="parquet"))
            times = pa.chunked_array([table["event_time"].cast(pa.int64()).to_numpy() // 1000])
            file.append(table, times, [OffsetRange(0, 0, at, at + each)])
            files.append(file.close([1]))
            at += each
        start = fold.end(0, 0)
        landed = LandedRange(0, 0, start, at, at - start, 0, 0, last_offset=at - 1)
        draft = CommitRecord("load", f"a{number}", "bench", 1, (landed,), tuple(files))
        carry_out(commit(draft, fold, started_ms=began_ms), store, clock)


def _rows(rng: random.Random, first: int, count: int, start_ms: int) -> pa.Table:
    times = sorted(rng.randrange(start_ms, start_ms + 3_600_000) * 1000 for _ in range(count))
    lines = [
        f'10.0.{rng.randrange(256)}.7 - - "GET /{rng.randrange(9999)}?q={rng.getrandbits(40):x} HTTP/1.1" 200 {at}'
        for at in times
    ]
    return pa.table(
        {
            "event_time": pa.array(times, _UTC),
            "event_time_source": ["line"] * count,
            "read_time": pa.array(times, _UTC),
            "agent_id": ["11111111-2222-3333-4444-555555555555"] * count,
            "stream_id": ["99999999-8888-7777-6666-555555555555"] * count,
            "position": pa.array(range(first * 90, (first + count) * 90, 90), pa.int64()),
            "since": pa.array(range(first * 90, (first + count) * 90, 90), pa.int64()),
            "part": pa.array([0] * count, pa.int32()),
            "host": [f"web-{rng.randrange(20)}" for _ in range(count)],
            "service": ["shop"] * count,
            "source": ["/var/log/shop.log"] * count,
            "message": lines,
            "encoding": ["utf-8"] * count,
            "_incarnation": pa.array([0] * count, pa.int32()),
            "_partition": pa.array([0] * count, pa.int32()),
            "_offset": pa.array(range(first, first + count), pa.int64()),
            "_timestamp": pa.array([at // 1000 for at in times], pa.timestamp("ms", tz="UTC")),
        }
    )


def merge(root: Path) -> None:
    """Compact, and say how fast, in how much memory, and what is left."""
    before = snapshot(root, "logs")
    base_mib = _peak_mib()
    began_s = time.monotonic()
    cpu_s = time.process_time()
    done = compact_table(root, "logs", Limits(), SystemClock(), progress=int)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    after = snapshot(root, "logs")
    size_gb = sum(file.bytes for file in after.files) / 1e9
    speed = f"{done.rows / took_s:,.0f} rows/s, {done.rows / cpu_s:,.0f} a CPU-s"
    print(f"{done.rows:,} rows in {took_s:.1f} s ({cpu_s:.1f} CPU-s): {speed}")
    files = f"{len(before.files)} files became {len(after.files)}, {size_gb:.3f} GB"
    print(f"{files}: {len(after.files) / size_gb:.1f} files per landed GB")
    print(f"peak memory {_peak_mib():.0f} MiB ({base_mib:.0f} before)")


def restart(records: int) -> None:
    """A history of that many commits, then a loader's first commit after its start."""
    with tempfile.TemporaryDirectory() as directory:
        store, fold = LocalStore(Path(directory) / "logs"), Fold()
        (store.root / names.log_directory(1)).mkdir(parents=True)
        for seq in range(records):
            one = _commit(fold, seq)
            (store.root / names.record_path(1, seq)).write_bytes(record.encode(one))
            fold.apply(one)
            if seq == records - 50:
                path = store.root / names.checkpoint_path(1, seq)
                path.parent.mkdir(parents=True)
                path.write_bytes(checkpoint.encode(fold))
        script = f"import bench.maintenance as b; b.first_commit({directory!r}, {records})"
        subprocess.run([sys.executable, "-c", script], check=True)


def idle(directory: Path, topics: int) -> None:
    """From the start of the process to its end."""
    names = [f"topic-{number}" for number in range(topics)]
    with broker(directory) as log:
        bootstrap = {"bootstrap.servers": f"127.0.0.1:{log.ports['kafka']}"}
        admin = AdminClient(bootstrap)
        for made in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
            made.result(60)
        producer = Producer(bootstrap)
        for name in names:
            producer.produce(name, b"a record")
        producer.flush()
        loader = Part("load", directory, {"load": {"root": str(directory / "landed")}, "kafka": bootstrap}, "--once")
        for what in ("all new", "idle", "idle", "idle"):
            began_s = time.monotonic()
            assert loader.start(wait=False).wait() == 0, loader.log_tail()
            print(f"{topics} topics, {what}: {time.monotonic() - began_s:.2f} s")


def first_commit(directory: str, records: int) -> None:
    """What a process does that has just started."""
    clock, store = SystemClock(), LocalStore(Path(directory) / "logs")
    began_s = time.monotonic()
    began_ms = clock.monotonic_ms()
    fold = carry_out(read_head(), store)
    folded_s = time.monotonic() - began_s
    draft = _commit(fold, fold.seq + 1)
    for file in draft.add:
        (store.root / names.staged(file.path)).parent.mkdir(parents=True, exist_ok=True)
        (store.root / names.staged(file.path)).write_bytes(b"rows")
    carry_out(commit(draft, fold, started_ms=began_ms), store, clock)
    took_s = time.monotonic() - began_s
    history = f"{records:,} records behind a checkpoint, {len(fold.files):,} live files"
    print(f"{history}: folded in {folded_s:.2f} s, committed in {took_s:.2f} s")


def _commit(fold: Fold, seq: int) -> CommitRecord:
    start, hour = fold.end(0, 0), seq % 24
    file = DataFile(
        f"dt=2026-05-{seq % 28 + 1:02d}/hour={hour:02d}/attempt-{seq}-0.parquet", "parquet", 1000, 4, "crc32c:00000000",
        "0" * 16, START_MS, START_MS + 1, (1,), (OffsetRange(0, 0, start, start + 1000),),
    )  # fmt: skip
    landed = LandedRange(0, 0, start, start + 1000, 1000, 0, 0, last_offset=start + 999, last_timestamp_ms=START_MS)
    audit = (AuditSum("agent", START_MS + seq // 10 * 600_000, 1000, 90_000, "0" * 16, 0),)
    streams = (StreamLanded("agent", "stream", 0, ((start, start + 1000),)),)
    kept = list(fold.files)[:1] if len(fold.files) > 2000 else []  # as compaction and expiry would
    return CommitRecord(
        "load", f"attempt-{seq}", "bench", START_MS + seq * 1000, (landed,), (file,), remove=tuple(kept), audit=audit,
        streams=streams, input="avro", seq=seq, prev=fold.attempt,
    )  # fmt: skip


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    main()
