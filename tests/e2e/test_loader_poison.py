"""A real loader and records that nobody should send: each lands or is quarantined, the loader goes on, in bounded memory."""

import json
import struct
from pathlib import Path
from typing import Any

import kafka
import pyarrow.parquet as pq
import pytest
import zstandard
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from headrace.schemas.framing import frame
from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import Pipeline, records_of
from tests.processes import AFRESH

FLOOD = 30_000
PEAK_KIB = 400 * 1024


class NotUtf8(str):
    """A header's name that kafka-python writes as bytes which are no text."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


@pytest.mark.slow
def test_a_flood_of_poison_is_quarantined_whole_and_what_is_good_lands(tmp_path: Path) -> None:
    fields = [
        {"name": "n", "type": "int"},
        {"name": "next", "type": ["null", "R"], "default": None},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
    ]
    with Pipeline(tmp_path) as pipeline:
        schema = pipeline.client.register("orders-value", json.dumps({"type": "record", "name": "R", "fields": fields}))
        good = [frame(schema, bytes([n * 2, 0, 0])) for n in range(60)]
        poison = [
            b"",
            b"\0",
            b"not framed",
            frame(schema, b""),
            frame(schema, b"\x02\x00\x00\x00"),
            frame(schema, b"\x02" * 900_000),
            frame(schema, b"\x02\x00\x02" + b"\xff" * 9 + b"\x01"),
            frame(schema, b"\x02\x02"),
            frame(2**31 - 1, b"x"),
            b"\x01" + b"\0" * 16,
        ]
        mixed = [value for number, one in enumerate(good) for value in (one, *(poison if number % 10 == 0 else ()))]
        pipeline.produce("orders", mixed)
        pipeline.produce("orders", (struct.pack(">q", number) for number in range(FLOOD)), key=b"k")
        other = kafka.KafkaProducer(bootstrap_servers=pipeline.bootstrap)
        for value in (good[1], b"not framed"):
            other.send("orders", value, headers=[(NotUtf8("x"), b"1")], partition=0).get(30)
        other.close()
        pipeline.produce("orders", good)
        loader = pipeline.loader(rotate={"age": "1s"}).start(under=AFRESH)
        pipeline.wait_for_rows("orders", 2 * len(good) + 1, timeout_s=60)
        assert loader.process is not None
        status = Path(f"/proc/{loader.process.pid}/status").read_text()
        peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        assert loader.stop() == 0
        assert peak_kib < PEAK_KIB
        assert sorted(row["n"] for row in pipeline.rows("orders")) == sorted([*range(60)] * 2 + [1])
        entries = [entry for record in records_of(pipeline.root, "orders") for entry in _quarantined(pipeline, record)]
        assert len(entries) == 6 * len(poison) + FLOOD + 1
        assert all(entry["reason"] for entry in entries)
        assert [entry["headers"] for entry in entries].count(None) == 1
        pipeline.assert_sound()


def _quarantined(pipeline: Pipeline, record: dict[str, Any]) -> list[dict[str, Any]]:
    if not record.get("quarantine"):
        return []
    packed = (pipeline.root / "orders" / record["quarantine"]["path"]).read_bytes()
    return [json.loads(line) for line in zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines()]


def test_what_confluents_serializer_writes_with_a_json_schema_lands_in_columns(tmp_path: Path) -> None:
    text = json.dumps({"title": "Click", "type": "object", "properties": {"n": {"type": "integer"}, "who": {"type": "string"}}})
    with Pipeline(tmp_path) as pipeline:
        client = SchemaRegistryClient({"url": pipeline.registry_url})
        serialize = JSONSerializer(Schema(text, "JSON"), client)
        context = SerializationContext("clicks", MessageField.VALUE)
        pipeline.produce("clicks", [serialize({"n": n, "who": "me", "more": [n]}, context) for n in range(20)])
        pipeline.load_once()
        rows = pipeline.rows("clicks")
        assert [(row["n"], row["who"], json.loads(row["_more"])) for row in rows] == [
            (n, "me", {"more": [n]}) for n in range(20)
        ]
        (file,) = reader.snapshot(pipeline.root, "clicks").files
        assert "value" not in pq.read_schema(file.path).names
        pipeline.assert_sound()
