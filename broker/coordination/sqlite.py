"""The store of a single node: one SQLite file, write-ahead logged, synced at every commit.

On a full disk it can be opened and read, and with the room of its reserve (reserve.py) what makes room can be written.

Its format's version is SQLite's `user_version`; a newer one is refused, an older one brought up (design D10). Version 1 had no
entries.
"""

import contextlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec
from uuid import UUID

from headrace.broker.coordination.reserve import Reserve
from headrace.broker.coordination.store import TopicExistsError, TopicRecord
from headrace.errors import StorageError, VersionError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
VERSION = 2
_ENTRIES = "CREATE TABLE entries (kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (kind, key));"
_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE topics (
    topic_id TEXT PRIMARY KEY, name TEXT NOT NULL, partitions INTEGER NOT NULL, configs TEXT NOT NULL,
    deleting INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX live_topics ON topics (name) WHERE NOT deleting;
{_ENTRIES}
"""


def _from_reserve(
    write: Callable[Concatenate["SqliteStore", P], None],
) -> Callable[Concatenate["SqliteStore", P], None]:
    """Let a write that finds no room on the disk try again with what was kept for it."""

    def written(self: "SqliteStore", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            write(self, *args, **kwargs)
        except StorageError as error:
            if not _lacks_room(error.__cause__) or not self.reserve.release():
                raise
            logger.warning("the disk is full: the store writes into its reserve")
            write(self, *args, **kwargs)
        self.reserve.hold()

    return written


def _lacks_room(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL  # Python's own errors (a closed store) have no code


class SqliteStore:
    """A CoordinationStore in a file, for any thread."""

    def __init__(self, path: Path) -> None:
        """Open the store, making it if there is none.

        Raises:
            StorageError: it cannot be opened, or is no SQLite file.
            VersionError: a newer version wrote it.
        """
        self._path = path
        self._lock = threading.Lock()
        self.reserve = Reserve(path.with_name(path.name + "-reserve"))
        with self._errors():
            self._connection = self._opened()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise VersionError(f"{path} has version {version}; this headrace reads up to {VERSION}: upgrade it")
            if version < VERSION:
                missing = _SCHEMA if version == 0 else _ENTRIES
                self._connection.executescript(f"BEGIN; {missing} PRAGMA user_version={VERSION}; COMMIT;")
        self.reserve.hold()

    def _opened(self) -> sqlite3.Connection:
        """A connection. It needs a little room, for memory that is shared with other processes; or, without, to be alone."""
        try:
            return self._connected("NORMAL")
        except sqlite3.OperationalError:
            if self.reserve.release():
                with contextlib.suppress(sqlite3.OperationalError):
                    return self._connected("NORMAL")
            return self._connected("EXCLUSIVE")

    def _connected(self, locking: str) -> sqlite3.Connection:
        if not self._path.exists():  # passwords can be guessed from what is in it; its log files get the mode that it has
            with contextlib.suppress(OSError):
                os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA locking_mode={locking}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def cluster_id(self, proposed: str) -> str:
        with self._errors():
            found = self._connection.execute("SELECT value FROM facts WHERE name = 'cluster_id'").fetchone()
            if found is None:
                self._connection.execute("INSERT INTO facts VALUES ('cluster_id', ?)", (proposed,))
        return proposed if found is None else str(found[0])

    def topics(self) -> Sequence[TopicRecord]:
        return self._records(deleting=False)

    def create_topic(self, topic: TopicRecord) -> None:
        row = (str(topic.topic_id), topic.name, topic.partitions, json.dumps(dict(topic.configs)))
        with self._errors():
            try:
                self._connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, 0)", row)
            except sqlite3.IntegrityError as error:
                raise TopicExistsError(f"topic {topic.name} exists") from error

    @_from_reserve
    def configure_topic(self, topic_id: UUID, configs: Mapping[str, str]) -> None:
        with self._errors():
            self._connection.execute(
                "UPDATE topics SET configs = ? WHERE topic_id = ?", (json.dumps(dict(configs)), str(topic_id))
            )

    @_from_reserve
    def begin_deletion(self, topic_id: UUID) -> None:
        with self._errors():
            self._connection.execute("UPDATE topics SET deleting = 1 WHERE topic_id = ?", (str(topic_id),))

    def deletions(self) -> Sequence[TopicRecord]:
        return self._records(deleting=True)

    @_from_reserve
    def finish_deletion(self, topic_id: UUID) -> None:
        with self._errors():
            self._connection.execute("DELETE FROM topics WHERE deleting AND topic_id = ?", (str(topic_id),))

    def allocate_producer_ids(self, count: int) -> int:
        with self._errors():
            (end,) = self._connection.execute(
                "INSERT INTO facts VALUES ('next_producer_id', :count)"
                " ON CONFLICT (name) DO UPDATE SET value = value + :count RETURNING value",
                {"count": count},
            ).fetchone()
        return int(end) - count

    def entries(self, kind: str) -> Mapping[str, str]:
        with self._errors():
            return dict(
                self._connection.execute("SELECT key, text FROM entries WHERE kind = ? ORDER BY key", (kind,)).fetchall()
            )

    @_from_reserve
    def change_entries(self, kind: str, changes: Mapping[str, str | None]) -> None:
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for key, text in changes.items():
                    if text is None:
                        self._connection.execute("DELETE FROM entries WHERE kind = ? AND key = ?", (kind, key))
                    else:
                        self._connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (kind, key, text))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._errors():
            self._connection.close()

    def _records(self, *, deleting: bool) -> list[TopicRecord]:
        with self._errors():
            rows = self._connection.execute(
                "SELECT name, topic_id, partitions, configs FROM topics WHERE deleting = ? ORDER BY name", (deleting,)
            ).fetchall()
        return [
            TopicRecord(name, UUID(topic_id), partitions, json.loads(configs)) for name, topic_id, partitions, configs in rows
        ]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from error
