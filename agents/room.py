"""A disk without room, at a start: what cannot be opened yet is tried again, and nothing is given up for it.

Want of room is what the system calls so (ENOSPC, EDQUOT, SQLITE_FULL); and of SQLite's errors of writing, which name no
reason (the index of its log finds no room, a quota is used up), those where the disk itself says so when it is asked.

SQLite maps the index of its log, and writes one byte into each 4 KiB of it beforehand, so that they are there. Where blocks are
smaller, a write to the rest that finds no room ends the process (SIGBUS): there, so much has to be free before it is begun.
"""

import errno
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

from headrace import systemd
from headrace.agents.metrics import Metrics
from headrace.errors import HeadraceError, NoRoomError
from headrace.health import Health

logger = logging.getLogger(__name__)
T = TypeVar("T")
Wait = Callable[[NoRoomError], bool]
"""Waits before what was refused is tried again; False: it is not."""

_ROOM_BYTES: Final = 1 << 20  # what a start needs at most, before anything is in the state
_INDEX_BYTES: Final = 512 * 1024
_MAPPED_BYTES: Final = 4096
_RETRY_S: Final = 1.0
_SAID_EVERY: Final = 600  # of the tries
_OF_DISKS: Final = {errno.ENOSPC, errno.EDQUOT}
_OF_WRITING: Final = {
    sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP,
}  # fmt: skip


def never(error: NoRoomError) -> bool:  # noqa: ARG001 - a Wait
    """Of a finite run, and of whoever looks at a state: they say what is wrong, and end."""
    return False


def with_room(step: Callable[[], T], place: Path, wait: Wait) -> T:
    """Take a step that writes below a folder, again and again while the disk has no room for it.

    Args:
        step: may be taken again after it has failed.
    Raises:
        NoRoomError: there is none, and `wait` has ended. Every other error of the step, as it is.
    """
    while True:
        try:
            return step()
        except (OSError, sqlite3.Error, HeadraceError) as error:
            why = _no_room(error, place)
            if why is None:
                raise
            refused = NoRoomError(f"{place}: {why}; {_what_is_free(place)}")
            if not wait(refused):
                raise refused from error


class WaitForRoom:
    """How an agent that is started waits: alive, not ready, and saying why.

    Args:
        stop: ends the wait. serve: opens the agent's HTTP port, if that is not open yet. beat: is called each second.
    """

    def __init__(self, stop: Event, health: Health, serve: Callable[[], object], beat: Callable[[], None]) -> None:
        self._stop, self._health, self._serve, self._beat = stop, health, serve, beat
        self._tries = 0

    def __call__(self, error: NoRoomError) -> bool:
        said = f"waiting for room: {error}"
        self._health.not_ready(said)
        Metrics().error("disk", "storing")
        if self._tries == 0:
            Metrics().checkpoint_age(lambda: self._tries * _RETRY_S)  # the alert is the same
            self._serve()
            systemd.notify("READY=1\nSTATUS=" + said.replace("\n", " "))
        if self._tries % _SAID_EVERY == 0:
            logger.error("waiting for room on the disk; nothing is read or taken in meanwhile", extra={"error": str(error)})
        self._tries += 1
        self._beat()
        return not self._stop.wait(_RETRY_S)

    def over(self) -> None:
        """All is open: say that this goes on, if it ever waited."""
        if self._tries:
            systemd.notify("STATUS=")
            logger.info("there is room on the disk: the agent goes on", extra={"waited_s": round(self._tries * _RETRY_S)})


def _no_room(error: BaseException | None, place: Path) -> str | None:
    """How the system says that there is no room; None where an error is another."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_DISKS:
            return error.strerror
        if isinstance(error, sqlite3.Error) and (code := getattr(error, "sqlite_errorcode", None)) is not None:
            if code & 0xFF == sqlite3.SQLITE_FULL:
                return str(error)
            if code in _OF_WRITING:
                return str(error) if _free_bytes(os.statvfs(place)) < _ROOM_BYTES else _refused_room(place, _ROOM_BYTES)
            if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
                return _refused_room(place, 0)
        error = error.__cause__
    return None


def check_mapped(place: Path) -> None:
    """See that SQLite can write to what it maps of a file in this folder.

    Raises:
        OSError: there is no room for it (ENOSPC).
    """
    disk = os.statvfs(place)
    if disk.f_frsize < _MAPPED_BYTES and _free_bytes(disk) < _INDEX_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _free_bytes(disk: os.statvfs_result) -> int:
    return disk.f_frsize * (disk.f_bavail if os.geteuid() else disk.f_bfree)  # some is kept for root


def _what_is_free(place: Path) -> str:
    while not place.exists():
        place = place.parent
    disk = os.statvfs(place)
    if disk.f_files and not disk.f_favail:
        return "no more files can be made there (no inode is free): remove some"
    return f"{_free_bytes(disk):,} bytes are free there: make room"


def _refused_room(place: Path, size_bytes: int) -> str | None:
    """Try to make a file, and to take room for it: a quota is told by nothing else."""
    from tempfile import TemporaryFile  # 2 ms

    try:
        with TemporaryFile(dir=place, buffering=0) as file:
            if size_bytes:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
    except OSError as error:
        return error.strerror if error.errno in _OF_DISKS else None
    return None
