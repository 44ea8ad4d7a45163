"""Beam's source of topics decodes values and keys by their schemas, as the loader lands them."""

import json

import apache_beam as beam
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from headrace.beam import ReadTopic, run_pipeline
from headrace.errors import CorruptError, UsageError
from tests.processes import broker, registry

T0 = 1_790_000_000_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The addresses of a broker and of its registry."""
    directory = tmp_path_factory.mktemp("served")
    with broker(directory, num_partitions=1) as part:
        bootstrap = part.config["listeners"].removeprefix("PLAINTEXT://")
        with registry(directory, bootstrap) as schemas:
            yield bootstrap, f"http://127.0.0.1:{schemas.ports['http']}"


def avro(url, topic, field, name, strategy=topic_subject_name_strategy, **fields):
    """Encodes records with these fields."""
    said = [{"name": key, "type": kind, **({"default": None} if "null" in kind else {})} for key, kind in fields.items()]
    schema = {"type": "record", "name": name, "fields": said}
    encode = AvroSerializer(SchemaRegistryClient({"url": url}), json.dumps(schema), conf={"subject.name.strategy": strategy})
    return lambda value: encode(value, SerializationContext(topic, field))


def read(bootstrap, topic, *names, **given):
    """(offset, those columns) of each row, by offset."""
    source = ReadTopic(bootstrap, topic, rows=True, **given)
    rows = run_pipeline(
        lambda pipeline: pipeline | source | beam.Map(lambda row: [row["_offset"], *(_plain(row.get(name)) for name in names)])
    )
    return sorted(rows)


def _plain(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


def test_values_and_keys_come_in_the_columns_of_their_schemas(served):
    bootstrap, url = served
    value = avro(url, "orders", MessageField.VALUE, "Order", n="int", what="string")
    later = avro(url, "orders", MessageField.VALUE, "Order", n="int", what="string", cents=["null", "long"])
    key = avro(url, "orders", MessageField.KEY, "Buyer", id="long")
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(6):
        encoded = value({"n": number, "what": "tea"}) if number < 3 else later({"n": number, "what": "cup", "cents": number})
        producer.produce("orders", encoded, key({"id": number % 2}), timestamp=T0 + number)
    producer.produce("orders", None, key({"id": 9}), timestamp=T0)
    assert producer.flush(30) == 0
    given = {"registry": url, "keep": ("key_fields", "tombstones")}
    assert read(bootstrap, "orders", "n", "what", "cents", "_key_fields", "_tombstone", **given) == [
        *([n, n, "tea", None, {"id": n % 2}, False] for n in range(3)),
        *([n, n, "cup", n, {"id": n % 2}, False] for n in range(3, 6)),
        [6, None, None, None, {"id": 9}, True],
    ]
    assert read(bootstrap, "orders", "n", registry={"url": url}, offsets={0: (2, 4)}) == [[2, 2], [3, 3]]


def test_records_of_several_names_in_one_topic_come_each_under_its_own(served):
    bootstrap, url = served
    kinds = [
        avro(url, "sales", MessageField.VALUE, name, record_subject_name_strategy, **{field: "int"})
        for name, field in (("Ordered", "ordered"), ("Paid", "cents"))
    ]
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(4):
        field = ("ordered", "cents")[number % 2]
        producer.produce("sales", kinds[number % 2]({field: number}))
    assert producer.flush(30) == 0
    with pytest.raises(UsageError, match="the registry has no subject sales-value; say what the values are"):
        ReadTopic(bootstrap, "sales", registry=url)
    assert read(bootstrap, "sales", "ordered", "cents", registry=url, values="avro") == [
        [0, 0, None], [1, None, 1], [2, 2, None], [3, None, 3],
    ]  # fmt: skip


def test_a_value_of_no_schema_fails_or_comes_as_bytes_beside_those_that_are_decoded(served):
    bootstrap, url = served
    value = avro(url, "mixed", MessageField.VALUE, "Mixed", n="int")
    producer = Producer({"bootstrap.servers": bootstrap})
    for encoded in (value({"n": 1}), b"\0\0\0\xff\xffx", b"bare", value({"n": 2})):
        producer.produce("mixed", encoded)
    assert producer.flush(30) == 0
    with pytest.raises(CorruptError, match=r"topic mixed partition 0 offset [12]: .*undecodable='keep' yields"):
        read(bootstrap, "mixed", registry=url)
    rows = read(bootstrap, "mixed", "n", "value", "_undecodable", registry=url, undecodable="keep")
    assert [row[:3] for row in rows] == [[0, 1, None], [1, None, "\0\0\0\xff\xffx"], [2, None, "bare"], [3, 2, None]]
    assert [bool(row[3]) for row in rows] == [False, True, True, False]


@pytest.mark.slow
def test_times_are_kafka_s_and_choose_offsets(served):
    bootstrap, _ = served
    producer = Producer({"bootstrap.servers": bootstrap})
    for offset, second in enumerate((0, 10, 5, 20, 20, 30)):
        producer.produce("timed", b"%d" % offset, timestamp=T0 + second * 1000)
    assert producer.flush(30) == 0
    since, until = T0 + 6_000, T0 + 20_000
    assert read(bootstrap, "timed", "value", since=since, until=until) == [[1, "1"], [2, "2"]]
    assert read(bootstrap, "timed", since=T0 + 31_000) == []
    assert read(bootstrap, "timed", until=T0) == []
    assert [row[0] for row in read(bootstrap, "timed", until="2100-01-01")] == list(range(6))
    assert [row[0] for row in read(bootstrap, "timed", since="2026-09-21T14:13:20Z", until=T0 + 10_000)] == [0]
