"""What `validate` and `state` say of directories of dropped files."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.agents.directory.folder import Folder
from headrace.agents.directory.hands import dropped_stat
from headrace.agents.effects import Input, Now, Save
from headrace.agents.operate.own_output import OwnOutput
from headrace.agents.operate.validate_directory import folders_of
from headrace.agents.rows import Dropped, StreamRow
from headrace.agents.state import AgentState
from headrace.agents.tail.identity import digest, running_hash
from headrace.cli import main
from tests.unit.agents.operate.test_validate import not_root

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    return place


@pytest.fixture
def ask(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Give one command of the agent with that folder as its input, and return what it prints as JSON."""

    def run(*words: str, status: int = 0, inputs: list[dict[str, Any]] | None = None, **more: Any) -> list[dict[str, Any]]:
        config = {
            "agent": {"state_dir": str(tmp_path / "state")},
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "registry": "http://127.0.0.1:1",
            "inputs": inputs or [{"directory": {"path": str(folder), **more}, "topic": "app"}],
        }
        file = tmp_path / "agent.yaml"
        file.write_text(yaml.safe_dump(config))
        capsys.readouterr()
        assert main(["agent", *words, "--config", str(file), "--format", "json"]) == status, capsys.readouterr().err
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def found(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["severity"], each["what"]) for each in told[:-1]]


def test_a_folder_that_is_ours_is_valid_and_nothing_in_it_is_touched(folder: Path, ask: Ask) -> None:
    (folder / "a").write_bytes(b"one\n")
    (folder / "b.tmp").write_bytes(b"two\n")
    told = ask("validate", when_done="delete")
    assert told == [{"valid": True, "inputs": [{"where": "inputs.0", "topic": "app", "files": 1, "bytes": 4}]}]
    assert {each.name for each in folder.iterdir()} == {"a", "b.tmp"}


@pytest.mark.parametrize("when_done", ["rename", "delete"])
def test_a_right_that_is_wanting_is_an_error_before_anything_is_shipped(folder: Path, when_done: str) -> None:
    own, how = OwnOutput(frozenset(), "/nowhere"), Folder(str(folder), Input("app"), when_done=when_done)
    for parent in folder.parents:  # so that whoever is not root gets there
        if not (mode := parent.stat().st_mode) & 0o001:
            parent.chmod(mode | 0o111)

    def told() -> list[tuple[str, str]]:
        with not_root():
            return [(each.severity, each.what) for each in folders_of([("inputs.0", how)], own, Now(0, 0))[1]]

    folder.chmod(0o555)
    assert told() == [("error", f"when_done: {when_done}, and {folder} is not ours to write")]
    folder.chmod(0o777)
    assert told() == []
    folder.chmod(0o1777)
    sticky = [("error", f"when_done: {when_done}, and {folder} is sticky: only a file's owner may {when_done} it")]
    assert told() == (sticky if os.geteuid() == 0 else [])


def test_what_is_not_shipped_is_said(folder: Path, ask: Ask) -> None:
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "a.zst").write_bytes(b"x")
    old = folder / "b.part"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    told = {what.split(":")[0]: severity for severity, what in found(ask("validate"))}
    assert told == {
        "1 files are compressed in a way that is not read here": "warning",
        f"1 folders in {folder} are not looked into": "note",
        "1 symbolic links are not followed": "warning",
        "1 files have names of unfinished ones, and have not changed for an hour": "warning",
    }
    twice = {"directory": str(folder), "topic": "app"}
    assert ("error", f"{folder} is inputs.0's, too") in [
        (severity, what.split(": ")[0]) for severity, what in found(ask("validate", inputs=[twice, twice], status=2))
    ]


def row(file: Path, state: str, *, position: int | None = None) -> StreamRow:
    """The row of a dropped file, named by its name."""
    data, stat = file.read_bytes(), dropped_stat(str(file))
    assert stat is not None
    read = data if position is None else data[:position]
    return StreamRow(
        file.name, "app", 0, "h", file.stem, str(file), str(file), *stat.key, stat.birth_ns,
        position=len(read), crc=running_hash(read, 0), guard=digest(read[-256:]), head=digest(read[:1024]),
        head_bytes=len(read[:1024]), size_seen=len(data), complete_ms=1_790_000_000_000,
        dropped=Dropped(stat.size, stat.mtime_ns, state),
    )  # fmt: skip


def test_state_says_of_each_file_how_it_stands_and_what_a_start_would_do(tmp_path: Path, folder: Path, ask: Ask) -> None:
    names = ("done", "goes", "changed", "grown", "gone", "cut")
    files = {name: folder / name for name in names}
    for file in files.values():
        file.write_bytes(b"one\ntwo\n")
    (tmp_path / "state").mkdir()
    state = AgentState(tmp_path / "state", machine_id="m", host="h", new_agent_id="agent-1")
    stopped = replace(row(files["changed"], "changed"), position=4)
    rows = [row(files[name], "done") for name in ("done", "grown", "gone")]
    rows += [row(files["goes"], "shipping", position=4), row(files["cut"], "shipping", position=4), stopped]
    state.apply([Save(tuple(rows))])
    state.close()
    listed = {each["stream_id"]: (each["state"], each["behind"]) for each in ask("state", "list")}
    assert listed == {
        "done": ("done", 0), "grown": ("done", 0), "gone": ("done", 0), "goes": ("goes on", 4), "cut": ("goes on", 4),
        "changed": ("changed", 4),
    }  # fmt: skip
    with files["grown"].open("ab") as out:
        out.write(b"more\n")
    files["gone"].unlink()
    files["cut"].write_bytes(b"one\n")
    (folder / "new").write_bytes(b"one\n")
    verified = {Path(each["path"]).name: (each["state"], each["wrong"]) for each in ask("state", "verify", status=1)}
    assert verified == {
        "done": ("done", False), "grown": ("changed", True), "gone": ("gone", False), "goes": ("goes on", False),
        "cut": ("changed", True), "changed": ("changed", False), "new": ("new", False),
    }  # fmt: skip


def test_a_table_says_the_same(tmp_path: Path, folder: Path, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a").write_bytes(b"one\n")
    (tmp_path / "state").mkdir()
    state = AgentState(tmp_path / "state", machine_id="m", host="h", new_agent_id="agent-1")
    state.apply([Save((row(folder / "a", "done"),))])
    state.close()
    ask("state", "verify")
    for verb in ("list", "verify"):
        assert main(["agent", "state", verb, "--config", str(tmp_path / "agent.yaml")]) == 0
        assert "done" in capsys.readouterr().out
