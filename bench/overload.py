"""How a well-behaved client fares beside bad neighbours (docs/adr/0025).

    python bench/overload.py [--of headrace|kafka|floor] [--rounds 7] [words of neighbours…]          (default: all neighbours)

A broker process; a client that produces a record (acks=1) and fetches it, 200 times a second; beside it a process that
misbehaves. Each round is two seconds of it beside the neighbour between twice two of the client alone, so that both meet the
same machine. A round before or after which the client's p50 alone was over 1.3 times the least is not counted but taken again:
others had the machine. p50 and p99 are taken of each, and of all rounds their medians. Prints these, how many rounds had to be
taken, and the broker's memory. The same of Apache Kafka (`make peers`; its
default settings and the JVM options of its scripts, 1 GB heap), and of servers that do next to nothing (bench/floor.py): what
this machine itself takes.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from floor import serve
from neighbours import (
    FLAT,
    NEIGHBOURS,
    PACKED,
    WIDE,
    WIDE_PARTITIONS,
    batch,
    connect,
    fetch,
    list_offsets,
    metadata,
    produce,
    read_answer,
    request,
)

from tests.apache_kafka import AS_SHIPPED, ApacheKafka
from tests.processes import broker

RATE = 200
TOPIC = "good"
_WARM_UP = 10_000  # requests of each kind, so that a JVM has compiled what they need
_PATIENCE_S = 10
_ROUND_S = 2.0
_CALIBRATION_ROUNDS = 8
_QUIET, _MOST_TAKEN = 1.3, 8
_FIRST_S = 0.3  # of a round, not counted: memory that nobody touched for a while is cold
_TITLES = "produce p50: alone  beside   p99: alone  beside      ×   fetch p99: alone  beside      ×  rounds of  MB"
_ROW = "{:18.2f} {:7.2f} {:12.2f} {:7.2f} {:6.1f} {:18.2f} {:7.2f} {:6.1f} {:7} {:3} {:3.0f}"
Sample = tuple[float, float, float]  # of a round, in ms: p50 and p99 of produce, p99 of fetch


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: where the good client goes, where its neighbour, and the process that serves the neighbour."""

    port: int
    neighbours_port: int
    pid: int


@contextmanager
def headrace(folder: Path) -> Iterator[Subject]:
    with broker(folder) as part:
        assert part.process is not None
        port = part.ports["kafka"]
        _prepare(port)
        yield Subject(port, port, part.process.pid)


@contextmanager
def kafka(folder: Path) -> Iterator[Subject]:
    server = ApacheKafka(folder, java=AS_SHIPPED).start()
    assert server.process is not None
    try:
        _prepare(server.port)
        yield Subject(server.port, server.port, server.process.pid)
    finally:
        server.kill()  # it does not stop once its heap is full


@contextmanager
def floor(folder: Path) -> Iterator[Subject]:
    """Two servers: one for the good client alone, one for its neighbour."""
    processes, ports = [], []
    for name in ("good", "neighbour"):
        (folder / name).mkdir()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        process = multiprocessing.get_context("fork").Process(target=serve, args=(listening, folder / name), daemon=True)
        process.start()
        processes.append(process)
        ports.append(listening.getsockname()[1])
        listening.close()
    try:
        _warm_up(ports[0])
        assert processes[1].pid is not None
        yield Subject(*ports, processes[1].pid)
    finally:
        for process in processes:
            process.kill()
            process.join()


SUBJECTS = {"headrace": headrace, "kafka": kafka, "floor": floor}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--of", choices=SUBJECTS, default="headrace")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("words", nargs="*")
    asked = parser.parse_args()
    chosen = {n: what for n, what in NEIGHBOURS.items() if not asked.words or any(word in n for word in asked.words)}
    print(f"{asked.of + ': latency, ms':38}", _TITLES, flush=True)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, SUBJECTS[asked.of](Path(folder)) as subject:
        os.sync()
        time.sleep(3)  # what was made is on the disk, and the first times of Python, Java and the kernel are over
        least = min(_measured(subject.port) for _ in range(_CALIBRATION_ROUNDS))[0]
        for name, what in chosen.items():
            try:
                rounds, taken = _rounds(what, subject, asked.rounds, least)
            except OSError as error:  # Kafka's heap does not hold 500 half frames of 100 MB
                print(f"{name:38} the good client is not served any more: {error}", flush=True)
                return
            _show(name, rounds, taken, subject)


