"""All spools of one agent: a folder each, below `<state_dir>/spool`, named `<input>@<topic>`. Shell.

A spool remembers how its lines are shipped (`spool.json`), as its input said when it last was configured: one whose input is
gone from the configuration, or has another topic now, is read to its end. Once that is acknowledged it is deleted at the
next start.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.agents.effects import Input, ReadSpool
from headrace.agents.rows import SPOOLED
from headrace.agents.spool.files import FolderFiles
from headrace.agents.spool.frames import Records
from headrace.agents.spool.identity import Identity, identity_of
from headrace.agents.spool.log import Hole, SpoolLog
from headrace.agents.spool.reader import SpoolSeen
from headrace.errors import StorageError

logger = logging.getLogger(__name__)

_MOST_SEGMENT_BYTES, _LEAST_SEGMENT_BYTES, _SEGMENTS = 8 * 1024 * 1024, 64 * 1024, 16
DEFAULT_MAX_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A spool that an input asks for: its name, how its lines are shipped, and how much it may hold."""

    name: str
    input: Input
    max_bytes: int

    @property
    def folder(self) -> str:
        return f"{self.name}@{self.input.topic}"

    @property
    def path(self) -> str:
        """Its name among the streams."""
        return SPOOLED + self.folder


@dataclass(frozen=True, slots=True)
class Spool:
    """One open spool."""

    path: str
    identity: Identity
    log: SpoolLog
    files: FolderFiles

    @property
    def input(self) -> Input:
        """How its lines are shipped."""
        return self.identity.input

    def seen(self) -> SpoolSeen:
        """As it is now."""
        return SpoolSeen(self.path, self.identity.spool_id, self.input, self.log.first, self.log.end)


class Spools:
    """Every spool of a state directory, open.

    Args:
        folder: below which they lie; made when the first is wanted.
        wanted: those that the configuration names.
        position: up to where a spool is acknowledged, durably; least_end: which of its numbers were given (both by its path).
    Raises:
        StorageError: the disk refuses. CorruptError, VersionError: a spool is not ours to read.
    """

    def __init__(
        self,
        folder: Path,
        wanted: Mapping[str, Wanted],
        *,
        position: Callable[[str], int],
        least_end: Callable[[str], int],
    ) -> None:
        self._folder, self._position, self._least_end = folder, position, least_end
        self._open: dict[str, Spool] = {}
        by_folder = {each.folder: each for each in wanted.values()}
        found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []
        try:
            for name in sorted({*found, *by_folder}):
                spool = self._open_one(name, by_folder.get(name))
                if spool is not None:
                    self._open[spool.path] = spool
        except BaseException:
            self.close()
            raise
        self.by_input = self._of(wanted)

    def _of(self, wanted: Mapping[str, Wanted]) -> dict[str, Spool]:
        return {key: self._open[each.path] for key, each in wanted.items()}

    def _open_one(self, name: str, want: Wanted | None, cursor: str = "") -> Spool | None:
        place, path = self._folder / name, SPOOLED + name
        position = self._position(path)
        max_bytes = DEFAULT_MAX_BYTES if want is None else want.max_bytes
        files = FolderFiles(place)
        try:
            identity = identity_of(place, None if want is None else want.input)
            if identity is None:
                return None  # begun by a start that ended before anything could be in it
            log = SpoolLog(
                files,
                identity.mark,
                segment_bytes=_segment_bytes(max_bytes),
                max_bytes=max_bytes,
                least_end=self._least_end(path),
                cursor=cursor,
            )
            log.release(position)
        except OSError as error:
            files.close()
            raise _refused(place, error) from error
        except StorageError as error:
            files.close()
            raise type(error)(f"{place}: {error}") from error
        if log.cut_bytes:
            logger.warning("the spool ended within a write; that was cut off", extra={"spool": path, "bytes": log.cut_bytes})
        if want is None and position >= log.end:
            files.close()
            shutil.rmtree(place, ignore_errors=True)
            return None
        return Spool(path, identity, log, files)

    # ---- a reload

    def open(self, wanted: Mapping[str, Wanted]) -> dict[str, Spool]:
        """The spools of other inputs, by their keys, as they will be: those that are not there yet are begun.

        One that is begun for an input that has a spool already goes on from that one's cursor.

        Raises:
            StorageError: the disk refuses; `forget` what was begun.
        """
        found = {}
        for key, each in wanted.items():
            spool = self._open.get(each.path)
            if spool is None:
                former = self.by_input.get(key)
                spool = self._open_one(each.folder, each, "" if former is None else former.log.cursor)
                assert spool is not None, "what is wanted is made"
                self._open[each.path] = spool
            try:
                identity = identity_of(self._folder / each.folder, each.input)
            except OSError as error:
                raise _refused(self._folder / each.folder, error) from error
            assert identity is not None, "what is wanted is made"
            found[key] = replace(spool, identity=identity)
        return found

    def use(self, wanted: Mapping[str, Wanted], found: Mapping[str, Spool]) -> None:
        """Go on with these, as `open` found them; those that no input fills any more are read to their ends."""
        for key, spool in found.items():
            max_bytes = wanted[key].max_bytes
            spool.log.resize(segment_bytes=_segment_bytes(max_bytes), max_bytes=max_bytes)
            self._open[spool.path] = spool
        self.by_input = dict(found)

    def forget(self, wanted: Mapping[str, Wanted]) -> None:
        """Of the spools that were opened for these, and are not used, delete those in which nothing is."""
        kept = {spool.path for spool in self.by_input.values()}
        for each in wanted.values():
            spool = self._open.get(each.path)
            if spool is not None and spool.path not in kept and spool.log.end == spool.log.first:
                del self._open[each.path]
                spool.files.close()
                shutil.rmtree(self._folder / each.folder, ignore_errors=True)

    @property
    def inputs(self) -> list[Input]:
        """How their lines are shipped, also of those that no input fills any more."""
        return [spool.input for spool in self._open.values()]

    def seen(self) -> list[SpoolSeen]:
        """Every spool as it is now."""
        return [spool.seen() for spool in self._open.values()]

    def read(self, effect: ReadSpool) -> Records | Hole | None:
        """Answer the core.

        Raises:
            StorageError: the disk refuses.
        """
        return self._open[effect.path].log.read(
            effect.start,
            most_lines=effect.most_lines,
            most_bytes=effect.most_bytes,
            most_beside_bytes=effect.most_beside_bytes,
            most_ms=effect.most_ms,
        )

    def release(self, path: str, position: int) -> None:
        """All of a spool below `position` is acknowledged, and that is durable.

        Raises:
            StorageError: a segment cannot be deleted.
        """
        if path in self._open:
            self._open[path].log.release(position)

    def close(self) -> None:
        """Let go of all files."""
        for spool in self._open.values():
            spool.files.close()


def _segment_bytes(max_bytes: int) -> int:
    return min(_MOST_SEGMENT_BYTES, max(_LEAST_SEGMENT_BYTES, max_bytes // _SEGMENTS))


def _refused(place: Path, error: OSError) -> StorageError:
    return StorageError(f"{place}: {error.strerror}; make room, or name another agent.state_dir")
