"""Iceberg's sink in a standalone worker of Kafka Connect, with Apicurio's Avro converter: jars of Maven Central.

Confluent's converter is not on Maven Central. Apicurio's reads the same framing and asks a registry of its own kind by id, so a
small HTTP server answers that one question from the Confluent-compatible registry.
"""

import http.server
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import landing

from headrace.schemas.client import RegistryClient
from tests.compat.java_tools import LIBS
from tests.processes import free_port

PEER = LIBS.parents[1] / "connect"
INSTALL = "mvn -q -B -f bench/connect.xml dependency:copy-dependencies -DexcludeGroupIds=org.apache.kafka -DoutputDirectory="
_SETTLE_S = 400.0


def why_missing() -> str | None:
    """Why it cannot run; None if it can."""
    there = any((PEER / "iceberg").glob("iceberg-kafka-connect-1*.jar"))
    return None if there else f"Kafka Connect with Iceberg's sink; run: {INSTALL}{PEER / 'iceberg'}"


class _Ids(http.server.BaseHTTPRequestHandler):
    """Schemas by id as Apicurio's registry gives them."""

    schemas: RegistryClient

    def do_GET(self) -> None:
        place = self.path.split("?")[0].rstrip("/")
        last = place.rsplit("/", 1)[1]
        body = b"[]" if last == "references" else self.schemas.schema_by_id(int(last)).text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Registry-ArtifactType", "AVRO")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def rows_of(warehouse: Path, table: str) -> int:
    """Rows in the newest snapshot of a table in a Hadoop catalog; 0 before there is one."""
    metadata = warehouse / "db" / table / "metadata"
    try:
        version = (metadata / "version-hint.text").read_text().strip()
        state = json.loads((metadata / f"v{version}.metadata.json").read_text())
    except (OSError, ValueError):
        return 0
    current = [one for one in state.get("snapshots", []) if one["snapshot-id"] == state.get("current-snapshot-id")]
    return int(current[0]["summary"].get("total-records", 0)) if current else 0


def run(folder: Path, bootstrap: str, registry: str, topic: str, count: int, before: list[str]) -> tuple[float, float, float]:
    """Land `count` records: the worker's CPU seconds, the seconds until they were committed, its most memory in MiB.

    Args:
        before: what the command begins with, as taskset.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Ids", (_Ids,), {"schemas": RegistryClient(registry)}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/apis/registry/v2"
    warehouse = folder / "warehouse"
    worker = {
        "bootstrap.servers": bootstrap,
        "plugin.path": str(PEER),
        "plugin.discovery": "hybrid_warn",
        "offset.storage.file.filename": str(folder / "offsets"),
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "io.apicurio.registry.utils.converter.AvroConverter",
        "value.converter.apicurio.registry.url": url,
        "value.converter.apicurio.registry.as-confluent": "true",
        "value.converter.apicurio.registry.use-id": "contentId",
        "value.converter.apicurio.registry.headers.enabled": "false",
        "listeners": f"http://127.0.0.1:{free_port()}",
        "consumer.max.poll.records": "5000",
    }
    sink = {
        "name": f"sink-{topic}-{folder.name}",
        "connector.class": "org.apache.iceberg.connect.IcebergSinkConnector",
        "tasks.max": "1",
        "topics": topic,
        "iceberg.tables": f"db.{topic}",
        "iceberg.tables.auto-create-enabled": "true",
        "iceberg.tables.auto-create-props.write.parquet.compression-codec": "zstd",
        "iceberg.catalog.type": "hadoop",
        "iceberg.catalog.warehouse": warehouse.as_uri(),
        "iceberg.control.topic": f"control-{folder.name}",
        "iceberg.control.commit.interval-ms": "5000",
    }
    for name, keys in (("worker", worker), ("sink", sink)):
        (folder / f"{name}.properties").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))
    command = ["java", "-Xmx2g", "-cp", f"{LIBS}/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
    started = time.monotonic()
    with (folder / "connect.log").open("wb") as log:
        child = subprocess.Popen(
            [*before, *command, str(folder / "worker.properties"), str(folder / "sink.properties")], stdout=log, stderr=log
        )
    try:
        while rows_of(warehouse, topic) < count:
            assert child.poll() is None, (folder / "connect.log").read_text()[-3000:]
            assert time.monotonic() - started < _SETTLE_S, (folder / "connect.log").read_text()[-3000:]
            time.sleep(0.2)
        seconds, memory_mib = time.monotonic() - started, landing.most_memory(child.pid)
    finally:
        child.kill()
        server.shutdown()
    _, _, used = os.wait4(child.pid, 0)
    assert rows_of(warehouse, topic) == count
    return used.ru_utime + used.ru_stime, seconds, memory_mib
