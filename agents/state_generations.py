"""An earlier generation of the agent's state, and how a damaged or stale one is told and got over.

The state is copied whole, now and then, to `agent.db.previous` (written beside, synced, renamed). Where `agent.db` is missing,
empty or damaged, it is put aside and the copy takes its place: an agent never begins at the first byte again by itself. Where
only the write-ahead log is gone, the file is an older generation of itself. What was sent since such a generation is not known,
so nothing may be repeated under the identities of that time: agent and streams go on under new ones (audit.md, Identity).

Whether the write-ahead log must be there is told by a mark that lies in the directory while the state is open and has a
transaction in that log. That a generation is an earlier one is told by another mark, from before anything is changed until the
new identities are durable: a start may end in between, or wait for room on a full disk. A directory
that was copied is one, too: `agent.db` was made at another time than it says (state.py). Not detectable: a snapshot of a whole
file system that was put back, or an older copy written into the same file.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from headrace.agents.room import check_mapped
from headrace.agents.state_tables import VERSION
from headrace.errors import CorruptError, StorageError

FILE_NAME = "agent.db"
PREVIOUS_NAME = "agent.db.previous"
_MARK_NAME, _STALE_NAME = "agent.db.open", "agent.db.stale"
_PUT_ASIDE = "agent.db.damaged"
_BESIDE = ("-wal", "-shm")
_REFUSALS = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
}  # fmt: skip
FEW_PAGES = "cache_size=-512"  # KiB, by default 2 MB: for each copy, and each look into one, as well
_ANEW = "move both away to begin anew (every line is shipped again)"
LOG_GONE = "its write-ahead log is gone"
_UNMADE = "it was never made to the end"


class Generations:
    """Those of one state directory, whose lock is held.

    Raises:
        OSError, sqlite3.DatabaseError (`open`, `opened`): the system refuses; nothing is lost, and it may be called again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / FILE_NAME
        self._previous = directory / PREVIOUS_NAME
        self._mark = directory / _MARK_NAME
        self._stale = directory / _STALE_NAME
        self._db: sqlite3.Connection | None = None

    @property
    def log_is_gone(self) -> bool:
        """Whether there must be a write-ahead log, and is none."""
        wal = self._file.with_name(f"{FILE_NAME}-wal")
        return self._mark.exists() and not (wal.exists() and wal.stat().st_size)

    def open(self) -> tuple[sqlite3.Connection, str]:
        """A connection to a sound state, or to one that is to be made, and why it is not the newest; empty where it is.

        Raises:
            CorruptError: it is damaged, and no sound copy is there.
        """
        check_mapped(self._directory)
        stale = LOG_GONE if self.log_is_gone else ""
        why = "it is missing" if not self._file.exists() else "it is empty" if not self._file.stat().st_size else ""
        if not why:
            if stale:
                self._renewing()
            if self._db is None:  # one that could not be looked at stays open: closed, it might fold its log in
                self._db = sqlite3.connect(self._file, isolation_level=None)
            why = _fault_of(self._db)
            if not why:
                return self._db, stale or ("its renewal was not finished" if self._stale.exists() else "")
            self._db.close()
            self._db = None
        if self._previous.exists():
            self._check_previous(why)
            self._renewing()
            self._put_aside()
            self._restore()
        elif self._file.exists() and self._file.stat().st_size and (why != _UNMADE or self._mark.exists()):
            raise CorruptError(f"{self._file}: {why}; there is no {PREVIOUS_NAME}; {_ANEW}")
        else:  # it was never made, or not to the end
            self._forget()
            why = ""
        _touch(self._file)
        self._db = sqlite3.connect(self._file, isolation_level=None)
        return self._db, why

    def _renewing(self) -> None:
        """What is there is an earlier generation, and goes on under new identities, whatever ends this start."""
        _touch(self._stale)
        _sync(self._directory)

    def _check_previous(self, why: str) -> None:
        copy = sqlite3.connect(self._previous)
        try:
            if copy_why := _fault_of(copy):
                raise CorruptError(f"{self._file}: {why}; {PREVIOUS_NAME}: {copy_why}; {_ANEW}")
        finally:
            copy.close()

    def _forget(self) -> None:
        for name in (self._file, self._mark, self._stale, *(self._file.with_name(FILE_NAME + each) for each in _BESIDE)):
            name.unlink(missing_ok=True)

    def _put_aside(self) -> None:
        for end in ("", *_BESIDE):
            with contextlib.suppress(FileNotFoundError):
                self._file.with_name(FILE_NAME + end).rename(self._directory / (_PUT_ASIDE + end))
        _sync(self._directory)

    def _restore(self) -> None:
        temporary = self._directory / f"{FILE_NAME}.tmp"
        temporary.unlink(missing_ok=True)
        _touch(temporary)
        temporary.write_bytes(self._previous.read_bytes())
        _sync(temporary)
        temporary.rename(self._file)
        _sync(self._directory)

    def opened(self) -> None:
        """The state is open, and its log holds a transaction, in which an earlier generation became a new one."""
        self._mark.touch(mode=0o600)
        self._stale.unlink(missing_ok=True)
        _sync(self._directory)

    def closing(self) -> None:
        """The state is about to be closed in order."""
        self._mark.unlink(missing_ok=True)
        _sync(self._directory)

    def abandon(self) -> None:
        """Close what could not be opened to the end. That folds the log in where it can, and so it need not be there."""
        if self._db is not None:
            with contextlib.suppress(OSError):
                self.closing()
            self._db.close()

    def keep(self, db: sqlite3.Connection) -> None:
        """Make the copy anew of an open state.

        Raises:
            StorageError: the disk refuses; the copy stays as it was.
        """
        temporary = self._directory / f"{PREVIOUS_NAME}.tmp"
        try:
            temporary.unlink(missing_ok=True)
            _touch(temporary)
            copy = sqlite3.connect(temporary)
            try:
                copy.execute(f"PRAGMA {FEW_PAGES}")
                db.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
            _sync(temporary)
            temporary.rename(self._previous)
            _sync(self._directory)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self._previous}: {error}") from error


def _fault_of(db: sqlite3.Connection) -> str:
    """Why an open file is no sound state; empty where it is one."""
    try:
        db.execute(f"PRAGMA {FEW_PAGES}")
        if int(db.execute("PRAGMA user_version").fetchone()[0]) > VERSION:
            return ""  # not ours to judge
        found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            return f"it is damaged ({found})"
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        return "" if "streams" in tables else "it holds no state" if tables else _UNMADE
    except sqlite3.DatabaseError as error:
        if _is_refused(error):
            raise
        return f"it is damaged ({error})"


def _is_refused(error: sqlite3.DatabaseError) -> bool:
    """Whether the system refuses what SQLite asks of it (room for the index of its log, say): that is no fault of the state."""
    return error.sqlite_errorcode & 0xFF in _REFUSALS and error.sqlite_errorcode != sqlite3.SQLITE_IOERR_SHORT_READ


def _touch(file: Path) -> None:
    """Make a file that nobody else may read: it may hold redaction keys."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
