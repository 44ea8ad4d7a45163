"""The stdin input: lines of the agent's standard input, until its end.

Whoever writes into the pipe waits while the spool takes nothing. What was read when the agent is asked to stop is kept, a line
without its newline too: the pipe cannot be asked for it again.
"""

import os
import stat
from collections.abc import Sequence

from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.lines import LineCutter
from headrace.agents.sources.waiting import readable
from headrace.clock import Clock
from headrace.errors import UsageError

_READ_BYTES = 64 * 1024
_SOURCE = "stdin:"


class StdinSource(Source):
    """One pipe, terminal, socket or file that somebody else opened.

    Args:
        descriptor: 0, but for tests.
        max_line_bytes: a longer line is taken in as several.
    """

    def __init__(self, descriptor: int, *, max_line_bytes: int, clock: Clock) -> None:
        self._descriptor, self._clock = descriptor, clock
        self._cutter = LineCutter(max_line_bytes)

    async def prepare(self) -> None:
        """See that it is there.

        Raises:
            UsageError: there is no standard input.
        """
        self._mode()

    def become(self, other: "Source") -> bool:  # noqa: ARG002 - a pipe cannot be opened again: reload.py lets none change
        """Go on as it is."""
        return True

    def _mode(self) -> int:
        try:
            return os.fstat(self._descriptor).st_mode
        except OSError as error:
            raise UsageError("stdin: it is closed; give the agent a pipe, or remove the input") from error

    async def run(self, intake: Intake) -> None:
        """Take in until the pipe's end.

        Raises:
            UsageError: there is no standard input.
        """
        is_file = stat.S_ISREG(self._mode())
        intake.began()
        try:
            while data := await self._read(is_file=is_file):
                await self._put(intake, self._cutter.feed(data))
        finally:
            await self._put(intake, self._cutter.close())

    async def _put(self, intake: Intake, lines: Sequence[bytes]) -> None:
        now_ms = self._clock.wall_ms()
        await intake.put([Pushed(line, now_ms, _SOURCE) for line in lines])

    async def _read(self, *, is_file: bool) -> bytes:
        """What is there, once something is; nothing at the end. A file is always there, and cannot be waited for."""
        if not is_file:
            await readable(self._descriptor)
        return os.read(self._descriptor, _READ_BYTES)
