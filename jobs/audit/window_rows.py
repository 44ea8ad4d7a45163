"""The rows of single windows, read again with those of their neighbours, as `places.py` needs them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.places import Difference, Rows
from headrace.jobs.audit.recount import event_batches, identified, is_ours
from headrace.sinks.audit_sums import hashes_of, window_starts
from headrace.sinks.table.intervals import IntervalSet
from headrace.sinks.table.reader import LiveFile, TableSnapshot


def holding(files: Sequence[LiveFile], starts: Collection[int], margin_ms: int = 0) -> list[LiveFile]:
    """The files that may hold rows of windows, or rows so near to them."""
    return [
        file
        for file in files
        if any(
            file.min_event_time_ms < start + WINDOW_MS + margin_ms and file.max_event_time_ms >= start - margin_ms
            for start in starts
        )
    ]


def rows_of(
    root: Path | str,
    table: TableSnapshot,
    files: Sequence[LiveFile],
    differences: Sequence[Difference],
    changed: Collection[str],
) -> dict[tuple[str, int], Rows]:
    """The rows of some windows, each with those of its neighbours; `changed`: paths of files that are not as they landed."""
    keys = [(one.agent, one.window_start_ms) for one in differences]
    near = holding(files, {start for _, start in keys}, WINDOW_MS)
    pieces: dict[tuple[str, int], list[Rows]] = {key: [_no_rows(near)] for key in keys}
    for number, file in enumerate(near):
        for agent, start_ms, piece in _pieces(root, table, file, number, keys):
            pieces[agent, start_ms].append(piece)
    landed = _landed(table, {agent for agent, _ in keys})
    numbers = frozenset(number for number, file in enumerate(near) if file.path in changed)
    return {key: _joined(pieces[key], [file.path for file in near], landed[key[0]], numbers) for key in keys}


def _pieces(
    root: Path | str, table: TableSnapshot, file: LiveFile, number: int, keys: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, int, Rows]]:
    for rows, times in event_batches(root, table.topic, file):
        starts, ours = window_starts(times), is_ours(rows)
        if not ours.any():
            continue
        agents = np.array(rows.column("agent_id").to_pylist(), object)
        for agent, start_ms in keys:
            mask = ours & (agents == agent) & (np.abs(starts - start_ms) <= WINDOW_MS)
            if not mask.any():
                continue
            events, messages = identified(rows.filter(pa.array(mask)))
            count = len(events.codes)
            yield (
                agent,
                start_ms,
                Rows(
                    events.streams,
                    events.codes % len(events.streams),
                    events.since,
                    events.position,
                    events.end,
                    events.part,
                    hashes_of(events, messages),
                    starts[mask] == start_ms,
                    (),
                    np.full(count, number),
                ),
            )


def _no_rows(files: Sequence[LiveFile]) -> Rows:
    none = np.zeros(0, np.int64)
    return Rows(
        (), none, none, none, none, none, none.astype(np.uint64), none.astype(bool), [file.path for file in files], none
    )


def _joined(pieces: Sequence[Rows], files: Sequence[str], landed: Mapping[str, IntervalSet], changed: frozenset[int]) -> Rows:
    streams = sorted({stream for piece in pieces for stream in piece.streams})
    number = {stream: at for at, stream in enumerate(streams)}
    codes = [np.array([number[stream] for stream in piece.streams], np.int64)[piece.codes] for piece in pieces]

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(piece, name) for piece in pieces])

    return Rows(
        streams,
        np.concatenate(codes),
        column("since"),
        column("position"),
        column("end"),
        column("part"),
        column("hashes"),
        column("within"),
        files,
        column("file_codes"),
        landed,
        changed,
    )


def _landed(table: TableSnapshot, agents: set[str]) -> dict[str, dict[str, IntervalSet]]:
    """What the records still know to have landed, by agent and stream, over all partitions."""
    found: dict[str, dict[str, IntervalSet]] = defaultdict(dict)
    for (_, agent, stream), known in table.streams.items():
        if agent in agents:
            landed = found[agent].setdefault(stream, IntervalSet())
            for start, end in known.landed:
                landed.add(start, end)
    return {agent: found[agent] for agent in agents}
