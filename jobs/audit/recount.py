"""What lies in landed files of each agent and window, counted again from the rows alone (audit.md, `--recount`).

The core is `count_file`: one file in, its sums out, in bounded memory. The command counts file after file, the Beam job
`recount` spreads them over workers; what is made of the counts (recounting.py) is one for both. Rows that are events of ours
(the envelope's columns) count for their agent, with their bytes and hash as the agent has summed them. Rows under a user's own
schema count for their agent by number alone, where their headers landed, too: a row no longer has the bytes that its record
had. All others count for nobody.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.audit import window_start_ms
from headrace.errors import CorruptError, StorageError
from headrace.jobs.audit.wording import when
from headrace.jobs.landed_rows import event_times_of, has_landed_so, open_rows
from headrace.sinks.audit_sums import EVENT_COLUMNS, Messages, add_events, has_identity, messages_of, runs, window_starts
from headrace.sinks.identities import UNCOUNTED, Identities, of_columns, of_named
from headrace.sinks.table.audit_totals import AuditTotal, WindowKey
from headrace.sinks.table.reader import LiveFile
from headrace.sinks.values import HEADERS

Key = tuple[str | None, int]
"""Agent id (None: of no agent) and the start of a window, ms."""


@dataclass(frozen=True, slots=True)
class FileCount:
    """What one file was counted to.

    `named` are the rows of which only headers say whose they are; `wrong` is what of the file is not as the log says;
    `unread` is why it could not be counted, and then there are no counts.
    """

    sums: Mapping[Key, AuditTotal] = field(default_factory=dict)
    named: Counter[WindowKey] = field(default_factory=Counter)
    wrong: tuple[str, ...] = ()
    unread: str | None = None


def count_of(root: Path | str, topic: str, file: LiveFile) -> FileCount:
    """One live file, counted and compared with what the log says of the whole of it."""
    if file.damage is not None:
        return FileCount(unread=file.damage)
    named: Counter[WindowKey] = Counter()
    wrong: list[str] = []
    try:
        if not has_landed_so(root, topic, file):
            wrong.append("its bytes are not those that landed")
        sums = count_file(root, topic, file, named)
    except (CorruptError, StorageError) as error:
        return FileCount(wrong=tuple(wrong), unread=str(error))
    return FileCount(sums, named, (*wrong, *_wrong_with(file, sums, named)))


def _wrong_with(file: LiveFile, counted: Mapping[Key, AuditTotal], named: Counter[WindowKey]) -> Iterator[str]:
    """What of a file's rows is not as the log says."""
    if (rows := sum(total.count for total in counted.values()) + named.total()) != file.rows:
        yield f"it has {rows:,} rows, the log says {file.rows:,}"
    first_ms, last_ms = window_start_ms(file.min_event_time_ms), window_start_ms(file.max_event_time_ms)
    if elsewhere := sorted({start_ms for _, start_ms in counted if not first_ms <= start_ms <= last_ms}):
        yield f"it has rows of the window of {when(elsewhere[0])}, the log says of {when(first_ms)} to {when(last_ms)}"


def count_file(
    root: Path | str, topic: str, file: LiveFile, by_headers: Counter[WindowKey] | None = None
) -> dict[Key, AuditTotal]:
    """The sums of one live file by agent and window; `duplicates` is 0 everywhere, for no row tells of one.

    Args:
        by_headers: gains the rows of which only headers say whose they are; None: they are nobody's.

    Raises:
        StorageError: it is nowhere. CorruptError: it cannot be read.
    """
    totals: dict[tuple[str, int], AuditTotal] = {}
    of_nobody: dict[int, int] = {}
    for rows, times in event_batches(root, topic, file, *(() if by_headers is None else (HEADERS,))):
        starts, ours = window_starts(times), is_ours(rows)
        if by_headers is not None and not ours.all():
            starts, rows, ours = _without_named(rows, starts, ours, by_headers)
        for mine in runs(starts[~ours]) if not ours.all() else ():
            start_ms = int(starts[~ours][mine[0]])
            of_nobody[start_ms] = of_nobody.get(start_ms, 0) + len(mine)
        if ours.any():
            events, messages = identified(rows.filter(pa.array(ours)))
            add_events(totals, events, messages, starts[ours])
    sums: dict[Key, AuditTotal] = {(None, start_ms): AuditTotal(count) for start_ms, count in of_nobody.items()}
    return sums | totals


def _without_named(
    rows: pa.Table, starts: np.ndarray, ours: np.ndarray, by_headers: Counter[WindowKey]
) -> tuple[np.ndarray, pa.Table, np.ndarray]:
    """What is left when rows whose headers say whose they are have been counted."""
    if HEADERS not in rows.column_names:
        return starts, rows, ours
    others = np.flatnonzero(~ours)
    headers = rows.column(HEADERS).take(pa.array(others)).to_pylist()
    found = of_named([[(one["name"], one["value"]) for one in each or ()] for each in headers])
    if found is None:
        return starts, rows, ours
    indexes, named = found
    assert named.timestamp is not None, "they are of headers"
    counted = named.timestamp != UNCOUNTED
    agents = (named.agents[code] for code in named.agent_codes[counted].tolist())
    by_headers.update(zip(agents, window_starts(named.timestamp[counted]).tolist(), strict=True))
    left = np.ones(rows.num_rows, bool)
    left[others[indexes[counted]]] = False
    return starts[left], rows.filter(pa.array(left)), ours[left]


def merged(sums: dict[Key, AuditTotal], more: Mapping[Key, AuditTotal]) -> dict[Key, AuditTotal]:
    """`sums` with others added to it."""
    for key, total in more.items():
        sums[key] = sums.get(key, AuditTotal()) + total
    return sums


def event_batches(root: Path | str, topic: str, file: LiveFile, *more: str) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The rows of a file, some ten thousand at a time, in the columns of events and `more`, with their event times (ms)."""
    with open_rows(root, topic, file) as landed:
        wanted = (*EVENT_COLUMNS, "event_time", "_timestamp", *more)
        for batch in landed.batches([name for name in wanted if name in landed.schema.names]):
            if batch.num_rows:
                yield pa.Table.from_batches([batch]), event_times_of(batch)


def is_ours(rows: pa.Table) -> np.ndarray:
    """A mask of the rows that are events of an agent's: under columns of several schemas some may not be."""
    if not has_identity(rows.schema):
        return np.zeros(rows.num_rows, bool)
    mask = np.ones(rows.num_rows, bool)
    for name in EVENT_COLUMNS:
        if rows.column(name).null_count:
            mask &= pc.is_valid(rows.column(name)).to_numpy()
    return mask


def identified(rows: pa.Table) -> tuple[Identities, Messages]:
    """Who rows of events are, and what they say."""
    messages = messages_of(rows)
    return of_columns(rows, messages.lengths), messages
