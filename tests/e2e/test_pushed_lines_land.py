"""Lines that are pushed, and lines that redaction changed, land each once: none is taken for a repeat of the one before it."""

import json
from pathlib import Path

import pytest
import yaml

from tests import forks
from tests.e2e.test_agent_schemas_land import headrace
from tests.integration.sinks.pipeline import Pipeline

ORDINARY = [f"{n} {'x' * (n * 37 % 500)}" for n in range(2000)]
LINES = [*ORDINARY, "", "", "é" * 300_000, "a@b.cc a@b.cc", "z", "short", *("q" * (n % 3) for n in range(300))]


def ship(pipeline: Pipeline, directory: Path) -> None:
    """Push the lines through stdin to one topic, and ship them as a file to another."""
    text = "".join(f"{line}\n" for line in LINES).encode()
    (directory / "some.log").write_bytes(text)
    hidden = [{"redact": {"email": True, "patterns": ["z", "sho"]}}]
    config = {
        "agent": {"state_dir": str(directory / "agent")},
        "kafka": {"bootstrap.servers": pipeline.bootstrap},
        "registry": pipeline.registry_url,
        "inputs": [
            {"stdin": {}, "topic": "pushed", "transforms": hidden},
            {"tail": [str(directory / "some.log")], "topic": "tailed", "transforms": hidden},
        ],
    }
    (directory / "agent.yaml").write_text(yaml.safe_dump(config))
    command = [*forks.PREFIX, "agent", "--config", str(directory / "agent.yaml"), "--once"]
    done = forks.run(command, input=text, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.slow
def test_every_line_lands_once_and_the_audit_is_complete(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        ship(pipeline, tmp_path)
        pipeline.load_once()
        root = pipeline.root
    for topic in ("pushed", "tailed"):
        query = f"SELECT message FROM {topic} WHERE part = 0 ORDER BY position"
        landed = [row["message"] for row in headrace("query", query, root=root)[1]]
        assert len(landed) == len(LINES)
        assert landed[: len(ORDINARY)] == ORDINARY
        assert "****** ******" in landed
    status, rows = headrace("audit", "--wait", "--timeout", "0", root=root)
    assert status == 0, rows
    assert {row["state"] for row in rows} == {"complete"}
    assert sum(row["duplicates"] or 0 for row in rows) == 0, json.dumps(rows)
