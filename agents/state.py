"""The agent's durable state: one SQLite file in `agent.state_dir`, and a lock that one agent at a time holds.

Owns the file's format and nothing else; a newer version is refused, an older one is brought up (state_tables.py, design D10).
Write-ahead log with synchronous=FULL: a transaction that returned survives a power cut, one that did not leaves no trace. What
must be one transaction (audit.md): positions, the chunks they cover, and the counts of `sent`, which are cumulative over the
agent's whole life. The definition of a pipeline is kept once, from the transaction of the first chunk that names it to that of
the last.

The state belongs to one host: where the machine id or the host's name differ from the stored ones, the directory was copied,
and the agent begins anew as another agent (audit.md, Identity).
"""

import fcntl
import json
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import compress, decompress

from headrace.agents.effects import Advance, Forget, Keep, Lost, Save
from headrace.agents.events.pipeline import pipeline_id
from headrace.agents.room import Wait, check_mapped, never, with_room
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.state_generations import FEW_PAGES, FILE_NAME, Generations
from headrace.agents.state_rows import PUT_CHUNK, PUT_STREAM, read_chunks, read_stream, read_streams, values
from headrace.agents.state_tables import VERSION, bring_up
from headrace.agents.tail.files import path_birth_ns
from headrace.agents.transaction import Transaction
from headrace.agents.windows import COUNTS, ChunkResult, WindowRow, Windows
from headrace.audit import Total
from headrace.errors import CorruptError, StorageError, UsageError, VersionError

logger = logging.getLogger(__name__)

_LOOKS, _LOOK_S = 1000, 0.01  # how often, and how long (s), a start lets others look whether it runs
_PUT_PIPELINE = "INSERT OR IGNORE INTO pipelines VALUES (?, ?)"
_PUT_ANSWERS = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)"
_FORGET_ANSWERS = "DELETE FROM answers WHERE (stream_id, start) NOT IN (SELECT stream_id, start FROM chunks)"
_FORGET_PIPELINES = "DELETE FROM pipelines WHERE id NOT IN (SELECT pipeline FROM chunks)"


