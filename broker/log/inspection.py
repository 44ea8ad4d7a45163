"""A log directory looked at as it lies on disk, changing nothing: is it what a clean stop, or a crash, may leave?

`plan` reads what the directory says of itself and lists its partitions; `look_at_partition` may then run for each, anywhere.
A *fault* is what no stop and no crash leaves: damage, or records that were durable and are gone. A *note* is what the next
start of a broker cuts, builds again or removes: a torn last batch, indexes that lag behind, files on their way out. What came
after the recovery point of an unclean stop may be either; a whole batch with a wrong CRC is a fault wherever it is.
Reads what Apache Kafka has written too. Source: Kafka's DumpLogSegments and LogLoader.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.broker.log import checkpoint, cluster_metadata
from headrace.broker.log.batch import BatchHeader
from headrace.broker.log.disk import Disk, read_whole
from headrace.broker.log.file_names import INDEX, LOG, TIME_INDEX, TXN_INDEX, segment_name
from headrace.broker.log.findings import Report
from headrace.broker.log.inspect_segment import SegmentLook, look_at_segment
from headrace.broker.log.producers import sequence_after, snapshot_entries
from headrace.broker.log.snapshots import snapshot_name, snapshot_offsets
from headrace.errors import CorruptError, UsageError, VersionError

_PARTITION = re.compile(r"(?P<topic>[a-zA-Z0-9._-]{1,249})-(?P<partition>\d+)")
_SEGMENT = re.compile(r"\d{20}\.log")
_LEAVING = (".deleted", ".tmp", ".cleaned", ".swap", "-delete", "-future", "-stray")
_OF_SEGMENTS = re.compile(r"\d{20}\.(log|index|timeindex|txnindex|snapshot)")
_OF_PARTITIONS = (checkpoint.LEADER_EPOCHS, checkpoint.PARTITION_METADATA, "quorum-state")
_OF_DIRECTORIES = (
    checkpoint.RECOVERY_POINT, checkpoint.LOG_START, checkpoint.HIGH_WATERMARK, checkpoint.CLEANER,
    checkpoint.META_PROPERTIES, checkpoint.CLEAN_SHUTDOWN, ".lock", "bootstrap.checkpoint",  # the last is Apache Kafka's
    "coordination.db", "coordination.db-wal", "coordination.db-shm", "coordination.db-journal", "coordination.db-reserve",
    "security",  # what `security: on` has made
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Promised:
    """What a log directory says of one of its partitions; offsets, None where it says nothing."""

    clean: bool
    recovery_point: int | None
    log_start_offset: int | None
    high_watermark: int | None


@dataclass(frozen=True, slots=True)
class Task:
    """One partition to look at."""

    name: str
    topic: str
    partition: int
    promised: Promised


def plan(disk: Disk, path: str) -> tuple[Report, Sequence[Task]]:
    """What the directory says of itself, and the partitions to look at.

    Raises:
        UsageError: no log directory. OSError: the disk fails.
    """
    names = disk.list(path)
    if checkpoint.META_PROPERTIES not in names and checkpoint.RECOVERY_POINT not in names:
        raise UsageError(f"{path}: no log directory of a broker (it has no {checkpoint.META_PROPERTIES})")
    report = Report("", None, None)
    points = [
        _offsets(disk, path, name, report)
        for name in (checkpoint.RECOVERY_POINT, checkpoint.LOG_START, checkpoint.HIGH_WATERMARK)
    ]
    clean = checkpoint.CLEAN_SHUTDOWN in names
    if not clean:
        report.note("", None, "no clean shutdown: the next start recovers what follows the recovery points")
    tasks = []
    for name in names:
        match = _PARTITION.fullmatch(name)
        if match is not None and not name.endswith(_LEAVING):
            at = (match["topic"], int(match["partition"]))
            stopped = clean and name != cluster_metadata.DIRECTORY  # which Kafka recovers always, and we leave alone
            tasks.append(Task(name, *at, Promised(stopped, *(offsets.get(at) for offsets in points))))
        elif name not in _OF_DIRECTORIES:
            report.note(name, None, "is on its way out" if name.endswith(_LEAVING) else "is no file of a broker")
    gone = sorted(set().union(*points) - {(task.topic, task.partition) for task in tasks})
    for topic, partition in gone:
        recorded = points[0].get((topic, partition)) or points[2].get((topic, partition))
        (report.fault if recorded else report.note)(f"{topic}-{partition}", None, "is in the checkpoints, and not here")
    return report, tasks


def _offsets(disk: Disk, path: str, name: str, report: Report) -> dict[checkpoint.TopicPartition, int]:
    try:
        content = read_whole(disk, f"{path}/{name}")
        return {} if content is None else checkpoint.decode_offsets(content, name)
    except OSError as error:
        report.unreadable(name, error)
    except (CorruptError, VersionError) as error:
        report.fault(name, None, str(error))
    return {}


def look_at_partition(disk: Disk, path: str, task: Task, *, deep: bool) -> Report:
    """Look at one partition of the log directory `path`; a disk error is a fault."""
    report = Report(task.name, task.topic, task.partition)
    try:
        _Partition(disk, f"{path}/{task.name}", task.promised, report).look(deep=deep)
    except OSError as error:
        report.unreadable("", error)
    return report


class _Partition:
    """One partition's files, read in the order of offsets."""

    def __init__(self, disk: Disk, path: str, promised: Promised, report: Report) -> None:
        self._disk, self._path, self._promised, self._report = disk, path, promised, report
        self._names = disk.list(path)
        self._epochs = _EpochWalk(self._stored_epochs(), report)
        self._snapshots = _SnapshotWalk(report)

    def look(self, *, deep: bool) -> None:
        """Fill the report."""
        report = self._report
        self._look_at_names()
        self._read_snapshots()
        stems = [int(name.removesuffix(LOG)) for name in self._names if _SEGMENT.fullmatch(name)]
        for base_offset in stems:
            self._look_at_segment(base_offset, sealed=base_offset != stems[-1], deep=deep)
        report.log_start_offset = max(self._promised.log_start_offset or 0, stems[0] if stems else 0)
        if stems:
            self._look_at_metadata()
            self._compare_with_checkpoints()
        else:
            report.note("", None, "has no segment: it was never completely made")
        for offset in self._snapshots.offsets:
            if offset > report.log_end_offset:
                self._repairable(snapshot_name(offset), None, "is of an offset after the log's end")

    def _look_at_segment(self, base_offset: int, *, sealed: bool, deep: bool) -> None:
        report = self._report
        report.segments += 1
        try:
            look = look_at_segment(
                self._disk, self._path, base_offset, report.log_end_offset, sealed=sealed, deep=deep, see=self._see
            )
        except OSError as error:
            report.unreadable(segment_name(base_offset) + LOG, error)
            return
        report.bytes += look.size
        report.records += look.records
        report.log_end_offset = look.next_offset
        self._judge(look, sealed=sealed)

    def _see(self, header: BatchHeader) -> None:
        self._snapshots.see(header)
        self._epochs.see(header)

    def _judge(self, look: SegmentLook, *, sealed: bool) -> None:
        name = segment_name(look.base_offset) + LOG
        for fault in look.log_faults:
            self._report.fault(*fault)
        if look.torn_at is not None:
            torn = f"no whole batch from here on, {look.size - look.torn_at} bytes; the log ends at offset {look.next_offset}"
            if sealed or not self._is_after_recovery_point(look.next_offset):
                self._report.fault(name, look.torn_at, torn)
            else:
                self._report.note(name, look.torn_at, torn)
        for file, byte, what in look.index_faults:
            if self._is_after_recovery_point(look.next_offset):
                self._report.note(file, byte, f"{what}; it is built again")
            else:
                self._report.fault(file, byte, what)

    def _is_after_recovery_point(self, offset: int) -> bool:
        return not self._promised.clean and offset >= (self._promised.recovery_point or 0)

    def _repairable(self, file: str, byte: int | None, what: str) -> None:
        (self._report.fault if self._promised.clean else self._report.note)(file, byte, what)

    def _look_at_names(self) -> None:
        stems = {name.removesuffix(LOG) for name in self._names if _SEGMENT.fullmatch(name)}
        for name in self._names:
            if name.endswith(_LEAVING):
                self._report.note(name, None, "is on its way out")
            elif name.endswith((INDEX, TIME_INDEX)) and (stem := name.partition(".")[0]) not in stems:
                lost = stem > min(stems, default=stem) and not self._is_after_recovery_point(int(stem))
                (self._report.fault if lost else self._report.note)(name, None, "is an index without its log")
            elif not _OF_SEGMENTS.fullmatch(name) and name not in _OF_PARTITIONS and not name.endswith(".checkpoint"):
                self._report.note(name, None, "is no file of a log")
            elif name.endswith(TXN_INDEX):
                self._read(name)

    def _read(self, name: str) -> bytes | None:
        """A small file's bytes; None if it is not there, or cannot be read, which is a fault."""
        try:
            return read_whole(self._disk, f"{self._path}/{name}") if name in self._names else None
        except OSError as error:
            self._report.unreadable(name, error)
            return None

    def _look_at_metadata(self) -> None:
        if checkpoint.PARTITION_METADATA not in self._names:
            missing = "is missing: the broker would take the log for one that was never completely made"
            self._report.fault(checkpoint.PARTITION_METADATA, None, missing)
        content = self._read(checkpoint.PARTITION_METADATA)
        try:
            if content is not None:
                checkpoint.decode_partition_metadata(content, checkpoint.PARTITION_METADATA)
        except (CorruptError, VersionError) as error:
            self._report.fault(checkpoint.PARTITION_METADATA, None, str(error))

    def _compare_with_checkpoints(self) -> None:
        end, promised = self._report.log_end_offset, self._promised
        for name, offset in (
            (checkpoint.RECOVERY_POINT, promised.recovery_point),
            (checkpoint.HIGH_WATERMARK, promised.high_watermark),
            (checkpoint.LOG_START, promised.log_start_offset),
        ):
            if offset is not None and offset > end:
                self._report.fault("", None, f"{name} says {offset}, and the log ends at {end}: records are lost")
        if promised.clean and promised.recovery_point is not None and promised.recovery_point < end:
            self._report.fault("", None, f"the log was stopped at {promised.recovery_point}, and ends at {end}")

    def _stored_epochs(self) -> list[tuple[int, int]]:
        content = self._read(checkpoint.LEADER_EPOCHS)
        try:
            return [] if content is None else checkpoint.decode_epochs(content, checkpoint.LEADER_EPOCHS)
        except (CorruptError, VersionError) as error:
            self._report.fault(checkpoint.LEADER_EPOCHS, None, str(error))
            return []

    def _read_snapshots(self) -> None:
        for offset in snapshot_offsets(self._names):
            content = self._read(snapshot_name(offset))
            if content is None:
                continue
            entries = snapshot_entries(content)
            if entries is None:
                self._report.fault(snapshot_name(offset), None, "is damaged, or of another version")
            else:
                self._snapshots.add(offset, entries)


