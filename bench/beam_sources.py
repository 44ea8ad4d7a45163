"""The Beam sources beside Beam's own and beside what reads the same without Beam: seconds, CPU-seconds, peak memory.

    python -m bench.beam_sources [--rows N] [--runs N] [--json]

A day of made-up events (bench/jobs.py: 24 Parquet files of the envelope) on the local disk, and as many records of 200 bytes in
a topic of two partitions of a broker of ours, written in batches of 64 KiB. What is asked of each reader: how many rows there
are, after it has made them Arrow batches, or dicts; pipelines run in process. Each run is a process of its own, the readers
take turns; seconds and CPU-seconds are of the reading alone, with a pipeline's start, without imports; the peak is the
process's (VmHWM), with Beam and Arrow imported everywhere. Shown are medians, and least and most seconds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.dataset as ds
from apache_beam.io.parquetio import ReadAllFromParquet, ReadAllFromParquetBatched
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from bench.jobs import DAY, events, land
from headrace.beam import ReadTable, ReadTopic, run_pipeline
from headrace.sinks.table.reader import snapshot
from tests.processes import broker

COLUMNS = ["event_time", "host", "service", "message"]
PARTITIONS = 2
HOURS = (f"{DAY}T12:00", f"{DAY}T14:00")
WHERE = [("host", "=", "web-7")]


def rows_of(source: Any, length: Callable[[Any], int] = len) -> int:
    """How many rows a pipeline has read."""
    (total,) = run_pipeline(lambda pipeline: pipeline | source | beam.Map(length) | beam.CombineGlobally(sum))
    return int(total)


def one(_: Any) -> int:
    """Of a row."""
    return 1


def paths(root: str) -> list[str]:
    """The files of the table."""
    return [file.path for file in snapshot(root, "logs").files]


def by_beam(root: str, read: Any) -> Any:
    """A source of Beam's over the table's files."""
    return beam.Create(paths(root), reshuffle=False) | beam.Reshuffle() | read


def by_dataset(root: str, **asked: Any) -> int:
    """By pyarrow's datasets, in batches of as many rows."""
    return sum(batch.num_rows for batch in ds.dataset(paths(root)).scanner(batch_size=131_072, **asked).to_batches())


def asked_of_dataset() -> dict[str, Any]:
    """The two hours of one host."""
    first, end = (pa.scalar(f"{hour}:00Z").cast(pa.timestamp("us", "UTC")) for hour in HOURS)
    time_is = (ds.field("event_time") >= first) & (ds.field("event_time") < end)
    return {"columns": COLUMNS, "filter": time_is & (ds.field("host") == "web-7")}


def by_consumer(bootstrap: str, *, as_arrow: bool) -> int:
    """By a plain loop over Kafka's client."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.partition.eof": True})
    consumer.assign([TopicPartition("t", partition, 0) for partition in range(PARTITIONS)])
    count = ended = 0
    while ended < PARTITIONS:
        messages = consumer.consume(20_000, 1)
        records = [message for message in messages if message.error() is None]
        ended += len(messages) - len(records)
        count += len(records)
        if as_arrow:
            pa.record_batch(
                {
                    "value": pa.array([record.value() for record in records], pa.binary()),
                    "_offset": [record.offset() for record in records],
                    "_timestamp": [record.timestamp()[1] for record in records],
                }
            )
    consumer.close()
    return count


CASES: dict[str, dict[str, Callable[[str], int]]] = {
    "table, 4 columns, batches": {
        "ReadTable": lambda root: rows_of(ReadTable(root, "logs", columns=COLUMNS)),
        "ReadAllFromParquetBatched": lambda root: rows_of(by_beam(root, ReadAllFromParquetBatched(columns=COLUMNS))),
        "pyarrow dataset, no Beam": lambda root: by_dataset(root, columns=COLUMNS),
    },
    "table, 4 columns, dicts": {
        "ReadTable(rows=True)": lambda root: rows_of(ReadTable(root, "logs", columns=COLUMNS, rows=True), one),
        "ReadAllFromParquet": lambda root: rows_of(by_beam(root, ReadAllFromParquet(columns=COLUMNS)), one),
    },
    "table, 2 hours of one host, batches": {
        "ReadTable": lambda root: rows_of(
            ReadTable(root, "logs", columns=COLUMNS, since=HOURS[0], until=HOURS[1], where=WHERE), len
        ),
        "pyarrow dataset, no Beam": lambda root: by_dataset(root, **asked_of_dataset()),
    },
    "topic, batches": {
        "ReadTopic": lambda bootstrap: rows_of(ReadTopic(bootstrap, "t", keep=())),
        "ReadTopic, Kafka's client": lambda bootstrap: rows_of(
            ReadTopic({"bootstrap.servers": bootstrap, "socket.keepalive.enable": True}, "t", keep=())
        ),
        "confluent-kafka loop, Arrow, no Beam": lambda bootstrap: by_consumer(bootstrap, as_arrow=True),
        "confluent-kafka loop, counted, no Beam": lambda bootstrap: by_consumer(bootstrap, as_arrow=False),
    },
    "topic, dicts": {"ReadTopic(rows=True)": lambda bootstrap: rows_of(ReadTopic(bootstrap, "t", keep=(), rows=True), one)},
}


def measure(case: str, reader: str, where: str) -> dict[str, Any]:
    """One run, in this process."""
    began, cpu_s = time.monotonic(), _cpu_s()
    count = CASES[case][reader](where)
    found = {"rows": count, "seconds": time.monotonic() - began, "cpu_s": _cpu_s() - cpu_s}
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {**found, "peak_mb": int(peak.split()[1]) / 1000}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def write(bootstrap: str, count: int) -> None:
    """The topic's records."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic("t", PARTITIONS, 1)]).values()
    made.result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 65_536})
    value = os.urandom(100).hex().encode()
    for number in range(count):
        producer.produce("t", value, partition=number % PARTITIONS)
        if number % 50_000 == 49_999:
            producer.flush(60)
    assert producer.flush(60) == 0


def shown(case: str, reader: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of some runs."""
    middle = {name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu_s", "peak_mb")}
    seconds = [run["seconds"] for run in runs]
    return {
        "what": case,
        "reader": reader,
        "rows": runs[0]["rows"],
        "seconds": f"{middle['seconds']:.2f}",
        "least, most": f"{min(seconds):.2f}, {max(seconds):.2f}",
        "cpu_s": f"{middle['cpu_s']:.2f}",
        "peak_mb": f"{middle['peak_mb']:.0f}",
    }


def main() -> None:
    """Make the table and the topic, and ask all readers in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "READER", "WHERE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-sources-") as folder, broker(Path(folder) / "kafka") as part:
        land(Path(folder) / "landed", events(args.rows))
        write(bootstrap := f"127.0.0.1:{part.ports['kafka']}", args.rows)
        for _ in range(args.runs):
            for case, readers in CASES.items():
                where = bootstrap if case.startswith("topic") else f"{folder}/landed"
                for reader in readers:
                    command = [sys.executable, "-m", "bench.beam_sources", "--one", case, reader, where]
                    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                    found.setdefault((case, reader), []).append(json.loads(done.stdout.splitlines()[-1]))
    rows = [shown(*which, runs) for which, runs in found.items()]
    if args.json:
        print("\n".join(map(json.dumps, rows)))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
