"""What can be known of an agent's files before it runs: which are there, which can be read, which would be shipped twice."""

import errno
import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.agents.events.lines import begins_utf_16
from headrace.agents.operate.findings import Finding
from headrace.agents.operate.own_output import OwnOutput
from headrace.agents.tail.files import Globs, stat_of
from headrace.agents.tail.identity import is_unreadable_name, rotated_from

_NAMED = 3  # how many files are named where many are meant


@dataclass(slots=True)
class Matched:
    """What an input matches: paths by (device, inode), and bytes in all."""

    where: str
    topic: str
    files: dict[tuple[int, int], str] = field(default_factory=dict)
    size_bytes: int = 0


def files_of(inputs: Sequence[tuple[str, Globs]], own: OwnOutput) -> tuple[list[Matched], list[Finding]]:
    """What inputs match, and what is worth saying of it.

    Args:
        inputs: where each stands in the configuration, and its globs.
    """
    found: list[Matched] = []
    told: list[Finding] = []
    for where, globs in inputs:
        matched = Matched(where, globs.input.topic)
        found.append(matched)
        for pattern in globs.patterns:
            told += _of_pattern(matched, pattern, globs.excluded, own)
        told += _of_copies(matched)
    return found, told + list(_of_overlaps(found))


def _of_pattern(matched: Matched, pattern: str, excluded: Sequence[str], own: OwnOutput) -> Iterator[Finding]:
    where = f"{matched.where}.tail"
    if not os.path.isabs(pattern):
        yield Finding("warning", where, f"{pattern} depends on where the agent is started", "write the whole path")
    yield from _of_folders(where, pattern)
    paths = [os.path.abspath(path) for path in glob.iglob(pattern, recursive=True)]
    wanted = [path for path in paths if not any(fnmatch.fnmatch(path, each) for each in excluded)]
    regular = [(path, stat) for path in wanted if (stat := stat_of(path)) is not None]
    if not regular:
        why = "all that it matches is excluded" if paths and not wanted else "it matches no file"
        yield Finding("warning", where, f"{pattern}: {why}", "files that come later are shipped; is it spelt right?")
    for path, stat in regular:
        if (why_not := own.why(path, stat.key)) is not None:
            yield Finding("warning", where, f"{path} is not shipped: {why_not}", "exclude it")
        elif stat.key not in matched.files:
            matched.files[stat.key] = path
            matched.size_bytes += stat.size
    yield from of_content(where, [path for path, _ in regular])


def _of_folders(where: str, pattern: str) -> Iterator[Finding]:
    """The folder before the first wildcard must be there and be one that we may look into."""
    folder = Path(pattern)
    while glob.has_magic(str(folder)):
        folder = folder.parent
    folder = folder.parent if str(folder) == pattern else folder
    if not folder.is_dir():
        yield Finding("warning", where, f"there is no folder {folder}", "files are found once it is there; is it spelt right?")
    elif not _can_be_listed(folder):
        yield Finding("error", where, f"{folder} cannot be looked into", "give the agent's user the right to read it")


def _can_be_listed(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except PermissionError:
        return False
    return True


def of_content(where: str, paths: Sequence[str]) -> Iterator[Finding]:
    """Files that are not ours to read, or that hold no text of ours."""
    refused, foreign = [], []
    for path in paths:
        begin = _begin_of(path)
        if begin is None:
            refused.append(path)
        elif begins_utf_16(begin):
            foreign.append(path)
    if refused:
        what = f"{_names(refused)} cannot be read"
        yield Finding("error", where, what, "give the agent's user the right to read (a group as adm, or an ACL), or exclude")
    if foreign:
        what = f"{_names(foreign)} UTF-16; a line is shipped as its bytes, and readers have to decode it"
        yield Finding("warning", where, what, "have it written as UTF-8")


def _begin_of(path: str) -> bytes | None:
    """A file's first bytes; None where we may not read it."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            return file.read(2) or b""
    except OSError as error:
        return None if error.errno in (errno.EACCES, errno.EPERM) else b""


def _of_copies(matched: Matched) -> Iterator[Finding]:
    """Rotated and compressed copies hold lines that are shipped from the log itself (audit.md, Files)."""
    paths = set(matched.files.values())
    packed = sorted(path for path in paths if is_unreadable_name(path))
    if packed:
        yield Finding(
            "warning",
            f"{matched.where}.tail",
            f"{_names(packed)} compressed by its name, in a way that is not read here",
            'exclude: ["**/*.zst"], or as it ends',
        )
    copies = sorted(path for path in paths.difference(packed) if any(base in paths for base in rotated_from(path)))
    if copies:
        yield Finding(
            "warning",
            f"{matched.where}.tail",
            f"{_names(copies)} rotated from a log that is matched too; a copy waits until it is quiet, and is read through",
            "match the live names only; what is rotated away is followed to its end all the same",
        )


def _of_overlaps(found: Iterable[Matched]) -> Iterator[Finding]:
    seen: dict[tuple[int, int], list[Matched]] = {}
    shared: dict[tuple[str, str, bool], list[str]] = {}
    for matched in found:
        for key, path in matched.files.items():
            for other in seen.get(key, ()):
                shared.setdefault((matched.where, other.where, matched.topic == other.topic), []).append(path)
            seen.setdefault(key, []).append(matched)
    for (where, other_where, same), paths in shared.items():
        what = f"{_names(sorted(paths))} matched by {other_where} too: "
        what += "it is read as that one says" if same else "it is shipped to both topics"
        yield Finding("warning", f"{where}.tail", what, "exclude it from one of them")


def _names(paths: Sequence[str]) -> str:
    """`a, b, c and 7 more:`."""
    shown = ", ".join(paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{shown}{more}:"
