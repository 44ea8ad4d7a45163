"""What an agent writes itself and therefore never ships: its log, and what lies in its state directory.

An agent that tails the file that its own stderr is appended to would make a line of each line, without end. Files are
compared by device and inode, because a log has many names.
"""

import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.agents.effects import Listing, Seen

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
    """Listings without what is the agent's own; says once of each file that it is left out."""

    def __init__(self, own: OwnOutput) -> None:
        self._own = own
        self._judged: dict[tuple[str, tuple[int, int]], bool] = {}

    def of(self, listing: Listing) -> Listing:
        """The files of a listing that somebody else writes."""
        judged, self._judged = self._judged, {}
        files = tuple(seen for seen in listing.files if self._is_anothers(seen, judged))
        return listing if len(files) == len(listing.files) else replace(listing, files=files)

    def _is_anothers(self, seen: Seen, judged: dict[tuple[str, tuple[int, int]], bool]) -> bool:
        key = (seen.path, seen.stat.key)
        if key not in judged:
            why = self._own.why(*key)
            judged[key] = why is None
            if why is not None:
                logger.warning("not shipped: %s; exclude it", why, extra={"file": seen.path})
        self._judged[key] = judged[key]
        return judged[key]


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
