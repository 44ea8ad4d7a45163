"""Rejected lines, replayed by processes that are killed, under a schema that changes: each lands once, and counts true."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.e2e.test_agent_schemas_land import headrace
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

LINES, KILLS = 1500, 3


def agent(pipeline: Pipeline, directory: Path, *, id_: Any) -> Part:
    """An agent whose topic has records with this type of an id."""
    schema = directory / "order.avsc"
    schema.write_text(json.dumps({"type": "record", "name": "Order", "fields": [{"name": "id", "type": id_}]}))
    config: dict[str, Any] = {
        "agent": {"state_dir": str(directory / "agent")},
        "kafka": {"bootstrap.servers": pipeline.bootstrap},
        "registry": pipeline.registry_url,
        "topics": {"orders": {"schema": str(schema)}},
        "dead_letter": {"topic": "letters"},
        "inputs": [{"tail": [str(directory / "orders.log")], "topic": "orders", "parse": "json"}],
    }
    return Part("agent", directory, config, "--once")


def replaying(part: Part) -> "subprocess.Popen[bytes]":
    command = [*forks.PREFIX, "agent", "rejected", "replay", "--config", str(part.config_file)]
    return forks.Headrace(command, stdout=subprocess.DEVNULL)


def replay_and_kill(pipeline: Pipeline, part: Part) -> None:
    """Kill a replay once something more is there, if it has not ended by then."""
    before, process = pipeline.end("orders"), replaying(part)
    try:
        deadline = time.monotonic() + 30
        while pipeline.end("orders") == before and process.poll() is None:
            assert time.monotonic() < deadline, "nothing is replayed"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_lines_that_are_replayed_through_kills_and_changes_land_once_and_are_rejected_no_more(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("orders")
        ids = [str(n) if n % 3 else f'"a{n}"' for n in range(LINES)]
        (tmp_path / "orders.log").write_text("".join(f'{{"id": {each}}}\n' for each in ids))
        first = agent(pipeline, tmp_path, id_="long").start(wait=False)
        assert first.wait() == 0, first.log_tail()
        pipeline.load_once()
        for number in range(KILLS):
            types = ["long", "string"] if number % 2 else ["string", "long"]
            replay_and_kill(pipeline, agent(pipeline, tmp_path, id_=types))
        assert replaying(agent(pipeline, tmp_path, id_=["long", "string"])).wait(60) == 0
        assert not list((tmp_path / "agent" / "rejected").iterdir())
        last = agent(pipeline, tmp_path, id_=["long", "string"]).start(wait=False)
        assert last.wait() == 0, last.log_tail()
        pipeline.load_once(incompatible="columns")
        root = pipeline.root
        rows = pipeline.rows("orders")
        pipeline.assert_sound()
    assert len(rows) == LINES
    landed = [
        str(value).strip('"') for row in rows for name, value in row.items() if not name.startswith("_") and value is not None
    ]
    assert sorted(landed) == sorted(each.strip('"') for each in ids)
    status, told = headrace("audit", "--wait", "--timeout", "0", root=root)
    assert status == 0, told
    assert sum(row["rejected"] or 0 for row in told) == 0
