"""How the audit grows with agents and days: `python -m bench.audit_growth [--agents 1000] [--days 30] [--unbounded]`.

A table's fold is given a record an hour that tells of six windows of each agent, day after day, and its checkpoint is written
and read as a loader does. `_audit` is landed as agents write it at the least, a `sent/` and a heartbeat for each window, one
file a day, and judged by `Auditor` whole, and again after one more file. One process; seconds are of its CPU, memory is its
peak (ru_maxrss). `--unbounded` keeps each window, as before.
"""

import argparse
import hashlib
import resource
import tempfile
import time
from pathlib import Path

from headrace.audit import WINDOW_MS, AgentMessage, SentMessage
from headrace.jobs.audit.auditor import Auditor
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import audit_totals, checkpoint, names
from headrace.sinks.table.audit_totals import DAY_MS
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import AuditSum, CommitRecord, LandedRange
from tests.landed_tables import AuditWriter, TableWriter

T0 = 20_000 * DAY_MS
TOPIC = "logs"
HOUR_MS = 3_600_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--heard", type=int, default=100, help="agents whose messages are landed and judged")
    parser.add_argument("--unbounded", action="store_true")
    args = parser.parse_args()
    if args.unbounded:
        audit_totals.KEEP_WINDOWS_MS = 1 << 60  # type: ignore[misc]  # what it is measured against
    _fold(args.agents, args.days)
    with tempfile.TemporaryDirectory() as directory:
        _audit(Path(directory), args.heard, args.days)


def _fold(agents: int, days: int) -> None:
    fold, before = Fold(), _peak_mb()
    ids = [hashlib.md5(str(number).encode()).hexdigest() for number in range(agents)]
    for hour in range(days * 24):
        at_ms = T0 + hour * HOUR_MS
        sums = tuple(_sum(agent, at_ms + n * WINDOW_MS) for agent in ids for n in range(6))
        fold.apply(_record(fold, at_ms + HOUR_MS, sums))
    began = time.process_time()
    data = checkpoint.encode(fold)
    wrote = time.process_time()
    checkpoint.decode(data, "checkpoint")
    read = time.process_time()
    kept = f"{len(fold.audit.windows):,} windows, {len(fold.audit.settled())} sums of days"
    print(f"fold: {kept}; checkpoint {len(data) / 1e6:.1f} MB, written in {wrote - began:.1f} s, read in {read - wrote:.1f} s;")
    print(f"  {_peak_mb() - before:,.0f} MB more at the peak")


def _sum(agent: str, start_ms: int) -> AuditSum:
    digest = hashlib.md5(f"{agent}{start_ms}".encode()).hexdigest()[:16]
    return AuditSum(agent, start_ms, 600, 90_000, digest, 0)


def _record(fold: Fold, at_ms: int, sums: tuple[AuditSum, ...]) -> CommitRecord:
    end = fold.end(0, 0)
    landed = LandedRange(0, 0, end, end + 600 * len(sums), 600 * len(sums), 0, 0)
    return CommitRecord("load", f"{fold.seq + 1}", "bench", at_ms, (landed,), audit=sums, seq=fold.seq + 1, prev=fold.attempt)


def _audit(root: Path, agents: int, days: int) -> None:
    ids = [hashlib.md5(str(number).encode()).hexdigest() for number in range(agents)]
    table, audit = TableWriter(root, TOPIC), AuditWriter(root)
    store, fold = LocalStore(root / TOPIC), Fold()
    table.directory.mkdir()
    messages = 0
    for day in range(days + 1):
        for hour in range(24):
            at_ms = T0 + day * DAY_MS + hour * HOUR_MS
            fold.apply(
                _record(fold, at_ms + HOUR_MS, tuple(_sum(agent, at_ms + n * WINDOW_MS) for agent in ids for n in range(6)))
            )
        if day == days:
            break
        said = [one for agent in ids for one in _said(agent, T0 + day * DAY_MS)]
        messages += len(said)
        audit.land(*said)
    store.put_if_absent(names.checkpoint_path(1, fold.seq), checkpoint.encode(fold))
    store.put_if_absent(names.record_path(1, fold.seq), b"")  # never read: the checkpoint is of it
    before, began = _peak_mb(), time.process_time()
    auditor = Auditor(root)
    listened = time.process_time()
    verdict = auditor.judge(TOPIC, now_ms=T0 + days * DAY_MS, until_ms=T0 + (days - 1) * DAY_MS)
    judged = time.process_time()
    audit.land(*[one for agent in ids for one in _said(agent, T0 + days * DAY_MS)])
    landed = time.process_time()
    auditor.listen()
    again = time.process_time()
    print(f"audit: {messages:,} messages heard in {listened - began:.1f} s, {verdict.state}: {len(verdict.windows):,} windows")
    print(f"  judged in {judged - listened:.1f} s; a day more heard in {again - landed:.1f} s;")
    print(f"  {_peak_mb() - before:,.0f} MB more at the peak")


def _said(agent: str, day_ms: int) -> list[tuple[int, SentMessage | AgentMessage]]:
    found: list[tuple[int, SentMessage | AgentMessage]] = []
    for start_ms in range(day_ms, day_ms + DAY_MS, WINDOW_MS):
        said = _sum(agent, start_ms)
        at_ms = start_ms + WINDOW_MS + 400_000
        found.append((at_ms, SentMessage(TOPIC, agent, "r", start_ms, said.count, said.bytes, int(said.hash, 16), {0: 1})))
        found.append((at_ms, AgentMessage(agent, "r", "host", "0.1", "active", at_ms - 5_000, {TOPIC: {0: 1}})))
    return found


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
