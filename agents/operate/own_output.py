"""What an agent writes itself and therefore never ships: its log, and what lies in its state directory.

An agent that tails the file that its own stderr is appended to would make a line of each line, without end. Files are
compared by device and inode, because a log has many names.
"""

import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnOutput:
    """`files` are devices and inodes; `directory` is where the agent's state is."""

    files: frozenset[tuple[int, int]]
    directory: str

    @classmethod
    def of_process(cls, state_dir: Path) -> "OwnOutput":
        """What this process writes to."""
        return cls(frozenset(_regular_files((1, 2))), os.path.realpath(state_dir))

    def why(self, path: str, key: tuple[int, int]) -> str | None:
        """Why a file is never shipped; None if it may be."""
        if key in self.files:
            return "it is this agent's own log"
        if os.path.realpath(path).startswith(self.directory + os.sep):
            return "it is in agent.state_dir"
        return None


class Others:
    """Knows what is somebody else's to write; says once of each file of the agent's own that it is left out."""

    def __init__(self, own: OwnOutput) -> None:
        self._own = own
        self._told: set[tuple[str, tuple[int, int]]] = set()

    def writes(self, path: str, key: tuple[int, int]) -> bool:
        """Whether a file, by name, device and inode, is written by somebody else."""
        why = self._own.why(path, key)
        if why is not None and (path, key) not in self._told:
            self._told.add((path, key))
            logger.warning("not shipped: %s; exclude it", why, extra={"file": path})
        return why is None


def _regular_files(descriptors: Iterable[int]) -> list[tuple[int, int]]:
    found = []
    for descriptor in descriptors:
        try:
            status = os.fstat(descriptor)
        except OSError:  # closed
            continue
        if stat.S_ISREG(status.st_mode):
            found.append((status.st_dev, status.st_ino))
    return found
