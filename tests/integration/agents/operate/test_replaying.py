"""`headrace agent rejected replay` before a real broker: what fits by now is sent once, under its old identity, and counted."""

import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there, and documented
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from headrace.audit import SentMessage
from headrace.cli import main
from tests.integration.agents.rig import TOPIC, Rig
from tests.integration.agents.test_agent_schemas import messages

ID = {"name": "id", "type": "long"}
NARROW: dict[str, Any] = {"type": "record", "name": "Order", "fields": [ID]}
WIDE: dict[str, Any] = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": ["long", "string"]}]}
LARGE = 20_000


@pytest.fixture
def parts(parts: Rig) -> Iterator[Rig]:
    yield parts
    parts.delete_subjects()


def settings(parts: Rig, schema: dict[str, Any], topic: str) -> dict[str, Any]:
    file = parts.directory / "order.avsc"
    file.write_text(json.dumps(schema))
    inputs = [{"tail": [str(parts.logs / "*.log")], "topic": topic, "parse": "json"}]
    return {"topics": {topic: {"schema": str(file)}}, "inputs": inputs}


def replay(parts: Rig, *arguments: str, status: int = 0, **sections: Any) -> list[dict[str, Any]]:
    """What the command tells, by the configuration that an agent with these sections has."""
    config = parts.agent(**sections).config_file
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["agent", "rejected", "replay", "--config", str(config), "--format", "json", *arguments]) == status
    return [json.loads(line) for line in out.getvalue().splitlines()]


def said(parts: Rig, topic: str) -> list[tuple[int, int]]:
    """(count, rejected) of each window, as the audit takes them."""
    windows: dict[int, SentMessage] = {}
    for message in parts.audit():
        if isinstance(message, SentMessage) and message.topic == topic:
            known = windows.get(message.window_start_ms)
            if known is None or message.count >= known.count:
                windows[message.window_start_ms] = message
    return [(message.count, message.rejected) for message in windows.values()]


def test_lines_that_fit_a_changed_schema_are_sent_under_their_old_identity_and_are_rejected_no_more(parts: Rig) -> None:
    lines = [b'{"id":1}', b'{"id":"a"}', b"no JSON", b'{"id":2}', b'{"id":"b"}']
    (parts.logs / "a.log").write_bytes(b"\n".join(lines) + b"\n")
    parts.ship(**settings(parts, NARROW, "orders"))
    assert said(parts, "orders") == [(2, 3)]
    told = replay(parts, **settings(parts, WIDE, "orders"))
    assert {(row["outcome"], row["records"], row["why"]) for row in told} == {
        ("replayed", 2, ""), ("left", 1, "still does not fit: field id: missing"),
    }  # fmt: skip
    found = messages(parts, "orders")
    assert [(int(headers["position"]), int(headers["since"]), int(headers["end"])) for _, headers in found] == [
        (0, 0, 8), (28, 28, 36), (9, 9, 19), (37, 37, 47),
    ]  # fmt: skip
    assert len({headers["agent_id"] + headers["stream_id"] for _, headers in found}) == 1
    wide: Any = [fastavro.schemaless_reader(io.BytesIO(value[5:]), WIDE, None) for value, _ in found[2:]]
    assert [each["id"] for each in wide] == ["a", "b"]
    parts.ship(**settings(parts, WIDE, "orders"))
    assert said(parts, "orders") == [(4, 1)]
    again = replay(parts, **settings(parts, WIDE, "orders"))
    assert [(row["outcome"], row["records"]) for row in again] == [("left", 1)]
    assert len(messages(parts, "orders")) == 4


def max_message_bytes(parts: Rig, size: int) -> None:
    resource = ConfigResource(
        ResourceType.TOPIC, TOPIC,
        incremental_configs=[ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)],
    )  # fmt: skip
    admin = AdminClient({"bootstrap.servers": parts.bootstrap})  # held until it has answered
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()


def test_a_record_that_its_topic_takes_by_now_is_sent_as_it_was_and_counts_as_sent(parts: Rig) -> None:
    parts.make_topic(TOPIC)
    max_message_bytes(parts, LARGE // 2)
    plain = {"kafka": {"bootstrap.servers": parts.bootstrap, "compression.type": "none"}}
    (parts.logs / "a.log").write_bytes(b"small\n" + b"x" * LARGE + b"\nlast\n")
    parts.ship(**plain)
    assert said(parts, TOPIC) == [(2, 1)]
    (told,) = replay(parts, **plain)
    assert (told["outcome"], told["why"]) == ("left", "refused again: MSG_SIZE_TOO_LARGE")
    max_message_bytes(parts, 2 * LARGE)
    assert replay(parts, "--topic", "other", **plain) == replay(parts, "--reason", "missing", **plain) == []
    (told,) = replay(parts, **plain)
    assert (told["outcome"], told["records"]) == ("replayed", 1)
    assert not list((parts.directory / "agent" / "rejected").iterdir())
    parts.ship(**plain)
    assert parts.lines() == [b"last", b"small", b"x" * LARGE]
    assert said(parts, TOPIC) == [(3, 0)]
    parts.check_audit()


def test_lines_that_the_topic_takes_as_events_by_now_are_counted_as_events(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes("grüezi\n".encode() + b"\xffgr\xfcezi\n")
    parts.ship(**settings(parts, NARROW, TOPIC))
    assert parts.count() == 0
    as_events = {"inputs": [{"tail": [str(parts.logs / "*.log")], "topic": TOPIC, "parse": "json"}]}
    replay_as = {**as_events, "topics": {TOPIC: {"schema": "envelope"}}}
    parts.delete_subjects()
    assert [row["outcome"] for row in replay(parts, **replay_as)] == ["replayed"]
    parts.ship(**replay_as)
    assert parts.lines() == sorted(["grüezi".encode(), b"\xffgr\xfcezi"])
    assert sum(count for count, _ in said(parts, TOPIC)) == 2
    assert sum(rejected for _, rejected in said(parts, TOPIC)) == 0
    parts.check_audit()


def test_a_replay_beside_a_running_agent_is_refused_and_nothing_is_sent(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"no JSON\n")
    agent = parts.agent(**settings(parts, NARROW, "orders")).start()
    assert replay(parts, status=2, **settings(parts, WIDE, "orders")) == []
    assert agent.stop() == 0


@pytest.mark.slow
def test_a_broker_that_is_away_is_an_error_and_what_was_begun_goes_on_with_the_same_bytes(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b'{"id":"a"}\n')
    parts.ship(**settings(parts, NARROW, "orders"))
    nowhere = {"bootstrap.servers": "127.0.0.1:1"}
    assert replay(parts, "--timeout", "0.5", status=1, **settings(parts, WIDE, "orders"), kafka=nowhere) == []
    reordered = {**WIDE, "fields": [{"name": "id", "type": ["string", "long"]}]}
    assert [row["outcome"] for row in replay(parts, **settings(parts, reordered, "orders"))] == ["replayed"]
    ((value, _),) = messages(parts, "orders")
    assert value[5:] == b"\x02\x02a"  # the second branch: as it was begun
