"""The log on a real broker keeps the contract, and refuses topics in which schemas would get lost."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.errors import ConfigError, HeadraceError
from headrace.schemas.kafka_log import KafkaSchemaLog, UnusableTopicError
from headrace.schemas.schema_log import LogReader, LogRecord, SchemaLog
from tests.altering_relay import AlteringRelay, flip
from tests.processes import broker
from tests.unit.schemas.schema_log_contract import WAIT_S, Collector, SchemaLogContract

_numbers = itertools.count(1)


def _fail(error: HeadraceError) -> None:
    raise error


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(tmp_path_factory.mktemp("log")) as kafka:
        yield f"127.0.0.1:{kafka.ports['kafka']}"


class TestKafkaLog(SchemaLogContract):
    @pytest.fixture(autouse=True)
    def _topic(self, bootstrap: str) -> None:
        self.kafka = {"bootstrap.servers": bootstrap}
        self.topic = f"_schemas-{next(_numbers)}"

    @contextlib.asynccontextmanager
    async def follow(self, reader: LogReader) -> AsyncIterator[SchemaLog]:
        log = KafkaSchemaLog(self.kafka, self.topic, on_failure=_fail)
        log.follow(reader)
        try:
            yield log
        finally:
            await asyncio.to_thread(log.stop)


@pytest.mark.parametrize(("partitions", "policy", "says"), [(2, "compact", "partitions"), (1, "delete", "cleanup.policy")])
def test_a_topic_that_would_lose_schemas_is_refused(bootstrap: str, partitions: int, policy: str, says: str) -> None:
    topic = f"_schemas-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1, config={"cleanup.policy": policy})])[topic].result(WAIT_S)

    async def scenario() -> HeadraceError:
        failed: asyncio.Future[HeadraceError] = asyncio.get_running_loop().create_future()
        log = KafkaSchemaLog({"bootstrap.servers": bootstrap}, topic, on_failure=failed.set_result)
        log.follow(Collector())
        try:
            return await asyncio.wait_for(failed, WAIT_S)
        finally:
            await asyncio.to_thread(log.stop)

    error = asyncio.run(scenario())
    assert isinstance(error, UnusableTopicError)
    assert says in str(error)


def test_a_key_that_librdkafka_does_not_know_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"fetch\.elephants"):
        KafkaSchemaLog({"bootstrap.servers": "127.0.0.1:1", "fetch.elephants": 3}, "_schemas", on_failure=_fail)


def test_a_schema_whose_batch_is_altered_on_its_way_is_read_again_and_none_behind_it_before(tmp_path: Path) -> None:
    flips = iter(range(2))

    def alter(frame: bytearray) -> None:
        if b"value-1" in frame and next(flips, None) is not None:
            flip(frame, b"value-1")

    relay = AlteringRelay(alter, answers=True)
    server = broker(tmp_path, advertised_listeners=f"PLAINTEXT://127.0.0.1:{relay.port}")
    relay.target_port = int(server.config["listeners"].rpartition(":")[2])

    async def scenario() -> list[LogRecord]:
        log = KafkaSchemaLog({"bootstrap.servers": f"127.0.0.1:{relay.port}"}, "_schemas", on_failure=_fail)
        found = Collector()
        log.follow(found)
        try:
            for number in range(3):
                await asyncio.wait_for(log.append(b"key", f"value-{number}".encode()), WAIT_S)
            await found.until(lambda: len(found.records) >= 3)
        finally:
            await asyncio.to_thread(log.stop)
        return found.records

    with server:
        try:
            records = asyncio.run(scenario())
        finally:
            relay.close()
    assert [(record.offset, record.value) for record in records] == [(n, f"value-{n}".encode()) for n in range(3)]
    assert next(flips, None) is None, "it was altered twice"
