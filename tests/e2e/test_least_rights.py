"""The pipeline over SASL with the rights of the user's guide and no others: each part is a user of its own."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from headrace.broker.keys.access import STANDARD_AUTHORIZER
from headrace.errors import PeerError, RefusedError
from headrace.schemas.client import RegistryClient
from tests import forks
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.sasl_wire import port_of, put_user, secured
from tests.integration.security.tls_files import Pki
from tests.processes import Part, free_port

READ, WRITE, CREATE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 5, 8, 10
TOPIC, GROUP = 2, 3
LITERAL, PREFIXED = 3, 4
# As in docs/guide.md, "Rights of each part".
RIGHTS: dict[str, list[tuple[int, int, str, int]]] = {
    "registry": [(TOPIC, LITERAL, "_schemas", operation) for operation in (READ, WRITE, CREATE, DESCRIBE_CONFIGS)],
    "agent": [
        *((TOPIC, LITERAL, topic, operation) for topic in ("logs", "_audit") for operation in (WRITE, CREATE)),
        (TOPIC, LITERAL, "_schemas", WRITE),
    ],
    "loader": [
        *((TOPIC, LITERAL, topic, operation) for topic in ("logs", "_audit") for operation in (READ, DESCRIBE_CONFIGS)),
        (GROUP, PREFIXED, "headrace-load", READ),
        (TOPIC, LITERAL, "_schemas", READ),
    ],
}
LINES = 200


def allow(part: Part, user: str, rights: list[tuple[int, int, str, int]]) -> None:
    creations = [
        {
            "resource_type": kind,
            "resource_pattern_type": pattern,
            "resource_name": name,
            "principal": f"User:{user}",
            "host": "*",
            "operation": operation,
            "permission_type": 3,
        }
        for kind, pattern, name, operation in rights
    ]
    with WireClient(port_of(part, "PLAINTEXT")) as client:
        results = client.call(30, 3, {"creations": creations}).results
    assert {result.error_code for result in results} == {0}


def kafka(part: Part, user: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": f"127.0.0.1:{port_of(part, 'SASL_PLAINTEXT')}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": f"{user}'s own",
    }


@pytest.fixture
def broker(tmp_path: Path) -> Part:
    return secured(tmp_path, {"authorizer.class.name": STANDARD_AUTHORIZER, "super.users": "User:ANONYMOUS"})


@pytest.mark.slow
def test_lines_land_and_are_audited_with_each_part_having_only_its_rights(broker: Part, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"line {number}\n" for number in range(LINES)))
    with broker:
        for user, rights in RIGHTS.items():
            put_user(broker, user, f"{user}'s own")
            allow(broker, user, rights)
        put_user(broker, "stranger", "stranger's own")
        pki = Pki(tmp_path / "pki")
        guarded = {
            "listen": f"127.0.0.1:{free_port()}",
            "kafka": kafka(broker, "registry"),
            "authentication": "broker",
            "ssl.keystore.location": str(pki.server_file),
        }
        with Part("registry", tmp_path, guarded) as registry:
            url = f"https://127.0.0.1:{registry.ports['http']}"
            agent = Part(
                "agent",
                tmp_path,
                {
                    "agent": {"state_dir": str(tmp_path / "agent"), "grace_ms": 5000},
                    "kafka": kafka(broker, "agent"),
                    "registry": let_in(url, pki, "agent"),
                    "inputs": [{"tail": [str(log)], "topic": "logs"}],
                },
                "--once",
            )
            assert agent.start(wait=False).wait() == 0, agent.log_tail()
            load = {"load": {"root": str(tmp_path / "landed")}, "kafka": kafka(broker, "loader")}
            load["registry"] = let_in(url, pki, "loader")
            loader = Part("load", tmp_path, load, "--once")
            assert loader.start(wait=False).wait() == 0, loader.log_tail()
            refuse_strangers_schemas(url, pki)
            land_without_a_group(load, tmp_path)
        assert "AUTHORIZATION" not in (registry.log_tail() + agent.log_tail() + loader.log_tail()).upper()
        rows = [json.loads(line) for line in headrace(tmp_path, "query", "SELECT count(*) AS n FROM logs")]
        assert rows == [{"n": LINES}]
        assert {row["state"] for row in map(json.loads, headrace(tmp_path, "audit", "--topic", "logs"))} == {"complete"}
        refuse_a_stranger(broker)


def land_without_a_group(load: dict[str, Any], folder: Path) -> None:
    """A loader that may not be a member of its group lands all the same, and says what is amiss."""
    root = str(folder / "landed-alone")
    lonely = Part("load", folder / "alone", {**load, "load": {"root": root, "group": "private", "rotate": {"age": "100ms"}}})
    with lonely:
        deadline = time.monotonic() + 30
        while not list(Path(root).glob("logs/dt=*/*/*.parquet")):
            assert time.monotonic() < deadline, lonely.log_tail()
            time.sleep(0.05)
    assert "group private: " in lonely.log_file.read_text()


def let_in(url: str, pki: Pki, user: str) -> dict[str, str]:
    return {"url": url, "basic.auth.user.info": f"{user}:{user}'s own", "ssl.ca.location": str(pki.authority_file)}


def refuse_strangers_schemas(url: str, pki: Pki) -> None:
    """The registry asks the broker who its clients are, and what they may do to its topic."""
    statuses = []
    for user_info in (None, "stranger:stranger's own", "loader:wrong", "absent:x", "loader:loader's own"):
        client = RegistryClient(url, user_info=user_info, ca_file=pki.authority_file)
        try:
            statuses.append(f"reads {client.subjects()}")
        except RefusedError as error:
            statuses.append(str(error.status))
        try:
            client.register("forged", '"string"')
        except RefusedError as error:
            statuses.append(str(error.status))
    assert statuses == ["401", "401", "403", "403", "401", "401", "401", "401", "reads ['logs-value']", "403"]
    with pytest.raises(PeerError, match="certificate verify failed"):
        RegistryClient(url, user_info="loader:loader's own").subjects()


def refuse_a_stranger(broker: Part) -> None:
    """Who has no right learns nothing of the topics, and can neither write nor read."""
    keys = {**kafka(broker, "stranger"), "log_level": 0}
    assert Producer(keys).list_topics(timeout=10).topics == {}
    refused: list[KafkaError] = []
    producer = Producer({**keys, "enable.idempotence": False})
    producer.produce("logs", b"forged", on_delivery=lambda error, _: refused.append(error))
    producer.flush(10)
    assert [error.code() for error in refused] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    consumer = Consumer({**keys, "group.id": "headrace-load", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition("logs", 0, 0)])
        message = consumer.poll(10)
        assert message is not None
        error = message.error()
        assert error is not None
        assert error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
    finally:
        consumer.close()


def headrace(root: Path, *words: str) -> list[str]:

    run = [*forks.PREFIX, *words, "--root", f"{root}/landed", "--format", "json"]
    done = forks.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
