"""A broker, a registry and an agent as real processes, and what the broker's log holds afterwards."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # they are there, and documented

from headrace.audit import AgentMessage, SentMessage, event_hash, parse_message, window_start_ms
from headrace.schemas.client import RegistryClient
from tests.envelopes import event_of
from tests.integration.agents.topic_log import count_in, records_in
from tests.processes import Part, broker, registry

TOPIC = "logs"


@dataclass
class Rig:
    """The parts, on their own folder."""

    directory: Path
    broker: Part
    registry: Part
    logs: Path
    agents: list[Part] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.broker.ports['kafka']}"

    @property
    def _settings(self) -> dict[str, str]:
        return {"bootstrap.servers": self.bootstrap}

    def agent(self, *arguments: str, **settings: Any) -> Part:
        """An agent on this rig's logs; `settings` are sections to add."""
        config = {
            "agent": {"state_dir": str(self.directory / "agent"), "grace_ms": 5000},
            "kafka": self._settings,
            "registry": f"http://127.0.0.1:{self.registry.ports['http']}",
            "inputs": [{"tail": [str(self.logs / "*.log")], "topic": TOPIC}],
        }
        part = Part("agent", self.directory, {**config, **settings}, *arguments)
        self.agents.append(part)
        return part

    def ship(self, **settings: Any) -> dict[str, int]:
        """Run an agent once to the end, and return the last thing it said of its progress."""
        part = self.agent("--once", "--progress", **settings)
        part.log_file.unlink(missing_ok=True)
        assert part.start(wait=False).wait() == 0, part.log_tail()
        lines = [line for line in part.log_file.read_text().splitlines() if line.startswith('{"lines"')]
        return dict(json.loads(lines[-1]))

    def make_topic(self, *topics: str, partitions: int = 1) -> None:
        """Make topics, and wait until they are there."""
        admin = AdminClient(self._settings)
        for made in admin.create_topics([NewTopic(topic, partitions) for topic in topics]).values():
            made.result()

    def delete_topics(self) -> None:
        """All but the registry's and the broker's own."""
        admin = AdminClient(self._settings)
        topics = [topic for topic in admin.list_topics(timeout=10).topics if not topic.startswith(("_schemas", "__"))]
        for deleted in admin.delete_topics(topics).values() if topics else ():
            deleted.result()

    def delete_subjects(self) -> None:
        """All of the registry's, so that topics may have schemas of another kind."""
        address = f"http://127.0.0.1:{self.registry.ports['http']}"
        for subject in RegistryClient(address).subjects():
            for query in ("", "?permanent=true"):
                urlopen(Request(f"{address}/subjects/{subject}{query}", method="DELETE")).read()

    def records(self, topic: str) -> list[tuple[bytes | None, bytes, int]]:
        """(key, value, timestamp) of every record of a topic's first partition."""
        found = records_in(self._settings, topic)
        return [(message.key(), message.value() or b"", message.timestamp()[1]) for message in found]

    def count(self) -> int:
        """How many records the topic holds; 0 where it is not there yet."""
        return count_in(self._settings, TOPIC)

    def wait_for(self, count: int, *, timeout_s: float = 30) -> None:
        """Until the topic holds so many records."""
        deadline = time.monotonic() + timeout_s
        while (found := self.count()) < count:
            assert time.monotonic() < deadline, f"{found} of {count} records came"
            time.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """Every event, repeats included; equal identities are checked to be equal in every byte."""
        known: dict[tuple[str, int, int], bytes] = {}
        events = []
        for _, value, timestamp in self.records(TOPIC):
            event = event_of(value)
            identity = (event["stream_id"], event["position"], event["part"])
            assert known.setdefault(identity, value) == value, f"an identity with two contents: {identity}"
            assert timestamp == round(event["read_time"].timestamp() * 1000)
            events.append(event)
        return events

    def distinct(self) -> list[dict[str, Any]]:
        """Every event once, by stream and position."""
        by_identity = {(event["stream_id"], event["position"], event["part"]): event for event in self.events()}
        return [by_identity[identity] for identity in sorted(by_identity)]

    def lines(self) -> list[bytes]:
        """The bytes of every distinct line, sorted."""
        return sorted(event["message"].encode(event["encoding"]) for event in self.distinct())

    def audit(self) -> list[AgentMessage | SentMessage]:
        """What was said on `_audit`, in order."""
        messages = [parse_message(key or b"", value) for key, value, _ in self.records("_audit")]
        return [message for message in messages if message is not None]

    def check_audit(self) -> None:
        """Counts and hashes of the windows are those of the distinct events."""
        sums: dict[int, list[int]] = {}
        for event in self.distinct():
            line = event["message"].encode(event["encoding"])
            start = window_start_ms(int(event["event_time"].timestamp() * 1000))
            total = sums.setdefault(start, [0, 0, 0])
            total[0] += 1
            total[1] += len(line)
            total[2] += event_hash(event["agent_id"], event["stream_id"], event["position"], event["part"], line)
        said: dict[int, list[int]] = {}
        for message in self.audit():
            if isinstance(message, SentMessage) and message.count >= said.get(message.window_start_ms, [0])[0]:
                said[message.window_start_ms] = [message.count, message.bytes_total, message.content_hash]
        counted = {start: sent for start, sent in said.items() if sent[0]}  # a window may have drops alone
        assert counted == {start: [count, size, total % 2**64] for start, (count, size, total) in sums.items()}


@contextmanager
def servers(directory: Path, **config: Any) -> Iterator[tuple[Part, Part]]:
    """Broker (`config` adds Kafka keys) and registry, started."""
    with broker(directory, **config) as running, registry(directory, f"127.0.0.1:{running.ports['kafka']}") as schemas:
        yield running, schemas


@contextmanager
def rig(directory: Path, running: tuple[Part, Part]) -> Iterator[Rig]:
    """A folder of logs before such servers; at the end agents are stopped, and what they wrote is deleted."""
    logs = directory / "logs-to-ship"
    logs.mkdir()
    parts = Rig(directory, *running, logs)
    try:
        yield parts
    finally:
        for part in parts.agents:
            part.kill()
        for part in running:
            if part.process is None or part.process.poll() is not None:
                part.start()
        parts.delete_topics()
