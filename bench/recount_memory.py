"""What `headrace audit --recount` needs for a large table: `python -m bench.recount_memory [--rows 5000000]`.

One topic of files of a million rows each, an hour each, of ten agents, with what the agents announced; counted again in this
process. Seconds are of its CPU; memory is its peak (ru_maxrss), less what it was after the table was written.
"""

import argparse
import resource
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.audit import WINDOW_MS, AgentMessage, SentMessage
from headrace.clock import SystemClock
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.recount import count_file
from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.table import names
from headrace.sinks.table.commit import Won, commit, read_head
from headrace.sinks.table.reader import LiveFile
from headrace.sinks.table.record import AuditSum, CommitRecord, LandedRange, OffsetRange
from headrace.sinks.table.store import carry_out
from tests.landed_tables import ENVELOPE, AuditWriter, TableWriter

T0 = 1_763_899_200_000
HOUR_MS = 3_600_000
FILE_ROWS = 1_000_000
AGENTS = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        _land(root, rows)
        before, began = _peak_mb(), time.process_time()
        auditor = Auditor(root)
        verdict = auditor.judge("logs", now_ms=T0 + 25 * HOUR_MS)
        recount = auditor.recount(verdict)
        cpu_s = time.process_time() - began
        print(f"{rows:,} rows: {recount.state}; {cpu_s:.1f} s, {rows / cpu_s:,.0f} rows/s")
        print(f"  {_peak_mb() - before:,.0f} MB more at the peak than the {before:,.0f} that writing the table took")


def _land(root: Path, rows: int) -> None:
    table, clock = TableWriter(root, "logs"), SystemClock()
    said: dict[tuple[str, int], AuditSum] = {}
    for first in range(0, rows, FILE_ROWS):
        fold, attempt = carry_out(read_head(), table.store), str(uuid.uuid4())
        count, hour_ms = min(FILE_ROWS, rows - first), T0 + first // FILE_ROWS * HOUR_MS
        moment = datetime.fromtimestamp(hour_ms / 1000, UTC)
        landing = LandingFile(table.store, f"dt={moment:%Y-%m-%d}/hour={moment:%H}/{attempt}-0.parquet", ENVELOPE, Output())
        for batch in _batches(first, count, hour_ms):
            offsets = OffsetRange(0, 0, batch["_offset"][0].as_py(), batch["_offset"][-1].as_py() + 1)
            landing.append(batch, pc.cast(batch["_timestamp"], pa.int64()), [offsets])
        file = landing.close([])
        live = LiveFile(
            str(table.directory / names.staged(file.path)), file.path, "parquet", count, file.bytes,
            file.min_event_time_ms, file.max_event_time_ms, "", "", (), "", "",
        )  # fmt: skip
        sums = tuple(
            AuditSum(agent or "", start, total.count, total.bytes, f"{total.hash:016x}", 0)
            for (agent, start), total in count_file(root, "logs", live).items()
        )
        landed = LandedRange(0, 0, first, first + count, count, 0, 0, last_offset=first + count - 1)
        draft = CommitRecord("load", attempt, "bench", T0, (landed,), (file,), audit=sums)
        assert isinstance(carry_out(commit(draft, fold, started_ms=clock.monotonic_ms()), table.store, clock), Won)
        for one in sums:
            known = said.get((one.agent, one.window_start_ms))
            said[one.agent, one.window_start_ms] = one if known is None else _added(one, known)
    AuditWriter(root).land(*_announced(said.values(), rows))


def _added(one: AuditSum, other: AuditSum) -> AuditSum:
    total = (int(one.hash, 16) + int(other.hash, 16)) % (1 << 64)
    return AuditSum(one.agent, one.window_start_ms, one.count + other.count, one.bytes + other.bytes, f"{total:016x}", 0)


def _batches(first: int, count: int, hour_ms: int) -> Iterator[pa.Table]:
    for start in range(first, first + count, 50_000):
        numbers = np.arange(start, min(start + 50_000, first + count))
        agents = [f"{number % AGENTS:032x}" for number in numbers.tolist()]
        times = hour_ms + (numbers * 7_919) % HOUR_MS
        columns: dict[str, Any] = {
            "event_time": pa.array(times * 1000).cast(pa.timestamp("us", tz="UTC")),
            "agent_id": agents,
            "stream_id": agents,
            "position": numbers * 90,
            "since": numbers * 90,
            "part": pa.array(np.zeros(len(numbers)), pa.int32()),
            "message": [
                f"GET /articles/{number}?from={number * 31} HTTP/1.1 200 {number % 9999} curl/8.5"
                for number in numbers.tolist()
            ],
            "encoding": ["utf-8"] * len(numbers),
            "_incarnation": pa.array(np.zeros(len(numbers)), pa.int32()),
            "_partition": pa.array(np.zeros(len(numbers)), pa.int32()),
            "_offset": numbers,
            "_timestamp": pa.array(times).cast(pa.timestamp("ms", tz="UTC")),
        }
        none = {field.name: pa.nulls(len(numbers), field.type) for field in ENVELOPE if field.name not in columns}
        yield pa.table({field.name: (columns | none)[field.name] for field in ENVELOPE}, schema=ENVELOPE)


def _announced(said: Any, rows: int) -> Iterator[tuple[int, SentMessage | AgentMessage]]:
    at_ms, acked = T0 + 24 * 3_600_000, {0: rows}
    for one in said:
        yield at_ms, SentMessage("logs", one.agent, "r", one.window_start_ms, one.count, one.bytes, int(one.hash, 16), acked)
    for agent in sorted({one.agent for one in said}):
        yield at_ms, AgentMessage(agent, "r", "host", "0.1", "active", at_ms + WINDOW_MS, {"logs": acked})


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
