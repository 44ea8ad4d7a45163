"""`headrace agent validate --connect`: broker, topics, rights and registry are asked, and nothing is made."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests import forks
from tests.integration.agents.rig import rig, servers
from tests.processes import Part


def validated(agent: Part, *words: str, status: int = 0) -> list[dict[str, Any]]:
    command = [*forks.PREFIX, "agent", "validate", "--connect", "--format", "json", *words]
    done = forks.run([*command, "--config", str(agent.config_file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_topics_that_are_not_there_are_told_apart_by_whether_they_will_be(tmp_path: Path) -> None:
    with servers(tmp_path, auto_create_topics_enable=False) as strict, rig(tmp_path, strict) as parts:
        (parts.logs / "a.log").write_bytes(b"one\n")
        agent = parts.agent(dead_letter={"topic": "letters"})
        found = {each["where"].rpartition(": ")[2]: each for each in validated(agent, status=2)[:-1]}
        assert found["topic logs"]["severity"] == "error"
        assert "the broker makes none by itself" in found["topic logs"]["what"]
        assert found["topic _audit"]["severity"] == found["topic letters"]["severity"] == "note"
        there = AdminClient({"bootstrap.servers": parts.bootstrap}).list_topics(timeout=10).topics
        assert not {"logs", "letters", "_audit"} & set(there)
        parts.make_topic("logs")
        assert validated(agent)[-1]["valid"]
        parts.registry.kill()
        assert [each["key"] for each in validated(agent, status=2)[:-1] if each["severity"] == "error"] == ["registry"]
        nobody = validated(agent, "--set", "kafka.bootstrap.servers=127.0.0.1:1", status=2)
        assert [each["key"] for each in nobody[:-1]] == ["kafka", "registry"]
        parts.registry.start()