class AgentState:
    """The open state of the one agent that may use a directory.

    Args:
        wait: whether a disk without room is tried again.
    Raises:
        UsageError: another agent uses it. VersionError: a newer headrace wrote it. CorruptError: it is damaged.
        NoRoomError: the disk has no room for it; it is as it was.
        StorageError (all methods): the disk refuses; nothing of that call is durable, and it may be tried again.
    """

    def __init__(self, directory: Path, *, machine_id: str, host: str, new_agent_id: str, wait: Wait = never) -> None:
        self._directory, self._generations = directory, Generations(directory)
        self._lock = with_room(lambda: _locked(directory), directory, wait)
        try:
            self._db, stale = with_room(self._generations.open, directory, wait)
            with_room(lambda: self._begin(machine_id, host, new_agent_id, stale), directory, wait)
            with_room(self._generations.opened, directory, wait)
            self.keep_generation()
        except BaseException as error:
            self._generations.abandon()
            os.close(self._lock)
            if isinstance(error, sqlite3.DatabaseError | OSError):
                raise CorruptError(f"{directory / FILE_NAME}: {error}; mend what refuses it, or move it away") from error
            raise

    def _begin(self, machine_id: str, host: str, new_agent_id: str, stale: str) -> None:
        """Make it ours, in one transaction, which the log holds from then on."""
        check_mapped(self._directory)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", FEW_PAGES):
            self._db.execute(f"PRAGMA {pragma}")
        self._windows = Windows(self._db)
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise VersionError(
                f"{self._directory / FILE_NAME} has version {version}; this headrace reads up to {VERSION}: upgrade it"
            )
        with self._transaction():
            if version < VERSION:
                bring_up(self._db, version)
            self.agent_id = old = self._own(machine_id, host, new_agent_id)
            put_back = self._put_back()
            stale = stale or put_back
            if stale:
                self._renew(new_agent_id)
            self._db.execute("INSERT INTO meta VALUES ('opened', 1) ON CONFLICT DO UPDATE SET value = value + 1")
        if self.agent_id != old:
            logger.error(
                "an earlier generation of the state is used: what was sent since is sent again as another agent's;"
                f" once it has landed, retire the old one: headrace audit retire {old}",
                extra={"file": FILE_NAME, "why": stale, "old_agent_id": old, "agent_id": new_agent_id},
            )

    def _own(self, machine_id: str, host: str, new_agent_id: str) -> str:
        """The id of the agent whose state it is: that of another host is forgotten."""
        stored = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if stored.get("machine_id") == machine_id and stored.get("host") == host:
            return str(stored["agent_id"])
        for table in ("meta", "streams", "inputs", "chunks", "answers", "pipelines", *COUNTS):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
        meta = {"machine_id": machine_id, "host": host, "agent_id": new_agent_id}
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        return new_agent_id

    def _put_back(self) -> str:
        """Why the file is a copy, as from a backup; empty if it is the one that was made here, or the system does not tell."""
        born = str(path_birth_ns(str(self._directory / FILE_NAME)))
        stored = self._db.execute("SELECT value FROM meta WHERE name = 'born_ns'").fetchone()
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('born_ns', ?)", (born,))
        return "" if stored is None or stored[0] == born or "0" in (stored[0], born) else "it was put back from a copy"

    def _renew(self, new_agent_id: str) -> None:
        """This is an earlier generation: go on from its positions as another agent, under new streams."""
        for (stream_id,) in self._db.execute("SELECT stream_id FROM streams").fetchall():
            fresh = str(uuid.uuid5(uuid.UUID(new_agent_id), stream_id))
            self._db.execute("UPDATE streams SET stream_id = ? WHERE stream_id = ?", (fresh, stream_id))
        for table in ("chunks", "answers", "pipelines", *COUNTS):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'agent_id'", (new_agent_id,))
        self.agent_id = new_agent_id

    def keep_generation(self) -> None:
        """Copy the state as it is, for a start that finds it damaged; a disk that refuses costs the copy alone."""
        try:
            self._generations.keep(self._db)
        except StorageError as error:
            logger.warning("no copy of the state is made", extra={"error": str(error)})

    # ---- streams

    def streams(self) -> Iterator[StreamRow]:
        """Every stream that is remembered, the oldest look first, one at a time: there may be ten thousand."""
        return read_streams(self._db)

    def stream(self, stream_id: str) -> StreamRow:
        """One that is remembered."""
        return read_stream(self._db, stream_id)

    def chunks(self) -> list[ChunkRow]:
        """Every chunk that was on its way."""
        return read_chunks(self._db)

    def begun(self) -> set[tuple[str, str]]:
        """(topic, name) of every input that reads files and has ever begun."""
        return set(self._db.execute("SELECT topic, name FROM inputs"))

    def answers(self, stream_id: str, start: int) -> list[Any] | None:
        """What users' functions answered for a chunk that was on its way; None where they were not asked yet."""
        row = self._db.execute("SELECT said FROM answers WHERE stream_id = ? AND start = ?", (stream_id, start)).fetchone()
        return None if row is None else list(json.loads(decompress(row[0])))

    def apply(self, effects: Sequence[Advance | Save | Keep | Lost | Forget]) -> None:
        """Carry out effects, in order, in one durable transaction."""
        with self._transaction():
            for effect in effects:
                match effect:
                    case Save():
                        for stream in effect.streams:
                            self._put_stream(stream)
                        for chunk in effect.chunks:
                            self._put_chunk(chunk)
                        self._db.executemany("INSERT OR IGNORE INTO inputs VALUES (?, ?)", effect.inputs)
                    case Advance():
                        self._advance(effect)
                    case Keep():
                        self._db.execute(
                            _PUT_ANSWERS, (effect.stream_id, effect.start, compress(json.dumps(effect.answers).encode(), 1))
                        )
                    case Lost():
                        self._windows.lost(effect)
                        self._put_stream(effect.stream)
                    case Forget():
                        self._db.execute("DELETE FROM streams WHERE stream_id = ?", (effect.stream_id,))
                        self._db.execute("DELETE FROM chunks WHERE stream_id = ?", (effect.stream_id,))
            if not all(isinstance(effect, Save | Keep) for effect in effects):
                self._db.execute(_FORGET_ANSWERS)
                self._db.execute(_FORGET_PIPELINES)

    def _put_stream(self, row: StreamRow) -> None:
        self._db.execute(PUT_STREAM, values(row))

    def _put_chunk(self, row: ChunkRow) -> None:
        name = pipeline_id(row.pipeline)
        self._db.execute(_PUT_PIPELINE, (name, row.pipeline))
        self._db.execute(PUT_CHUNK, values(replace(row, pipeline=name)))

    def _advance(self, effect: Advance) -> None:
        self._put_stream(effect.stream)
        keys = [(chunk.stream_id, chunk.start) for chunk in effect.chunks]
        self._db.executemany("DELETE FROM chunks WHERE stream_id = ? AND start = ?", keys)
        for result in effect.results:
            assert isinstance(result, ChunkResult)
            self._windows.count(result)

    # ---- what was sent

    def unsaid_windows(self, most: int) -> list[WindowRow]:
        """Windows that changed since `_audit` last heard of them, at most so many."""
        return self._windows.unsaid(most)

    def said(self, windows: Iterable[WindowRow]) -> None:
        """These are acknowledged on `_audit`, with these values; one that has changed meanwhile stays unsaid."""
        with self._transaction():
            self._windows.said(windows)

    def totals(self) -> dict[str, Total]:
        """Topic → what all its windows come to."""
        return self._windows.totals()

    def ends(self) -> dict[str, dict[int, int]]:
        """Topic → partition → last acknowledged offset + 1."""
        return self._windows.ends()

    # ---- schemas

    def schema_id(self, registry: str, subject: str, schema: str) -> int | None:
        """The id that the registry once gave to a schema."""
        query = "SELECT id FROM schemas WHERE registry = ? AND subject = ? AND schema = ?"
        row = self._db.execute(query, (registry, subject, schema)).fetchone()
        return None if row is None else int(row[0])

    def keep_schema_id(self, registry: str, subject: str, schema: str, schema_id: int) -> None:
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?, ?, ?)", (registry, subject, schema, schema_id))

    def close(self) -> None:
        self.keep_generation()
        self._generations.closing()
        self._db.close()
        os.close(self._lock)

    def _transaction(self) -> Transaction:
        return Transaction(self._db)


def _locked(directory: Path) -> int:
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:  # what root once started here by hand is root's
        do = "give all of it to the agent's user (chown -R)"
        raise UsageError(f"agent.state_dir {directory}: lock: {error.strerror}; {do}") from error
    for _ in range(_LOOKS):
        if _flock(lock, fcntl.LOCK_EX):
            return lock
        if not _flock(lock, fcntl.LOCK_SH):  # whoever only looks whether an agent runs shares it, for a moment
            break
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(_LOOK_S)
    os.close(lock)
    raise UsageError(f"agent.state_dir {directory}: another agent uses it; give each agent its own")


def _flock(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def streams_of(state_dir: Path, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Which stream each file was last shipped as; read-only, while no agent runs.

    Args:
        keys: the files' devices and inodes; those of which nothing was shipped are left out.
    """
    file = state_dir / FILE_NAME
    if not file.exists():
        return {}
    db = sqlite3.connect(file)
    try:
        rows = db.execute("SELECT device, inode, stream_id FROM streams ORDER BY detached DESC, complete_ms").fetchall()
    finally:
        db.close()
    return {(device, inode): stream_id for device, inode, stream_id in rows if (device, inode) in keys}
