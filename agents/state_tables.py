"""The tables of the agent's state, and how those of an older version become them (design D10).

Version 1 kept the name of a parser with each chunk, and left no line out; version 2 keeps the id of a pipeline's definition,
and where the last record before a position or chunk ended; version 3 knows which inputs have begun, where files did, where
links led, and what dropped files were; version 4 knows what all windows of a topic come to, and lets go of windows at rest.
"""

import sqlite3

from headrace.agents.events.pipeline import definition, pipeline_id
from headrace.audit import HASH_MODULUS

VERSION = 4

_CHUNKS = """
CREATE TABLE chunks (
    stream_id TEXT, start INTEGER, end INTEGER, since INTEGER, shipped_to INTEGER, read_time_ms INTEGER,
    pipeline TEXT, split_bytes INTEGER, content TEXT, line TEXT, more INTEGER, allowance INTEGER, stderr_to INTEGER,
    PRIMARY KEY (stream_id, start)
) WITHOUT ROWID;
CREATE TABLE answers (stream_id TEXT, start INTEGER, said BLOB, PRIMARY KEY (stream_id, start)) WITHOUT ROWID;
CREATE TABLE pipelines (id TEXT PRIMARY KEY, definition TEXT NOT NULL) WITHOUT ROWID;
"""
_REST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    stream_id TEXT PRIMARY KEY, topic TEXT, partition INTEGER, host TEXT, service TEXT, source TEXT, path TEXT,
    device INTEGER, inode INTEGER, birth_ns INTEGER, position INTEGER, crc INTEGER, guard TEXT, head_bytes INTEGER, head TEXT,
    tail_open INTEGER, line TEXT, detached INTEGER, size_seen INTEGER, complete_ms INTEGER, shipped_to INTEGER,
    stderr_to INTEGER, begin INTEGER, target TEXT, dropped TEXT
) WITHOUT ROWID;
CREATE TABLE windows (
    topic TEXT, window_start_ms INTEGER, count INTEGER, bytes INTEGER, hash TEXT, rejected INTEGER, acked TEXT, dropped TEXT,
    unsaid INTEGER, changed INTEGER DEFAULT 0, chapter INTEGER DEFAULT 0, PRIMARY KEY (topic, window_start_ms)
) WITHOUT ROWID;
CREATE INDEX unsaid_windows ON windows (unsaid) WHERE unsaid;
CREATE TABLE ends (topic TEXT, partition INTEGER, next_offset INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE schemas (
    registry TEXT, subject TEXT, schema TEXT, id INTEGER, PRIMARY KEY (registry, subject, schema)
) WITHOUT ROWID;
"""
_TOTALS = """
CREATE INDEX changed_windows ON windows (changed);
CREATE TABLE totals (topic TEXT PRIMARY KEY, count INTEGER, hash TEXT) WITHOUT ROWID;
CREATE TABLE let_go (topic TEXT PRIMARY KEY, to_ms INTEGER, chapter INTEGER) WITHOUT ROWID;
"""
_INPUTS = "CREATE TABLE inputs (topic TEXT, name TEXT, PRIMARY KEY (topic, name)) WITHOUT ROWID;"
_COPY_CHUNKS_1 = """
INSERT INTO chunks SELECT stream_id, start, end, since, since, read_time_ms, ?, split_bytes, content, line, more, 0, 0
FROM chunks_1 WHERE parser = ?
"""


def bring_up(db: sqlite3.Connection, version: int) -> None:
    """Make the tables (version 0: there are none) or bring them to VERSION; to be called within a transaction."""
    if version == 0:
        _run(db, _CHUNKS + _REST + _INPUTS + _TOTALS)
    if version == 1:
        _from_1(db)
    if version in (1, 2):
        _from_2(db)
    if version in (1, 2, 3):
        _from_3(db)
    db.execute(f"PRAGMA user_version={VERSION}")


def _from_1(db: sqlite3.Connection) -> None:
    """What was in flight goes on with the parser that it was read with, as it was in that version."""
    _run(db, "ALTER TABLE chunks RENAME TO chunks_1;" + _CHUNKS)
    for (parser,) in db.execute("SELECT DISTINCT parser FROM chunks_1").fetchall():
        pipeline = definition(version=1, parse={"type": parser})
        db.execute("INSERT INTO pipelines VALUES (?, ?)", (pipeline_id(pipeline), pipeline))
        db.execute(_COPY_CHUNKS_1, (pipeline_id(pipeline), parser))
    db.execute("DROP TABLE chunks_1")
    db.execute("ALTER TABLE streams ADD COLUMN shipped_to INTEGER")
    db.execute("ALTER TABLE streams ADD COLUMN stderr_to INTEGER DEFAULT 0")
    db.execute("UPDATE streams SET shipped_to = position")


def _from_2(db: sqlite3.Connection) -> None:
    """Every file was shipped from its first byte on, none was dropped; where links lead is found out when files are opened."""
    columns = ("begin INTEGER DEFAULT 0", "target TEXT DEFAULT ''", "dropped TEXT")
    _run(db, "".join(f"ALTER TABLE streams ADD COLUMN {each};" for each in columns) + _INPUTS)


def _from_3(db: sqlite3.Connection) -> None:
    """Every window was kept: together they are the totals."""
    columns = ("changed INTEGER DEFAULT 0", "chapter INTEGER DEFAULT 0")
    _run(db, "".join(f"ALTER TABLE windows ADD COLUMN {each};" for each in columns) + _TOTALS)
    totals: dict[str, tuple[int, int]] = {}
    for topic, count, content_hash in db.execute("SELECT topic, count, hash FROM windows"):
        so_far = totals.get(topic, (0, 0))
        totals[topic] = so_far[0] + count, (so_far[1] + int(content_hash, 16)) % HASH_MODULUS
    rows = [(topic, count, f"{content_hash:016x}") for topic, (count, content_hash) in totals.items()]
    db.executemany("INSERT INTO totals VALUES (?, ?, ?)", rows)


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";")[:-1]:  # executescript would end the transaction
        db.execute(statement)
