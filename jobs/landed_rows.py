"""What the audit reads from landed files themselves, by Arrow: messages of `_audit`, windows of rows, identities."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.audit import window_start_ms
from headrace.errors import CorruptError
from headrace.jobs.audit.evidence import NOWHERE, Recount
from headrace.sinks.audit_sums import window_starts
from headrace.sinks.data_file import checksum_of
from headrace.sinks.event_time import HOUR_MS, event_times
from headrace.sinks.formats.catalog import LandedRows
from headrace.sinks.identities import of_named
from headrace.sinks.table.reader import LiveFile, open_live
from headrace.sinks.values import HEADERS

_IDENTITY = ("agent_id", "stream_id", "position", "part")
_PLACE = ("_incarnation", "_partition", "_offset")


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A record of `_audit` as it landed; `place` is (incarnation, partition, offset), which is the order of the log."""

    place: tuple[int, int, int]
    appended_ms: int
    key: bytes | None
    value: bytes | None


def open_rows(root: Path | str, topic: str, file: LiveFile) -> LandedRows:
    """Open a live file, wherever it has moved since it was listed.

    Raises:
        StorageError: it is nowhere. CorruptError: it cannot be read.
    """
    return LandedRows(open_live(root, topic, file.name), file.format, file.path)


def has_landed_so(root: Path | str, topic: str, file: LiveFile) -> bool:
    """Whether a live file has the bytes that were committed. Raises StorageError: it is nowhere."""
    with open_live(root, topic, file.name) as data:
        return checksum_of(data) == file.checksum


def read_announcements(root: Path | str, topic: str, file: LiveFile) -> list[RawMessage]:
    """The records of one file of `_audit`.

    Raises:
        StorageError: it is nowhere. CorruptError: it is not as it landed.
    """
    if not has_landed_so(root, topic, file):
        raise CorruptError(f"{file.path} has other bytes than the log says; a landed file was changed; restore it")
    with open_rows(root, topic, file) as landed:
        table = landed.read(["_key", "value", "_incarnation", "_partition", "_offset", "_timestamp"])
    times = _as_ms(table["_timestamp"]).to_pylist()
    places = zip(table["_incarnation"].to_pylist(), table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True)
    pairs = zip(table["_key"].to_pylist(), table["value"].to_pylist(), strict=True)
    return [
        RawMessage(place, appended_ms, key, None if value is None else value.encode())
        for place, appended_ms, (key, value) in zip(places, times, pairs, strict=True)
    ]


def rows_by_window(root: Path | str, topic: str, file: LiveFile) -> dict[int, int]:
    """How many rows of a file fall into each window of event time."""
    first, last = window_start_ms(file.min_event_time_ms), window_start_ms(file.max_event_time_ms)
    if first == last:
        return {first: file.rows}
    found: dict[int, int] = {}
    with open_rows(root, topic, file) as landed:
        for batch in landed.batches([name for name in ("event_time", "_timestamp") if name in landed.schema.names]):
            starts, counts = np.unique(window_starts(event_times_of(batch)), return_counts=True)
            for start_ms, count in zip(starts.tolist(), counts.tolist(), strict=True):
                found[start_ms] = found.get(start_ms, 0) + count
    return found


def event_times_of(rows: pa.RecordBatch) -> np.ndarray:
    """When rows happened, ms, as the loader has it; `rows` has the file's columns of times."""
    return event_times(rows, _as_ms(rows["_timestamp"]).to_numpy(zero_copy_only=False))


