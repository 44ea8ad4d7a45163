"""Several registries on one topic of our broker, and of Apache Kafka, one killed again and again while all register."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from headrace.errors import PeerError
from headrace.schemas.client import RegistryClient
from headrace.schemas.records import read
from headrace.schemas.store import SchemaStore
from tests.apache_kafka import ApacheKafka, is_installed
from tests.processes import Part, broker, registry

KILLS = 3
THREADS = 6
SCHEMAS = 30


@pytest.fixture(params=["headrace", "apache kafka"])
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "headrace":
        with broker(tmp_path) as kafka:
            yield f"127.0.0.1:{kafka.ports['kafka']}"
    else:
        if not is_installed():
            pytest.skip("Apache Kafka is not installed (make peers)")
        with ApacheKafka(tmp_path) as server:
            yield server.bootstrap


def schema(number: int) -> str:
    return json.dumps({"type": "record", "name": f"R{number}", "fields": []}, separators=(",", ":"))


@pytest.mark.slow
def test_ids_and_schemas_stay_one_to_one_while_a_registry_is_killed_again_and_again(bootstrap: str, tmp_path: Path) -> None:
    answered: list[tuple[int, int]] = []
    done = threading.Event()
    with registry(tmp_path / "a", bootstrap) as steady, registry(tmp_path / "b", bootstrap) as killed:
        clients = [client_of(steady), client_of(killed)]

        def register(thread: int) -> None:
            number = thread
            while not done.is_set():
                number += 1
                try:
                    schema_id = clients[number % 2].register(f"s{number % SCHEMAS}-{thread % 2}", schema(number % SCHEMAS))
                except PeerError:
                    time.sleep(0.02)  # the one that was killed
                    continue
                answered.append((number % SCHEMAS, schema_id))

        with ThreadPoolExecutor(THREADS) as pool:
            running = [pool.submit(register, thread) for thread in range(THREADS)]
            for _ in range(KILLS):
                before = len(answered)
                killed.kill()
                killed.start()
                clients[1] = client_of(killed)
                until_more_than(before + 20, answered)
            done.set()
            for one in running:
                one.result(60)
        ids: dict[int, set[int]] = {}
        for number, schema_id in answered:
            ids.setdefault(number, set()).add(schema_id)
        assert all(len(found) == 1 for found in ids.values()), "two ids for one schema"
        assert len({next(iter(found)) for found in ids.values()}) == len(ids), "one id for two schemas"
        for number, found in ids.items():
            assert {client.schema_by_id(next(iter(found))).text for client in clients} == {schema(number)}
    store = replay(bootstrap)
    assert {(number, schema_id) for number, found in ids.items() for schema_id in found} == {
        (number, store.find(f"s{number}-{side}", one.schema).value.id)  # type: ignore[union-attr]  # it is there
        for number in ids
        for side in (0, 1)
        for one in store.versions(f"s{number}-{side}")
    }


def client_of(part: Part) -> RegistryClient:
    return RegistryClient(f"http://127.0.0.1:{part.ports['http']}")


def until_more_than(count: int, answered: list[tuple[int, int]]) -> None:
    deadline = time.monotonic() + 60
    while len(answered) <= count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def replay(bootstrap: str) -> SchemaStore:
    """What any other registry would make of the topic."""
    store = SchemaStore()
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True})
    consumer.assign([TopicPartition("_schemas", 0, 0)])
    try:
        while (message := consumer.poll(20)) is not None and message.error() is None:
            store.apply(read(message.key(), message.value()))  # type: ignore[arg-type]  # bytes: nothing decodes them
        return store
    finally:
        consumer.close()
