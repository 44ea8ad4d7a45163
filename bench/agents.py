"""What shipping a log file costs: our agent beside others, each on one core, the broker on the other.

    python -m bench.agents [headrace rsyslog …] [--lines 1000000] [--parse json] [--into headrace|kafka] [--svg docs/agents.svg]
    python -m bench.agents --idle 1000          CPU of as many files that nobody writes to
    python -m bench.agents --stalled 20         memory while the broker does not answer for so many seconds

The file lies there when the agent starts, and bears a number in every line. CPU is that of the agent's process from start to
end (user and system), resident memory its peak, as the kernel counts both. The topic is read afterwards: which numbers are
missing, and how many came again. How to get the others: bench/agent_peers.py.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from bench.agent_peers import AGENTS, TOPIC, Agent, Place
from bench.bars import bars
from tests.apache_kafka import AS_SHIPPED, ApacheKafka
from tests.processes import broker, registry

_LINE_BYTES = 200  # with its newline
_AGENT_CORE, _OTHER_CORE = 0, 1
_NUMBER = re.compile(rb'seq[=:" \\]+(\d{9})')
_GIVE_UP_S, _STILL_S = 120, 10
_IDLE_LOOK_S = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds of CPU and of wall time for all lines, seconds until the first record was there, peak memory (MB)."""

    cpu_s: float
    wall_s: float
    first_s: float
    peak_mb: float
    lost: int
    repeated: int


class EndedError(Exception):
    """It ended by itself; with the last that it said."""


def write_lines(file: Path, count: int, *, as_json: bool) -> None:
    """Lines of 200 bytes, each with its number and its own time."""
    with file.open("w") as out:
        for number in range(count):
            time_ = (
                f"2026-03-04T{number // 3600000 % 24:02}:{number // 60000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}Z"
            )
            if as_json:
                start = f'{{"time": "{time_}", "seq": "{number:09}", "level": "info", "user": "u{number % 997}", "msg": "'
                end = '"}'
            else:
                start, end = f"{time_} INFO seq={number:09} user=u{number % 997} ", ""
            filler = "request served from cache in no time at all " * 4
            out.write(start + filler[: _LINE_BYTES - 1 - len(start) - len(end)] + end + "\n")


@contextmanager
def servers(folder: Path, kind: str) -> Iterator[tuple[str, str, int]]:
    """Broker and registry on their core: bootstrap, the registry's URL, the broker's process id."""
    with ExitStack() as stack:
        if kind == "kafka":
            kafka = stack.enter_context(ApacheKafka(folder / "kafka", java=AS_SHIPPED))
            assert kafka.process is not None
            bootstrap, pid = kafka.bootstrap, kafka.process.pid
        else:
            ours = stack.enter_context(broker(folder))
            bootstrap, pid = f"127.0.0.1:{ours.ports['kafka']}", ours.pid
        schemas = stack.enter_context(registry(folder, bootstrap))
        yield bootstrap, f"http://127.0.0.1:{schemas.ports['http']}", pid


class Topic:
    """The topic that an agent fills; made anew for each run."""

    def __init__(self, bootstrap: str) -> None:
        self._settings = {"bootstrap.servers": bootstrap, "group.id": "bench", "log_level": 0}
        admin = AdminClient({"bootstrap.servers": bootstrap})
        if TOPIC in admin.list_topics(timeout=10).topics:
            admin.delete_topics([TOPIC])[TOPIC].result()
        admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result()
        while not admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions:  # Apache Kafka's nodes hear of it later
            time.sleep(0.1)
        self._consumer = Consumer(self._settings)

    def end(self) -> int:
        """How many records there are."""
        return int(self._consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=30)[1])

    def numbers(self, count: int) -> tuple[int, int]:
        """(lost, repeated): numbers below `count` that are not there, and records whose number was there before."""
        seen, repeated, at, end = bytearray(count), 0, 0, self.end()
        self._consumer.assign([TopicPartition(TOPIC, 0, 0)])
        while at < end:
            for message in self._consumer.consume(10_000, timeout=10):
                at = (message.offset() or 0) + 1
                found = _NUMBER.search(message.value() or b"")
                assert found is not None, message.value()
                number = int(found.group(1))
                repeated += seen[number]
                seen[number] = 1
        return count - sum(seen), repeated