class _EpochWalk:
    """The leader epochs of the checkpoint against those that batches carry."""

    def __init__(self, epochs: Sequence[tuple[int, int]], report: Report) -> None:
        self._epochs, self._report, self._at = epochs, report, 0

    def see(self, header: BatchHeader) -> None:
        epochs = self._epochs
        while self._at + 1 < len(epochs) and epochs[self._at + 1][1] <= header.base_offset:
            self._at += 1
        if not epochs or header.base_offset < epochs[0][1]:
            return
        if epochs[self._at][0] != header.leader_epoch:
            what = f"offset {header.base_offset} is of epoch {epochs[self._at][0]} there, its batch of {header.leader_epoch}"
            self._report.fault(checkpoint.LEADER_EPOCHS, None, what)
            self._epochs = ()  # one such fault says it


class _SnapshotWalk:
    """The last batches that producer snapshots name against those that are in the log (compaction may have emptied them)."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._wanted: dict[int, list[tuple[str, tuple[int, ...]]]] = {}  # last offset of a batch → file, entry
        self.offsets: list[int] = []

    def add(self, offset: int, entries: Sequence[tuple[int, ...]]) -> None:
        self.offsets.append(offset)
        name = snapshot_name(offset)
        for entry in entries:
            producer_id, last_offset = entry[0], entry[3]
            if last_offset >= offset:
                self._report.fault(name, None, f"producer {producer_id} has offset {last_offset}, after the snapshot's own")
            elif last_offset >= 0:  # -1: an epoch that has no batch yet
                self._wanted.setdefault(last_offset, []).append((name, entry))

    def see(self, header: BatchHeader) -> None:
        for name, entry in self._wanted.pop(header.last_offset, ()):
            producer_id, _, last_sequence, last_offset, *_ = entry
            there = sequence_after(header.base_sequence, header.last_offset_delta)
            if (header.producer_id, there) != (producer_id, last_sequence):
                what = f"producer {producer_id} is said to end with sequence {last_sequence} at offset {last_offset}"
                self._report.fault(name, None, f"{what}; there is {there} of producer {header.producer_id}")
