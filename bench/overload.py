"""How a well-behaved client fares beside bad neighbours (docs/adr/0025).

    python bench/overload.py [seconds] [words of neighbours…]          (default: 8 s each, all of them)

A broker process; a client that produces a record (acks=1) and fetches it, 200 times a second; beside it a process that
misbehaves. Prints the client's latencies alone and beside each neighbour, and the broker's memory.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from neighbours import FLAT, NEIGHBOURS, PACKED, WIDE, WIDE_PARTITIONS, batch, connect, fetch, produce, read_answer, request

from tests.processes import Part, broker

RATE = 200
TOPIC = "good"
_HEAD = "{:>12} {:>7} {:>7} {:>12} {:>7} {:>7} {:>6} {:>5}"
_ROW = "{:12.2f} {:7.2f} {:7.2f} {:12.2f} {:7.2f} {:7.2f} {:6.1f} {:5.0f}"
Sample = tuple[list[float], list[float]]  # of produce and of fetch, sorted


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    words = sys.argv[2:]
    chosen = {name: what for name, what in NEIGHBOURS.items() if not words or any(word in name for word in words)}
    titles = ("produce p50", "p99", "p999", "fetch p50", "p99", "p999", "p99 ×", "MB")
    print(f"{'latency, ms':35}", _HEAD.format(*titles), flush=True)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, broker(Path(folder)) as part:
        port = part.ports["kafka"]
        _prepare(port)
        quiet = _measured(port, seconds)
        _show("none", quiet, quiet, part)
        for name, what in chosen.items():
            _show(name, _beside(what, port, seconds), quiet, part)


def _prepare(port: int) -> None:
    sock = connect(port)
    for name, partitions in ((TOPIC, 1), (FLAT, 1), (PACKED, 1), (WIDE, WIDE_PARTITIONS)):
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1, "assignments": [], "configs": []}
        sock.sendall(request(19, 5, {"topics": [topic], "timeout": 30000, "validate_only": False}))
        read_answer(sock)
    for _ in range(100):
        sock.sendall(produce(FLAT, batch(os.urandom(900_000))))
        read_answer(sock)
    os.sync()
    time.sleep(3)  # what was made is on the disk, and Python's and the kernel's first times are over


def _beside(neighbour: Callable[[int], None], port: int, seconds: float) -> Sample:
    process = multiprocessing.get_context("fork").Process(target=_misbehave, args=(neighbour, port), daemon=True)
    process.start()
    time.sleep(1)
    try:
        return _measured(port, seconds)
    finally:
        process.kill()
        process.join()
        time.sleep(0.5)


def _misbehave(neighbour: Callable[[int], None], port: int) -> None:
    # Two cores for three processes: what is measured is the broker, not how the kernel shares out its processors.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        neighbour(port)
    except OSError as error:
        print(f"  the broker sent the neighbour away: {error}", file=sys.stderr)
        time.sleep(3600)


def _measured(port: int, seconds: float) -> Sample:
    """Latencies of produce and fetch, in ms, sorted."""
    producer, consumer = connect(port), connect(port)
    produced, fetched = [], []
    frame = produce(TOPIC, batch(bytes(200)), client="good")
    due = time.perf_counter()
    end = due + seconds
    while time.perf_counter() < end:
        due += 1 / RATE
        time.sleep(max(0, due - time.perf_counter()))
        began = time.perf_counter()
        producer.sendall(frame)
        offset = int.from_bytes(read_answer(producer)[-33:-25], "big")
        middle = time.perf_counter()
        consumer.sendall(fetch(TOPIC, offset, max_bytes=1 << 20, client="good"))
        read_answer(consumer)
        produced.append((middle - began) * 1000)
        fetched.append((time.perf_counter() - middle) * 1000)
    return sorted(produced), sorted(fetched)


def _show(name: str, measured: Sample, quiet: Sample, part: Part) -> None:
    produced, fetched = ([_at(sample, share) for share in (0.5, 0.99, 0.999)] for sample in measured)
    worse = max(_at(sample, 0.99) / _at(alone, 0.99) for sample, alone in zip(measured, quiet, strict=True))
    print(f"{name:35}", _ROW.format(*produced, *fetched, worse, _resident_mb(part)), flush=True)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _resident_mb(part: Part) -> float:
    assert part.process is not None
    with open(f"/proc/{part.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
