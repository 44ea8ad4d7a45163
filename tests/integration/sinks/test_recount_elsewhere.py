"""`headrace audit --recount` reads tables where they lie: on HDFS and S3 as on a disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.sinks.stores.roots import open_root
from tests.landed_tables import AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000
AT = T0 + 9_000_000
EVENTS = [Event("a", n * 30, T0 + n * 45_000, message=f"GET /{n} 200") for n in range(60)]


def put(root: str, directory: Path) -> None:
    """Tables that were made on the local disk, put elsewhere."""
    for topic in sorted(path.name for path in directory.iterdir()):
        store = open_root(root).table(topic)
        for path in sorted((directory / topic).rglob("*")):
            if path.is_file():
                file = store.create(str(path.relative_to(directory / topic)))
                file.write(path.read_bytes())
                file.finish()


@pytest.mark.parametrize("kind", ["hdfs-native", "versitygw"])
def test_files_elsewhere_are_counted_again_and_what_is_missing_is_placed(
    kind: str, new_root: Callable[[str], str], tmp_path: Path, capsys: Any
) -> None:
    local = tmp_path / "landed"
    local.mkdir()
    TableWriter(local, "logs").land_events(EVENTS)
    TableWriter(local, "other").land_events([*EVENTS[:30], *EVENTS[31:]], counted=EVENTS)
    AuditWriter(local).land(*announce("logs", EVENTS, AT, acked={0: 60}))
    AuditWriter(local).land(*announce("other", EVENTS, AT, run="r2", acked={0: 59}))
    url = new_root(kind)
    put(url, local)
    assert main(["audit", "--root", url, "--recount", "--topic", "logs", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["state"], row["sent"] == row["recorded"] == row["counted"]) for row in rows} == {("same", True)}
    assert main(["audit", "--root", url, "--recount", "--topic", "other", "--format", "json"]) == 3
    assert "1 event of agent a is missing: stream a-s, positions " in capsys.readouterr().err
