"""`headrace audit --recount --bootstrap`: events of windows that differ, beside what the broker still has of them.

What remains of the offsets whose rows lie in files near those windows is read as the loader reads it, into a scratch table, and
both tables' rows are compared by identity, column by column. So the very event is named, and on which side of the broker it
changed. Memory holds the rows of the windows that are compared.
"""

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from headrace.audit import WINDOW_MS
from headrace.clock import SystemClock
from headrace.errors import PeerError
from headrace.jobs.audit.beside import Events, differences
from headrace.jobs.audit.recount import is_ours
from headrace.jobs.audit.recounting import TopicRecount
from headrace.jobs.audit.window_rows import holding
from headrace.jobs.landed_rows import event_times_of, open_rows
from headrace.jobs.sql.live.asking import Span
from headrace.jobs.sql.live.fetching import Broker
from headrace.sinks.audit_sums import window_starts
from headrace.sinks.config import LoadConfig
from headrace.sinks.resume import Resume, Sight
from headrace.sinks.stores.local import LocalRoot
from headrace.sinks.table.audit_totals import WindowKey
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import LiveFile, TableSnapshot, located

MOST_COMPARED: Final = 50
"""Windows of an agent's, of one topic."""


def compare_with_broker(root: Path | str, table: TableSnapshot, done: TopicRecount, config: LoadConfig) -> None:
    """Name the events of a recount's windows that differ from what the broker has, in its remarks.

    Raises:
        PeerError: the broker or the registry does not answer. CorruptError, StorageError: a file cannot be read.
    """
    keys = sorted((key for key in done.suspects if done.is_counted(key[1])), key=lambda key: (key[1], key[0]))
    if len(keys) > MOST_COMPARED:
        done.remarks.append(f"{len(keys) - MOST_COMPARED:,} more windows were not compared with the broker")
    keys = keys[:MOST_COMPARED]
    if not keys:
        return
    readable = [file for file in table.files if file.name not in done.uncounted]
    files = holding(readable, {start_ms for _, start_ms in keys}, WINDOW_MS)
    landed = _events(root, table.topic, files, keys)
    with tempfile.TemporaryDirectory(prefix="headrace-audit-") as scratch, closing(_broker(config)) as broker:
        fetched, spans = _fetched(broker, table, files, LocalRoot(Path(scratch)))
        there = _events(scratch, table.topic, fetched, keys)
    read = {(span.place.incarnation, span.partition): range(span.place.offset, span.end) for span in spans}
    if found := list(differences(landed, there, read)):
        done.remarks += found
        return
    shown = ", ".join(f"{offsets.start} to {offsets.stop} of partition {partition}" for (_, partition), offsets in read.items())
    done.remarks.append(f"the broker has what has landed (offsets {shown}): what differs was so before, or in its log")


def _broker(config: LoadConfig) -> Broker:
    return Broker(config, SystemClock(), lambda _topic, _done, _all: None)


def _fetched(
    broker: Broker, table: TableSnapshot, files: Sequence[LiveFile], scratch: LocalRoot
) -> tuple[list[LiveFile], tuple[Span, ...]]:
    """What the broker has of the offsets that these files are made of, as files of a scratch table; and what was asked for."""
    spans = tuple(_spans(table, files, broker.look(table.topic, Fold())))
    record = broker.fetch(table.topic, Fold(), spans, scratch.table(table.topic)) if spans else None
    if record is None:
        raise PeerError(f"kafka: topic {table.topic}: nothing is left there to compare with")
    return located(scratch, table.topic, record.add), spans


def _spans(table: TableSnapshot, files: Sequence[LiveFile], sights: Mapping[int, Sight]) -> Iterator[Span]:
    newest = {partition: incarnation for incarnation, partition in sorted(table.ends)}
    for partition, sight in sorted(sights.items()):
        incarnation = newest.get(partition, 0)
        mine = [one for file in files for one in file.ranges if (one.incarnation, one.partition) == (incarnation, partition)]
        start = max(min((one.start for one in mine), default=0), sight.log_start)
        end = min(max((one.end for one in mine), default=0), sight.log_end)
        if start < end:
            yield Span(partition, Resume(incarnation, start, "before" if start else None), end, sight.topic_id)


def _events(root: Path | str, topic: str, files: Sequence[LiveFile], keys: Collection[WindowKey]) -> Events:
    """All columns of the events of some agents' windows."""
    found: Events = {}
    wanted = list({start_ms for _, start_ms in keys})
    for file in files:
        with open_rows(root, topic, file) as opened:
            for batch in opened.batches():
                rows, starts = pa.Table.from_batches([batch]), window_starts(event_times_of(batch))
                mask = is_ours(rows) & np.isin(starts, wanted)
                for row, start_ms in zip(rows.filter(pa.array(mask)).to_pylist(), starts[mask].tolist(), strict=True):
                    if (row["agent_id"], start_ms) in keys:
                        identity = row["agent_id"], row["stream_id"], row["position"], row["part"]
                        found.setdefault(identity, []).append((file.path, row))
    return found
