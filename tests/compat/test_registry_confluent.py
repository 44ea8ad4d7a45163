"""confluent-kafka's own registry client and Avro serializers, unmodified, against our registry on our broker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Metadata,
    MetadataProperties,
    Rule,
    RuleKind,
    RuleMode,
    RuleSet,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

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
    assert client.get_schema_types() == ["AVRO", "JSON", "PROTOBUF"]


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


def test_versions_are_deleted_for_good(client: SchemaRegistryClient) -> None:
    client.register_schema("purged-value", Schema(USER_1, "AVRO"))
    client.register_schema("purged-value", Schema(USER_2, "AVRO"))
    with pytest.raises(SchemaRegistryError) as too_early:
        client.delete_version("purged-value", 1, permanent=True)
    assert too_early.value.error_code == 40407
    client.delete_version("purged-value", 1)
    assert client.delete_version("purged-value", 1, permanent=True) == 1
    assert client.delete_subject("purged-value") == [2]
    assert client.delete_subject("purged-value", permanent=True) == [2]
    assert "purged-value" not in client.get_subjects(deleted=True)


def test_modes_and_configurations_of_subjects_are_set_told_and_taken_back(client: SchemaRegistryClient) -> None:
    assert client.get_global_mode() == "READWRITE"
    assert client.update_mode("mode-value", "READONLY") == "READONLY"
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema("mode-value", Schema(USER_1, "AVRO"))
    assert (refused.value.http_status_code, refused.value.error_code) == (422, 42205)
    assert client.get_mode("mode-value") == "READONLY"
    assert client.delete_mode("mode-value") == "READONLY"
    config = ServerConfig(compatibility=ConfigCompatibilityLevel.FULL, compatibility_group="major")
    client.set_config("mode-value", config)
    found = client.get_config("mode-value")
    assert (found.compatibility_level, found.compatibility_group) == ("FULL", "major")
    assert client.delete_config("mode-value").compatibility_level == "FULL"


def test_metadata_rules_and_guids_come_back(client: SchemaRegistryClient) -> None:
    rule = Rule("r", None, RuleKind.CONDITION, RuleMode.WRITE, "CEL", None, None, "true", None, None, False)
    metadata, rules = Metadata(None, MetadataProperties({"owner": "billing"}), None), RuleSet(None, [rule])
    schema_id = client.register_schema("contract-value", Schema(USER_1, "AVRO", [], metadata, rules))
    found = client.get_latest_version("contract-value")
    assert (found.schema_id, found.schema.metadata.properties) == (schema_id, metadata.properties)
    assert [one.expr for one in found.schema.rule_set.domain_rules] == ["true"]
    assert client.get_latest_with_metadata("contract-value", {"owner": "billing"}).version == 1
    assert client.get_schema_by_guid(found.guid).schema_str == USER_1


def test_contexts_have_ids_of_their_own(client: SchemaRegistryClient) -> None:
    assert client.register_schema(":.other:a-value", Schema(USER_2, "AVRO")) == 1
    assert ".other" in client.get_contexts()
    assert client.get_schema(1, subject_name=":.other:a-value").schema_str == USER_2


def test_avro_schemas_refer_to_each_other(client: SchemaRegistryClient) -> None:
    client.register_schema("user", Schema(USER_1, "AVRO"))
    order = '{"type":"record","name":"Order","fields":[{"name":"by","type":"User"}]}'
    references = [SchemaReference("User", "user", 1)]
    schema_id = client.register_schema("order-value", Schema(order, "AVRO", references))
    assert client.get_referenced_by("user", 1) == [schema_id]
    context = SerializationContext("order", MessageField.VALUE)
    value = {"by": {"id": 7, "name": "Zoë"}}
    framed = AvroSerializer(client, Schema(order, "AVRO", references))(value, context)
    assert AvroDeserializer(client)(framed, context) == value


def test_json_schemas_are_registered_by_a_serializer_and_break_with_the_place(client: SchemaRegistryClient) -> None:
    tree = {"title": "User", "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    context = SerializationContext("jsons", MessageField.VALUE)
    framed = JSONSerializer(json.dumps(tree), client)({"id": 7}, context)
    assert JSONDeserializer(json.dumps(tree), schema_registry_client=client)(framed, context) == {"id": 7}
    tree["properties"] = {"id": {"type": "string"}}
    assert not client.test_compatibility("jsons-value", Schema(json.dumps(tree), "JSON"))
    with pytest.raises(SchemaRegistryError, match=r"#/properties/id: type changed from integer to string"):
        client.register_schema("jsons-value", Schema(json.dumps(tree), "JSON"))


def test_protobuf_messages_with_imports_are_written_and_read(client: SchemaRegistryClient) -> None:
    pool = descriptor_pool.DescriptorPool()
    for name, fields in (("money", [("amount", 3, None)]), ("order", [("price", 11, ".shop.Money"), ("note", 9, None)])):
        file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="shop", syntax="proto3")
        file.dependency.extend(["money.proto"] if name == "order" else [])
        message = file.message_type.add(name=name.capitalize())
        for number, (field, kind, of) in enumerate(fields, 1):
            message.field.add(name=field, number=number, label=1, type=kind, type_name=of)
        pool.Add(file)
    order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    context = SerializationContext("orders", MessageField.VALUE)
    sent = order(note="Zoë")
    sent.price.amount = 42
    framed = ProtobufSerializer(order, client)(sent, context)
    assert ProtobufDeserializer(order, schema_registry_client=client)(framed, context) == sent
    found = client.get_latest_version("orders-value")
    assert "message Order {\n  Money price = 1;\n  string note = 2;\n}" in found.schema.schema_str
    assert [one.name for one in found.schema.references] == ["money.proto"]
    by_text = client.register_schema("orders-value", Schema(found.schema.schema_str, "PROTOBUF", found.schema.references))
    assert by_text == found.schema_id
    broken = found.schema.schema_str.replace("string note", "int32 note")
    with pytest.raises(SchemaRegistryError, match=r"field shop.Order.note \(number 2\) changed its type from string to int32"):
        client.register_schema("orders-value", Schema(broken, "PROTOBUF", found.schema.references))


def test_errors_carry_confluents_codes(client: SchemaRegistryClient) -> None:
    with pytest.raises(SchemaRegistryError) as no_subject:
        client.get_latest_version("nobody-value")
    with pytest.raises(SchemaRegistryError) as no_schema:
        client.get_schema(987654)
    with pytest.raises(SchemaRegistryError) as no_type:
        client.register_schema("xml-value", Schema("<a/>", "XML"))
    codes = [(error.value.http_status_code, error.value.error_code) for error in (no_subject, no_schema, no_type)]
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
