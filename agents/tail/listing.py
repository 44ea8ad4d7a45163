"""Listings of the files that inputs ask for, and of what lies beside them. Shell: carries out, decides nothing.

There may be ten thousand files and a listing every second. What has not changed since the last listing is the same object in
this one: nothing is made for it here, and whoever takes the listing in sees at a glance that there is no news of it.
"""

import glob
import os
import re
import stat as stat_module
from collections.abc import Callable, Iterable, Iterator, Set

from headrace.agents.effects import Input, Linked, Listing, Now, Seen
from headrace.agents.tail.files import Globs, file_stat, stat_of
from headrace.agents.tail.identity import FileStat, may_be_rotated, rotated_from


class Listings:
    """Of the same inputs, again and again.

    Args:
        is_anothers: whether a file is written by somebody else than this agent, by its name, device and inode.
    """

    def __init__(self, inputs: Iterable[Globs], is_anothers: Callable[[str, tuple[int, int]], bool] = lambda *_: True) -> None:
        self._inputs, self._is_anothers = tuple(inputs), is_anothers
        self._by_topic: dict[str, Globs] = {}
        for globs in self._inputs:
            self._by_topic.setdefault(globs.input.topic, globs)
        self._last: dict[str, dict[str, Seen]] = {}  # topic -> path -> what was found
        self._found: dict[str, dict[str, Seen]] = {}

    def take(self, known: Set[tuple[str, str]], linked: Iterable[Linked], now: Now) -> Listing:
        """Find what the inputs match, and beside it known files and what lies by them under a rotated name.

        Args:
            known: (topic, path) of the streams, and where links led to.
            linked: files that were reached through links, which may lead elsewhere now: they are looked for where they lay.
            now: the moment before this listing.
        """
        self._last, self._found = self._found, {topic: {} for topic in self._by_topic}
        for globs in self._inputs:
            for pattern in globs.patterns:
                self._match(globs, pattern)
        linked = [each for each in linked if each.topic in self._by_topic]
        self._beside(known, {(each.topic, each.target) for each in linked})
        self._behind(linked)
        self._last = {}
        files = tuple(seen for found in self._found.values() for seen in found.values())
        return Listing(now, files, frozenset(self._by_topic))

    def _match(self, globs: Globs, pattern: str) -> None:
        """What one pattern matches, by name in order."""
        topic, name = globs.input.topic, _literal(pattern)
        found, last = self._found[topic], self._last.get(topic, {})
        as_named = os.path.abspath(pattern) == pattern
        for match in _matches(pattern) if name is None else (name,):
            path = match if as_named else os.path.abspath(match)  # a symbolic link keeps its name
            if path in found:
                continue
            before = last.get(path)
            if before is not None and not before.matched:
                before = None
            if before is None and globs.excludes(path):
                continue
            self._see(path, before, topic, globs, matched=True, explicit=name is not None)

    def _beside(self, known: Set[tuple[str, str]], targets: Set[tuple[str, str]]) -> None:
        """Known files, and those that bear a known file's name plus a rotation suffix in its folder, that are not matched."""
        folders: dict[str, set[str]] = {}
        unmatched = []
        for topic, path in known:
            if path not in self._found.get(topic, ()) and (topic, path) not in targets:
                unmatched.append((topic, path))
            if topic in self._by_topic:
                folders.setdefault(path.rpartition("/")[0], set()).add(topic)
        for topic, path in sorted(unmatched):
            self._see_unmatched(topic, path)
        for folder, topics in sorted(folders.items()):
            try:
                with os.scandir(folder or "/") as entries:
                    names = sorted(entry.name for entry in entries if may_be_rotated(entry.name))
            except OSError:
                continue
            for name in names:
                path = f"{folder}/{name}"
                origins = rotated_from(path)
                for topic in sorted(topics):
                    if path not in self._found[topic] and any((topic, origin) in known for origin in origins):
                        self._see_unmatched(topic, path)

    def _behind(self, linked: Iterable[Linked]) -> None:
        """Files that no name leads to any more since links lead elsewhere: they are looked for in their folder, by inode."""
        keys = {(topic, *seen.stat.key) for topic, found in self._found.items() for seen in found.values()} if linked else set()
        for each in linked:
            if each.key is None or (each.topic, *each.key) in keys:
                continue
            for path in (each.target, *_of_inode(os.path.dirname(each.target), each.key[1])):
                stat = stat_of(path)
                if stat is not None and stat.key == each.key:
                    self._see_unmatched(each.topic, path)
                    break

    def _see_unmatched(self, topic: str, path: str) -> None:
        before = self._last.get(topic, {}).get(path)
        if before is not None and before.matched:
            before = None
        self._see(path, before, topic, self._by_topic.get(topic), matched=False)

    def _see(
        self, path: str, before: Seen | None, topic: str, globs: Globs | None, *, matched: bool, explicit: bool = False
    ) -> None:
        """Take in one file, if it is a regular one; `before` is how it was found last."""
        try:
            status = os.stat(path)
        except OSError:
            return
        if before is not None and _is_unchanged(before.stat, status):
            self._found.setdefault(topic, {})[before.path] = before
        elif stat_module.S_ISREG(status.st_mode):
            stat = file_stat(status)
            if (before is None or before.stat.key != stat.key) and not self._is_anothers(path, stat.key):
                return
            path = path if before is None else before.path  # one text for a name is enough
            how = before.input if before is not None else globs.of(path) if globs is not None else Input(topic)
            self._found.setdefault(topic, {})[path] = Seen(path, stat, how, matched, explicit)


def _matches(pattern: str) -> Iterator[str]:
    """What a pattern matches, in order; of a folder's files their names alone are held meanwhile."""
    folder, slash, base = pattern.rpartition("/")
    if not slash or not folder or glob.has_magic(folder) or base == "**":
        yield from sorted(glob.iglob(pattern, recursive=True))
        return
    for name in sorted(glob.iglob(base, root_dir=folder)):
        yield f"{folder}/{name}"


def _of_inode(folder: str, inode: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.path for entry in entries if inode in (entry.inode(), entry.inode() - (1 << 64)))
    except OSError:
        return


def _is_unchanged(stat: FileStat, status: os.stat_result) -> bool:
    return (
        stat.size == status.st_size
        and stat.mtime_ns == status.st_mtime_ns
        and stat.inode in (status.st_ino, status.st_ino - (1 << 64))
        and stat.device == status.st_dev
        and stat.links == status.st_nlink
    )


def _literal(pattern: str) -> str | None:
    """The one name that a pattern stands for, where it has no wildcard or all are escaped; otherwise None."""
    name = re.sub(r"\[([*?[])\]", r"\1", pattern)
    return name if pattern in (name, glob.escape(name)) and (pattern != name or not glob.has_magic(name)) else None
