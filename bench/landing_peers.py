"""Landing beside others: the same records, the same broker, one core each; CPU and wall seconds, and memory.

    python bench/landing_peers.py [--events 1000000] [--rounds 3]

Records are plain Avro orders of 180 bytes in Confluent's framing (bench/landing.py), in four partitions of one topic on Apache
Kafka: Iceberg's sink needs transactions. In each round every loader lands all of them in turn, into a directory and under a
group of its own, pinned to core 0, with its start and its imports; zstd, level 1. What has landed is counted. The table has the
medians. docs/landing-benchmarks.md says what each loader promises.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import connect_sink
import landing
import pyarrow.dataset
import yaml
from rich.console import Console
from rich.table import Table

from headrace.schemas.client import RegistryClient
from headrace.sinks.table import reader
from tests.apache_kafka import ApacheKafka
from tests.processes import registry

PINNED = ["taskset", "-c", "0"]
TOPIC = "orders"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run reads, and the new directory that it writes to."""

    folder: Path
    bootstrap: str
    registry: str
    count: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: CPU, user and system; most memory."""

    cpu_s: float
    wall_s: float
    memory_mib: float


def _waited(place: Place, command: list[str]) -> Cost:
    started = time.monotonic()
    with (place.folder / "log").open("wb") as log:
        child = subprocess.Popen([*PINNED, *command], stdout=log, stderr=log)
        status, cpu_s, memory_mib = landing.waited(child)
    assert status == 0, (place.folder / "log").read_text()[-3000:]
    return Cost(cpu_s, time.monotonic() - started, memory_mib)


def headrace(place: Place) -> Cost:
    """`headrace load --once`."""
    root, file = place.folder / "landed", place.folder / "load.yaml"
    load = {"root": str(root), "topics": [TOPIC]}
    file.write_text(yaml.safe_dump({"load": load, "kafka": {"bootstrap.servers": place.bootstrap}, "registry": place.registry}))
    cost = _waited(place, [sys.executable, "-m", "headrace", "load", "--once", "--config", str(file)])
    assert sum(one.rows for one in reader.snapshot(root, TOPIC).files) == place.count
    return cost


def plain(place: Place) -> Cost:
    """bench/plain_loader.py, with the group of its directory's name."""
    root = place.folder / "landed"
    root.mkdir()
    script = Path(__file__).with_name("plain_loader.py")
    cost = _waited(place, [sys.executable, str(script), place.bootstrap, place.registry, TOPIC, str(root), str(place.count)])
    assert pyarrow.dataset.dataset(root).count_rows() == place.count
    return cost


def connect(place: Place) -> Cost:
    """bench/connect_sink.py."""
    return Cost(*connect_sink.run(place.folder, place.bootstrap, place.registry, TOPIC, place.count, PINNED))


LOADERS: dict[str, Callable[[Place], Cost]] = {"headrace": headrace, "fastavro, plainly": plain, "Connect, Iceberg": connect}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    loaders = dict(LOADERS)
    if missing := connect_sink.why_missing():
        print(f"missing: {missing}", file=sys.stderr)
        del loaders["Connect, Iceberg"]
    costs: dict[str, list[Cost]] = {name: [] for name in loaders}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        with ApacheKafka(folder / "kafka") as kafka, registry(folder, kafka.bootstrap) as schemas:
            url = f"http://127.0.0.1:{schemas.ports['http']}"
            made = argparse.Namespace(events=args.events, partitions=4, hours=1, plain=True)
            landing.produce(kafka.bootstrap, RegistryClient(url), TOPIC, made)
            for number in range(args.rounds):
                for loader, run in loaders.items():
                    place = Place(folder / f"run{number}", kafka.bootstrap, url, args.events)
                    place.folder.mkdir()
                    costs[loader].append(run(place))
                    shutil.rmtree(place.folder)
                    print(number, loader, costs[loader][-1], file=sys.stderr)
    table = Table("loader", "CPU s", "events/s of CPU", "wall s", "most MiB", title=f"landing {args.events:,} orders")
    for loader, found in costs.items():
        cpu, wall, memory = (
            statistics.median(getattr(cost, field) for cost in found) for field in ("cpu_s", "wall_s", "memory_mib")
        )
        table.add_row(loader, f"{cpu:.2f}", f"{args.events / cpu:,.0f}", f"{wall:.1f}", f"{memory:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
