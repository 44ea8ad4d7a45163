"""Replays of rejected records in the agent's state: what is being sent again, and what is counted of it. No Kafka.

A rejected record counts as `rejected` in its window, and as sent once it is (audit.md: of a window's messages the one with the
greatest count is taken, the later of equal ones; so a record may go from the one to the other). Three steps, each durable
before the next, so that a kill between any two repeats the same bytes, and counts once:

    begun       the encoded record is kept here, before it is sent
    settled     acknowledged: in one transaction it counts as sent and no longer as rejected, and is done
    forgotten   its row is gone from `rejected/`

The table lies in the agent's file, made by the first replay: an agent that knows nothing of it is not disturbed.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.agents.events.encoded import Headers, Tally
from headrace.agents.transaction import Transaction
from headrace.agents.windows import ChunkResult, Windows
from headrace.audit import HASH_MODULUS

Name = tuple[str, str, int, int]
"""topic, stream id, position, part: of one agent's record."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS replays (
    topic TEXT, stream_id TEXT, position INTEGER, part INTEGER, record TEXT, value BLOB,
    PRIMARY KEY (topic, stream_id, position, part)
) WITHOUT ROWID
"""
_NAMED: Final = "WHERE topic = ? AND stream_id = ? AND position = ? AND part = ?"


@dataclass(frozen=True, slots=True)
class Replay:
    """One record as it is sent again.

    `window_start_ms` counts it as rejected. `gains` is what it counts once it is sent: of one window, which may be another (by
    the event's time, or by the record's where the identity is in `headers`); none if an earlier headrace began it so.
    """

    name: Name
    partition: int
    timestamp_ms: int
    window_start_ms: int
    headers: Headers
    gains: Mapping[int, Tally]
    value: bytes


class Replays:
    """The table, on a connection of whoever has the state's lock."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.execute(_TABLE)

    def find(self, name: Name) -> Replay | None:
        """What was begun before, and may have been sent."""
        row = self._db.execute(f"SELECT record, value FROM replays {_NAMED} AND value IS NOT NULL", name).fetchone()  # noqa: S608
        return None if row is None else _replay(name, *row)

    def is_done(self, name: Name) -> bool:
        """Whether a record counts as sent, though it may still lie in `rejected/`."""
        row = self._db.execute(f"SELECT 1 FROM replays {_NAMED} AND value IS NULL", name).fetchone()  # noqa: S608
        return row is not None

    def begin(self, replays: Sequence[Replay]) -> None:
        """Keep records, before any is sent; those that were begun before stay as they were."""
        with Transaction(self._db):
            rows = [(*each.name, _record(each), each.value) for each in replays]
            self._db.executemany("INSERT OR IGNORE INTO replays VALUES (?, ?, ?, ?, ?, ?)", rows)

    def settle(self, acknowledged: Iterable[tuple[Replay, int]], refused: Iterable[Replay]) -> None:
        """What became of records that were begun: acknowledged at an offset, or refused for good again."""
        windows = Windows(self._db)
        with Transaction(self._db):
            for replay, offset in acknowledged:
                rejected = {replay.window_start_ms: -1}
                windows.count(ChunkResult(replay.name[0], replay.partition, offset + 1, replay.gains, rejected, 1))
                self._db.execute(f"UPDATE replays SET record = '', value = NULL {_NAMED}", replay.name)  # noqa: S608
            names = [replay.name for replay in refused]
            self._db.executemany(f"DELETE FROM replays {_NAMED}", names)  # noqa: S608

    def topics_done(self) -> list[str]:
        """Topics of which some are done."""
        rows = self._db.execute("SELECT DISTINCT topic FROM replays WHERE value IS NULL ORDER BY topic")
        return [str(topic) for (topic,) in rows]

    def done(self, topic: str) -> set[Name]:
        """Those of a topic that are done."""
        query = "SELECT topic, stream_id, position, part FROM replays WHERE topic = ? AND value IS NULL"
        return {
            (str(found), str(stream), position, part) for found, stream, position, part in self._db.execute(query, (topic,))
        }

    def forget(self, names: Iterable[Name]) -> None:
        """These are in `rejected/` no more."""
        with Transaction(self._db):
            self._db.executemany(f"DELETE FROM replays {_NAMED}", names)  # noqa: S608


def _record(replay: Replay) -> str:
    gains = [[tally.count, tally.bytes_total, f"{tally.content_hash:016x}", start] for start, tally in replay.gains.items()]
    tally = gains[0] if gains else None
    return json.dumps([replay.partition, replay.timestamp_ms, replay.window_start_ms, replay.headers, tally])


def _replay(name: Name, record: str, value: bytes) -> Replay:
    partition, timestamp_ms, window_start_ms, headers, tally = json.loads(record)
    gains = {}
    if tally is not None:
        count, size, content_hash, *start = tally  # an earlier headrace counted all in the one window
        gains[start[0] if start else window_start_ms] = Tally(count, size, int(content_hash, 16) % HASH_MODULUS)
    return Replay(name, partition, timestamp_ms, window_start_ms, [(key, said) for key, said in headers], gains, value)
