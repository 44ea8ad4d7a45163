"""The processes that tests begin by a fork (tests/forks.py) are what the command line would have begun."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import forks
from tests.processes import AFRESH, Part, broker


@pytest.mark.parametrize(
    ("words", "status"),
    [("config reference", 0), ("files orders", 2), ("files", 2), ("nonsense", 2), ("agent --config none.yaml", 2),
     ("query --data nowhere", 2)],
)  # fmt: skip
def test_words_environment_folder_and_streams_are_the_commands_own(tmp_path: Path, words: str, status: int) -> None:
    asked = {"env": {**os.environ, "HEADRACE_DATA": "some"}, "cwd": tmp_path, "capture_output": True, "text": True}
    command = [*forks.PREFIX, *words.split()]
    executed = subprocess.run(command, check=False, **asked)
    forked = forks.run(command, **asked)
    assert (forked.returncode, forked.stdout, forked.stderr) == (executed.returncode, executed.stdout, executed.stderr)
    assert executed.returncode == status


def parent_of(part: Part) -> int:
    return int(Path(f"/proc/{part.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def is_forked(part: Part) -> bool:
    return b"tests.forks" in Path(f"/proc/{part.pid}/cmdline").read_bytes()


def test_a_part_is_our_child_is_killed_stopped_and_waited_for_and_holds_what_it_would_have_open(tmp_path: Path) -> None:
    part, afresh = broker(tmp_path / "forked").start(), broker(tmp_path / "afresh").start(under=AFRESH)
    assert (is_forked(part), is_forked(afresh)) == (True, False)
    assert parent_of(part) == parent_of(afresh) == os.getpid()
    opened = [[link.readlink() for link in Path(f"/proc/{each.pid}/fd").iterdir()] for each in (part, afresh)]
    assert len(opened[0]) == len(opened[1])
    assert (part.stop(), afresh.stop()) == (0, 0)
    assert part.start().kill() == -signal.SIGKILL