def _rounds(what: Callable[[int], None], subject: Subject, count: int, least: float) -> tuple[list[tuple[Sample, Sample]], int]:
    """So many rounds, alone and beside, from a machine that was quiet around each; and how many were taken for them."""
    rounds: list[tuple[Sample, Sample]] = []
    before, taken = _measured(subject.port), 0
    while len(rounds) < count and taken < _MOST_TAKEN * count:
        taken += 1
        if before[0] <= _QUIET * least:
            beside, after = _beside(what, subject), _measured(subject.port)
            if after[0] <= _QUIET * least:
                rounds.append((_middle([before, after]), beside))
            before = after
        else:
            before = _measured(subject.port)
    return rounds, taken


def _prepare(port: int) -> None:
    """Make the topics and give one of them records; a broker is ready when it serves all partitions."""
    sock = connect(port)
    for name, partitions in ((TOPIC, 1), (FLAT, 1), (PACKED, 1), (WIDE, WIDE_PARTITIONS)):
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1, "assignments": [], "configs": []}
        sock.sendall(request(19, 5, {"topics": [topic], "timeout": 30000, "validate_only": False}))
        read_answer(sock)
    asked, ready = list_offsets(WIDE, WIDE_PARTITIONS, -1), b""
    while ready != (ready := _answered(sock, asked)) or b"\xff" * 16 in ready:  # offset and timestamp of a partition not served
        time.sleep(0.5)
    for _ in range(100):
        sock.sendall(produce(FLAT, batch(os.urandom(900_000))))
        read_answer(sock)
    _warm_up(port)


def _answered(sock: socket.socket, frame: bytes) -> bytes:
    sock.sendall(frame)
    return read_answer(sock)


def _warm_up(port: int) -> None:
    sock = connect(port)
    for frame in (
        produce(TOPIC, batch(bytes(200)), client="good"),
        fetch(TOPIC, 0, max_bytes=300, client="good"),
        metadata([TOPIC]),
    ):
        for _ in range(_WARM_UP):
            _answered(sock, frame)


def _beside(neighbour: Callable[[int], None], subject: Subject) -> Sample:
    process = multiprocessing.get_context("fork").Process(
        target=_misbehave, args=(neighbour, subject.neighbours_port), daemon=True
    )
    process.start()
    time.sleep(1)
    try:
        return _measured(subject.port)
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


def _measured(port: int) -> Sample:
    producer, consumer = connect(port), connect(port)
    for sock in (producer, consumer):
        sock.settimeout(_PATIENCE_S)
    produced, fetched = [], []
    frame = produce(TOPIC, batch(bytes(200)), client="good")
    due = time.perf_counter()
    counted = due + _FIRST_S
    end = counted + _ROUND_S
    while due < end:
        due += 1 / RATE
        time.sleep(max(0, due - time.perf_counter()))
        began = time.perf_counter()
        offset = int.from_bytes(_answered(producer, frame)[-33:-25], "big")
        produce_ms = (time.perf_counter() - began) * 1000
        asked = fetch(TOPIC, offset, max_bytes=1 << 20, client="good")
        began = time.perf_counter()
        _answered(consumer, asked)
        if due >= counted:
            produced.append(produce_ms)
            fetched.append((time.perf_counter() - began) * 1000)
    for sock in (producer, consumer):
        sock.close()
    return _at(produced, 0.5), _at(produced, 0.99), _at(fetched, 0.99)


def _at(latencies: list[float], share: float) -> float:
    return sorted(latencies)[int(len(latencies) * share)]


def _middle(samples: list[Sample]) -> Sample:
    p50, p99, fetch_p99 = (statistics.median(values) for values in zip(*samples, strict=True))
    return p50, p99, fetch_p99


def _show(name: str, rounds: list[tuple[Sample, Sample]], taken: int, subject: Subject) -> None:
    if not rounds:
        print(f"{name:38} the machine was never quiet, {taken} times", flush=True)
        return
    alone, beside = (_middle(list(samples)) for samples in zip(*rounds, strict=True))
    numbers = [number for pair in zip(alone, beside, strict=True) for number in pair]
    times = [beside[1] / alone[1], beside[2] / alone[2]]
    print(
        f"{name:38}",
        _ROW.format(*numbers[:4], times[0], *numbers[4:], times[1], len(rounds), taken, _resident_mb(subject.pid)),
        flush=True,
    )


def _resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
