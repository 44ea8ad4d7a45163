"""What keeps tables does so table by table: one that it cannot work on is named, and keeps no other from its turn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.sinks.table import names
from tests.landed_tables import Event, TableWriter

T0 = 1_763_900_400_000
RECORD = names.record_path(1, 0)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def says(change: Callable[[Any], object]) -> Callable[[Path], object]:
    """A record that says something else."""

    def rewrite(path: Path) -> None:
        body = json.loads(path.read_bytes())
        change(body)
        path.write_text(json.dumps(body))

    return rewrite


DAMAGES = {
    "torn": tear,
    "text for a number": says(lambda record: record["ranges"][0].update(end="5")),
    "number for a text": says(lambda record: record["add"][0].update(path=7)),
    "no range": says(lambda record: record.update(ranges=["x"])),
    "hash that is none": says(lambda record: record["audit"][0].update(hash="no number")),
}


@pytest.fixture(params=DAMAGES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three tables, the one in the middle damaged."""
    for topic in ("first", "middle", "other"):
        TableWriter(tmp_path, topic).land_events([Event("a", n * 30, T0 + n) for n in range(5)])
    DAMAGES[request.param](tmp_path / "middle" / RECORD)
    return tmp_path


@pytest.mark.parametrize("command", [["check"], ["check", "--repair"]])
def test_a_check_says_what_is_broken_of_one_table_and_checks_the_others(
    root: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(root), "--format", "json"]) == 1
    found = {report["topic"]: report["state"] for report in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found == {"first": "ok", "middle": "broken", "other": "ok"}


@pytest.mark.parametrize("command", [["compact"], ["expire", "--older-than", "1d"]])
def test_upkeep_of_one_table_that_fails_keeps_no_other_from_its_own(
    root: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--root", str(root), "--format", "json"]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["topic"] for line in said.out.splitlines()] == ["first", "other"]
    assert "table middle: " in said.err
