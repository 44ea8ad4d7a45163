"""Registry clients for Python, unmodified, against our registry: python-schema-registry-client, confluent-kafka's async one."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import (
    AssociationCreateOrUpdateInfo,
    AssociationCreateOrUpdateRequest,
    AsyncSchemaRegistryClient,
    Metadata,
    MetadataProperties,
    Rule,
    RuleKind,
    RuleMode,
    RuleSet,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
    header_schema_id_serializer,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry._async.avro import AsyncAvroDeserializer, AsyncAvroSerializer
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError
from schema_registry.client import AsyncSchemaRegistryClient as OtherAsyncClient
from schema_registry.client import SchemaRegistryClient as OtherClient
from schema_registry.client.errors import ClientError
from schema_registry.client.schema import AvroSchema, JsonSchema
from schema_registry.serializers import AvroMessageSerializer, JsonMessageSerializer

from tests.processes import broker, registry

USER = {
    "type": "record",
    "name": "User",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}],
}
MORE = {**USER, "fields": [*USER["fields"], {"name": "born", "type": ["null", "int"], "default": None}]}
BREAKING = {**USER, "fields": [*USER["fields"], {"name": "must", "type": "string"}]}
VALUE = {"id": 7, "name": "Zoë"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("registry")
    with broker(directory) as kafka, registry(directory, f"127.0.0.1:{kafka.ports['kafka']}") as schemas:
        yield f"http://127.0.0.1:{schemas.ports['http']}"


def test_the_other_client_registers_finds_checks_and_deletes(url: str) -> None:
    client, fresh = OtherClient(url=url), OtherClient(url=url)
    first = client.register("psr-value", AvroSchema(USER))
    assert client.test_compatibility("psr-value", AvroSchema(MORE))
    assert not client.test_compatibility("psr-value", AvroSchema(BREAKING))
    assert client.test_compatibility("psr-nobody", AvroSchema(USER))
    assert client.test_compatibility("psr-value", AvroSchema(BREAKING), verbose=True)["messages"]
    with pytest.raises(ClientError):
        client.register("psr-value", AvroSchema(BREAKING))
    second = client.register("psr-value", AvroSchema(MORE))
    assert fresh.get_by_id(second).raw_schema == MORE
    found = fresh.get_schema("psr-value")
    assert (found.subject, found.version, found.schema_id, found.schema.raw_schema) == ("psr-value", 2, second, MORE)
    assert fresh.check_version("psr-value", AvroSchema(USER)).version == 1
    assert fresh.check_version("psr-value", AvroSchema(BREAKING)) is None
    assert fresh.check_version("psr-nobody", AvroSchema(USER)) is None
    assert (fresh.get_by_id(98765), fresh.get_schema("psr-nobody"), fresh.get_versions("psr-nobody")) == (None, None, [])
    assert [(one.subject, one.version) for one in fresh.get_schema_subject_versions(first)] == [("psr-value", 1)]
    assert "psr-value" in fresh.get_subjects()
    assert client.update_compatibility("NONE", "psr-value")
    assert (client.get_compatibility("psr-value"), fresh.get_compatibility()) == ("NONE", "BACKWARD")
    assert (fresh.get_versions("psr-value"), fresh.delete_version("psr-value", 1)) == ([1, 2], 1)
    assert (fresh.delete_subject("psr-value"), fresh.delete_subject("psr-value"), fresh.delete_version("psr-value")) == (
        [2],
        [],
        None,
    )


def test_the_other_clients_serializers_and_confluents_read_each_other(url: str) -> None:
    theirs = AvroMessageSerializer(OtherClient(url=url))
    context = SerializationContext("mixed", MessageField.VALUE)
    client = SchemaRegistryClient({"url": url})
    framed = theirs.encode_record_with_schema("mixed-value", AvroSchema(USER), VALUE)
    assert AvroDeserializer(client)(framed, context) == VALUE
    assert theirs.decode_message(AvroSerializer(client, json.dumps(USER))(VALUE, context)) == VALUE
    jsons = JsonMessageSerializer(OtherClient(url=url))
    schema = JsonSchema({"type": "object", "properties": {"id": {"type": "integer"}}})
    assert jsons.decode_message(jsons.encode_record_with_schema("psr-json-value", schema, {"id": 7})) == {"id": 7}


def test_the_other_client_works_asynchronously(url: str) -> None:
    async def scenario() -> None:
        client = OtherAsyncClient(url=url)
        ids = await asyncio.gather(*(client.register(f"psr-async-{one}", AvroSchema(USER)) for one in range(20)))
        assert len(set(ids)) == 1
        assert (await client.get_schema("psr-async-3")).version == 1

    asyncio.run(scenario())


def test_confluents_client_works_asynchronously(url: str) -> None:
    async def scenario() -> None:
        client = AsyncSchemaRegistryClient({"url": url})
        schemas = [Schema(json.dumps({**USER, "name": f"User{one % 5}"}), "AVRO") for one in range(40)]
        ids = await asyncio.gather(*(client.register_schema(f"async-{one}", schema) for one, schema in enumerate(schemas)))
        assert ids == ids[:5] * 8
        assert len(set(ids)) == 5
        serializer = await AsyncAvroSerializer(client, json.dumps(USER))
        deserializer = await AsyncAvroDeserializer(client)
        context = SerializationContext("async", MessageField.VALUE)
        assert await deserializer(await serializer(VALUE, context), context) == VALUE
        assert (await client.get_latest_version("async-value")).version == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [(record_subject_name_strategy, "shop.User"), (topic_record_subject_name_strategy, "named-shop.User")],
)
def test_subjects_are_named_by_every_strategy_and_ids_are_guids_in_headers(url: str, strategy: object, subject: str) -> None:
    client = SchemaRegistryClient({"url": url})
    context = SerializationContext("named", MessageField.VALUE, headers=[])
    options = {"subject.name.strategy": strategy, "schema.id.serializer": header_schema_id_serializer}
    framed = AvroSerializer(client, json.dumps(USER), conf={**options, "normalize.schemas": True})(VALUE, context)
    assert subject in client.get_subjects()
    assert [name for name, _ in context.headers] == ["__value_schema_id"]
    assert AvroDeserializer(SchemaRegistryClient({"url": url}))(framed, context) == VALUE


def test_a_serializer_asks_which_subject_its_topic_is_associated_with(url: str) -> None:
    client = SchemaRegistryClient({"url": url})
    info = AssociationCreateOrUpdateInfo("shared.users", "value", "STRONG", schema=Schema(json.dumps(USER), "AVRO"))
    made = client.create_association(AssociationCreateOrUpdateRequest("people", "cluster-1", "id-1", "topic", [info]))
    assert [(one.subject, one.lifecycle) for one in made.associations] == [("shared.users", "STRONG")]
    options = {"subject.name.strategy.type": "ASSOCIATED", "auto.register.schemas": False}
    strategy = {"subject.name.strategy.kafka.cluster.id": "cluster-1", "subject.name.strategy.fallback.type": "NONE"}
    serializer = AvroSerializer(client, json.dumps(USER), conf={**options, "subject.name.strategy.conf": strategy})
    context = SerializationContext("people", MessageField.VALUE)
    assert AvroDeserializer(client)(serializer(VALUE, context), context) == VALUE
    with pytest.raises(SerializationError, match="No associated subject found for topic others"):
        serializer(VALUE, SerializationContext("others", MessageField.VALUE))
    client.delete_associations("id-1", "topic", ["value"], cascade_lifecycle=True)
    assert client.get_associations_by_resource_name("people", "-", "topic", ["value"]) == []
    assert "shared.users" not in client.get_subjects()


def test_a_serializer_finds_a_version_by_its_metadata_and_the_registry_gives_it_default_rules(url: str) -> None:
    client = SchemaRegistryClient({"url": url})
    kind = (RuleKind.CONDITION, RuleMode.WRITE, "CEL")
    rules = [Rule(name, None, *kind, None, None, "true", None, None, True) for name in "ab"]  # disabled: no CEL here
    config = ServerConfig(
        default_metadata=Metadata(None, MetadataProperties({"team": "a", "major": "0"}), None),
        default_rule_set=RuleSet(None, rules[:1]),
        override_rule_set=RuleSet(None, rules[1:]),
    )
    client.set_config("major-value", config)
    for major, schema in (("1", USER), ("2", MORE)):
        metadata = Metadata(None, MetadataProperties({"major": major}), None)
        client.register_schema("major-value", Schema(json.dumps(schema), "AVRO", [], metadata))
    found = client.get_latest_with_metadata("major-value", {"major": "1", "team": "a"})
    assert (found.version, [one.name for one in found.schema.rule_set.domain_rules]) == (1, ["a", "b"])
    assert client.get_latest_with_metadata("major-value", {"team": "a"}).version == 2
    context = SerializationContext("major", MessageField.VALUE)
    options = {"auto.register.schemas": False, "use.latest.with.metadata": {"major": "1"}}
    framed = AvroSerializer(client, conf=options)(VALUE, context)
    assert AvroDeserializer(client)(framed, context) == VALUE
