"""The clients' administration: topics are made, described and deleted; refusals arrive as the client's own errors."""

import asyncio
from collections.abc import Iterator

import aiokafka.admin
import aiokafka.errors
import confluent_kafka
import kafka.errors
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from kafka.admin import NewTopic as KafkaPythonTopic

from tests.compat.clients import kafka_python_admin
from tests.processes import broker


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(tmp_path_factory.mktemp("broker")) as part:
        yield f"127.0.0.1:{part.ports['kafka']}"


def error_of(future: "object", kind: type[BaseException]) -> confluent_kafka.KafkaError:
    with pytest.raises(kind) as raised:
        future.result(10)  # type: ignore[attr-defined]
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
