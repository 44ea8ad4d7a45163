"""What can be known of the folders of `directory` inputs before the agent runs: what is there, and what it will be refused."""

import os
import stat
from collections.abc import Iterator, Sequence

from headrace.agents.directory.folder import KEEP, Folder
from headrace.agents.directory.hands import look_into
from headrace.agents.effects import Now
from headrace.agents.operate.findings import Finding
from headrace.agents.operate.own_output import OwnOutput
from headrace.agents.operate.validate_files import Matched, of_content
from headrace.agents.tail.identity import is_unreadable_name

_LONGEST_SETTLED_S = 3600  # a file that looks unfinished for longer is worth a word
_GIVE = "give the agent's user the right to read it"


def folders_of(inputs: Sequence[tuple[str, Folder]], own: OwnOutput, now: Now) -> tuple[list[Matched], list[Finding]]:
    """What the folders hold, and what is worth saying of them.

    Args:
        inputs: where each stands in the configuration, and its folder.
    """
    found: list[Matched] = []
    told: list[Finding] = []
    for where, folder in inputs:
        look = look_into([folder], (), now)
        matched = Matched(where, folder.input.topic)
        found.append(matched)
        told += _of_folder(f"{where}.directory", folder, own)
        for each in look.files:
            matched.files[each.stat.key] = each.path
            matched.size_bytes += each.stat.size
        paths = sorted(matched.files.values())
        told += of_content(f"{where}.directory", paths)
        told += _of_names(f"{where}.directory", folder, paths, now)
        for place, reason in look.hidden.items():
            if reason:
                told.append(Finding("error", f"{where}.directory", f"{place} cannot be looked into: {reason}", _GIVE))
    return found, told + list(_of_nesting(inputs))


def _of_folder(where: str, folder: Folder, own: OwnOutput) -> Iterator[Finding]:
    """The folder itself, and whether files may be renamed or deleted in it."""
    if not os.path.isdir(folder.path):
        what = f"{folder.path} is not a folder" if os.path.exists(folder.path) else f"there is no folder {folder.path}"
        yield Finding("warning", where, what, "files are found once it is there; is it spelt right?")
        return
    if (why := own.why(os.path.join(folder.path, "x"), (-1, -1))) is not None:
        yield Finding("error", where, f"nothing in {folder.path} is shipped: {why}", "name another folder")
    if folder.when_done == KEEP:
        return
    if not os.access(folder.path, os.W_OK | os.X_OK, effective_ids=True):
        what = f"when_done: {folder.when_done}, and {folder.path} is not ours to write"
        yield Finding("error", where, what, "give the agent's user the right to write to it, or say when_done: keep")
        return
    status = os.stat(folder.path)
    if status.st_mode & stat.S_ISVTX and os.geteuid() not in (0, status.st_uid):
        what = f"when_done: {folder.when_done}, and {folder.path} is sticky: only a file's owner may {folder.when_done} it"
        yield Finding("error", where, what, "take the sticky bit off (chmod -t), or own the folder, or say when_done: keep")


def _of_names(where: str, folder: Folder, paths: Sequence[str], now: Now) -> Iterator[Finding]:
    """Names that are not shipped."""
    packed = [path for path in paths if is_unreadable_name(path)]
    if packed:
        what = f"{len(packed)} files are compressed in a way that is not read here: {packed[0]}"
        yield Finding("warning", where, what, "drop them as gzip (.gz), or as they are")
    if not os.path.isdir(folder.path):
        return
    with os.scandir(folder.path) as entries:
        here = list(entries)
    below = [entry.name for entry in here if entry.is_dir(follow_symlinks=False)]
    if below and not folder.subfolders:
        what = f"{len(below)} folders in {folder.path} are not looked into: {below[0]}"
        yield Finding("note", where, what, "say subfolders: true to ship what is in them")
    links = [entry.name for entry in here if entry.is_symlink()]
    if links:
        yield Finding(
            "warning", where, f"{len(links)} symbolic links are not followed: {links[0]}", "drop the files themselves"
        )
    old = [
        entry.name
        for entry in here
        if entry.name.endswith(folder.unfinished)
        and now.wall_ms / 1000 - entry.stat(follow_symlinks=False).st_mtime > _LONGEST_SETTLED_S
    ]
    if old:
        what = f"{len(old)} files have names of unfinished ones, and have not changed for an hour: {old[0]}"
        yield Finding("warning", where, what, "they are shipped once they are renamed")


def _of_nesting(inputs: Sequence[tuple[str, Folder]]) -> Iterator[Finding]:
    """Two inputs that ship the same files."""
    for index, (where, folder) in enumerate(inputs):
        for other_where, other in inputs[:index]:
            inside = folder.path == other.path or (other.subfolders and folder.path.startswith(f"{other.path}/"))
            if inside or (folder.subfolders and other.path.startswith(f"{folder.path}/")):
                yield Finding(
                    "error",
                    f"{where}.directory",
                    f"{folder.path} is {other_where}'s, too: whoever is first renames or deletes under the other's hands",
                    "give each input a folder of its own",
                )
