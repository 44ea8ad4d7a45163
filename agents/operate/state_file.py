"""The state of an agent as an operator sees it: read while the agent runs or not, changed only while it does not.

Never opens the state as an agent does: on another host that would begin a new one (state.py).
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.state_generations import FILE_NAME, LOG_GONE, Generations
from headrace.agents.state_rows import read_chunks, read_streams
from headrace.agents.state_tables import VERSION
from headrace.errors import CorruptError, UsageError, VersionError

LOCK_NAME = "lock"


class StateFile:
    """The state in a directory.

    Raises:
        UsageError (all methods): there is none. VersionError: of another version. CorruptError: it is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / FILE_NAME
        if not self._file.is_file():
            raise UsageError(f"{directory}: no agent's state is there; name its agent.state_dir")

    def rows(self) -> tuple[list[StreamRow], list[ChunkRow]]:
        """Streams and chunks on their way, as of one moment."""
        with self._open("ro") as db:
            db.execute("BEGIN")
            return list(read_streams(db)), read_chunks(db)

    def agent_id(self) -> str:
        """Whose state it is."""
        with self._open("ro") as db:
            row = db.execute("SELECT value FROM meta WHERE name = 'agent_id'").fetchone()
            return "" if row is None else str(row[0])

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file; nothing where it is sound."""
        with self._open("ro") as db:
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
            return [] if found == ["ok"] else found

    def in_use(self) -> bool:
        """Whether an agent runs on it."""
        return is_in_use(self.directory)

    def forget(self, stream_ids: Sequence[str]) -> None:
        """Delete streams, in one durable transaction.

        Raises:
            UsageError: an agent runs on it.
        """
        with self.changing() as db:
            db.execute("BEGIN IMMEDIATE")
            for table in ("streams", "chunks"):
                db.executemany(f"DELETE FROM {table} WHERE stream_id = ?", [(each,) for each in stream_ids])  # noqa: S608
            db.execute("COMMIT")

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """The state, to be changed while no agent runs on it.

        Raises:
            UsageError: an agent does, or it is an earlier generation of itself.
        """
        generations = Generations(self.directory)
        with _locked(self.directory):
            if generations.log_is_gone:
                raise UsageError(f"{self._file}: {LOG_GONE}; start its agent once, which goes on from what there is")
            with self._open("rw") as db:
                db.execute("PRAGMA synchronous=FULL")
                try:
                    yield db
                finally:
                    generations.closing()  # the log is folded in, and need not be there

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(f"file:{quote(str(self._file))}?mode={mode}", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise UsageError(f"{self._file}: {error}; may you read it?") from error
        try:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version != VERSION:
                raise VersionError(f"{self._file} has version {version}, this headrace reads {VERSION}: start its agent once")
            yield db
        except sqlite3.DatabaseError as error:
            raise CorruptError(f"{self._file}: {error}") from error
        finally:
            db.close()


def is_in_use(directory: Path) -> bool:
    """Whether an agent runs on a state directory, be there a state or none; perhaps, where the lock is another user's."""
    if not (directory / LOCK_NAME).is_file():
        return False
    try:
        with _locked(directory, fcntl.LOCK_SH):  # shared, by which an agent that starts just now knows that nobody ships here
            return False
    except (UsageError, PermissionError):
        return True


@contextmanager
def _locked(directory: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(f"{directory}: an agent runs on this state; stop it first") from error
    finally:
        os.close(lock)
