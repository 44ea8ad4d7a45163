"""A real terminal, as a pseudo-terminal, that a real loader and `headrace lag` write to."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.sinks.pipeline import Pipeline

ROWS, COLUMNS = 12, 90
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("progress")) as one:
        for number in range(20):
            one.create_topic(f"topic-{number:02}")
            one.produce(f"topic-{number:02}", (b"%d" % n for n in range(30 + number)))
        yield one


class Terminal:
    """The other end of a terminal: what has been written to it."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor, self.process = descriptor, process
        self.written = ""

    def read_until(self, holds: Callable[[str], bool], timeout_s: float = 30) -> str:
        """Everything so far, once that holds or the terminal is closed."""
        deadline = time.monotonic() + timeout_s
        while not holds(self.written):
            assert time.monotonic() < deadline, self.written
            if select.select([self._descriptor], [], [], 0.2)[0]:
                try:
                    data = os.read(self._descriptor, 65536)
                except OSError:  # the last who held it has closed it
                    break
                self.written += data.decode()
        return self.written


@contextmanager
def in_terminal(command: str, config: Path, *arguments: str, **environment: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    whole = [sys.executable, "-m", "headrace", command, "--config", str(config), *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        whole, stdin=theirs, stdout=theirs, stderr=theirs, env={**inherited, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def frames(written: str) -> list[list[str]]:
    """What each drawing showed, without colours; between two of them the cursor goes up."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written).replace(HIDE_CURSOR, "").replace(SHOW_CURSOR, "")
    return [frame.split("\r\n") for frame in re.split(r"(?:\r|\x1b\[2K|\x1b\[1A)+(?=[^\r\n])", plain)]


def test_once_draws_bars_that_fit_and_leaves_the_last_behind(pipeline: Pipeline) -> None:
    config = pipeline.loader(root=str(pipeline.directory / "bars")).config_file
    with in_terminal("load", config, "--once") as terminal:
        written = terminal.read_until(lambda _: False)
        assert terminal.process.wait(30) == 0, written
    total = sum(30 + number for number in range(20))
    assert f"{total:,} of {total:,} offsets read, {total:,} landed" in written
    assert "more topics:" in written
    assert "━" in written
    assert written.index(HIDE_CURSOR) < written.rindex(SHOW_CURSOR)
    assert '"msg": "landed"' not in written
    drawings = frames(written)
    assert len(drawings) > 1
    assert max(len([text for text in frame if text.strip()]) for frame in drawings) <= ROWS


def test_what_is_wrong_is_shown_above_the_bars(pipeline: Pipeline, tmp_path: Path) -> None:
    root = tmp_path / "landed"
    root.mkdir()
    (root / "topic-03").write_text("in the way")
    config = pipeline.loader(root=str(root), topics=["topic-0.*"]).config_file
    with in_terminal("load", config, "--once") as terminal:
        written = terminal.read_until(lambda _: False)
        assert terminal.process.wait(30) == 1, written
    assert '"level": "warning"' in written
    assert SHOW_CURSOR in written
    assert "headrace load: " in written.splitlines()[-1]


def test_a_loader_without_an_end_keeps_one_line_and_takes_it_away_when_it_is_told_to_stop(pipeline: Pipeline) -> None:
    config = pipeline.loader(root=str(pipeline.directory / "line"), rotate={"age": "200ms"}).config_file
    with in_terminal("load", config) as terminal:
        terminal.read_until(lambda written: "20 topics, 20 partitions" in written and "last commit" in written)
        terminal.process.send_signal(signal.SIGINT)
        written = terminal.read_until(lambda _: False)
        assert terminal.process.wait(30) == 0
    assert written.rstrip("\r\n").endswith("\x1b[2K") or written.rindex("\x1b[2K") > written.rindex("partitions")
    assert SHOW_CURSOR in written


def test_a_terminal_that_can_do_nothing_gets_the_log(pipeline: Pipeline) -> None:
    config = pipeline.loader(root=str(pipeline.directory / "dumb"), topics=["topic-00"]).config_file
    with in_terminal("load", config, "--once", TERM="dumb") as terminal:
        written = terminal.read_until(lambda _: False)
        assert terminal.process.wait(30) == 0, written
    assert "\x1b" not in written
    assert {json.loads(text)["level"] for text in written.splitlines()} == {"info"}


def test_lag_is_watched_on_a_screen_of_its_own_that_ctrl_c_leaves(pipeline: Pipeline) -> None:
    config = pipeline.loader(root=str(pipeline.directory / "watched")).config_file
    with in_terminal("lag", config, "--watch", "0.1") as terminal:
        first = terminal.read_until(lambda written: "have not landed" in written)
        assert "20 topics, 20 partitions: 790 offsets have not landed" in re.sub(r"\x1b\[[0-9;]*m", "", first)
        assert "more are better off" in first
        pipeline.produce("topic-00", [b"one more"])
        terminal.read_until(lambda written: "791 offsets" in re.sub(r"\x1b\[[0-9;]*m", "", written))
        terminal.process.send_signal(signal.SIGINT)
        written = terminal.read_until(lambda _: False)
        assert terminal.process.wait(30) == 0
    assert written.index("\x1b[?1049h") < written.index("have not landed") < written.rindex("\x1b[?1049l")
