"""confluent-kafka's own registry client and Avro serializers, unmodified, against our registry on our broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from headrace.schemas.framing import parse
from tests.processes import Part, broker, registry

USER_1 = '{"type":"record","name":"User","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"}]}'
USER_2 = (
    '{"type":"record","name":"User","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"},'
    '{"name":"born","type":["null",{"type":"int","logicalType":"date"}],"default":null}]}'
)
USER_BREAKING = (
    '{"type":"record","name":"User","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"},'
    '{"name":"must","type":"string"}]}'
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Part, Part]]:
    directory: Path = tmp_path_factory.mktemp("registry")
    with broker(directory) as kafka, registry(directory, f"127.0.0.1:{kafka.ports['kafka']}") as schemas:
        yield kafka, schemas


@pytest.fixture
def client(parts: tuple[Part, Part]) -> SchemaRegistryClient:
    """A client with a cache of its own."""
    return SchemaRegistryClient({"url": f"http://127.0.0.1:{parts[1].ports['http']}"})


def test_schemas_are_registered_and_found_by_every_way(client: SchemaRegistryClient) -> None:
    first = client.register_schema("users-value", Schema(USER_1, "AVRO"))
    second = client.register_schema("users-value", Schema(USER_2, "AVRO"), normalize_schemas=True)
    assert first != second
    assert client.register_schema("users-copy-value", Schema(USER_1, "AVRO")) == first
    assert client.get_schema(second).schema_str == USER_2
    found = client.lookup_schema("users-value", Schema(USER_1, "AVRO"))
    assert (found.schema_id, found.version, found.subject) == (first, 1, "users-value")
    latest = client.get_latest_version("users-value")
    assert (latest.schema_id, latest.version, latest.schema.schema_str) == (second, 2, USER_2)
    assert client.get_version("users-value", 1).schema_id == first
    assert client.get_versions("users-value") == [1, 2]
    assert {"users-value", "users-copy-value"} <= set(client.get_subjects())
    assert client.get_subjects_by_schema_id(first) == ["users-copy-value", "users-value"]
    assert [(one.subject, one.version) for one in client.get_schema_versions(second)] == [("users-value", 2)]
    assert client.get_schema_types() == ["AVRO"]


def test_compatibility_is_kept_and_can_be_asked_and_set(client: SchemaRegistryClient) -> None:
    client.register_schema("compat-value", Schema(USER_1, "AVRO"))
    assert client.get_compatibility() == "BACKWARD"
    assert client.test_compatibility("compat-value", Schema(USER_2, "AVRO"))
    assert not client.test_compatibility("compat-value", Schema(USER_BREAKING, "AVRO"))
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema("compat-value", Schema(USER_BREAKING, "AVRO"))
    assert (refused.value.http_status_code, refused.value.error_code) == (409, 409)
    assert client.set_compatibility("compat-value", "NONE") == {"compatibility": "NONE"}
    assert client.get_compatibility("compat-value") == "NONE"
    assert client.register_schema("compat-value", Schema(USER_BREAKING, "AVRO")) > 0


def test_deleted_versions_are_gone_and_their_ids_still_decode(client: SchemaRegistryClient) -> None:
    schema_id = client.register_schema("gone-value", Schema(USER_1, "AVRO"))
    client.register_schema("gone-value", Schema(USER_2, "AVRO"))
    assert client.delete_version("gone-value", 1) == 1
    assert client.get_versions("gone-value") == [2]
    assert client.delete_subject("gone-value") == [2]
    assert "gone-value" not in client.get_subjects()
    assert client.get_schema(schema_id).schema_str == USER_1


def test_errors_carry_confluents_codes(client: SchemaRegistryClient) -> None:
    with pytest.raises(SchemaRegistryError) as no_subject:
        client.get_latest_version("nobody-value")
    with pytest.raises(SchemaRegistryError) as no_schema:
        client.get_schema(987654)
    with pytest.raises(SchemaRegistryError) as not_avro:
        client.register_schema("proto-value", Schema('syntax = "proto3";', "PROTOBUF"))
    codes = [(error.value.http_status_code, error.value.error_code) for error in (no_subject, no_schema, not_avro)]
    assert codes == [(404, 40401), (404, 40403), (422, 42201)]


def test_values_serialized_by_one_client_are_read_by_another_through_the_broker(
    parts: tuple[Part, Part], client: SchemaRegistryClient
) -> None:
    bootstrap = f"127.0.0.1:{parts[0].ports['kafka']}"
    value = {"id": 42, "name": "Zoë", "born": None}
    context = SerializationContext("people", MessageField.VALUE)
    framed = AvroSerializer(client, USER_2)(value, context)
    assert framed is not None
    parsed = parse(framed)
    assert parsed is not None
    assert parsed[0] == client.get_latest_version("people-value").schema_id
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("people", framed)
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "compat", "auto.offset.reset": "earliest"})
    consumer.subscribe(["people"])
    try:
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        other = SchemaRegistryClient({"url": f"http://127.0.0.1:{parts[1].ports['http']}"})
        assert AvroDeserializer(other)(message.value(), context) == value
    finally:
        consumer.close()


def test_a_serializer_may_use_the_latest_version_without_registering(client: SchemaRegistryClient) -> None:
    client.register_schema("fixed-value", Schema(USER_2, "AVRO"))
    context = SerializationContext("fixed", MessageField.VALUE)
    options = {"auto.register.schemas": False, "use.latest.version": True}
    framed = AvroSerializer(client, conf=options)({"id": 1, "name": "a", "born": None}, context)
    assert framed is not None
    assert AvroDeserializer(client)(framed, context)["id"] == 1
