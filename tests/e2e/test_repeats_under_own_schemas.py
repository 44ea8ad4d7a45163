"""Lines under a user's own schema, from an agent that is killed: each lands once, and so does each dead letter."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_agent_schemas_land import ORDER, headrace
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

LINES_A_ROUND, MOST_ROUNDS = 8000, 10
FORMATS = ("parquet", "avro")


def agent(pipeline: Pipeline, directory: Path, *arguments: str) -> Part:
    schema = directory / "order.avsc"
    schema.write_text(json.dumps(ORDER))
    config: dict[str, Any] = {
        "agent": {"state_dir": str(directory / "agent")},
        "kafka": {"bootstrap.servers": pipeline.bootstrap},
        "registry": pipeline.registry_url,
        "topics": {"orders": {"schema": str(schema)}},
        "dead_letter": {"topic": "letters"},
        "inputs": [{"tail": [str(directory / "orders.log")], "topic": "orders", "parse": "json"}],
    }
    return Part("agent", directory, config, *arguments)


def wait_for(pipeline: Pipeline, running: Part, count: int) -> None:
    deadline = time.monotonic() + 30
    while pipeline.end("orders") < count:
        assert time.monotonic() < deadline, running.log_tail()
        time.sleep(0.01)


def ship_with_repeats(pipeline: Pipeline, directory: Path) -> int:
    """Kill agents until something was sent twice, then ship the rest; how many lines there are that fit."""
    file, written = directory / "orders.log", 0
    for _ in range(MOST_ROUNDS):
        with file.open("a") as log:
            for number in range(written, written + LINES_A_ROUND):
                log.write(f'{{"id": {number}, "price": {number}.5}}\n' + ("no JSON\n" if number % 1000 == 0 else ""))
        before, written = written, written + LINES_A_ROUND
        running = agent(pipeline, directory).start()
        wait_for(pipeline, running, before + 1)
        running.kill()
        last = agent(pipeline, directory, "--once").start(wait=False)
        assert last.wait() == 0, last.log_tail()
        if pipeline.end("orders") > written:
            return written
    pytest.fail(f"{MOST_ROUNDS} kills, and nothing was on its way at any")


@pytest.mark.slow
def test_each_line_and_each_dead_letter_lands_once_whatever_the_format(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("orders")
        written = ship_with_repeats(pipeline, tmp_path)
        repeats = pipeline.end("orders") - written
        for format_ in FORMATS:
            root = tmp_path / format_
            half = pipeline.loader(root=str(root), format=format_, rotate={"age": "100ms", "rows": 1000}).start()
            pipeline.root = root
            pipeline.wait_for_rows("orders", 1)
            half.kill()
            pipeline.load_once(root=str(root), format=format_)
            counts = "SELECT count(*) AS n, count(DISTINCT id) AS ids, min(id) AS first, max(id) AS last FROM orders"
            assert headrace("query", counts, root=root)[1] == [{"n": written, "ids": written, "first": 0, "last": written - 1}]
            letters = "SELECT count(*) AS n FROM letters"
            assert headrace("query", letters, root=root)[1] == [{"n": written // 1000}]
            status, rows = headrace("audit", "--wait", "--timeout", "0", root=root)
            assert status == 0, rows
            pipeline.assert_sound(was_killed=True)
            duplicates = sum(
                landed["duplicates"]
                for path in sorted((root / "orders" / "_headrace/log/g000001").glob("*.json"))
                for landed in json.loads(path.read_text())["ranges"]
            )
            assert duplicates == repeats
