"""`headrace agent state`: what is remembered, whether it holds, and forgetting."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.agents.effects import Save
from headrace.agents.events.pipeline import AUTO
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.state import AgentState
from headrace.agents.tail.identity import digest, running_hash
from headrace.agents.tail.strangers import MOST_OPENED
from headrace.cli import main

MOMENT_MS = 1_790_000_000_000


def stream(file: Path, stream_id: str, *, position: int) -> StreamRow:
    """The row of a stream that is acknowledged up to a position."""
    data, status = file.read_bytes(), file.stat()
    read = data[:position]
    return StreamRow(
        stream_id, "app", 0, "h", file.stem, str(file), str(file), status.st_dev, status.st_ino, 0,
        position=position, crc=running_hash(read, 0), guard=digest(read[-256:]), head=digest(read[:1024]),
        head_bytes=len(read[:1024]), size_seen=len(data), complete_ms=MOMENT_MS,
    )  # fmt: skip


def chunk(file: Path, stream_id: str, start: int, end: int) -> ChunkRow:
    return ChunkRow(stream_id, start, end, start, start, MOMENT_MS, AUTO, 1000, digest(file.read_bytes()[start:end]))


def remembered(directory: Path, *streams: StreamRow, chunks: tuple[ChunkRow, ...] = ()) -> None:
    directory.mkdir(exist_ok=True)
    state = AgentState(directory, machine_id="m", host="h", new_agent_id="agent-1")
    state.apply([Save(streams, chunks)])
    state.close()


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[dict[str, Any]]:
    """What a command prints as JSON, after it ended with that status."""
    capsys.readouterr()
    assert main(["agent", "state", *words, "--format", "json"]) == status, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def verified(capsys: pytest.CaptureFixture[str], directory: Path, status: int = 0, **more: str) -> dict[str, str]:
    words = [word for name, value in more.items() for word in (f"--{name}", value)] or ["--state-dir", str(directory)]
    return {os.path.basename(row["path"]): row["state"] for row in said(capsys, "verify", *words, status=status)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "a.log"
    file.write_bytes(b"".join(b"line %d\n" % number for number in range(300)))
    return file


def test_an_archive_is_counted_by_what_it_holds(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "a.log.1.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    own, size = packed.stat(), log.stat().st_size
    row = replace(stream(log, "s1", position=size), path=str(packed), device=own.st_dev, inode=own.st_ino)
    remembered(tmp_path / "state", row)
    (row_told,) = said(capsys, "list", "--state-dir", str(tmp_path / "state"))
    assert (row_told["position"], row_told["size"], row_told["behind"]) == (size, size, 0)


def test_list_tells_of_each_stream_how_far_it_is(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remembered(tmp_path / "state", stream(log, "s1", position=70))
    with log.open("ab") as file:
        file.write(b"more\n")
    (row,) = said(capsys, "list", "--state-dir", str(tmp_path / "state"))
    size = log.stat().st_size
    assert (row["position"], row["size"], row["behind"], row["state"]) == (70, size, size - 70, "goes on")
    assert row["last_complete"] == "2026-09-21T14:13:20+00:00"


def test_a_table_shows_as_much_of_an_id_as_forget_takes(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remembered(tmp_path / "state", stream(log, "0123456789abcdef", position=70))
    assert main(["agent", "state", "list", "--state-dir", str(tmp_path / "state")]) == 0
    head, _, row, last = capsys.readouterr().out.splitlines()
    assert "begin" not in head  # which no stream has
    assert row.rstrip().endswith("  2026-09-21 14:13:20  01234567")
    assert last.startswith("1 stream of files, 0 spools; agent ")


def test_verify_says_what_a_start_would_make_of_each_file(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("goes", "repeats", "left", "gone", "truncated", "rewritten")
    files = {name: tmp_path / f"{name}.log" for name in names}
    for file in files.values():
        file.write_bytes(log.read_bytes())
    log.unlink()
    state = tmp_path / "state"
    rows = [stream(files[name], name, position=70) for name in names]
    remembered(state, *rows, chunks=(chunk(files["repeats"], "repeats", 70, 80),))
    files["left"] = files["left"].rename(tmp_path / "left.txt")
    files["gone"].rename(tmp_path / "gone.txt")  # unlinked, its inode might be that of new.log
    os.truncate(files["truncated"], 0)
    files["rewritten"].write_bytes(b"x" * 5000)
    (tmp_path / "new.log").write_bytes(b"one\n")
    config = tmp_path / "agent.yaml"
    section = {"agent": {"state_dir": str(state)}, "kafka": {"bootstrap.servers": "b:1"}, "registry": "http://127.0.0.1:1"}
    config.write_text(yaml.safe_dump({**section, "inputs": [{"tail": [str(tmp_path / "*.log")], "topic": "app"}]}))
    found = said(capsys, "verify", "--config", str(config), status=1)
    states = {(row["stream_id"], os.path.basename(row["path"]), row["state"], row["wrong"]) for row in found}
    assert states == {
        ("goes", "goes.log", "goes on", False),
        ("repeats", "repeats.log", "repeats", False),
        ("left", "left.log", "gone", True),
        ("gone", "gone.log", "gone", True),
        ("truncated", "truncated.log", "changed", True),
        ("rewritten", "rewritten.log", "changed", True),
        (None, "truncated.log", "new", False),
        (None, "rewritten.log", "new", False),
        (None, "new.log", "new", False),
    }
    assert said(capsys, "verify", "--config", str(config), status=1) == found, "it changed nothing"


def test_verify_finds_a_file_that_was_rotated_and_one_whose_chunk_on_its_way_is_not_there_any_more(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    remembered(state, stream(log, "s1", position=70), chunks=(chunk(log, "s1", 70, 80),))
    rotated = log.rename(tmp_path / "a.log.1")
    assert verified(capsys, state) == {"a.log.1": "repeats"}
    data = bytearray(rotated.read_bytes())
    data[75] ^= 1
    rotated.write_bytes(data)
    assert verified(capsys, state, status=1) == {"a.log.1": "changed"}


def test_verify_looks_into_more_files_than_one_look_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    streams = []
    for number in range(MOST_OPENED + 100):
        file = tmp_path / f"{number}.log"
        file.write_bytes(b"line %d\n" % number)
        streams.append(stream(file, f"s-{number}", position=file.stat().st_size))
    remembered(tmp_path / "agent", *streams)
    assert set(verified(capsys, tmp_path / "agent").values()) == {"goes on"}


def test_a_file_of_an_input_that_is_no_more_is_left(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    remembered(state, stream(log, "s1", position=70))
    config = tmp_path / "agent.yaml"
    section = {"agent": {"state_dir": str(state)}, "kafka": {"bootstrap.servers": "b:1"}, "registry": "http://127.0.0.1:1"}
    config.write_text(yaml.safe_dump({**section, "inputs": [{"tail": ["/nowhere/*.log"], "topic": "app"}]}))
    assert verified(capsys, state, config=str(config)) == {"a.log": "left"}


def test_forget_takes_ids_beginnings_of_ids_and_globs_of_paths(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    ids = ("aaaaaaaa-1", "bbbbbbbb-2", "cccccccc-3", "dddddddd-4")
    for name in ids:
        (tmp_path / f"{name}.log").write_bytes(log.read_bytes())
    rows = [stream(tmp_path / f"{name}.log", name, position=70) for name in ids]
    remembered(state, *rows, chunks=(chunk(tmp_path / "aaaaaaaa-1.log", "aaaaaaaa-1", 70, 80),))
    words = ["aaaaaaaa-1", "bbbbbbbb", str(tmp_path / "c*.log")]
    gone = said(capsys, "forget", "--state-dir", str(state), "--yes", *words)
    assert {row["stream_id"] for row in gone} == set(ids[:3])
    assert [row["stream_id"] for row in said(capsys, "list", "--state-dir", str(state))] == ["dddddddd-4"]
    opened = AgentState(state, machine_id="m", host="h", new_agent_id="agent-2")
    assert (opened.agent_id, opened.chunks()) == ("agent-1", [])
    opened.close()


def test_forget_needs_somebody_to_say_yes_and_a_stream_that_there_is(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    remembered(state, stream(log, "aaaaaaaa-1", position=70))
    assert main(["agent", "state", "forget", "--state-dir", str(state), "aaaaaaaa-1"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["agent", "state", "forget", "--state-dir", str(state), "--yes", "aaaa"]) == 2
    assert "no stream has that id" in capsys.readouterr().err
    assert len(said(capsys, "list", "--state-dir", str(state))) == 1


def test_while_the_agent_runs_its_state_is_read_and_not_changed(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    remembered(state, stream(log, "aaaaaaaa-1", position=70))
    running = AgentState(state, machine_id="m", host="h", new_agent_id="agent-2")
    running.apply([Save((stream(log, "bbbbbbbb-2", position=140),))])
    assert {row["position"] for row in said(capsys, "list", "--state-dir", str(state))} == {70, 140}
    assert main(["agent", "state", "forget", "--state-dir", str(state), "--yes", "aaaaaaaa-1"]) == 2
    assert "an agent runs on this state" in capsys.readouterr().err
    running.close()


def test_a_directory_without_a_state_and_a_damaged_one_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "state", "list", "--state-dir", str(tmp_path)]) == 2
    assert "no agent's state is there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / "agent.db").write_bytes(b"not SQLite at all" * 100)
    assert main(["agent", "state", "list", "--state-dir", str(tmp_path)]) == 1
    assert "agent.db" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_shown_without_harm(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\x1b[31m.log"))
    file.write_bytes(log.read_bytes())
    remembered(tmp_path / "state", stream(file, "s1", position=70))
    assert main(["agent", "state", "list", "--state-dir", str(tmp_path / "state")]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown
    assert "\\udcff\\x1b[31m.log" in shown
