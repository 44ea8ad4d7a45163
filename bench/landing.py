"""What landing costs: events a second of CPU, and the most memory, of a real `headrace load --once` beside a real broker.

    python bench/landing.py [--events 1000000] [--partitions 4] [--hours 1] [--topic-format parquet avro json] [--plain]

Events are Avro of about 190 bytes in Confluent's framing: our envelope, with identities that are checked for repeats and summed
for the audit, or with --plain an order of another producer. `--partitions 1000 --hours 24` opens 24,000 partitions of the table
at once. The CPU of a run that finds nothing new is taken off; the time is CPU of the loader's process, user and system.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from headrace.schemas.client import RegistryClient
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.schemas.framing import frame
from headrace.sinks.table import reader

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.processes import broker, registry

START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "id", "type": "long"},
        {"name": "price", "type": "double"},
        *({"name": name, "type": "string"} for name in ("customer", "product", "street", "city", "agent", "note")),
    ],
}


def events(count: int, partition: int, hours: int, *, plain: bool) -> tuple[str, list[bytes]]:
    """The schema and the encoded values of one partition, in order; times are spread over the hours."""
    rng = np.random.default_rng(partition)
    numbers = np.arange(count)
    times = (START_MS + rng.integers(0, hours * 3_600_000, count)) * 1000
    if plain:
        columns: dict[str, Any] = {"event_time": times, "id": numbers, "price": rng.random(count)}
        for name, size in (("customer", 16), ("product", 24), ("street", 28), ("city", 12), ("agent", 30), ("note", 40)):
            texts = pa.array([uuid.uuid5(uuid.NAMESPACE_OID, f"{name}{n}").hex * 2 for n in range(500)])
            columns[name] = texts.take(pa.array(rng.integers(0, 500, count))).cast(pa.string())
            columns[name] = pc.utf8_slice_codeunits(columns[name], 0, size)
        return json.dumps(ORDER), _encoded(columns, ORDER)
    schema = json.loads(ENVELOPE_JSON)
    message = [f'10.0.{n % 256}.{n % 100} "GET /item/{n} HTTP/1.1" 200' for n in range(count)]
    sizes = np.fromiter(map(len, message), np.int64, count) + 1
    position = np.cumsum(sizes) - sizes
    texts = {
        "event_time_source": "line", "agent_id": str(uuid.UUID(int=7)), "stream_id": str(uuid.UUID(int=partition + 1)),
        "host": "web-1", "service": "shop", "source": "/var/log/shop.log", "encoding": "utf-8",
    }  # fmt: skip
    columns = {
        "event_time": times,
        "read_time": times,
        "position": position,
        "since": position,
        "part": np.zeros(count, np.int32),
    }
    columns |= {name: pa.array([text] * count) for name, text in texts.items()} | {"message": message}
    columns["fields"] = pa.array([[("status", "200")]] * count, pa.map_(pa.string(), pa.string()))
    return ENVELOPE_JSON, _encoded({field["name"]: columns[field["name"]] for field in schema["fields"]}, schema)


def _encoded(columns: dict[str, Any], schema: Any) -> list[bytes]:
    plain = json.loads(json.dumps(schema).replace('"logicalType"', '"was"'))
    batch = pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})
    return [value for encoded in pyruhvro.serialize_record_batch(batch, json.dumps(plain), 1) for value in encoded.to_pylist()]


def produce(bootstrap: str, client: RegistryClient, topic: str, args: argparse.Namespace) -> float:
    """Make a topic and fill it; the mean size of a value."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    next(iter(admin.create_topics([NewTopic(topic, args.partitions, 1)]).values())).result(60)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000})
    each = args.events // args.partitions
    size = 0
    for partition in range(args.partitions):
        schema, values = events(each, partition, args.hours, plain=args.plain)
        schema_id = client.register(f"{topic}-value", schema)
        for value in values:
            framed = frame(schema_id, value)
            size += len(framed)
            producer.produce(topic, framed, partition=partition)
        producer.poll(0)
    assert producer.flush(120) == 0
    return size / (each * args.partitions)


def waited(child: "subprocess.Popen[bytes]") -> tuple[int, float, float]:
    """The end of a process: (exit status, CPU seconds, most memory in MiB).

    The memory is looked for ten times a second: what the kernel says at the end counts the bench's own before the exec, too.
    """
    most_mib = 0.0
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, most_mib
        most_mib = max(most_mib, most_memory(child.pid))
        time.sleep(0.1)


def most_memory(pid: int) -> float:
    """The most memory that a living process has had since its exec, MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


def load(folder: Path, config: dict[str, Any]) -> tuple[float, float]:
    """Run the loader once: (CPU seconds, most memory in MiB)."""
    file = folder / "load.yaml"
    file.write_text(yaml.safe_dump(config))
    with (folder / "load.log").open("w") as log:
        child = subprocess.Popen([sys.executable, "-m", "headrace", "load", "--once", "--config", str(file)], stderr=log)
        status, cpu, memory = waited(child)
    assert status == 0, (folder / "load.log").read_text()[-2000:]
    return cpu, memory


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--hours", type=int, default=1)
    parser.add_argument("--topic-format", nargs="+", default=["parquet"])
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    table = Table(
        "format", "events", "bytes each", "CPU s", "events/s of CPU", "most MiB", "files", "MB landed", title="landing"
    )
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        log = broker(folder).start()
        bootstrap = f"127.0.0.1:{log.ports['kafka']}"
        schemas = registry(folder, bootstrap).start()
        url = f"http://127.0.0.1:{schemas.ports['http']}"
        try:
            size = produce(bootstrap, RegistryClient(url), "events", args)
            for number, format_ in enumerate(args.topic_format):
                root = folder / f"landed{number}"
                section = {"root": str(root), "topics": ["events"], "format": format_}
                config = {"load": section, "kafka": {"bootstrap.servers": bootstrap}, "registry": url}
                cpu, memory = load(folder, config)
                idle, _ = load(folder, config)
                files = reader.snapshot(root, "events").files
                rows, landed = sum(file.rows for file in files), sum(file.bytes for file in files)
                assert rows == args.events // args.partitions * args.partitions, rows
                rate = rows / (cpu - idle)
                table.add_row(
                    format_, f"{rows:,}", f"{size:.0f}", f"{cpu:.2f} - {idle:.2f}", f"{rate:,.0f}", f"{memory:.0f}",
                    str(len(files)), f"{landed / 1e6:.1f}",
                )  # fmt: skip
        finally:
            schemas.stop()
            log.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
