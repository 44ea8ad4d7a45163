"""A loader as one writes it in an afternoon: confluent-kafka, fastavro, pyarrow; a file, then the group's offsets.

    python bench/plain_loader.py BOOTSTRAP REGISTRY TOPIC ROOT COUNT

It may repeat rows after a crash, puts all rows into one directory, checks nothing, and stops at the first record that is
wrong. Peer of bench/landing_peers.py; ends when it has read COUNT records.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient

FILE_ROWS = 250_000


def main(bootstrap: str, registry: str, topic: str, root: str, count: int) -> None:
    schemas: dict[int, Any] = {}
    client = SchemaRegistryClient({"url": registry})
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"plain-{root}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    rows: list[Any] = []
    read = files = 0
    while read < count:
        for message in consumer.consume(10_000, 1.0):
            assert message.error() is None, message.error()
            value = message.value()
            schema_id = int.from_bytes(value[1:5], "big")
            if schema_id not in schemas:
                schemas[schema_id] = fastavro.parse_schema(json.loads(client.get_schema(schema_id).schema_str))
            rows.append(fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[schema_id], None))
            read += 1
        if len(rows) >= FILE_ROWS or (rows and read >= count):
            pq.write_table(pa.Table.from_pylist(rows), Path(root) / f"part-{files}.parquet", compression="zstd")
            consumer.commit(asynchronous=False)
            rows, files = [], files + 1
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
