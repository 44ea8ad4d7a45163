"""Live files that stay readable while a statement runs, wherever a loader moves them meanwhile (landing.md, Readers).

A file that the fold found in staging is about to move, and DuckDB opens a path whenever it comes to it. So such a file is held
open here, and DuckDB is given a link to the open file, `/proc/self/fd/N`, in a folder of its own that repeats the table's path:
`dt=` and `hour=` are read from it.
"""

import os
import resource
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headrace.sinks.table import names
from headrace.sinks.table.reader import LiveFile, locate

_MOST_OPEN: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Pinned:
    """Files by paths that stay, once they are linked."""

    files: tuple[LiveFile, ...]
    links: Mapping[Path, str]

    def link(self) -> None:
        """Make the links."""
        for link, target in self.links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)


def pin(stack: ExitStack, folder: Path, root: Path, topic: str, files: Sequence[LiveFile]) -> Pinned:
    """Hold the files that lie in staging until the stack is left; the others stay where they are.

    Raises:
        StorageError: a file is nowhere. OSError: more files than this process may hold open.
    """
    table = root.absolute() / topic
    staged = {file.name for file in files if file.path == f"{table}/{names.staged(file.name)}"}
    if not staged:
        return Pinned(tuple(files), {})
    _may_hold_many()
    pinned: list[LiveFile] = []
    links: dict[Path, str] = {}
    for file in files:
        if file.name in staged:
            link = folder / table.relative_to("/") / file.name
            links[link] = f"/proc/self/fd/{_held(stack, root, topic, file)}"
            pinned.append(replace(file, path=str(link)))
        else:
            pinned.append(file)
    return Pinned(tuple(pinned), links)


def _held(stack: ExitStack, root: Path, topic: str, file: LiveFile) -> int:
    try:
        held = os.open(file.path, os.O_RDONLY)
    except FileNotFoundError:
        held = os.open(locate(root, topic, file.name), os.O_RDONLY)
    stack.callback(os.close, held)
    return held


def _may_hold_many() -> None:
    """One commit can stage thousands of files; the usual limit of 1,024 is meant for select(2), which nobody here uses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_OPEN if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
