"""The clients' administration: topics are made, described and deleted; refusals arrive as the client's own errors."""

import asyncio
from collections.abc import Iterator

import aiokafka.admin
import aiokafka.errors
import confluent_kafka
import kafka
import kafka.errors
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from kafka.admin import ConfigResource as KafkaPythonResource
from kafka.admin import NewTopic as KafkaPythonTopic

from tests.compat.clients import Confluent, kafka_python_admin
from tests.processes import broker


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(tmp_path_factory.mktemp("broker")) as part:
        yield f"127.0.0.1:{part.ports['kafka']}"


def error_of(future: "object", kind: type[BaseException]) -> confluent_kafka.KafkaError:
    with pytest.raises(kind) as raised:
        future.result(10)  # type: ignore[attr-defined]  # a future of any client
    error = raised.value.args[0]
    assert isinstance(error, confluent_kafka.KafkaError)
    return error


def test_confluent_makes_describes_and_deletes(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topic = NewTopic("ck", num_partitions=3, replication_factor=1, config={"retention.ms": "60000"})
    admin.create_topics([topic])["ck"].result(10)
    assert len(admin.list_topics("ck", timeout=10).topics["ck"].partitions) == 3
    resource = ConfigResource(ConfigResource.Type.TOPIC, "ck")
    settings = admin.describe_configs([resource])[resource].result(10)
    assert settings["retention.ms"].value == "60000"
    assert settings["segment.bytes"].is_default
    exists = error_of(admin.create_topics([NewTopic("ck", 1, 1)])["ck"], confluent_kafka.KafkaException)
    assert exists.code() == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS
    invalid = error_of(admin.create_topics([NewTopic("no/good", 1, 1)])["no/good"], confluent_kafka.KafkaException)
    assert invalid.code() == confluent_kafka.KafkaError.TOPIC_EXCEPTION
    admin.delete_topics(["ck"])["ck"].result(10)
    assert "ck" not in admin.list_topics(timeout=10).topics


def test_confluent_describes_the_cluster_and_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    cluster = admin.describe_cluster().result(10)
    assert (len(cluster.nodes), cluster.controller.id) == (1, 1)
    admin.create_topics([NewTopic("described", 2, 1)])["described"].result(10)
    (described,) = admin.describe_topics(confluent_kafka.TopicCollection(["described"])).values()
    assert len(described.result(10).partitions) == 2


def test_kafka_python_makes_describes_and_deletes(bootstrap: str) -> None:
    admin = kafka_python_admin(bootstrap)
    try:
        admin.create_topics([KafkaPythonTopic(name="kp", num_partitions=2, replication_factor=1)])
        assert "kp" in admin.list_topics()
        (described,) = admin.describe_topics(["kp"])
        assert len(described["partitions"]) == 2
        assert admin.describe_cluster()["controller_id"] == 1
        with pytest.raises(kafka.errors.TopicAlreadyExistsError):
            admin.create_topics([KafkaPythonTopic(name="kp", num_partitions=2, replication_factor=1)])
        admin.delete_topics(["kp"])
        assert "kp" not in admin.list_topics()
    finally:
        admin.close()


def test_aiokafka_makes_describes_and_deletes(bootstrap: str) -> None:
    async def steps() -> None:
        admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.create_topics([aiokafka.admin.NewTopic("aio", 2, 1)])
            (described,) = await admin.describe_topics(["aio"])
            assert len(described["partitions"]) == 2
            await admin.delete_topics(["aio"])
            assert "aio" not in await admin.list_topics()
        finally:
            await admin.close()

    asyncio.run(steps())


def test_a_transactional_producer_is_told_at_once_that_there_are_no_transactions(bootstrap: str) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "transactional.id": "tx", "log_level": 0})
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        producer.init_transactions(20)
    assert raised.value.args[0].code() == confluent_kafka.KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def own_settings(admin: AdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    settings = admin.describe_configs([resource])[resource].result(10)
    return {name: entry.value for name, entry in settings.items() if not entry.is_default}


def test_confluent_changes_settings_and_deletes_records(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("tuned", 1, 1, config={"segment.bytes": "2048"})])["tuned"].result(10)

    def alter(*entries: tuple[str, str, AlterConfigOpType]) -> ConfigResource:
        wanted = [ConfigEntry(name, value, incremental_operation=operation) for name, value, operation in entries]
        return ConfigResource(ConfigResource.Type.TOPIC, "tuned", incremental_configs=wanted)

    change = alter(
        ("retention.ms", "60000", AlterConfigOpType.SET),
        ("cleanup.policy", "compact", AlterConfigOpType.APPEND),
        ("segment.bytes", "", AlterConfigOpType.DELETE),
    )
    admin.incremental_alter_configs([change])[change].result(10)
    assert own_settings(admin, "tuned") == {"retention.ms": "60000", "cleanup.policy": "compact,delete"}
    bad = alter(("retention.ms", "soon", AlterConfigOpType.SET))
    refused = error_of(admin.incremental_alter_configs([bad])[bad], confluent_kafka.KafkaException)
    assert refused.code() == confluent_kafka.KafkaError.INVALID_CONFIG
    whole = ConfigResource(ConfigResource.Type.TOPIC, "tuned", set_config={"max.message.bytes": "3000"})
    admin.alter_configs([whole])[whole].result(10)
    assert own_settings(admin, "tuned") == {"max.message.bytes": "3000"}

    Confluent().produce(bootstrap, "tuned", [b"a", b"b", b"c"])
    cut = confluent_kafka.TopicPartition("tuned", 0, 2)
    assert admin.delete_records([cut])[cut].result(10).low_watermark == 2
    beyond = confluent_kafka.TopicPartition("tuned", 0, 9)
    refused = error_of(admin.delete_records([beyond])[beyond], confluent_kafka.KafkaException)
    assert refused.code() == confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE


def test_kafka_python_changes_settings_and_deletes_records(bootstrap: str) -> None:
    admin = kafka_python_admin(bootstrap)
    try:
        admin.create_topics([KafkaPythonTopic(name="kp-tuned", num_partitions=1, replication_factor=1)])
        admin.alter_configs([KafkaPythonResource("TOPIC", "kp-tuned", configs={"retention.ms": "60000"})])
        assert own_settings(AdminClient({"bootstrap.servers": bootstrap}), "kp-tuned") == {"retention.ms": "60000"}
        Confluent().produce(bootstrap, "kp-tuned", [b"a", b"b", b"c"])
        partition = kafka.TopicPartition("kp-tuned", 0)
        assert admin.delete_records({partition: -1})[partition]["low_watermark"] == 3
    finally:
        admin.close()
