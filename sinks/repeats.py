"""Repeats are dropped by identity, and what lands is summed for the audit (audit.md, One row per line). No I/O.

A record of ours covers the positions from its `since` to the end of its source bytes. What ended a line is not in the record:
its `\\n`, or nothing (a part that is not the last, a line that was sent before its newline was written). So a record covers
[since, position + bytes of `message`), at least one byte, and the byte of the newline is added by the record after it, whose
`since` says that the line before had one. Taking it for granted would swallow the part that comes next. So no message may be
longer than what its stream's positions leave for it: agents' transforms keep to that, and a spool's numbers count bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headrace.sinks.audit_sums import Messages, add_events, messages_of, runs, window_starts
from headrace.sinks.identities import UNCOUNTED, Identities, of_columns
from headrace.sinks.table.audit_totals import AuditTotal, WindowKey
from headrace.sinks.table.fold import LandedStream, StreamKey
from headrace.sinks.table.intervals import IntervalSet
from headrace.sinks.table.record import AuditSum, StreamLanded


@dataclass(slots=True)
class _Stream:
    known: IntervalSet
    added: IntervalSet = field(default_factory=IntervalSet)

    def add(self, since: int, end: int, part: int) -> None:
        """Cover a record, and the newline of the one before it where its `since` tells of one."""
        if part == 0 and self.known.ends_at(since - 1):
            since -= 1
        self.known.add(since, end)
        self.added.add(since, end)


class Repeats:
    """What one attempt adds to what has landed of each stream, and its audit sums; the fold is read, never changed."""

    def __init__(self, landed: Mapping[StreamKey, LandedStream]) -> None:
        self._landed = landed
        self._touched: dict[StreamKey, _Stream] = {}
        self._sums: dict[WindowKey, AuditTotal] = {}

    def keep(self, partition: int, rows: pa.Table, event_time_ms: np.ndarray) -> np.ndarray:
        """A mask of the rows of one partition, in offset order, that have not landed yet; they count as landed from now on."""
        messages = messages_of(rows)
        events = of_columns(rows, messages.lengths)
        fresh = self.keep_named(partition, events)
        add_events(self._sums, events, messages, window_starts(event_time_ms), fresh)
        return fresh

    def keep_counted(self, partition: int, records: Identities, values: Sequence[bytes | None]) -> np.ndarray:
        """The same by headers; the values count of those that their agent counts (ADR 0055)."""
        fresh = self.keep_named(partition, records)
        assert records.timestamp is not None, "they are of headers"
        if len(counted := np.flatnonzero(records.timestamp != UNCOUNTED)):
            texts = [values[row] or b"" for row in counted.tolist()]
            messages = Messages(texts, np.array(list(map(len, texts)), np.int64))
            windows = window_starts(records.timestamp[counted])
            add_events(self._sums, records.only(counted), messages, windows, fresh[counted])
        return fresh

    def keep_named(self, partition: int, records: Identities) -> np.ndarray:
        """The same by identities alone."""
        fresh = np.ones(len(records.codes), bool)
        for of_stream in runs(records.codes):
            agent, stream = divmod(int(records.codes[of_stream[0]]), len(records.streams))
            state = self._stream((partition, records.agents[agent], records.streams[stream]))
            self._cover(state, records, of_stream, fresh)
        return fresh

    def _stream(self, key: StreamKey) -> _Stream:
        state = self._touched.get(key)
        if state is None:
            landed = self._landed.get(key)
            state = self._touched[key] = _Stream(landed.landed.copy() if landed else IntervalSet())
        return state

    def _cover(self, state: _Stream, events: Identities, rows: np.ndarray, fresh: np.ndarray) -> None:
        since, position = events.since[rows], events.position[rows]
        end, part = events.end[rows], events.part[rows]
        step = since[1:] - end[:-1]  # 0, or 1 for a newline
        if np.all((step == 0) | ((step == 1) & (part[1:] == 0))) and np.all(position >= since):
            first, last = int(since[0]), int(end[-1])
            if not state.known.overlaps(first, last):  # nearly always: one run of new lines
                state.add(first, last, int(part[0]))
                return
        for row, start, at, stop, number in zip(
            rows.tolist(), since.tolist(), position.tolist(), end.tolist(), part.tolist(), strict=True
        ):
            if at in state.known:
                fresh[row] = False
            else:
                state.add(min(start, at), stop, number)

    def audit(self) -> tuple[AuditSum, ...]:
        """The attempt's sums, for its record."""
        return tuple(
            AuditSum(agent, window, total.count, total.bytes, f"{total.hash:016x}", total.duplicates)
            for (agent, window), total in sorted(self._sums.items())
        )

    def streams(self) -> tuple[StreamLanded, ...]:
        """The positions that the attempt lands, for its record."""
        return tuple(
            StreamLanded(agent, stream, partition, tuple(state.added))
            for (partition, agent, stream), state in sorted(self._touched.items())
            if len(state.added)
        )