class Running:
    """An agent's process on its core."""

    def __init__(self, agent: Agent, place: Place) -> None:
        started = agent.start(place)
        self.log_file = place.folder / "log"
        self._log = self.log_file.open("wb")
        self.began_s = time.monotonic()
        command = ["taskset", "-c", str(_AGENT_CORE), *started.command]
        self.process = subprocess.Popen(command, env={**os.environ, **started.environment}, stdout=self._log, stderr=self._log)

    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self, key: str = "VmHWM") -> float:
        """Its resident memory: the peak, or with `VmRSS` now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{key}:")[1].split()[0]) * 1024 / 1e6

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def wait_for(topic: Topic, running: Running, count: int) -> tuple[float, float]:
    """Until so many records are there, or nothing more comes: seconds to the first, and to the last that came."""
    first = last = 0.0
    seen = 0
    while True:
        end, now_s = topic.end(), time.monotonic() - running.began_s
        first = first or (now_s if end else 0.0)
        if end > seen:
            seen, last = end, now_s
        if running.process.poll() is not None:
            raise EndedError(running.log_file.read_text(errors="replace")[-3000:])
        if seen >= count or now_s > _GIVE_UP_S or (seen and now_s - last > _STILL_S):
            return first, last
        time.sleep(0.02)


def measure(agent: Agent, folder: Path, files: Path, count: int, into: tuple[str, str, int], *, as_json: bool) -> Measured:
    """Ship the file once."""
    topic = Topic(into[0])
    running = Running(agent, Place(folder, str(files), into[0], into[1], as_json))
    try:
        first_s, wall_s = wait_for(topic, running, count)
        cpu_s, peak_mb = running.cpu_s(), running.resident_mb()
    finally:
        running.stop()
    lost, repeated = topic.numbers(count)
    return Measured(cpu_s, wall_s, first_s, peak_mb, lost, repeated)


def measure_idle(agent: Agent, folder: Path, files: int, into: tuple[str, str, int]) -> dict[str, Any]:
    """Share of a core and resident MB while nobody writes to the files, also once started again; the most it took; and how
    long (s) it took until all were shipped at first."""
    logs = folder / "idle"
    logs.mkdir()
    for number in range(files):
        (logs / f"{number:05}.log").write_text(f"the only line, seq={number:09}\n")
    topic = Topic(into[0])
    place = Place(folder, str(logs / "*.log"), into[0], into[1], json=False)
    running = Running(agent, place)
    try:
        _, shipped_s = wait_for(topic, running, files)
        time.sleep(15)  # what was written to lately is looked at more often
        before_s = running.cpu_s()
        time.sleep(_IDLE_LOOK_S)
        core, resident_mb = (running.cpu_s() - before_s) / _IDLE_LOOK_S, running.resident_mb("VmRSS")
        peak_mb = running.resident_mb()
    finally:
        running.stop()
    running = Running(agent, place)
    try:
        time.sleep(25)
        again_mb = running.resident_mb()
    finally:
        running.stop()
    return {
        "files": files, "core": round(core, 4), "resident_mb": round(resident_mb, 1), "peak_mb": round(peak_mb, 1),
        "peak_mb_once_started_again": round(again_mb, 1), "shipped_s": round(shipped_s, 1),
    }  # fmt: skip


def measure_stalled(
    agent: Agent, folder: Path, files: Path, count: int, into: tuple[str, str, int], stall_s: float
) -> tuple[float, int, int, int]:
    """(peak MB, files open, lost, repeated): the broker stands still when a tenth is there, and goes on after so long."""
    topic = Topic(into[0])
    running = Running(agent, Place(folder, str(files), into[0], into[1], json=False))
    try:
        wait_for(topic, running, count // 10)
        os.kill(into[2], signal.SIGSTOP)
        time.sleep(stall_s)
        peak_mb, descriptors = running.resident_mb(), running.descriptors()
        os.kill(into[2], signal.SIGCONT)
        wait_for(topic, running, count)
    finally:
        os.kill(into[2], signal.SIGCONT)
        running.stop()
    return peak_mb, descriptors, *topic.numbers(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agents", nargs="*", metavar="AGENT", help=f"{', '.join(AGENTS)} (default: those that are there)")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--parse", choices=["plain", "json"], default="plain")
    parser.add_argument("--into", choices=["headrace", "kafka"], default="headrace")
    parser.add_argument("--idle", type=int, metavar="FILES")
    parser.add_argument("--stalled", type=float, metavar="SECONDS")
    parser.add_argument("--svg", type=Path, help="draw CPU per million lines there")
    parser.add_argument("--json", action="store_true", help="one JSON object a run on stdout")
    args = parser.parse_args()
    os.sched_setaffinity(0, {_OTHER_CORE})  # servers and this process; agents get the other
    chosen = [AGENTS[name] for name in args.agents] or [agent for agent in AGENTS.values() if agent.is_there]
    for absent in (agent for agent in AGENTS.values() if not agent.is_there):
        print(f"{absent.name} is not there: bench/agent_peers.py says how to get it", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, ExitStack() as stack:
        root = Path(name)
        into = stack.enter_context(servers(root, args.into))
        file = root / "lines" / "app.log"
        file.parent.mkdir()
        if not args.idle:
            write_lines(file, args.lines, as_json=args.parse == "json")
        rows = []
        for agent in chosen:
            folder = root / agent.name
            folder.mkdir()
            try:
                row = {"agent": agent.name, **_run(agent, folder, file, into, args)}
            except EndedError as error:
                print(f"{agent.name} has ended: {error}", file=sys.stderr)
                continue
            rows.append(row)
            if args.json:
                print(json.dumps(row), flush=True)
    _show(rows, f"{args.parse} lines of {_LINE_BYTES} bytes into {args.into}")
    if args.svg and rows:
        args.svg.write_text(bars("CPU seconds per million lines", {row["agent"]: row["cpu_s_per_million"] for row in rows}))


def _run(agent: Agent, folder: Path, file: Path, into: tuple[str, str, int], args: argparse.Namespace) -> dict[str, Any]:
    """One agent's row, of the kind that was asked for."""
    if args.idle:
        return measure_idle(agent, folder, args.idle, into)
    if args.stalled:
        peak_mb, files, lost, repeated = measure_stalled(agent, folder, file, args.lines, into, args.stalled)
        return {"peak_mb": round(peak_mb, 1), "open_files": files, "lost": lost, "repeated": repeated}
    run = measure(agent, folder, file, args.lines, into, as_json=args.parse == "json")
    return {
        "cpu_s_per_million": round(run.cpu_s / args.lines * 1e6, 2),
        "lines_per_s": round(args.lines / run.wall_s),
        "first_s": round(run.first_s, 2),
        "peak_mb": round(run.peak_mb, 1),
        "lost": run.lost,
        "repeated": run.repeated,
    }


def _show(rows: list[dict[str, Any]], title: str) -> None:
    if not rows:
        return
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:,}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
