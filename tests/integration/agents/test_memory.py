"""An agent's memory while others push as fast as it takes in: four clients, bodies of 3 MB each, and not one of them lost."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bench.agent_memory import otlp_body
from tests.integration.agents.rig import TOPIC, Rig, rig, servers
from tests.integration.agents.test_outage_and_backlog import resident_bytes
from tests.processes import AFRESH, free_port

pytestmark = pytest.mark.slow

MOST_RESIDENT_BYTES = 66_000_000  # the goal is 60 MB; measured 57 to 60, by what the allocator keeps, and 63 beside other work
CLIENTS, BODIES = 4, 2
LINE = b'{"level": "info", "msg": "' + b"x" * 173 + b'"}\n'


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("memory")
    with servers(folder) as started, rig(folder, started) as ours:
        yield ours


@pytest.mark.parametrize("kind", ["ndjson", "otlp", "otlp-json"])
def test_what_is_posted_is_taken_in_within_the_agents_memory(parts: Rig, tmp_path: Path, kind: str) -> None:
    parts.delete_topics()
    body = {
        "ndjson": lambda: LINE * 15_000,
        "otlp": lambda: otlp_body(as_json=False),
        "otlp-json": lambda: otlp_body(as_json=True),
    }[kind]()
    count = {"ndjson": 15_000, "otlp": 8192, "otlp-json": 4096}[kind]
    content = {"ndjson": "application/x-ndjson", "otlp": "application/x-protobuf", "otlp-json": "application/json"}[kind]
    port = free_port()
    http = {"http": {"listen": f"127.0.0.1:{port}"}, "topic": TOPIC}
    agent = parts.agent(inputs=[http], agent={"state_dir": str(tmp_path / "state")})
    agent.start(under=AFRESH)
    statuses: list[int] = []

    def post() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(BODIES):
            connection.request("POST", "/logs" if kind == "ndjson" else "/v1/logs", body, {"Content-Type": content})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    clients = [threading.Thread(target=post) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert statuses == [200] * CLIENTS * BODIES
    parts.wait_for(count * CLIENTS * BODIES, timeout_s=120)
    peak_bytes = resident_bytes(agent, "VmHWM")
    assert agent.stop() == 0
    assert peak_bytes < MOST_RESIDENT_BYTES
