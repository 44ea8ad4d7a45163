"""The hands on folders of dropped files: looks into them, renames, deletes. Shell: carries out, decides nothing.

A symbolic link is never followed below an input's folder: who may drop a file there could name any that the agent may read.
"""

import errno
import fnmatch
import logging
import os
import stat as stat_module
from collections.abc import Callable, Iterable

from headrace.agents.directory.folder import DELETE, Ending, Folder, Found, Look
from headrace.agents.effects import Now, PutAway
from headrace.agents.tail.files import file_stat, path_birth_ns
from headrace.agents.tail.identity import FileStat

logger = logging.getLogger(__name__)


def look_into(
    folders: Iterable[Folder],
    known_paths: Iterable[str],
    now: Now,
    is_anothers: Callable[[str, tuple[int, int]], bool] = lambda *_: True,
) -> Look:
    """Find what lies in the inputs' folders, and files that are being shipped though no input asks for them any more.

    Args:
        known_paths: those that are being shipped.
        now: the moment before this look.
        is_anothers: whether a file is written by somebody else than this agent, by its name, device and inode.
    """
    found: dict[tuple[str, str], Found] = {}
    listed: dict[str, bool] = {}
    hidden: dict[str, str] = {}
    for folder in folders:
        for each in _files_in(folder, listed, hidden):
            if is_anothers(each.path, each.stat.key):
                found.setdefault((folder.input.topic, each.path), each)
    shown = {path for _, path in found}
    for path in known_paths:
        if path not in shown and (stat := dropped_stat(path)) is not None:
            found["", path] = Found(path, stat, None)
    return Look(now, tuple(found.values()), listed, hidden)


def _files_in(folder: Folder, listed: dict[str, bool], hidden: dict[str, str]) -> Iterable[Found]:
    """The files of one input."""
    places = [folder.path]
    while places:
        place = places.pop()
        try:
            with os.scandir(place) as entries:
                here = list(entries)
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            if place == folder.path or not missing:
                hidden[place] = "" if missing else error.strerror or str(error)
            continue
        listed[place] = listed.get(place, False) or folder.subfolders
        for entry in here:
            if folder.is_unfinished(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                places += [entry.path] if folder.subfolders else []
            elif entry.is_file(follow_symlinks=False) and not any(
                fnmatch.fnmatch(entry.path, each) for each in folder.excluded
            ):
                stat = dropped_stat(entry.path)
                if stat is not None:
                    yield Found(entry.path, stat, folder)


def dropped_stat(path: str) -> FileStat | None:
    """A regular file's stat with its birth time; None for anything else, and where there is nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return file_stat(found, path_birth_ns(path)) if stat_module.S_ISREG(found.st_mode) else None


def put_away(effect: PutAway) -> tuple[Ending, str]:
    """Rename or delete a file that is as it was shipped; what the system said where it refuses.

    Between the look and the deed lie some microseconds: who replaces a file at any moment loses files by himself.
    """
    stat = dropped_stat(effect.path)
    if stat is None or not is_same(stat, effect.stat):
        return Ending.CHANGED, ""
    try:
        if effect.when_done == DELETE:
            os.unlink(effect.path)
        else:
            os.rename(effect.path, _free_name(effect))
    except FileNotFoundError:
        return Ending.CHANGED, ""
    except OSError as error:
        return Ending.REFUSED, error.strerror or str(error)
    return Ending.DONE, ""


def is_same(stat: FileStat, other: FileStat) -> bool:
    """Whether it is one file, unchanged."""
    return (*stat.key, stat.birth_ns, stat.size, stat.mtime_ns) == (*other.key, other.birth_ns, other.size, other.mtime_ns)


def _free_name(effect: PutAway) -> str:
    """The new name; with the stream's id in it where a file of that name was done before."""
    for middle in ("", f".{effect.stream_id[:8]}"):
        name = f"{effect.path}{middle}{effect.suffix}"
        if not os.path.lexists(name):
            return name
    return f"{effect.path}.{effect.stream_id}{effect.suffix}"


def sync_folder(path: str) -> bool:
    """Make renames and deletions in a folder durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        logger.error("a folder cannot be synced", extra={"folder": path, "error": error.strerror})
        return False
    try:
        os.fsync(descriptor)
    except OSError as error:
        logger.error("a folder cannot be synced", extra={"folder": path, "error": error.strerror})
        return False
    finally:
        os.close(descriptor)
    return True
