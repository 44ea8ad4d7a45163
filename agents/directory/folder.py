"""What a `directory` input asks for, and what a look finds in it: plain data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from headrace.agents.effects import Input, Now
from headrace.agents.tail.identity import FileStat

KEEP, RENAME, DELETE = "keep", "rename", "delete"


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one input: how its files are shipped, which of them, and what becomes of each afterwards."""

    path: str
    input: Input
    when_done: str = KEEP
    suffix: str = ".done"
    settle_ms: int = 0
    unfinished: tuple[str, ...] = ()
    subfolders: bool = False
    excluded: tuple[str, ...] = ()

    def is_unfinished(self, name: str) -> bool:
        """Whether a name says that the file is not finished, or that it is done with."""
        return name.startswith(".") or name.endswith((self.suffix, *self.unfinished))


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that a look found. `folder` None: no input asks for it any more, and it was being shipped."""

    path: str
    stat: FileStat
    folder: Folder | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a look begun at `begun` found.

    `listed` says of each folder that was listed whether those below it were, too; `hidden` are those that could not be, with
    the reason: empty for an input's folder that is not there.
    """

    begun: Now
    files: tuple[Found, ...]
    listed: Mapping[str, bool]
    hidden: Mapping[str, str] = field(default_factory=dict)

    def asks_for(self, folder: Folder | None) -> bool:
        """Whether a folder that something was found in is still an input's; None: it is not known in which."""
        return folder is None or folder.path in self.listed or folder.path in self.hidden

    def would_show(self, path: str) -> bool:
        """Whether a file of that name would have been found if it were there."""
        place = os.path.dirname(path)
        deep = False
        while place not in self.listed or (deep and not self.listed[place]):
            if place in self.hidden or place == "/" or not place:
                return False
            place, deep = os.path.dirname(place), True
        return True


class Ending(Enum):
    """What came of putting a file away: it is done; it is not what it was; the system refuses."""

    DONE = "done"
    CHANGED = "changed"
    REFUSED = "refused"
