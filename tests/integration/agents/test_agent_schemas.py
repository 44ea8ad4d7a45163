"""An agent whose topics have schemas other than the envelope: registered, kept, refused, and what does not fit them."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from headrace.audit import AgentMessage, SentMessage
from headrace.schemas.client import RegistryClient
from headrace.schemas.envelope import ENVELOPE_JSON, HEAD
from tests.integration.agents.rig import TOPIC, Rig
from tests.integration.agents.topic_log import records_in
from tests.waiting import until

ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}


@pytest.fixture
def parts(parts: Rig) -> Iterator[Rig]:
    yield parts
    parts.delete_subjects()


def messages(parts: Rig, topic: str) -> list[tuple[bytes, dict[str, bytes]]]:
    """(value, headers) of every record of a topic's first partition."""
    found = records_in({"bootstrap.servers": parts.bootstrap}, topic)
    return [(message.value() or b"", dict(message.headers() or ())) for message in found]  # type: ignore[arg-type]


def schema_file(parts: Rig, schema: Any = ORDER) -> str:
    file = parts.directory / "order.avsc"
    file.write_text(json.dumps(schema))
    return str(file)


def registry(parts: Rig) -> RegistryClient:
    return RegistryClient(f"http://127.0.0.1:{parts.registry.ports['http']}")


def orders(first: int, count: int) -> bytes:
    return b"".join(b'{"id":%d,"price":"%d.50"}\n' % (n, n) for n in range(first, first + count))


def test_lines_are_records_of_the_user_s_schema_with_their_identity_in_headers(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(orders(1, 3))
    parts.ship(topics={TOPIC: {"schema": schema_file(parts)}})
    latest = registry(parts).latest(f"{TOPIC}-value")
    assert latest is not None
    assert json.loads(latest.text)["name"] == "Order"
    found = messages(parts, TOPIC)
    values = [fastavro.schemaless_reader(io.BytesIO(value[5:]), ORDER, None) for value, _ in found]
    assert [(each["id"], str(each["price"])) for each in values] == [(1, "1.50"), (2, "2.50"), (3, "3.50")]  # type: ignore[index,call-overload]
    assert [int.from_bytes(value[1:5]) for value, _ in found] == [latest.id] * 3
    size = len(orders(1, 1))
    assert [(int(headers["position"]), int(headers["since"]), headers["part"]) for _, headers in found] == [
        (n * size, n * size, b"0") for n in range(3)
    ]
    assert {len(headers["agent_id"]) for _, headers in found} == {len({headers["stream_id"] for _, headers in found}) * 36}
    heartbeat = [message for message in parts.audit() if isinstance(message, AgentMessage)][-1]
    assert heartbeat.acked[TOPIC] == {0: 3}


@pytest.mark.slow
def test_what_does_not_fit_is_rejected_and_a_dead_letter_counted_once_through_kill_9(parts: Rig) -> None:
    settings: dict[str, Any] = {"topics": {TOPIC: {"schema": schema_file(parts)}}, "dead_letter": {"topic": "letters"}}
    lines = [b'{"id":1,"price":1}', b"no JSON", b'{"id":2,"price":"1.234"}', b'{"id":3,"price":3}']
    (parts.logs / "a.log").write_bytes(b"\n".join(lines) + b"\n" + orders(10, 3000))
    for _ in range(3):
        agent = parts.agent(**settings).start()
        until(lambda: parts.count() > 0)
        agent.kill()
    assert parts.ship(**settings)["bytes"] == (parts.logs / "a.log").stat().st_size
    ids = {int(headers["position"]) for _, headers in messages(parts, TOPIC)}
    assert len(ids) == 3002
    rows = [json.loads(row) for row in (parts.directory / "agent" / "rejected" / f"{TOPIC}.jsonl").read_text().splitlines()]
    told = {row["position"]: (row["error"], base64.b64decode(row["value"])) for row in rows}
    assert told == {
        19: ("field id: missing", b"no JSON"),
        27: ("field price: '1.234' is no decimal(9, 2)", b'{"id":2,"price":"1.234"}'),
    }
    letters = {(headers["position"], headers["reason"], value) for value, headers in messages(parts, "letters")}
    assert letters == {(str(position).encode(), reason.encode(), line) for position, (reason, line) in told.items()}
    sent = [message for message in parts.audit() if isinstance(message, SentMessage)]
    by_window = {message.window_start_ms: (message.count, message.rejected) for message in sent}
    assert sum(rejected for _, rejected in by_window.values()) == 2
    assert sum(count for count, _ in by_window.values()) == 3002


def test_a_schema_that_the_registry_refuses_ends_a_finite_run_with_its_reason(parts: Rig) -> None:
    registry(parts).register(f"{TOPIC}-value", ENVELOPE_JSON)
    (parts.logs / "a.log").write_bytes(orders(1, 1))
    agent = parts.agent("--once", topics={TOPIC: {"schema": schema_file(parts)}}).start(wait=False)
    assert agent.wait() == 1
    said = agent.log_tail().splitlines()[-1]
    assert f"the registry refuses the schema of topic {TOPIC}: " in said
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" in said


def test_a_refused_schema_holds_its_topic_up_and_no_other(parts: Rig) -> None:
    registry(parts).register("orders-value", ENVELOPE_JSON)
    (parts.logs / "a.log").write_bytes(b"one\n")
    inputs = [
        {"tail": [str(parts.logs / "a.log")], "topic": TOPIC},
        {"tail": [str(parts.logs / "b.log")], "topic": "orders"},
    ]
    agent = parts.agent(topics={"orders": {"schema": schema_file(parts)}}, inputs=inputs).start()
    until(lambda: parts.count() == 1)
    assert agent.stop() == 0


@pytest.mark.slow
def test_a_repeat_has_the_schema_that_it_was_sent_under_whatever_the_configuration_says_by_then(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b'{"status":"200"}\n' * 20_000)
    typed = {"topics": {TOPIC: {"schema": "access"}}}
    agent = parts.agent(**typed).start()
    until(lambda: parts.count() > 0)
    agent.kill()
    sent = parts.count()
    parts.ship(topics={TOPIC: {"schema": "envelope"}})
    values: dict[bytes, bytes] = {}
    for value, _ in messages(parts, TOPIC):
        event: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), dict(HEAD), None)
        identity = f"{event['stream_id']}/{event['position']}".encode()
        assert values.setdefault(identity, value) == value
    assert len(values) == 20_000
    assert parts.count() >= sent
