"""An agent never ships what it writes itself."""

import os
from pathlib import Path

from headrace.agents.effects import Input, Now
from headrace.agents.operate.own_output import Others, OwnOutput
from headrace.agents.tail.files import Globs
from headrace.agents.tail.listing import Listings


def shipped(tmp_path: Path, own: OwnOutput) -> list[str]:
    globs = Globs((str(tmp_path / "**" / "*.log"), str(tmp_path / "state" / "**")), (), Input("app"))
    listing = Listings([globs], Others(own).writes).take(set(), (), Now(1, 2))
    return sorted(os.path.relpath(seen.path, tmp_path) for seen in listing.files)


def test_its_own_log_is_left_out_by_every_name_and_so_is_its_state(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"theirs\n")
    own = tmp_path / "agent.log"
    own.write_bytes(b"ours\n")
    (tmp_path / "link.log").symlink_to(own)
    os.link(own, tmp_path / "hard.log")
    (tmp_path / "state" / "rejected").mkdir(parents=True)
    (tmp_path / "state" / "rejected" / "app.jsonl").write_bytes(b"{}\n")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "state")
    (tmp_path / "state-of-others.log").write_bytes(b"theirs\n")
    status = own.stat()
    found = shipped(tmp_path, OwnOutput(frozenset({(status.st_dev, status.st_ino)}), str(tmp_path / "state")))
    assert found == ["app.log", "state-of-others.log"]


def test_a_process_knows_the_files_that_it_writes_its_log_to(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    before = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            own = OwnOutput.of_process(tmp_path / "state")
        finally:
            os.dup2(before, 2)
            os.close(before)
    assert (log.stat().st_dev, log.stat().st_ino) in own.files


def test_a_link_into_the_state_is_the_state(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "a.log").write_bytes(b"{}\n")
    (tmp_path / "b.log").symlink_to(tmp_path / "state" / "a.log")
    assert shipped(tmp_path, OwnOutput(frozenset(), str(tmp_path / "state"))) == []
