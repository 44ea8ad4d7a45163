"""`headrace agent state` of spools: how much is in them, how old it is, whether it can be read; nothing of them changes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.effects import Input, Save
from headrace.agents.rows import StreamRow
from headrace.agents.sources.intake import Pushed
from headrace.agents.spool.frames import encode_frame
from headrace.agents.spool.spools import Spool, Spools, Wanted
from headrace.agents.state import AgentState
from headrace.cli import main

MOMENT_MS = 1_790_000_000_000


class Agent:
    """A state directory with one spool, and what its stream has shipped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        wanted = {"sys": Wanted("sys", Input("logs", name="sys"), 1 << 20)}
        self.spools = Spools(directory / "spool", wanted, position=lambda _: 0, least_end=lambda _: 0)
        self.remember()

    @property
    def spool(self) -> Spool:
        return self.spools.by_input["sys"]

    def put(self, *lines: bytes, at_ms: int = MOMENT_MS) -> None:
        """A frame."""
        pushed = [Pushed(line, at_ms, "test:") for line in lines]
        self.spool.log.append(encode_frame(self.spool.identity.mark, self.spool.log.end, pushed, service="app"), "")

    def remember(self, position: int = 0) -> None:
        state = AgentState(self.directory, machine_id="m", host="h", new_agent_id="agent-1")
        row = StreamRow(
            "s1", "logs", 0, "h", "", self.spool.path, self.spool.path, 0, 0, 0, position=position, shipped_to=position,
            head=self.spool.identity.spool_id, size_seen=self.spool.log.end, complete_ms=MOMENT_MS,
        )  # fmt: skip
        state.apply([Save((row,), ())])
        state.close()

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.directory.rglob("*.spool")}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "state")
    yield made
    made.spools.close()


def said(capsys: pytest.CaptureFixture[str], verb: str, agent: Agent, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    words = ["agent", "state", verb, "--state-dir", str(agent.directory), "--format", "json"]
    assert main(words) == status, capsys.readouterr().err
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    return dict(row)


def test_list_tells_how_much_is_behind_how_old_it_is_and_what_it_takes_of_the_disk(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.put(b"one", b"two")
    agent.put(b"three", at_ms=MOMENT_MS + 60_000)
    agent.remember(position=8)
    row = said(capsys, "list", agent)
    assert (row["path"], row["topic"], row["stream_id"]) == ("spool:sys@logs", "logs", "s1")
    assert (row["position"], row["size"], row["behind"], row["frames"], row["state"]) == (8, 14, 6, 2, "goes on")
    assert row["oldest"] == "2026-09-21T14:14:20+00:00"
    assert row["disk_bytes"] == sum(map(len, agent.files().values()))
    agent.remember(position=14)
    assert (said(capsys, "list", agent)["behind"], said(capsys, "list", agent)["oldest"]) == (0, None)


@pytest.mark.parametrize("acknowledged", [True, False])
def test_verify_finds_a_byte_that_has_changed_where_it_is_still_to_be_shipped(
    agent: Agent, capsys: pytest.CaptureFixture[str], *, acknowledged: bool
) -> None:
    agent.put(b"one")
    agent.put(b"two")
    agent.put(b"three")
    assert said(capsys, "verify", agent)["state"] == "goes on"
    (file,) = agent.directory.rglob("*.spool")
    data = file.read_bytes()
    at = data.index(b"two")
    file.write_bytes(data[:at] + b"x" + data[at + 1 :])
    agent.remember(position=8 if acknowledged else 4)
    before = agent.files()
    row = said(capsys, "verify", agent, status=0 if acknowledged else 1)
    assert (row["state"], row["wrong"]) == (("goes on", False) if acknowledged else ("damaged", True))
    assert acknowledged or "4 bytes of lines before 8 cannot be read" in row["why"]
    assert agent.files() == before


def test_what_a_crash_tore_at_the_end_is_no_damage(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.put(b"one")
    (file,) = agent.directory.rglob("*.spool")
    with file.open("ab") as torn:
        torn.write(agent.spool.identity.mark + b"half of a frame")
    before = agent.files()
    assert said(capsys, "verify", agent)["state"] == "goes on"
    assert agent.files() == before


def test_a_spool_that_is_gone_with_lines_that_were_not_shipped_is_wrong(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.put(b"one")
    agent.remember(position=0)
    folder = next((agent.directory / "spool").iterdir())
    folder.rename(agent.directory / "elsewhere")
    assert said(capsys, "verify", agent, status=1)["state"] == "gone"
    (agent.directory / "elsewhere").rename(folder)
    (folder / "spool.json").write_text("{")
    assert "damaged" in said(capsys, "verify", agent, status=1)["why"]


def test_a_spool_can_be_forgotten_by_its_name(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.put(b"one")
    words = ["agent", "state", "forget", "spool:sys@*", "--state-dir", str(agent.directory), "--yes"]
    assert main(words) == 0, capsys.readouterr().err
    row = said(capsys, "list", agent)
    assert (row["stream_id"], row["behind"]) == (None, 4)
