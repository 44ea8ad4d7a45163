"""The exec input: real commands, on a loop; what they write is taken in, and nothing of them is left behind."""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.sources.children import Groups
from headrace.agents.sources.exec import ExecSource
from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.keys import ExecKeys
from headrace.clock import SystemClock
from headrace.errors import UsageError
from tests.waiting import until


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Collected:
    """Lines that were put; `enough` lets a test go on once they are there."""

    cursor = ""
    full = False

    def __init__(self) -> None:
        self.pushed: list[Pushed] = []
        self.has_begun = 0
        self._news = asyncio.Event()

    def began(self) -> None:
        self.has_begun += 1

    async def put(self, lines: Sequence[Pushed]) -> None:
        self.pushed.extend(lines)
        self._news.set()

    async def until(self, condition: Callable[["Collected"], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    @property
    def lines(self) -> list[bytes]:
        return [each.line for each in self.pushed]


def source(*command: str, once: bool = False, **keys: Any) -> ExecSource:
    return ExecSource(
        "it",
        ExecKeys.model_validate({"command": list(command), **keys}),
        SystemClock(),
        Groups(Path("/dev/null/nowhere")),
        once=once,
    )


def is_gone(pid: int) -> bool:
    """Whether a process that was killed is, soon."""
    until = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.asynccontextmanager
async def running(of: ExecSource, collected: Collected) -> AsyncIterator[None]:
    task = asyncio.create_task(of.run(collected))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@on_a_loop
async def test_lines_of_both_streams_are_taken_in_and_say_which() -> None:
    collected = Collected()
    await source("sh", "-c", "echo out; echo err >&2; printf 'no newline'", once=True, stderr="input").run(collected)
    assert sorted((each.line, each.fields["stream"]) for each in collected.pushed) == [
        (b"err", "stderr"), (b"no newline", "stdout"), (b"out", "stdout"),
    ]  # fmt: skip
    assert {each.source for each in collected.pushed} == {"exec:sh"}


@on_a_loop
async def test_arguments_are_handed_over_as_they_are_without_a_shell() -> None:
    collected = Collected()
    await source("printf", "%s\\n", "$HOME; echo * | cat", once=True).run(collected)
    assert collected.lines == [b"$HOME; echo * | cat"]


@on_a_loop
async def test_a_command_that_ends_is_started_again() -> None:
    collected = Collected()
    async with running(source("sh", "-c", "echo $$", restart_s=0.1), collected):
        await collected.until(lambda it: len(it.lines) >= 3)
    assert len(set(collected.lines)) == len(collected.lines)


@on_a_loop
async def test_a_run_that_takes_too_long_is_ended_with_its_group_and_what_it_wrote_counts() -> None:
    collected = Collected()
    script = "echo $$; sleep 1000 & echo $!; trap '' TERM; wait"
    async with running(source("sh", "-c", script, mode="every", interval_s=0.3), collected):
        await collected.until(lambda it: len(it.lines) >= 4)
    for line in collected.lines:
        assert is_gone(int(line))


@on_a_loop
async def test_what_a_command_leaves_running_in_its_group_ends_with_it() -> None:
    collected = Collected()
    async with asyncio.timeout(30):
        await source("sh", "-c", "sleep 1000 & echo $!", once=True).run(collected)
    assert is_gone(int(collected.lines[0]))


@on_a_loop
async def test_a_stop_ends_the_group_and_keeps_what_it_writes_at_its_end() -> None:
    collected = Collected()
    script = "trap 'echo last words; exit' TERM; echo $$; while :; do sleep 0.05; done"
    async with running(source("sh", "-c", script), collected):
        await collected.until(lambda it: bool(it.lines))
    assert collected.lines[1:] == [b"last words"]
    assert is_gone(int(collected.lines[0]))


@on_a_loop
async def test_a_line_without_end_is_cut_and_memory_stays_bounded() -> None:
    collected = Collected()
    script = "import sys; sys.stdout.write('x' * 5000)"
    await source(sys.executable, "-c", script, once=True, max_line_bytes=1024).run(collected)
    assert [len(line) for line in collected.lines] == [1024] * 4 + [904]


def test_variables_and_folder_are_the_commands(tmp_path: Path) -> None:
    collected = Collected()
    keys = {"environment": {"WHAT": "this"}, "directory": str(tmp_path)}
    asyncio.run(source("sh", "-c", "echo $WHAT; pwd", once=True, **keys).run(collected))
    assert collected.lines == [b"this", os.fsencode(tmp_path.resolve())]


@pytest.mark.parametrize("command", ["/no/such/program", "no-such-program"])
@on_a_loop
async def test_a_program_that_is_not_there_is_an_error_of_the_start(command: str) -> None:
    with pytest.raises(UsageError, match="there is no program"):
        await source(command).run(Collected())


@on_a_loop
async def test_a_folder_that_is_not_there_is_an_error_of_the_start() -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        await source("echo", directory="/no/such/folder").run(Collected())


def that_leaves(folder: Path, what: str) -> str:
    """A script that ends once a process of its own is in a session of its own, tells its number, and becomes `what`."""
    return f"setsid sh -c 'echo $$; : > {folder}/left; exec {what}' & until [ -e {folder}/left ]; do sleep 0.01; done"


@on_a_loop
async def test_a_process_that_has_left_the_group_and_holds_the_pipe_keeps_no_run_from_ending(tmp_path: Path) -> None:
    collected = Collected()
    async with asyncio.timeout(30):
        await source("sh", "-c", f"echo before; {that_leaves(tmp_path, 'sleep 1000')}", once=True).run(collected)
    before, left = collected.lines
    assert before == b"before"
    assert is_alive(int(left)), "a daemon is nobody's to end"
    os.kill(int(left), signal.SIGKILL)


@on_a_loop
async def test_one_that_has_left_and_writes_for_ever_keeps_none_from_ending_either(tmp_path: Path) -> None:
    collected = Collected()
    async with asyncio.timeout(30):
        await source("sh", "-c", that_leaves(tmp_path, "yes"), once=True).run(collected)
    assert is_gone(int(collected.lines[0])), "its pipe is broken"


def test_what_a_dead_agent_left_is_ended_by_the_next_one_and_no_strangers_are(tmp_path: Path) -> None:
    groups = Groups(tmp_path / "commands")

    def begun(**environment: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["sleep", "1000"], start_new_session=True, env={**os.environ, **environment})

    mark = groups.new_mark()
    left, stranger = begun(HEADRACE_COMMAND=mark), begun()
    until(lambda: mark.encode() in Path(f"/proc/{left.pid}/environ").read_bytes())  # the kernel is done with its exec
    groups.began(left.pid, mark)
    groups.began(stranger.pid, groups.new_mark())  # its number was another's once
    groups.began(2**22 + 1, mark)  # no such process
    (tmp_path / "commands" / "notes").write_text("not ours")
    try:
        Groups(tmp_path / "commands").end_left()
        assert left.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
        assert [file.name for file in (tmp_path / "commands").iterdir()] == ["notes"]
    finally:
        for each in (left, stranger):
            each.kill()
            each.wait()
