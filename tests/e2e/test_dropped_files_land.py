"""Dropped files land each once, and the audit is complete after they were deleted."""

import gzip
from pathlib import Path

import pytest
import yaml

from tests import forks
from tests.e2e.test_agent_schemas_land import headrace
from tests.integration.sinks.pipeline import Pipeline


@pytest.mark.slow
def test_files_that_were_deleted_are_audited_as_complete(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(200):
        data = b"".join(b"%d.%d\n" % (number, line) for line in range(1 + number % 7))
        (folder / f"{number}{'.gz' if number % 2 else ''}").write_bytes(gzip.compress(data) if number % 2 else data[:-1])
    with Pipeline(tmp_path) as pipeline:
        config = {
            "agent": {"state_dir": str(tmp_path / "agent")},
            "kafka": {"bootstrap.servers": pipeline.bootstrap},
            "registry": pipeline.registry_url,
            "inputs": [{"directory": {"path": str(folder), "when_done": "delete", "settle_ms": 0}, "topic": "dropped"}],
        }
        (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config))
        command = [*forks.PREFIX, "agent", "--config", str(tmp_path / "agent.yaml"), "--once"]
        forks.run(command, capture_output=True, timeout=120, check=True)
        pipeline.load_once()
        root = pipeline.root
    assert list(folder.iterdir()) == []
    landed = [row["message"] for row in headrace("query", "SELECT message FROM dropped", root=root)[1]]
    assert sorted(landed) == sorted(f"{number}.{line}" for number in range(200) for line in range(1 + number % 7))
    status, rows = headrace("audit", "--wait", "--timeout", "0", root=root)
    assert (status, {row["state"] for row in rows}) == (0, {"complete"}), rows
