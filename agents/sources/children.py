"""Commands that the agent runs: what is left of them when the agent itself is killed.

The program itself dies with the thread that began it (PR_SET_PDEATHSIG). Others of its process group do not: so each group is
written down while it runs, and what a dead agent left is ended by the next start. A process that has left its group (a daemon
that a script starts) is nobody's to end.

A number alone does not name a group for ever. So every command has a mark in its environment, its children inherit it, and a
group is ended only if one of its processes bears the mark that was written down.
"""

import contextlib
import ctypes
import logging
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)
MARK: Final = "HEADRACE_COMMAND"
_PR_SET_PDEATHSIG: Final = 1
_prctl = ctypes.CDLL(None).prctl


def die_with(parent: int) -> Callable[[], None]:
    """What a child does between fork and exec so that it is killed when the thread of `parent` ends that forked it."""

    def ask() -> None:  # nothing but two calls of the system
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


class Groups:
    """The process groups of one agent's commands.

    Args:
        folder: where they are written down, a file each; made when the first is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new_mark(self) -> str:
        """Of one run of a command."""
        return uuid.uuid4().hex

    def began(self, group: int, mark: str) -> None:
        """It runs. A disk that refuses keeps no command from running: then it is not known to the next start."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            (self._folder / str(group)).write_text(mark)
        except OSError as error:
            logger.warning("a running command is not written down", extra={"error": str(error)})

    def ended(self, group: int) -> None:
        """Nothing of it is left."""
        with contextlib.suppress(OSError):
            (self._folder / str(group)).unlink(missing_ok=True)

    def end_left(self) -> None:
        """Kill what an agent before this one left running; the state directory must be ours alone."""
        if not self._folder.is_dir():
            return
        for file in self._folder.iterdir():
            with contextlib.suppress(OSError, ValueError):
                group, mark = int(file.name), file.read_text()
                if any(_bears(pid, mark) for pid in _members(group)):
                    logger.warning("a command that a killed agent left is ended", extra={"process_group": group})
                    os.killpg(group, signal.SIGKILL)
                file.unlink()


def _members(group: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(name)) == group:
                    yield int(name)


def _bears(pid: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")
