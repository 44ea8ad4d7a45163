"""Lines under typed schemas and the user's own, shipped by an agent and landed by a loader, asked with SQL."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

ORDER = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}, {"name": "price", "type": "double"}]}
LINES = 300


def headrace(*arguments: str, root: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and rows of a command on the landed tables, with nothing running."""
    command = [*forks.PREFIX, *arguments, "--root", str(root), "--format", "json"]
    done = forks.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def ship(pipeline: Pipeline, directory: Path) -> None:
    """Run an agent once on a web log and a log of orders."""
    logs = directory / "to-ship"
    logs.mkdir()
    (logs / "web.log").write_text(
        "".join(
            f'192.0.2.{n % 9} - - [22/Nov/2026:10:00:{n % 60:02} +0000] "GET /{n} HTTP/1.1" {(200, 404, 500)[n % 3]} {n}\n'
            for n in range(LINES)
        )
        + "not of that format\n"
    )
    (logs / "orders.log").write_text("".join(f'{{"id": {n}, "price": {n}.5}}\n' for n in range(LINES)) + '{"id": "x"}\n')
    schema = directory / "order.avsc"
    schema.write_text(json.dumps(ORDER))
    config = {
        "agent": {"state_dir": str(directory / "agent")},
        "kafka": {"bootstrap.servers": pipeline.bootstrap},
        "registry": pipeline.registry_url,
        "topics": {"web": {"schema": "access"}, "orders": {"schema": str(schema)}},
        "dead_letter": {"topic": "letters"},
        "inputs": [
            {"tail": [str(logs / "web.log")], "topic": "web", "parse": "access"},
            {"tail": [str(logs / "orders.log")], "topic": "orders", "parse": "json"},
        ],
    }
    agent = Part("agent", directory, config, "--once").start(wait=False)
    assert agent.wait() == 0, agent.log_tail()


@pytest.mark.slow
def test_columns_land_as_columns_and_the_audit_of_them_is_complete(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        ship(pipeline, tmp_path)
        pipeline.load_once()
        root = pipeline.root
    counts = "SELECT status, count(*) AS n, sum(bytes) AS size FROM web GROUP BY status ORDER BY status"
    assert headrace("query", counts, root=root)[1] == [
        {"status": 200, "n": 100, "size": 14850}, {"status": 404, "n": 100, "size": 14950},
        {"status": 500, "n": 100, "size": 15050}, {"status": None, "n": 1, "size": None},
    ]  # fmt: skip
    assert headrace("query", "SELECT count(*) AS n, sum(price) AS price, max(id) AS id FROM orders", root=root)[1] == [
        {"n": LINES, "price": sum(range(LINES)) + LINES / 2, "id": LINES - 1}
    ]
    status, rows = headrace("audit", "--wait", "--timeout", "0", root=root)
    assert status == 0, rows
    totals = {
        topic: (sum(row["sent"] or 0 for row in mine), sum(row["rejected"] or 0 for row in mine))
        for topic in ("web", "orders", "letters")
        if (mine := [row for row in rows if row["topic"] == topic])
    }
    assert totals == {"web": (LINES + 1, 0), "orders": (LINES, 1), "letters": (0, 0)}
    assert {row["state"] for row in rows} == {"complete"}
