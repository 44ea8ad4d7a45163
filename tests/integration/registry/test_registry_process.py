"""The registry as a process: its start and stop, faults of the broker and its own, several at once."""

import concurrent.futures
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import PeerError, RefusedError
from headrace.schemas.client import Registered, RegistryClient
from tests.processes import Part, broker, free_port, registry


def client_of(part: Part) -> RegistryClient:
    return RegistryClient(f"http://127.0.0.1:{part.ports['http']}")


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except PeerError:
        return False
    return True


def schema(number: int) -> str:
    return json.dumps({"type": "record", "name": f"R{number}", "fields": [{"name": "a", "type": "long"}]})


def test_it_may_start_before_its_broker_and_says_so(tmp_path: Path) -> None:
    kafka = broker(tmp_path)
    bootstrap = kafka.config_file.read_text().split("PLAINTEXT://")[1].split()[0]
    schemas = registry(tmp_path, bootstrap)
    schemas.start(wait=False)
    try:
        port = int(schemas.config_file.read_text().split("listen: 127.0.0.1:")[1].split()[0])
        early = RegistryClient(f"http://127.0.0.1:{port}")
        until(lambda: "503" in _error_of(early.subjects))
        assert not schemas.run_file.exists()
        kafka.start()
        until(schemas.run_file.exists)
        assert early.subjects() == []
        assert schemas.stop() == 0
        assert not schemas.run_file.exists()
    finally:
        schemas.stop()
        kafka.stop()


def test_without_a_broker_it_says_so_in_few_lines_and_stops_when_asked(tmp_path: Path) -> None:
    schemas = registry(tmp_path, f"127.0.0.1:{free_port()}").start(wait=False)
    until(lambda: "waiting for the broker" in schemas.log_tail())
    assert schemas.stop(timeout_s=10) == 0
    lines = [json.loads(line) for line in schemas.log_tail().splitlines()]
    assert len(lines) < 10
    assert not schemas.run_file.exists()


def _error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except PeerError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_what_was_answered_survives_kill_9_of_the_registry_and_of_the_broker(tmp_path: Path) -> None:
    with broker(tmp_path) as kafka, registry(tmp_path, f"127.0.0.1:{kafka.ports['kafka']}") as schemas:
        client = client_of(schemas)
        ids = {number: client.register(f"s{number % 3}-value" if number < 3 else "one-value", schema(0)) for number in range(4)}
        assert set(ids.values()) == {1}
        assert client.register("two-value", schema(1)) == 2
        schemas.kill()
        schemas.start()
        client = client_of(schemas)
        assert client.latest("two-value") == Registered(2, "AVRO", schema(1).replace(" ", ""), ())
        kafka.kill()
        assert client.schema_by_id(1).text == schema(0).replace(" ", "")  # reads go on without a broker
        kafka.start()
        until(lambda: answers(lambda: client.register("three-value", schema(2))))
        assert client.register("three-value", schema(2)) == 3
        assert client.subjects() == ["one-value", "s0-value", "s1-value", "s2-value", "three-value", "two-value"]


@pytest.mark.slow
def test_two_registries_that_are_asked_at_once_agree(tmp_path: Path) -> None:
    with broker(tmp_path) as kafka:
        bootstrap = f"127.0.0.1:{kafka.ports['kafka']}"
        with registry(tmp_path / "a", bootstrap) as a, registry(tmp_path / "b", bootstrap) as b:
            clients = [client_of(a), client_of(b)]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                asked = [
                    (number, pool.submit(clients[number % 2].register, "same-value", _grown(number // 4)))
                    for number in range(80)
                ]
                by_schema: dict[int, set[int]] = {}
                for number, answer in asked:
                    by_schema.setdefault(number // 4, set()).add(answer.result())
            assert all(len(ids) == 1 for ids in by_schema.values())
            assert len({schema_id for ids in by_schema.values() for schema_id in ids}) == 20
            for schema_id in (schema_id for ids in by_schema.values() for schema_id in ids):
                assert clients[0].schema_by_id(schema_id) == clients[1].schema_by_id(schema_id)
            assert clients[0].latest("same-value") == clients[1].latest("same-value")


def _grown(width: int) -> str:
    fields = [{"name": f"f{number}", "type": "int", "default": number} for number in range(width + 1)]
    return json.dumps({"type": "record", "name": "Wide", "fields": fields})


def test_an_incompatible_schema_is_refused_and_not_worth_trying_again(tmp_path: Path) -> None:
    with broker(tmp_path) as kafka, registry(tmp_path, f"127.0.0.1:{kafka.ports['kafka']}") as schemas:
        client = client_of(schemas)
        client.register("s-value", '"long"')
        with pytest.raises(RefusedError) as refused:
            client.register("s-value", '"string"')
        assert (refused.value.status, refused.value.code, refused.value.retriable) == (409, 409, False)
        assert client.latest("t-value") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"listen": "127.0.0.1:0"}, "kafka: it is missing"),
        ({"kafka": {"bootstrap.servers": ""}}, "kafka.bootstrap.servers: it is missing"),
        ({"kafka": {"bootstrap.servers": "127.0.0.1:1", "acks.of": 3}}, "acks.of"),
        ({"kafka": {"bootstrap.servers": "127.0.0.1:1"}, "lisen": "127.0.0.1:0"}, "did you mean listen?"),
        ({"kafka": {"bootstrap.servers": "127.0.0.1:1"}, "listen": "8081"}, "write it as host:port"),
        ({"kafka": {"bootstrap.servers": "127.0.0.1:1"}, "topic": "a b"}, "no legal topic name"),
    ],
)
def test_a_wrong_configuration_ends_it_with_2_and_one_line(tmp_path: Path, config: dict[str, object], says: str) -> None:
    part = Part("registry", tmp_path, config).start(wait=False)
    assert part.wait() == 2
    assert says in part.log()
    assert len(part.log_tail().splitlines()) == 1


@pytest.mark.slow
def test_a_busy_port_ends_it_with_2(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        config = {"listen": f"127.0.0.1:{port}", "kafka": {"bootstrap.servers": "127.0.0.1:1"}}
        part = Part("registry", tmp_path, config).start(wait=False)
        assert part.wait() == 2
    assert f"127.0.0.1:{port}" in part.log()