def hours_by_row(file: LiveFile, rows: pa.RecordBatch) -> pa.Array:
    """The UTC hour of each row's event time, in hours since the epoch; `rows` has the file's columns of times."""
    first, last = file.min_event_time_ms // HOUR_MS, file.max_event_time_ms // HOUR_MS
    if first == last:
        return pa.array(np.full(rows.num_rows, first))
    return pa.array(event_times_of(rows) // HOUR_MS)


Found = tuple[tuple[str, int], tuple[object, ...], tuple[int, int, int]]
"""A row: the agent and window that it counts for, its identity, and its place."""


def rows_of_agents(root: Path | str, topic: str, file: LiveFile, keys: Collection[tuple[str, int]]) -> list[Found]:
    """The rows of some agents' windows in a file.

    Rows do not say whose they are, and are left out, under a user's own schema whose headers did not land.

    Raises:
        StorageError: the file is nowhere. CorruptError: it cannot be read.
    """
    return [row for row in _identities(root, topic, file) if row[0] in keys]


def recounts(files: Iterable[Iterable[Found]], newest: Mapping[int, int]) -> dict[tuple[str, int], Recount]:
    """Count some agents' rows of some windows again: all, distinct identities, and up to which offsets they lie.

    Args:
        newest: the newest incarnation of each partition.
    """
    found: dict[tuple[str, int], list[tuple[object, ...]]] = {}
    ends: dict[tuple[str, int], dict[int, int]] = {}
    for rows in files:
        for key, identity, (incarnation, partition, offset) in rows:
            found.setdefault(key, []).append(identity)
            end = offset + 1 if incarnation == newest.get(partition) else NOWHERE
            of_key = ends.setdefault(key, {})
            of_key[partition] = max(of_key.get(partition, 0), end)
    return {key: Recount(len(rows), len(set(rows)), ends[key]) for key, rows in found.items()}


def ends_of_windows(
    root: Path | str, topic: str, file: LiveFile, starts: Collection[int], newest: Mapping[int, int]
) -> dict[int, dict[int, int]]:
    """Up to which offsets a file's records lie, by partition, whose Kafka timestamps are of some windows, whoever sent them."""
    ends: dict[int, dict[int, int]] = {start_ms: {} for start_ms in starts}
    with open_rows(root, topic, file) as landed:
        for batch in landed.batches(["_timestamp", *_PLACE]):
            windows = window_starts(_as_ms(batch["_timestamp"]).to_numpy(zero_copy_only=False))
            for row in np.flatnonzero(np.isin(windows, list(starts))).tolist():
                incarnation, partition, offset = (batch[name][row].as_py() for name in _PLACE)
                of_window = ends[int(windows[row])]
                end = offset + 1 if incarnation == newest.get(partition) else NOWHERE
                of_window[partition] = max(of_window.get(partition, 0), end)
    return ends


def _identities(root: Path | str, topic: str, file: LiveFile) -> Iterable[Found]:
    with open_rows(root, topic, file) as landed:
        if not {*_IDENTITY, "event_time"} <= set(landed.schema.names):
            if HEADERS in landed.schema.names:
                yield from _named(landed.read([HEADERS, *_PLACE]))
            return
        table = landed.read([*_IDENTITY, "event_time", *_PLACE])
    starts = window_starts(_as_ms(table["event_time"]).to_numpy()).tolist()
    places = zip(*(table[name].to_pylist() for name in _PLACE), strict=True)
    identities = zip(*(table[name].to_pylist() for name in _IDENTITY), strict=True)
    for identity, start_ms, place in zip(identities, starts, places, strict=True):
        yield (identity[0], start_ms), identity, place


def _named(table: pa.Table) -> Iterable[Found]:
    """The same of rows whose headers say it."""
    headers = [[(one["name"], one["value"]) for one in each or ()] for each in table[HEADERS].to_pylist()]
    if (found := of_named(headers)) is None:
        return
    rows, named = found
    assert named.timestamp is not None, "they are of headers"
    places = list(zip(*(table[name].to_pylist() for name in _PLACE), strict=True))
    starts = window_starts(named.timestamp).tolist()
    for index, row in enumerate(rows.tolist()):
        agent, stream = divmod(int(named.codes[index]), len(named.streams))
        identity = (named.agents[agent], named.streams[stream], int(named.position[index]), int(named.part[index]))
        yield (named.agents[agent], starts[index]), identity, places[row]


def _as_ms(column: Any) -> Any:
    """A column of timestamps, or of ms already, as int64 ms; rounded down."""
    if not pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    rounded = pc.floor_temporal(column, unit="millisecond")
    return rounded.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
