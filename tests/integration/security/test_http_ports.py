"""The HTTP ports of broker, agent and loader under the broker's users; over TLS where they have a certificate."""

import base64
import http.client
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.broker.keys.access import STANDARD_AUTHORIZER
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.sasl_wire import port_of, put_user
from tests.integration.security.sasl_wire import secured as with_sasl
from tests.integration.security.tls_files import Pki
from tests.processes import Part, broker, free_port

EVERYWHERE = {"resource_pattern_type": 3, "host": "*", "permission_type": 3}
DESCRIBE_THE_CLUSTER = {"resource_type": 4, "resource_name": "kafka-cluster", "principal": "User:monitor", "operation": 8}
WRITE = {"resource_type": 2, "resource_name": "t", "principal": "User:shipper", "operation": 4}


def get(port: int, path: str, who: str | None = None, *, tls: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and body; `who` is `name:password`."""
    kind = http.client.HTTPConnection if tls is None else http.client.HTTPSConnection
    connection = kind("127.0.0.1", port, timeout=20, **({} if tls is None else {"context": tls}))
    headers = {} if who is None else {"Authorization": f"Basic {base64.b64encode(who.encode()).decode()}"}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Part]:
    keys = {
        "http": f"127.0.0.1:{free_port()}",
        "http.ssl.keystore.location": str(pki.server_file),
        "authorizer.class.name": STANDARD_AUTHORIZER,
        "super.users": "User:ANONYMOUS",
    }
    with with_sasl(tmp_path_factory.mktemp("ports"), keys) as part:
        put_user(part, "monitor", "m-pass")
        put_user(part, "nobody", "n-pass")
        put_user(part, "shipper", "s-pass")
        with WireClient(port_of(part, "PLAINTEXT")) as client:
            rules = [{**EVERYWHERE, **each} for each in (DESCRIBE_THE_CLUSTER, WRITE)]
            assert [result.error_code for result in client.call(30, 3, {"creations": rules}).results] == [0, 0]
        yield part


def assert_guarded(port: int, metric: str, tls: ssl.SSLContext | None) -> None:
    for who in (None, "monitor:wrong", "monitor:", "absent:m-pass", "nobody:wrong"):
        assert get(port, "/metrics", who, tls=tls) == (401, "unauthorized\n")
    assert get(port, "/metrics", "nobody:n-pass", tls=tls) == (403, "forbidden\n")
    status, text = get(port, "/metrics", "monitor:m-pass", tls=tls)
    assert status == 200
    assert metric in text
    assert get(port, "/healthz", tls=tls) == (200, "ok\n")
    assert get(port, "/readyz", tls=tls)[1] in ("ok\n", "not ok\n")


def test_the_brokers_port_asks_as_soon_as_the_broker_knows_its_clients(kafka: Part, pki: Pki) -> None:
    port = kafka.ports["http"]
    assert_guarded(port, "kafka_network_requestmetrics", pki.context())
    _, text = get(port, "/metrics", "monitor:m-pass", tls=pki.context())
    assert '"BASIC"' in text, "logins over HTTP are not counted with the others"
    with pytest.raises((http.client.HTTPException, OSError)):
        get(port, "/healthz")


def test_a_broker_that_knows_nobody_shows_its_metrics(tmp_path: Path) -> None:
    with broker(tmp_path, http=f"127.0.0.1:{free_port()}") as part:
        assert get(part.ports["http"], "/metrics")[0] == 200


def test_agent_and_loader_ask_the_broker_who_their_clients_are(kafka: Part, pki: Pki, tmp_path: Path) -> None:
    reach = {
        "bootstrap.servers": f"127.0.0.1:{port_of(kafka, 'SASL_PLAINTEXT')}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "shipper",
        "sasl.password": "s-pass",
    }
    port_keys = {"http": f"127.0.0.1:{free_port()}", "http.authentication": "broker"}
    agent = {"agent": {"state_dir": str(tmp_path / "a"), **port_keys}, "registry": "http://127.0.0.1:9", "kafka": reach}
    with Part("agent", tmp_path, {**agent, "inputs": [{"tail": ["/nothing/*"], "topic": "t"}]}) as part:
        assert_guarded(part.ports["http"], "process_cpu_seconds_total", None)
    load = {"load": {"root": str(tmp_path / "l"), **port_keys, "http.ssl.keystore.location": str(pki.server_file)}}
    with Part("load", tmp_path, {**load, "kafka": reach}) as part:
        assert_guarded(part.ports["http"], "process_cpu_seconds_total", pki.context())


def test_an_agent_that_may_write_nothing_says_so_and_waits(kafka: Part, tmp_path: Path) -> None:
    reach = {
        "bootstrap.servers": f"127.0.0.1:{port_of(kafka, 'SASL_PLAINTEXT')}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "nobody",
        "sasl.password": "n-pass",
    }
    inputs = [{"tail": ["/nothing/*"], "topic": "t"}]
    config = {"agent": {"state_dir": str(tmp_path / "a")}, "registry": "http://127.0.0.1:9", "kafka": reach, "inputs": inputs}
    with Part("agent", tmp_path, config) as part:
        deadline = time.monotonic() + 30
        while "give the agent's user WRITE on its topics" not in part.log_tail():
            assert time.monotonic() < deadline, part.log_tail()
            time.sleep(0.05)
        assert part.process is not None
        assert part.process.poll() is None
    assert "Traceback" not in part.log_tail()


def test_users_are_not_asked_for_where_the_broker_has_none(tmp_path: Path) -> None:
    config = {
        "load": {"root": str(tmp_path / "l"), "http": f"127.0.0.1:{free_port()}", "http.authentication": "broker"},
        "kafka": {"bootstrap.servers": "127.0.0.1:9"},
    }
    part = Part("load", tmp_path, config).start(wait=False)
    assert part.wait(30) == 2
    assert "needs a broker that asks for names and passwords" in part.log()


def test_a_silent_peer_of_a_tls_port_keeps_nobody_waiting(kafka: Part, pki: Pki) -> None:
    import socket

    silent = [socket.create_connection(("127.0.0.1", kafka.ports["http"])) for _ in range(20)]
    try:
        assert get(kafka.ports["http"], "/healthz", tls=pki.context())[0] == 200
    finally:
        for connection in silent:
            connection.close()
