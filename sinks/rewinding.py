"""Forking a table off at earlier offsets: files parted, split where they straddle, what rows had said of streams taken back.

Rows below the targets stay, in the files where they are or in new ones; what lies above is landed again. What the fold knows of
streams and audit sums is lessened by the rows that go, so that landing them again is no repeat. Rows under a user's own schema
do not say whose they are: then all that is known of their partition's streams goes (ADR 0053).
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.audit import window_start_ms
from headrace.clock import Clock
from headrace.errors import UsageError
from headrace.process import process_name
from headrace.sinks.audit_sums import has_identity
from headrace.sinks.config import FormatName, Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.event_time import event_times
from headrace.sinks.formats.catalog import SUFFIXES, LandedRows
from headrace.sinks.quarantine import QuarantineFile
from headrace.sinks.quarantined import Entry, entries
from headrace.sinks.repeats import Repeats
from headrace.sinks.table.audit_totals import AuditTotal, AuditTotals
from headrace.sinks.table.commit import Won, commit, give_up, read_head
from headrace.sinks.table.fold import Fold, PartitionEnd, PartitionKey
from headrace.sinks.table.reader import opened
from headrace.sinks.table.record import CommitRecord, DataFile, OffsetRange, Quarantine, WindowCount
from headrace.sinks.table.rewind import Columns, Parting, fork_record, part
from headrace.sinks.table.store import Store, carry_out, missing

_IDENTITY: Final = ("agent_id", "stream_id", "position", "since", "part", "message", "encoding")
_PLACE: Final = ("_incarnation", "_partition", "_offset", "_timestamp")


def fork_table(
    store: Store, targets: Mapping[PartitionKey, PartitionEnd], clock: Clock, *, columns: Columns | None = None
) -> int | str:
    """Fork the next generation off; its number, or why that came to nothing, and may be tried again.

    Args:
        targets: (incarnation, partition) → where landing goes on; each below what has landed.
        columns: what it begins with; None: what its rows have, or else what is landed first.
    Raises:
        UsageError: rows stay, which have columns already.
        StorageError, CorruptError: the table cannot be read, or the disk is full.
    """
    started_ms = clock.monotonic_ms()
    fold = carry_out(read_head(), store)
    work = _Fork(store, fold, {key: end.offset for key, end in targets.items()}, str(uuid.uuid4()))
    if columns is not None and (work.parting.kept or work.parting.split):
        raise UsageError(
            "--columns-of: rows stay, and with them their columns; go back --to beginning. Of what Kafka no longer has there is"
            " no other way than load.incompatible: columns"
        )
    try:
        work.prepare()
    except BaseException:
        carry_out(give_up(work.draft(clock), "it could not be prepared"), store)
        raise
    record = fork_record(work.draft(clock), fold, targets, kept=work.parting.kept, begins=work.begins, columns=columns)
    done = carry_out(commit(record, fold, started_ms=started_ms), store, clock)
    if not isinstance(done, Won):
        return done.why
    assert record.next is not None, "a fork names its generation"
    return record.next


@dataclass(slots=True)
class _Fork:
    """What is made on the way to a fork record: files of the next generation, and what it knows."""

    store: Store
    fold: Fold
    offsets: dict[PartitionKey, int]
    name: str
    parting: Parting = field(init=False)
    begins: Fold = field(init=False)
    added: list[DataFile] = field(default_factory=list)
    quarantine: Quarantine | None = None
    unsaid: set[int] = field(default_factory=set)
    """Partitions of which rows go that do not say whose they are."""

    def __post_init__(self) -> None:
        self.parting = part(self.fold.files.values(), self.offsets)
        self.begins = Fold(
            created_ms=self.fold.created_ms,
            streams=dict(self.fold.streams),
            audit=self.fold.audit.copy(),
            uncounted_until_ms=self.fold.uncounted_until_ms,
            expired_ms=self.fold.expired_ms,
        )

    def draft(self, clock: Clock) -> CommitRecord:
        return CommitRecord(
            "fork",
            self.name,
            process_name(),
            clock.wall_ms(),
            add=tuple(self.added),
            quarantine=self.quarantine,
            generation=self.fold.generation,
        )

    def prepare(self) -> None:
        for file in self.parting.dropped:
            with self._open(file) as rows:
                if has_identity(rows.schema):
                    columns = [name for name in rows.schema.names if name in (*_IDENTITY, *_PLACE, "event_time")]
                    for batch in rows.batches(columns):
                        self._take_back(pa.Table.from_batches([batch]))
                else:
                    self.unsaid.update(span.partition for span in file.ranges)
        for file in self.parting.split:
            self._split(file)
        streams = self.begins.streams
        self.begins.streams = {key: stream for key, stream in streams.items() if key[0] not in self.unsaid}
        self._uncount()
        self._part_quarantine()

    def _uncount(self) -> None:
        """Rows that go, and do not say whose they are, are in the sums of their agents' windows, nobody can tell in which."""
        if not self.unsaid or not self.begins.audit:
            return
        rows = sum(file.rows for file in self.fold.files.values())
        if rows == self.fold.audit.count and not (self.parting.kept or self.added):
            self.begins.audit, self.begins.uncounted_until_ms = AuditTotals(), None  # all that was ever counted goes
        else:
            self.begins.uncounted_until_ms = max(self.begins.audit.end_ms, self.fold.uncounted_until_ms or 0)

    def _open(self, file: DataFile) -> LandedRows:
        if (data := opened(self.store, file.path)) is None:
            raise missing(file.path)
        return LandedRows(data, file.format, file.path)

    def _split(self, file: DataFile) -> None:
        """The rows of a file below the targets become a file of their own."""
        with ExitStack() as stack:
            rows = stack.enter_context(self._open(file))
            output: LandingFile | None = None
            try:
                for batch in rows.batches():
                    table = pa.Table.from_batches([batch])
                    below = self._is_below(table)
                    if not below.all():
                        self._take_back(table.filter(pa.array(~below)))
                    if below.any():
                        output = output or self._new_file(file, rows.schema)
                        kept = table.filter(pa.array(below))
                        output.append(kept, pa.chunked_array([self._times(kept)]), _spans(kept))
                if output is not None:
                    self.added.append(output.close(file.schema_ids))
            except BaseException:
                if output is not None:
                    output.discard()
                raise

    def _new_file(self, file: DataFile, schema: pa.Schema) -> LandingFile:
        directory = file.path.rpartition("/")[0]
        format_ = cast(FormatName, file.format)  # it has been opened by it
        path = f"{directory}/{self.name}-{len(self.added)}{SUFFIXES[format_]}"
        return LandingFile(self.store, path, schema, Output(format=format_))

    def _is_below(self, rows: pa.Table) -> np.ndarray:
        below = np.ones(rows.num_rows, bool)
        incarnations, partitions, offsets = (rows.column(name).to_numpy() for name in _PLACE[:3])
        for (incarnation, partition), target in self.offsets.items():
            below &= (incarnations != incarnation) | (partitions != partition) | (offsets < target)
        return below

    @staticmethod
    def _times(rows: pa.Table) -> np.ndarray:
        return event_times(rows, rows.column("_timestamp").cast(pa.int64()).to_numpy())

    def _take_back(self, rows: pa.Table) -> None:
        """Lessen what is known of streams and windows by rows that go."""
        rows, others = _by_identity(rows)
        self.unsaid.update(others.column("_partition").unique().to_pylist())
        for partition in np.unique(rows.column("_partition").to_numpy()).tolist():
            mine = rows.filter(pa.array(rows.column("_partition").to_numpy() == partition))
            gone = Repeats({})
            gone.keep(partition, mine, self._times(mine))
            for stream in gone.streams():
                key = (partition, stream.agent, stream.stream)
                if (known := self.begins.streams.get(key)) is not None:
                    left = known.landed.copy()
                    for start, end in stream.landed:
                        left.discard(start, end)
                    self.begins.streams[key] = replace(known, landed=left)
            for one in gone.audit():
                total = AuditTotal(one.count, one.bytes, int(one.hash, 16))
                self.begins.audit.take_back((one.agent, one.window_start_ms), total)

    def _stays(self, entry: Entry) -> bool:
        return entry.offset < self.offsets.get((entry.incarnation, entry.partition), entry.offset + 1)

    def _part_quarantine(self) -> None:
        """Quarantined records from the targets on are read again; those before stay, together in one file if need be."""
        rest = QuarantineFile(self.store, self.name, self.fold.created_ms)
        try:
            for found in self.fold.quarantined.values():
                windows = Counter(
                    window_start_ms(entry.timestamp_ms) for entry in entries(self.store, found) if self._stays(entry)
                )
                if windows.total() == found.count:
                    self.begins.quarantine(replace(found, windows=tuple(map(WindowCount, windows.keys(), windows.values()))))
                    continue
                for entry in filter(self._stays, entries(self.store, found)):
                    rest.add_line(entry.line, entry.timestamp_ms)
            self.quarantine = rest.close()
        except BaseException:
            rest.discard()
            raise
        if self.quarantine is not None:
            self.begins.quarantine(self.quarantine)


def _by_identity(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows that say whose they are, and others; a table may have both."""
    if not has_identity(rows.schema):
        return rows.slice(0, 0), rows
    said = pc.is_valid(rows.column("stream_id"))
    return rows.filter(said), rows.filter(pc.invert(said))


def _spans(rows: pa.Table) -> Sequence[OffsetRange]:
    """The offsets that rows lie in, by incarnation and partition."""
    found: dict[PartitionKey, list[int]] = defaultdict(list)
    for incarnation, partition, offset in zip(*(rows.column(name).to_numpy().tolist() for name in _PLACE[:3]), strict=True):
        found[incarnation, partition].append(offset)
    return [OffsetRange(*key, min(offsets), max(offsets) + 1) for key, offsets in found.items()]
