"""The exec input: lines that a command writes, run for ever or now and then.

The command is a program and its arguments, without a shell. It gets no input, and a process group of its own: all of it ends
with the source, and with the agent (children.py). It writes as fast as the spool takes lines; what it wrote before it ended, or
was ended, is taken in. A process that has left the group and holds the pipe keeps no run from ending: it is read no more then.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from headrace.agents.sources.children import MARK, Groups, die_with
from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.lines import LineCutter
from headrace.agents.sources.network import together
from headrace.agents.sources.waiting import readable
from headrace.clock import Clock
from headrace.errors import UsageError

if TYPE_CHECKING:
    from headrace.agents.sources.keys import ExecKeys

logger = logging.getLogger(__name__)
_READ_BYTES = 64 * 1024
_MOST_IN_A_PIPE = 1024 * 1024  # pipe(7): as much as any user may ask for
_RESTART_MOST_S = 60.0
_END_S = 3.0  # from SIGTERM to SIGKILL
Take = Callable[[Sequence[bytes]], Awaitable[None]]


class ExecSource(Source):
    """One command.

    Args:
        groups: where running commands are written down.
        once: it is run one time.
    """

    def __init__(self, name: str, keys: "ExecKeys", clock: Clock, groups: Groups, *, once: bool) -> None:
        self._name, self._keys, self._clock, self._groups, self._once = name, keys, clock, groups, once
        self._source = f"exec:{keys.command[0]}"

    async def prepare(self) -> None:
        """See that it can be run.

        Raises:
            UsageError: there is no such program, or folder.
        """
        keys = self._keys
        if shutil.which(keys.command[0], path=self._environment().get("PATH")) is None:
            raise UsageError(f"{self._name}: there is no program {keys.command[0]}; name one that can be run")
        if keys.directory is not None and not keys.directory.is_dir():
            raise UsageError(f"{self._name}: there is no directory {keys.directory}; mend command or directory")

    def become(self, other: "Source") -> bool:
        """Go on as it is, where the other would run the very same."""
        return isinstance(other, ExecSource) and other._keys == self._keys

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._keys.environment}

    async def run(self, intake: Intake) -> None:
        """Run it again and again, until cancelled.

        Raises:
            UsageError: there is no such program, or folder.
        """
        clock, delay_s = asyncio.get_running_loop(), self._keys.restart_s
        while True:
            began_s = clock.time()
            await self._run_one(intake)
            took_s = clock.time() - began_s
            if self._once:
                return
            if self._keys.mode == "every":
                await asyncio.sleep(max(0.0, self._keys.interval_s - took_s))
            else:
                delay_s = self._keys.restart_s if took_s > _RESTART_MOST_S else delay_s
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, max(_RESTART_MOST_S, self._keys.restart_s))

    async def _run_one(self, intake: Intake) -> None:
        """One run, from its start until nothing of it is left and all that it wrote is taken in."""
        with await self._begin() as process:
            intake.began()
            assert process.stdout is not None
            assert process.stderr is not None
            over = asyncio.Event()
            errors = self._log if self._keys.stderr == "log" else self._putter(intake, "stderr")
            taking = [
                asyncio.create_task(self._read(process.stdout.fileno(), over, self._putter(intake, "stdout"))),
                asyncio.create_task(self._read(process.stderr.fileno(), over, errors)),
            ]
            ended = False
            try:
                ended = await self._wait(process)
            finally:
                await _end(process, over, taking, ended=ended)
                self._groups.ended(process.pid)
            for each in taking:
                each.result()
        if process.returncode or (self._keys.mode == "stream" and not self._once):
            logger.warning("a command has ended", extra={"input": self._name, "status": process.returncode})

    async def _begin(self) -> "subprocess.Popen[bytes]":
        keys, mark = self._keys, self._groups.new_mark()
        await self.prepare()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - asyncio's forks here too, and waits for whoever holds its pipes
                keys.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                start_new_session=True, cwd=keys.directory, env={**self._environment(), MARK: mark},
                preexec_fn=die_with(os.getpid()),
            )  # fmt: skip
        except OSError as error:
            raise UsageError(
                f"{self._name}: {keys.command[0]}: {error.strerror or error}; mend command or directory"
            ) from error
        self._groups.began(process.pid, mark)
        return process

    async def _wait(self, process: "subprocess.Popen[bytes]") -> bool:
        """Until the program itself has ended, or has run for too long; whether it has ended."""
        keys = self._keys
        timeout_s = (keys.timeout_s or keys.interval_s) if keys.mode == "every" and not self._once else None
        try:
            async with asyncio.timeout(timeout_s):
                await _exited(process.pid)
        except TimeoutError:
            logger.warning("a command has run for too long, and is ended", extra={"input": self._name, "after_s": timeout_s})
            return False
        return True

    async def _read(self, descriptor: int, over: asyncio.Event, take: Take) -> None:
        """Take in what is written, to its end; what comes next waits in the pipe."""
        cutter = LineCutter(self._keys.max_line_bytes)
        async for data in _pieces(descriptor, over):
            await take(cutter.feed(data))
        await take(cutter.close())

    def _putter(self, intake: Intake, stream: str) -> Take:
        fields = {"stream": stream} if self._keys.stderr == "input" else {}

        async def put(lines: Sequence[bytes]) -> None:
            now_ms = self._clock.wall_ms()
            await intake.put([Pushed(line, now_ms, self._source, fields=fields) for line in lines])

        return put

    async def _log(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            text = line[:1000].decode(errors="backslashreplace")
            logger.warning("a command writes to stderr", extra={"input": self._name, "line": text})


async def _pieces(descriptor: int, over: asyncio.Event) -> AsyncIterator[bytes]:
    """What is written into a pipe, to its end, or once it is `over` to the end of what can be in the pipe by then."""
    os.set_blocking(descriptor, False)
    left = _MOST_IN_A_PIPE
    while left > 0:
        if not over.is_set():
            await together(readable(descriptor), over.wait())
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            if over.is_set():
                return
            continue
        if not data:
            return
        left -= len(data) if over.is_set() else 0
        yield data


async def _exited(pid: int) -> None:
    """Until the program itself has ended; it is not waited for yet, so its number stays its group's."""
    descriptor = os.pidfd_open(pid)
    try:
        await readable(descriptor)
    finally:
        os.close(descriptor)


async def _end(
    process: "subprocess.Popen[bytes]", over: asyncio.Event, taking: Sequence[asyncio.Task[None]], *, ended: bool
) -> None:
    """End the whole group, and take in what it has written."""
    if not ended:
        _signal(process.pid, signal.SIGTERM)
        await asyncio.wait(taking, timeout=_END_S)
    _signal(process.pid, signal.SIGKILL)
    await _exited(process.pid)
    process.wait()
    over.set()
    await asyncio.wait(taking)


def _signal(group: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
