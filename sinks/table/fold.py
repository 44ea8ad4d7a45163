"""The fold: what a table is, after the records up to one of its log. Pure; nothing else is truth (landing.md, Idea).

A fold has one owner, who applies records to it in order. `prev` names the record before by its attempt, so that a fold that
went on from a record which is no longer history is noticed instead of believed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from headrace.errors import CorruptError
from headrace.sinks.table.audit_totals import DAY_MS, AuditTotal, AuditTotals
from headrace.sinks.table.intervals import IntervalSet
from headrace.sinks.table.record import CommitRecord, DataFile, Gap, Job, LandedRange, Quarantine, WindowCount
from headrace.sinks.table.slices import lies_in
from headrace.sinks.table.succession import refused
from headrace.sinks.table.window_counts import with_counts

FORGET_STREAM_MS: Final = 7 * DAY_MS
LONGEST_STEP_MS: Final = DAY_MS
"""How far one record moves the table's time: a loader whose clock is years ahead must not make us forget every stream."""

PartitionKey = tuple[int, int]  # (incarnation, partition)
StreamKey = tuple[int, str, str]  # (partition, agent_id, stream_id)


@dataclass(frozen=True, slots=True)
class PartitionEnd:
    """Where the next range of a partition starts, and the last record that was read below it."""

    offset: int
    last_offset: int | None = None
    last_leader_epoch: int | None = None
    last_timestamp_ms: int | None = None
    last_fingerprint: str | None = None
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class LostGap:
    """A gap that nothing allowed explains."""

    incarnation: int
    partition: int
    gap: Gap


@dataclass(slots=True)
class LandedStream:
    """What has landed of a stream in one partition, and when a record last said so."""

    landed: IntervalSet
    touched_ms: int


@dataclass(frozen=True, slots=True)
class Owner:
    """The run whose whole output a slice is: its record, and when that was made (ms, by its clock)."""

    attempt: str
    seq: int
    created_ms: int
    job: Job


@dataclass(frozen=True, slots=True)
class Fork:
    """A rewind in progress: generation `next` begins after this fork record, and counts its records on from it."""

    next: int
    seq: int
    attempt: str
    created_ms: int
    input: str | None
    kept: frozenset[str]
    """Files of both generations: neither may remove them while both are there."""
    files: Mapping[str, DataFile]
    """All files that the next generation begins with."""
    state: Mapping[str, Any]
    """The rest of what it begins with, as a checkpoint says it."""
    quarantined: frozenset[str]
    """Its files of undecodable records."""

    def names(self, path: str) -> bool:
        """Whether the next generation begins with a data or quarantine file."""
        return path in self.files or path in self.quarantined


