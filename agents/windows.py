"""What was sent, by windows of event time, as it stands in the agent's state: counts for `_audit`, cumulative for ever.

Windows that `_audit` knows and that have not changed for longest are let go of where there are too many; what all come to, by
topic, is kept. A window that gains again counts from zero, in another chapter (ADR 0055); one that is newer than all that were
let go of is in chapter 0.

Owns the tables `windows`, `totals`, `let_go` and `ends`; the transaction is its caller's. `CountedDrops` counts on a connection
of its own, for the thread that takes in: what it drops is durable before anybody is answered for it.
"""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace.agents.effects import Lost
from headrace.agents.events.encoded import Tally
from headrace.agents.sources.intake import Pushed
from headrace.agents.transaction import Transaction
from headrace.audit import HASH_MODULUS, WINDOW_MS, Total, window_start_ms
from headrace.errors import StorageError

COUNTS = ("windows", "totals", "let_go", "ends")
MOST_LOST_WINDOWS = 7 * 24 * 6
SPOOL_FULL = "spool_full"  # why lines are dropped that were not taken in
MOST_WINDOWS = 4000
"""Of all topics together; those that `_audit` has not heard of beside."""
_END = "INSERT INTO ends VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = max(next_offset, excluded.next_offset)"
_SAYS = "count, bytes, hash, rejected, acked, dropped, chapter"
_SAID = "UPDATE windows SET unsaid = 0, changed = ? WHERE topic = ? AND window_start_ms = ?"
_UNCHANGED = "SELECT topic, window_start_ms FROM windows WHERE NOT unsaid ORDER BY changed LIMIT ?"
_LET_GO = """
INSERT INTO let_go VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET to_ms = max(to_ms, excluded.to_ms), chapter = chapter + 1
"""
_TOTAL = "INSERT OR REPLACE INTO totals VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of a delivered chunk: what its windows gained, by window start (ms), and where its records are.

    `next_offset` is the last acknowledged offset + 1, 0 where none was; `rejected` counts by window.
    `dead_letters` are ends in their topic, as (topic, partition, offset + 1).
    """

    topic: str
    partition: int
    next_offset: int
    windows: Mapping[int, Tally]
    rejected: Mapping[int, int]
    lines: int
    dead_letters: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window of `sent`, as it stands in the state."""

    topic: str
    window_start_ms: int
    count: int = 0
    bytes_total: int = 0
    content_hash: int = 0
    rejected: int = 0
    acked: tuple[tuple[int, int], ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    chapter: int = 0


class Windows:
    """The two tables, on one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def count(self, result: ChunkResult) -> None:
        """A chunk was delivered."""
        for start in sorted(result.windows.keys() | result.rejected.keys()):
            gained = result.windows.get(start, Tally())
            window = self._get(result.topic, start)
            acked = dict(window.acked)
            if gained.count:
                acked[result.partition] = max(acked.get(result.partition, 0), result.next_offset)
            self._put(
                replace(
                    window,
                    count=window.count + gained.count,
                    bytes_total=window.bytes_total + gained.bytes_total,
                    content_hash=(window.content_hash + gained.content_hash) % HASH_MODULUS,
                    rejected=window.rejected + result.rejected.get(start, 0),
                    acked=tuple(sorted(acked.items())),
                )
            )
        self._add(result.topic, result.windows.values())
        if result.next_offset:
            self._db.execute(_END, (result.topic, result.partition, result.next_offset))
        self._db.executemany(_END, result.dead_letters)

    def _add(self, topic: str, gained: Collection[Tally]) -> None:
        if not gained:
            return
        total = self.totals().get(topic, Total(0, 0))
        count = total.count + sum(tally.count for tally in gained)
        content_hash = (total.content_hash + sum(tally.content_hash for tally in gained)) % HASH_MODULUS
        self._db.execute(_TOTAL, (topic, count, f"{content_hash:016x}"))

    def totals(self) -> dict[str, Total]:
        """What all windows of each topic come to, those that were let go of too."""
        rows = self._db.execute("SELECT topic, count, hash FROM totals")
        return {topic: Total(count, int(content_hash, 16)) for topic, count, content_hash in rows}

    def lost(self, effect: Lost) -> None:
        """Count at least one event as dropped in every window that a lost line may belong to, the last week's at most."""
        last = effect.to_ms // WINDOW_MS
        for index in range(max(effect.from_ms // WINDOW_MS, last - MOST_LOST_WINDOWS), last + 1):
            self.dropped(effect.stream.topic, index * WINDOW_MS, effect.reason, 1)

    def dropped(self, topic: str, start_ms: int, reason: str, count: int) -> None:
        """Count lines that were to be shipped and are not."""
        window = self._get(topic, start_ms)
        dropped = dict(window.dropped)
        dropped[reason] = dropped.get(reason, 0) + count
        self._put(replace(window, dropped=tuple(sorted(dropped.items()))))

    def unsaid(self, most: int) -> list[WindowRow]:
        """Those that changed since `_audit` last heard of them, at most so many."""
        query = f"SELECT topic, window_start_ms, {_SAYS} FROM windows WHERE unsaid LIMIT ?"  # noqa: S608 - a constant
        return [_window_row(row[0], row[1], row[2:]) for row in self._db.execute(query, (most,))]

    def said(self, windows: Iterable[WindowRow]) -> None:
        """`_audit` has these values; one that has changed meanwhile stays unsaid."""
        (changed,) = self._db.execute("SELECT coalesce(max(changed), 0) + 1 FROM windows").fetchone()
        for row in windows:
            if self._get(row.topic, row.window_start_ms) == row:
                self._db.execute(_SAID, (changed, row.topic, row.window_start_ms))
        self._let_go()

    def _let_go(self) -> None:
        """Of what `_audit` knows and has not changed for longest, where there are too many."""
        (count,) = self._db.execute("SELECT count(*) FROM windows").fetchone()
        if count <= MOST_WINDOWS:
            return
        unchanged = self._db.execute(_UNCHANGED, (count - MOST_WINDOWS,)).fetchall()
        last = dict(sorted(unchanged))
        self._db.executemany(_LET_GO, last.items())
        self._db.executemany("DELETE FROM windows WHERE topic = ? AND window_start_ms = ?", unchanged)

    def ends(self) -> dict[str, dict[int, int]]:
        """Topic → partition → last acknowledged offset + 1."""
        ends: dict[str, dict[int, int]] = {}
        for topic, partition, next_offset in self._db.execute("SELECT topic, partition, next_offset FROM ends"):
            ends.setdefault(topic, {})[partition] = next_offset
        return ends

    def _get(self, topic: str, start_ms: int) -> WindowRow:
        query = f"SELECT {_SAYS} FROM windows WHERE topic = ? AND window_start_ms = ?"  # noqa: S608 - a constant
        row = self._db.execute(query, (topic, start_ms)).fetchone()
        return (
            WindowRow(topic, start_ms, chapter=self._chapter(topic, start_ms))
            if row is None
            else _window_row(topic, start_ms, row)
        )

    def _chapter(self, topic: str, start_ms: int) -> int:
        """In which a window begins to count: another one where it may have been let go of."""
        row = self._db.execute("SELECT chapter FROM let_go WHERE topic = ? AND to_ms >= ?", (topic, start_ms)).fetchone()
        return 0 if row is None else int(row[0])

    def _put(self, row: WindowRow) -> None:
        values = (
            row.topic, row.window_start_ms, row.count, row.bytes_total, f"{row.content_hash:016x}", row.rejected,
            json.dumps(row.acked), json.dumps(row.dropped), row.chapter,
        )  # fmt: skip
        self._db.execute("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, 0, ?)", values)


class CountedDrops:
    """Counts pushed lines for which there is no room, from any thread.

    Args:
        file: the agent's state, which its owner has open.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def __call__(self, topic: str, pushed: Sequence[Pushed]) -> None:
        """Count lines in the windows of their time, durably.

        Raises:
            StorageError: the disk refuses; nothing is counted.
        """
        counts = Counter(
            window_start_ms(each.received_ms if each.event_time_us is None else each.event_time_us // 1000) for each in pushed
        )
        with self._lock:
            db = self._connection()
            windows = Windows(db)
            with Transaction(db):
                for start_ms, count in sorted(counts.items()):
                    windows.dropped(topic, start_ms, SPOOL_FULL, count)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA cache_size=-256")
            except sqlite3.DatabaseError as error:
                self._db = None
                raise StorageError(f"the agent's state: {error}") from error
        return self._db

    def close(self) -> None:
        """Let go of the connection."""
        if self._db is not None:
            self._db.close()


def _window_row(topic: str, start_ms: int, row: Sequence[Any]) -> WindowRow:
    count, size, content_hash, rejected, acked, dropped, chapter = row
    return WindowRow(
        topic, start_ms, count, size, int(content_hash, 16), rejected,
        tuple((partition, end) for partition, end in json.loads(acked)), tuple((why, n) for why, n in json.loads(dropped)),
        chapter,
    )  # fmt: skip
