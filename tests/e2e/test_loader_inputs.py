"""What a topic may hold, and how it lands: Avro, JSON, bytes, and what cannot be read."""

import base64
import json
from pathlib import Path

import duckdb
import pytest
import zstandard
from confluent_kafka.schema_registry import (
    SchemaRegistryClient,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from headrace.jobs.sql.query import ask
from headrace.schemas.framing import frame
from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import AGENT, STREAM, Line, Pipeline, lines, records_of


def test_events_json_and_bytes_land_and_duckdb_reads_them(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        sent = list(lines(500, step_ms=10_000))
        pipeline.ship("logs", sent)
        pipeline.produce("clicks", (json.dumps({"click": n}).encode() for n in range(20)), key=b"k")
        pipeline.produce("blobs", [b"\xff\x00\xfe", b"", b'{"json": 1}'])
        pipeline.load_once()
        assert [(row["position"], row["message"]) for row in pipeline.rows("logs")] == [(e.position, e.message) for e in sent]
        assert [(row["_key"], row["value"]) for row in pipeline.rows("clicks")][3] == (b"k", '{"click": 3}')
        assert [(row["_key"], row["value"]) for row in pipeline.rows("blobs")] == [
            (None, b"\xff\x00\xfe"),
            (None, b""),
            (None, b'{"json": 1}'),
        ]
        query = f"SELECT dt, hour, count(*) FROM read_parquet('{tmp_path}/landed/logs/dt=*/hour=*/*.parquet') GROUP BY ALL"
        assert sum(count for _, _, count in duckdb.sql(query).fetchall()) == 500
        assert len(duckdb.sql(query).fetchall()) == 2
        assert [reader.snapshot(pipeline.root, topic).input for topic in ("logs", "clicks", "blobs")] == [
            "avro",
            "json",
            "bytes",
        ]
        pipeline.assert_sound()


def test_what_cannot_be_decoded_is_quarantined_whole_in_the_same_commit(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.ship("logs", lines(3))
        pipeline.produce("logs", [b"not framed", None, b"\0\0\0\x03\xe7no such schema", b"\0\xf1\xd2\0\0no id"], key=b"why")
        pipeline.ship("logs", lines(2, start=3))
        pipeline.load_once()
        (record,) = records_of(pipeline.root, "logs")
        (landed,) = record["ranges"]
        assert (landed["start"], landed["end"], landed["rows"], landed["quarantined"]) == (0, 9, 5, 4)
        packed = (pipeline.root / "logs" / record["quarantine"]["path"]).read_bytes()
        entries = [json.loads(line) for line in zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines()]
        assert sorted(entry["offset"] for entry in entries) == [3, 4, 5, 6]
        first = next(entry for entry in entries if entry["offset"] == 3)
        assert (base64.b64decode(first["value"]), base64.b64decode(first["key"])) == (b"not framed", b"why")
        assert all(entry["reason"] for entry in entries)
        assert sum(window.count for window in reader.snapshot(pipeline.root, "logs").quarantined) == 4
        pipeline.assert_sound()


@pytest.mark.slow
def test_a_dead_registry_makes_records_wait_and_quarantines_none(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.ship("logs", lines(10))
        pipeline.registry.kill()
        loader = pipeline.loader(rotate={"age": "200ms"}).start()
        pipeline.produce("clicks", [b'{"a": 1}'])
        deadline_marker = "records wait"
        while deadline_marker not in loader.log_tail():
            assert loader.process is not None
            assert loader.process.poll() is None
        assert "logs" not in reader.tables(pipeline.root)
        pipeline.registry.start()
        pipeline.wait_for_rows("logs", 10)
        pipeline.wait_for_rows("clicks", 1)
        assert loader.stop() == 0
        assert not reader.snapshot(pipeline.root, "logs").quarantined
        pipeline.assert_sound()


@pytest.mark.slow
def test_repeats_of_an_agent_land_once_and_the_audit_sums_are_those_of_the_lines(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        sent = [*lines(100), Line(9_000, 9_000, "t" * 10), Line(9_010, 9_010, "appended after an unterminated tail")]
        pipeline.ship("logs", sent[:60])
        pipeline.load_once()
        pipeline.ship("logs", sent[40:])  # what was in flight when the agent was killed, again
        pipeline.ship("logs", sent[90:])
        pipeline.load_once()
        rows = pipeline.rows("logs")
        assert [row["position"] for row in rows] == [line.position for line in sent]
        ((key, total),) = reader.snapshot(pipeline.root, "logs").audit.items()
        assert key == (AGENT, sent[0].event_time_ms // 600_000 * 600_000)
        assert (total.count, total.duplicates) == (102, 20 + 12)
        assert total.bytes == sum(len(line.message.encode()) for line in sent)
        assert total.hash == sum(line.hash for line in sent) % (1 << 64)
        assert {stream["stream"] for record in records_of(pipeline.root, "logs") for stream in record["streams"]} == {STREAM}
        pipeline.assert_sound()


@pytest.mark.slow
def test_versions_of_a_schema_are_one_table_and_what_does_not_go_with_it_is_quarantined(tmp_path: Path) -> None:
    def schema(**fields: object) -> str:
        return json.dumps({"type": "record", "name": "R", "fields": [{"name": n, **kind} for n, kind in fields.items()]})  # type: ignore[dict-item]  # a mapping each

    with Pipeline(tmp_path) as pipeline:
        one = pipeline.client.register("orders-value", schema(a={"type": "int"}))
        two = pipeline.client.register("orders-value", schema(a={"type": "long"}, b={"type": "string", "default": ""}))
        other = pipeline.client.register("elsewhere", schema(a={"type": "string"}))
        flip = [frame(one, b"\x02"), frame(two, b"\x04\x02x"), frame(one, b"\x06"), frame(other, b"\x02y")]
        pipeline.produce("orders", [frame(one, b"\x00")], key=b"k")
        pipeline.load_once()
        pipeline.produce("orders", [*flip * 50, None], key=b"k")
        pipeline.load_once(keep=["key", "headers", "tombstones"])
        pipeline.produce("orders", flip, key=b"k")
        pipeline.load_once(incompatible="columns")
        sql = "SELECT _offset, a, b, a__2, _key, _tombstone FROM orders ORDER BY _offset"
        with ask(pipeline.root, sql) as answer:
            rows = [tuple(row.values()) for row in answer.read_all().to_pylist()]
        assert rows[0] == (0, 0, None, None, None, None)
        assert rows[1:4] == [
            (1, 1, None, None, b"k", False),
            (2, 2, "x", None, b"k", False),
            (3, 3, None, None, b"k", False),
        ]
        assert rows[150:] == [
            (199, 3, None, None, b"k", False),
            (201, None, None, None, b"k", True),
            (202, 1, None, None, None, None),
            (203, 2, "x", None, None, None),
            (204, 3, None, None, None, None),
            (205, None, None, "y", None, None),
        ]
        assert [len(record["add"]) for record in records_of(pipeline.root, "orders")] == [1, 1, 1]
        assert sum(window.count for window in reader.snapshot(pipeline.root, "orders").quarantined) == 50
        pipeline.assert_sound()


def test_record_names_as_subjects_and_keys_with_schemas_land_in_columns(tmp_path: Path) -> None:
    def schema(name: str, field: str) -> str:
        return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": [{"name": field, "type": "int"}]})

    with Pipeline(tmp_path) as pipeline:
        client = SchemaRegistryClient({"url": pipeline.registry_url})
        by_topic = {"subject.name.strategy": topic_record_subject_name_strategy}
        by_name = {"subject.name.strategy": record_subject_name_strategy}
        key = AvroSerializer(client, schema("Buyer", "id"), conf=by_name)
        ordered = AvroSerializer(client, schema("Ordered", "order"), conf=by_topic)
        paid = AvroSerializer(client, schema("Paid", "cents"), conf=by_topic)
        keys, values = (SerializationContext("sales", field) for field in (MessageField.KEY, MessageField.VALUE))
        for number in range(4):
            value = ordered({"order": number}, values) if number % 2 else paid({"cents": number}, values)
            pipeline.produce("sales", [value], key=key({"id": number // 2}, keys))
        pipeline.produce("sales", [None], key=key({"id": 7}, keys))
        pipeline.load_once(keep=["key_fields", "tombstones"])
        assert sorted(client.get_subjects()) == ["sales-shop.Ordered", "sales-shop.Paid", "shop.Buyer"]
        sql = 'SELECT cents, "order", _key_fields.id, _tombstone FROM sales ORDER BY _offset'
        with ask(pipeline.root, sql) as answer:
            rows = [tuple(row.values()) for row in answer.read_all().to_pylist()]
        assert rows == [
            (0, None, 0, False),
            (None, 1, 0, False),
            (2, None, 1, False),
            (None, 3, 1, False),
            (None, None, 7, True),
        ]
        assert reader.snapshot(pipeline.root, "sales").input == "avro"
        pipeline.assert_sound()