@dataclass(slots=True)
class Fold:
    """The state of one generation of a table after record `seq` (−1: before the first)."""

    generation: int = 1
    seq: int = -1
    attempt: str | None = None
    created_ms: int = 0
    """The table's time, by its loaders' clocks: when the head was made, never back, at most a day on with each record."""
    input: str | None = None
    arrow_schema: str | None = None
    """The columns that hold all rows landed so far (record.py); None where no record says."""
    files: dict[str, DataFile] = field(default_factory=dict)
    ends: dict[PartitionKey, PartitionEnd] = field(default_factory=dict)
    streams: dict[StreamKey, LandedStream] = field(default_factory=dict)
    audit: AuditTotals = field(default_factory=AuditTotals)
    expired_ms: int | None = None
    """The time of the newest event in files that have expired; None: none has."""
    uncounted_until_ms: int | None = None
    """Windows before it have sums that rows may have been taken from: a rewind's that do not say whose they are."""
    lost: list[LostGap] = field(default_factory=list)
    quarantined: dict[str, Quarantine] = field(default_factory=dict)
    """Files of undecodable records by path, in the order in which they came, without their windows."""
    quarantine_windows: tuple[WindowCount, ...] = ()
    """When the records in all of them were written, and in those that have expired."""
    slices: dict[str, Owner] = field(default_factory=dict)
    """Of a table that jobs write: whose output each slice is, also where it has no rows or these have expired."""
    fork: Fork | None = None
    """The newest rewind that has been begun; an earlier one, if it was not closed, is given up with it."""
    is_closed: bool = False
    """Whether `fork.next` has taken over: no record follows."""
    is_opened: bool = True
    """Whether the generation before is closed; while it is not, this one's files stay in staging, and nobody reads it."""
    follows: tuple[int, ...] = ()
    """Closed generations that this fold was reached through: it rests on their close records too."""
    removed: list[str] = field(default_factory=list)
    """Files taken out by records since the newest checkpoint: they may still be on their way to `removed/`."""
    attempts: dict[int, str] = field(default_factory=dict)
    """Attempts of the records applied here, by seq; those below a checkpoint are not in it."""
    checkpoint_seq: int = -1
    """The newest checkpoint known to exist."""
    checkpoint_ms: int = 0
    """When the head of that checkpoint was made, as far as is known."""

    def end(self, incarnation: int, partition: int) -> int:
        """The first offset not covered; 0 for a partition that has not landed yet."""
        known = self.ends.get((incarnation, partition))
        return known.offset if known else 0

    def incarnation(self, partition: int) -> int:
        """The newest incarnation of a partition; 0 for a partition that has not landed yet."""
        return max((incarnation for incarnation, p in self.ends if p == partition), default=0)

    @property
    def is_derived(self) -> bool:
        """Whether jobs write the table, and no loader."""
        return bool(self.slices)

    def files_of(self, directory: str) -> list[str]:
        """The live files of a slice, in order."""
        return sorted(path for path in self.files if lies_in(path, directory))

    def has(self, path: str) -> bool:
        """Whether a data or quarantine file is live."""
        return path in self.files or path in self.quarantined

    def names(self, path: str) -> bool:
        """Whether a data or quarantine file belongs to the table, or to the rewind that it is forked for."""
        return self.has(path) or (self.fork is not None and self.fork.names(path))

    def is_pinned(self, path: str) -> bool:
        """Whether a rewind in progress keeps a live file, so that no record may remove it."""
        return not self.is_opened or (self.fork is not None and self.fork.names(path))

    def behind(self, ends: tuple[tuple[int, int, int], ...]) -> Iterator[str]:
        """Where these ends of the next generation (incarnation, partition, offset) have not reached this one's."""
        reached = {(incarnation, partition): offset for incarnation, partition, offset in ends}
        for (incarnation, partition), end in self.ends.items():
            again = reached.get((incarnation, partition), 0)
            if again < end.offset:
                yield f"partition {partition} has landed up to {end.offset}, and again up to {again}"

    def apply(self, record: CommitRecord) -> None:
        """Go one record on.

        Raises:
            CorruptError: the record does not follow; nothing has changed.
        """
        where = f"record {record.seq} of generation {record.generation}"
        if record.generation != self.generation or record.seq != self.seq + 1:
            raise CorruptError(f"{where} does not follow record {self.seq} of generation {self.generation}")
        if record.prev != self.attempt:
            raise CorruptError(f"{where} follows attempt {record.prev}, but record {self.seq} is attempt {self.attempt}")
        if reason := refused(record, self):
            raise CorruptError(f"{where} {reason}")
        if record.kind in ("fork", "close"):
            self._rewind(record)
            return
        self._tick(record)
        for landed in record.ranges:
            self._advance(landed)
        if record.kind == "expire":
            self._expire(record)
        for path in record.remove:
            del (self.quarantined if path in self.quarantined else self.files)[path]
        self.removed += record.remove
        self.files.update((file.path, file) for file in record.add)
        if record.quarantine:
            self.quarantine(record.quarantine, is_new=record.kind != "compact")
        self._sum(record)
        self._cover(record)
        if record.kind == "replace":
            assert record.slice is not None, "it has been checked"
            assert record.job is not None, "it has been checked"
            self.slices[record.slice] = Owner(record.attempt, record.seq, record.created_ms, record.job)
        self.input = record.input or self.input
        self.arrow_schema = record.arrow_schema or self.arrow_schema
        self._step(record)

    def quarantine(self, found: Quarantine, *, is_new: bool = True) -> None:
        """Have one file of undecodable records more; `is_new` unless they have been counted, in other files."""
        if is_new:
            unsaid = WindowCount(0, found.count)  # by another writer, which need not say
            self.quarantine_windows = with_counts(self.quarantine_windows, found.windows or (unsaid,), self.created_ms)
        self.quarantined[found.path] = replace(found, windows=())

    def _step(self, record: CommitRecord) -> None:
        self.seq, self.attempt = record.seq, record.attempt
        self.attempts[record.seq] = record.attempt

    def _rewind(self, record: CommitRecord) -> None:
        self._tick(record)
        if record.kind == "fork":
            assert record.next is not None, "it has been checked"
            assert record.state is not None, "it has been checked"
            files = {path: self.files[path] for path in record.keep} | {file.path: file for file in record.add}
            self.fork = Fork(
                record.next,
                record.seq,
                record.attempt,
                self.created_ms,
                record.input or self.input,
                frozenset(record.keep),
                files,
                record.state,
                frozenset(one["path"] for one in record.state["quarantined"]),
            )
        else:
            self.is_closed = True
        self._step(record)

    def _tick(self, record: CommitRecord) -> None:
        if self.seq < 0:
            self.created_ms = self.checkpoint_ms = record.created_ms  # counts as a checkpoint's time while there is none
        else:
            before_ms = self.created_ms
            self.created_ms = max(self.created_ms, min(record.created_ms, self.created_ms + LONGEST_STEP_MS))
            if before_ms // DAY_MS != self.created_ms // DAY_MS:
                self.audit.settle(self.created_ms)

    def _expire(self, record: CommitRecord) -> None:
        newest_ms = (self.files[path].max_event_time_ms for path in record.remove if path in self.files)
        self.expired_ms = max((at_ms for at_ms in (self.expired_ms, *newest_ms) if at_ms is not None), default=None)

    def _advance(self, landed: LandedRange) -> None:
        key = (landed.incarnation, landed.partition)
        before = self.ends.get(key)
        if landed.last_offset is None and before is not None:
            last = before
        else:
            last = PartitionEnd(
                landed.end,
                landed.last_offset,
                landed.last_leader_epoch,
                landed.last_timestamp_ms,
                landed.last_fingerprint,
            )
        topic_id = landed.topic_id or (before.topic_id if before else None)
        self.ends[key] = PartitionEnd(
            landed.end,
            last.last_offset,
            last.last_leader_epoch,
            last.last_timestamp_ms,
            last.last_fingerprint,
            topic_id,
        )
        if landed.last_timestamp_ms is not None:
            self.lost = [_bounded(lost, key, landed.start, landed.last_timestamp_ms) for lost in self.lost]
        self.lost += [LostGap(landed.incarnation, landed.partition, gap) for gap in landed.gaps if gap.why == "lost"]

    def _sum(self, record: CommitRecord) -> None:
        for one in record.audit:
            total = AuditTotal(one.count, one.bytes, int(one.hash, 16), one.duplicates)
            self.audit.add((one.agent, one.window_start_ms), total, self.created_ms)

    def _cover(self, record: CommitRecord) -> None:
        for stream in record.streams:
            key = (stream.partition, stream.agent, stream.stream)
            known = self.streams.setdefault(key, LandedStream(IntervalSet(), self.created_ms))
            for start, end in stream.landed:
                known.landed.add(start, end)
            known.touched_ms = self.created_ms

    def forget_old_streams(self) -> None:
        """Drop what has landed of streams that no record has touched for 7 days before the head."""
        oldest = self.created_ms - FORGET_STREAM_MS
        self.streams = {key: stream for key, stream in self.streams.items() if stream.touched_ms >= oldest}


def _bounded(lost: LostGap, key: PartitionKey, start: int, before_ms: int) -> LostGap:
    """A gap that a range ended with, once the next range, from `start` on, tells what came after it."""
    if (lost.incarnation, lost.partition) != key or lost.gap.end != start or lost.gap.before_ms is not None:
        return lost
    return replace(lost, gap=replace(lost.gap, before_ms=before_ms))
