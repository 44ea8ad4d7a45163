"""One log directory: what is found in it, its checkpoints, housekeeping, clean shutdown. `LogDirectories` holds them together.

Layout: `<path>/<topic>-<partition>/…`, beside the checkpoints of `checkpoint.py`. A deleted topic's directories are renamed to
`<topic>-<partition>.<topic id>-delete` and removed after `file.delete.delay.ms`.
The marker of a clean shutdown is removed, durably, before anything is loaded and written last (KAFKA-10471, KAFKA-15375).

A partition that cannot be read is offline, alone, and what the checkpoints say of it is kept. The directory is, with all its
partitions, once one of its own files fails.
"""

import logging
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from headrace.broker.log import checkpoint
from headrace.broker.log.checkpoint import TopicPartition
from headrace.broker.log.claims import Claim
from headrace.broker.log.config import LogConfig, with_overrides
from headrace.broker.log.disk import Disk, is_full, is_out_of_descriptors, read_whole, write_whole
from headrace.broker.log.holding import release
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.partition_files import DELETED_SUFFIX, deleted_path, holds_records, remove_partition
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.scanning import Facts
from headrace.broker.log.space import FreeSpace
from headrace.broker.log.steps import BackgroundStep, CheckpointWrite, Removal
from headrace.errors import CorruptError, StorageError

logger = logging.getLogger(__name__)

_DIRECTORY = re.compile(r"(?!__cluster_metadata-)(?P<topic>[a-zA-Z0-9._-]{1,249})-(?P<partition>\d+)")
_MAX_LOG_UNCHECKPOINTED_BYTES = 64 * 1024 * 1024
_OFFSET_CHECKPOINTS = (
    checkpoint.RECOVERY_POINT, checkpoint.LOG_START, checkpoint.HIGH_WATERMARK, checkpoint.CLEANER,
)  # fmt: skip

Overrides = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True, slots=True)
class LogDirectoryConfig:
    """A broker's settings for all its logs; times in ms.

    Attributes:
        defaults: of topics that override nothing (`config.broker_defaults`).
        cluster_id: for a new directory; one that has a cluster id keeps it.
        free_bytes_min: `log.dirs.free.bytes.min`, None for the default (space.py).
    """

    node_id: int
    cluster_id: str
    defaults: LogConfig = field(default_factory=LogConfig)
    free_bytes_min: int | None = None
    producer_id_expiration_ms: int = 86_400_000
    producer_id_expiration_check_interval_ms: int = 600_000
    retention_check_interval_ms: int = 300_000
    flush_checkpoint_interval_ms: int = 60_000
    high_watermark_checkpoint_interval_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A partition's files, before they are opened."""

    path: str
    topic: str
    partition: int
    topic_id: UUID
    config: LogConfig
    facts: Facts


class LogDirectory:
    """The logs in one directory: surveyed, then loaded one by one, then served."""

    def __init__(self, disk: Disk, claim: Claim, config: LogDirectoryConfig, now_ms: int) -> None:
        """A new directory is given its ids. Raises OSError."""
        self.path, self.config = claim.path, config
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.failed: dict[TopicPartition, Facts] = {}  # partitions that could not be loaded
        self.error: OSError | None = None  # why the directory is offline
        self._disk, self._lock = disk, claim.lock
        self.space = FreeSpace(disk, claim.path, config.free_bytes_min)
        self._clean = False
        self._deleted: list[tuple[int, str]] = []  # when to remove, directory
        self._written: dict[str, bytes] = {}  # checkpoints as they are on disk
        self.gone: set[TopicPartition] = set()  # of which they may say something still
        self._now_ms = self._checkpointed_ms = self._retained_ms = self._expired_ms = now_ms
        self.directory_id = claim.directory_id or self._identify(claim)

    def _identify(self, claim: Claim) -> str:
        """A new id; empty where the disk has no room for it."""
        directory_id = checkpoint.encode_uuid(uuid.uuid4())
        properties = {
            "version": "1",
            "cluster.id": claim.cluster_id or self.config.cluster_id,
            "node.id": str(self.config.node_id),
            "directory.id": directory_id,
        }
        try:
            write_whole(self._disk, self.path, checkpoint.META_PROPERTIES, checkpoint.encode_properties(properties))
        except OSError as error:
            if claim.is_new or not is_full(error):
                raise
            return ""
        return directory_id

    # Loading

    def survey(self, overrides: Overrides, deleted: Collection[UUID]) -> list[FoundLog]:
        """The logs that are here, in order; what is deleted is removed, and the marker of a clean shutdown too.

        Args:
            overrides: topic → its own settings, so that retention never runs with the defaults (KAFKA-9254).
            deleted: ids of topics whose deletion is not finished.
        Raises:
            VersionError: a checkpoint was written by a newer version.
        """
        try:
            names = self._disk.list(self.path)
            self._clean = checkpoint.CLEAN_SHUTDOWN in names
            if self._clean:
                self._disk.remove(f"{self.path}/{checkpoint.CLEAN_SHUTDOWN}")
                self._disk.sync_directory(self.path)
            points = {name: self._read_offsets(name) for name in _OFFSET_CHECKPOINTS}
        except OSError as error:
            self.fail(error)
            return []
        found = []
        for name in names:
            if name.endswith(DELETED_SUFFIX):
                self._remove(f"{self.path}/{name}")
            elif match := _DIRECTORY.fullmatch(name):
                at = match["topic"], int(match["partition"])
                facts = self._facts(points, at)
                topic_id = self._topic_id(f"{self.path}/{name}", at, facts)
                if topic_id in deleted:
                    if not self._remove(f"{self.path}/{name}"):
                        self.failed[at] = facts
                elif topic_id is not None:
                    config = with_overrides(self.config.defaults, overrides.get(at[0], {}))
                    found.append(FoundLog(f"{self.path}/{name}", *at, topic_id, config, facts))
        here = {(each.topic, each.partition) for each in found} | self.failed.keys()
        self.gone = {at for offsets in points.values() for at in offsets} - here
        return found

    def _facts(self, points: Mapping[str, Mapping[TopicPartition, int]], at: TopicPartition) -> Facts:
        recovery_point, log_start, high_watermark, cleaned_to = (points[kind].get(at, 0) for kind in _OFFSET_CHECKPOINTS)
        is_checkpointed = checkpoint.RECOVERY_POINT in self._written and recovery_point != checkpoint.UNKNOWN
        return Facts(self._clean, max(recovery_point, 0), log_start, high_watermark, cleaned_to, is_checkpointed)

    def _topic_id(self, path: str, at: TopicPartition, facts: Facts) -> UUID | None:
        name = f"{path}/{checkpoint.PARTITION_METADATA}"
        try:
            metadata = read_whole(self._disk, name)
            if metadata is not None:
                return checkpoint.decode_partition_metadata(metadata, name)
            if holds_records(self._disk, path):  # another program's, or damaged: not ours to remove
                raise CorruptError(f"{name} is missing")
        except (OSError, CorruptError) as error:
            self.lose(path, at, facts, error)
            return None
        logger.warning("removing a log that was never completely made", extra={"log": path})
        self._remove(path)  # a crash came in the middle of its creation, before anything was acknowledged
        return None

    def _remove(self, path: str) -> bool:
        try:
            remove_partition(self._disk, path)
            self._disk.sync_directory(self.path)  # the store may now forget the topic: its files must not come back
        except OSError as error:
            logger.error("deleted files remain", extra={"path": path, "error": str(error)})
            return False
        return True

    def _read_offsets(self, name: str) -> dict[TopicPartition, int]:
        content = read_whole(self._disk, f"{self.path}/{name}")
        if content is None:
            return {}
        try:
            offsets = checkpoint.decode_offsets(content, f"{self.path}/{name}")
        except CorruptError as error:
            logger.warning("a checkpoint is damaged; logs are scanned instead", extra={"error": str(error)})
            return {}
        self._written[name] = content
        return offsets

    def add(self, found: FoundLog, loaded: LoadedLog) -> None:
        """Take over a log that `load_log` has opened."""
        log = self.adopt(found.path, found.topic, found.partition, found.topic_id, found.config, loaded)
        if found.config.flushes or loaded.must_checkpoint:
            log.sync(checkpoint=loaded.must_checkpoint)  # what recovery kept is exposed now, so it must be durable now
        if loaded.must_checkpoint and log.durability.recovery_point < log.log_end_offset:
            log.fence(OSError("the disk is full: what comes after the hole would not survive a crash"))

    def adopt(
        self, path: str, topic: str, partition: int, topic_id: UUID, config: LogConfig, loaded: LoadedLog
    ) -> PartitionLog:
        """The log that is served from these files."""
        log = PartitionLog(self._disk, path, topic, partition, topic_id, config, self.space, loaded, self._now_ms)
        self.logs[topic, partition] = log
        return log

    def lose(self, path: str, at: TopicPartition, facts: Facts, error: Exception) -> None:
        """A partition cannot be loaded: it is offline until the next start, and what is known of it is kept."""
        logger.error("PARTITION OFFLINE: it cannot be loaded", extra={"log": path, "error": str(error)})
        self.failed[at] = facts

    def loaded(self) -> None:
        """All that was found is loaded, or lost."""
        self._write_checkpoints()
        logger.info(
            "logs loaded",
            extra={"path": self.path, "count": len(self.logs), "clean": self._clean, "offline": len(self.failed)},
        )

    def fail(self, error: OSError) -> None:
        """Take the directory offline, with all its partitions, until the next start."""
        if self.error is None and not is_out_of_descriptors(error):
            self.error = error
            logger.error(
                "LOG DIRECTORY OFFLINE after a disk error, with its partitions; others go on",
                extra={"path": self.path, "partitions": len(self.logs), "error": str(error)},
            )
            for log in self.logs.values():
                log.fenced = True

    # Housekeeping

    def due_steps(self, now_ms: int, *, max_unscanned_bytes: int) -> list[BackgroundStep]:
        """Disk work that is due: fsyncs (for `flush.ms`, or so that recovery has little to scan), checkpoints, files to remove.

        The shell runs each and completes it before it asks again, and then calls `keep_house`.
        """
        if self.error is not None:
            return []
        logs = [log for log in self.logs.values() if log.durability.uncheckpointed_bytes and not log.fenced]  # few of many
        due = [
            log
            for log in logs
            if log.durability.checkpoint_due(
                now_ms, max_bytes=_MAX_LOG_UNCHECKPOINTED_BYTES, max_age_ms=self.config.flush_checkpoint_interval_ms
            )
        ]
        due_bytes = sum(log.durability.uncheckpointed_bytes for log in due)
        rest = sum(log.durability.uncheckpointed_bytes for log in logs) - due_bytes
        largest_first = sorted(logs, key=lambda log: -log.durability.uncheckpointed_bytes) if rest > max_unscanned_bytes else ()
        for log in largest_first:
            if rest <= max_unscanned_bytes:
                break
            if log not in due:
                due.append(log)
                rest -= log.durability.uncheckpointed_bytes
        steps: list[BackgroundStep] = [log.begin_sync(checkpoint=True) for log in due]
        steps += [log.begin_sync() for log in logs if log.sync_due(now_ms) and log not in due]
        if now_ms - self._checkpointed_ms >= self.config.high_watermark_checkpoint_interval_ms:
            self._checkpointed_ms = now_ms
            write = self._checkpoint_write()
            steps += [write] if write.files else []
        return [*steps, *self._due_removals(now_ms)]

    def log_start_step(self) -> CheckpointWrite:
        """The log start offsets as they are now, to be made durable; not beside `due_steps`, which write the same file."""
        return self._checkpoint_write((checkpoint.LOG_START,))

    def forgetting_step(self) -> CheckpointWrite:
        """The checkpoints as they are now, which say nothing of what is `gone`; not beside `due_steps`."""
        return self._checkpoint_write()

    def keep_house(self, now_ms: int) -> None:
        """What is quick: free space, retention (which renames), old producers, idle files; about once a second."""
        self._now_ms = now_ms
        if self.error is not None:
            return
        self._look_at_space()
        if now_ms - self._retained_ms >= self.config.retention_check_interval_ms:
            self._retained_ms = now_ms
            for log in self.logs.values():
                log.retirement.retain(now_ms)
        if now_ms - self._expired_ms >= self.config.producer_id_expiration_check_interval_ms:
            self._expired_ms = now_ms
            for log in self.logs.values():
                log.expire_producers(now_ms, self.config.producer_id_expiration_ms)
        if self.space.is_nearly_full:
            pending_bytes = sum(log.retirement.deleted_bytes for log in self.logs.values())
            release(self.logs.values(), self.space.shortfall_bytes - pending_bytes, now_ms)
        for log in self.logs.values():
            log.tidy()

    def _look_at_space(self) -> None:
        was_nearly_full = self.space.is_nearly_full
        try:
            self.space.refresh()
        except OSError as error:
            self.fail(error)
            return
        if self.space.is_nearly_full is not was_nearly_full:
            said = "disk nearly full: produce is refused" if not was_nearly_full else "disk has room again: produce is taken"
            logger.warning(said, extra={"path": self.path, "floor_bytes": self.space.floor_bytes})

    def remove_later(self, log: PartitionLog) -> None:
        """A deleted log's files go after the delay."""
        self._deleted.append((self._now_ms + log.config.file_delete_delay_ms, deleted_path(log)))

    def _due_removals(self, now_ms: int) -> list[Removal]:
        files = [name for log in self.logs.values() for name in log.retirement.take_deleted(now_ms)]
        directories = [path for due_ms, path in self._deleted if due_ms <= now_ms]
        self._deleted = [entry for entry in self._deleted if entry[0] > now_ms]
        return [Removal(self._disk, files, directories)] if files or directories else []

    def _checkpoint_write(self, names: Collection[str] = _OFFSET_CHECKPOINTS) -> CheckpointWrite:
        points = {
            **self.failed,
            **{
                at: Facts(False, log.durability.recovery_point, log.log_start_offset, log.high_watermark, log.cleaned_to)
                for at, log in self.logs.items()
            },
        }
        contents = {
            checkpoint.RECOVERY_POINT: checkpoint.encode_offsets(
                {at: each.recovery_point if each.is_checkpointed else checkpoint.UNKNOWN for at, each in points.items()}
            ),
            checkpoint.LOG_START: checkpoint.encode_offsets({at: each.log_start_offset for at, each in points.items()}),
            checkpoint.HIGH_WATERMARK: checkpoint.encode_offsets({at: each.high_watermark for at, each in points.items()}),
            checkpoint.CLEANER: checkpoint.encode_offsets(
                {at: each.cleaned_to for at, each in points.items() if each.cleaned_to}
            ),
        }
        changed = {name: content for name, content in contents.items() if name in names and self._written.get(name) != content}
        forgotten = set(self.gone) if names is _OFFSET_CHECKPOINTS else ()

        def on_success() -> None:
            self._written.update(changed)
            self.gone.difference_update(forgotten)

        return CheckpointWrite(self._disk, self.path, changed, on_success, self.fail)

    # Compaction

    def compacted(self) -> Iterator[tuple[PartitionLog, int]]:
        """Every log that is to be compacted, with its recovery point as it is on disk: what a crash falls back to."""
        content = self._written.get(checkpoint.RECOVERY_POINT, b"0\n0\n")
        points = checkpoint.decode_offsets(content, checkpoint.RECOVERY_POINT)
        for at, log in sorted(self.logs.items()):
            if log.config.compacts and not log.fenced:
                yield log, points.get(at, 0)

    def _write_checkpoints(self) -> None:
        write = self._checkpoint_write()
        write.run()
        write.complete()

    def close(self, now_ms: int) -> None:
        """Write everything and say that it was a clean shutdown; not where something could not be written whole.

        Raises:
            StorageError: the disk fails; the next start recovers.
        """
        try:
            if self.error is None:
                for removal in self._due_removals(now_ms):
                    removal.run()
                    removal.complete()
            for log in self.logs.values():
                log.close()
            if self.error is None:
                self._write_checkpoints()
            if self._is_whole():
                write_whole(self._disk, self.path, checkpoint.CLEAN_SHUTDOWN, checkpoint.CLEAN_SHUTDOWN_CONTENT)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error
        finally:
            self._lock.release()

    def _is_whole(self) -> bool:
        """Whether all that is in memory is on disk."""
        logs = self.logs.values()
        return (
            not self._checkpoint_write().files
            and self.error is None
            and not self.failed
            and all(log.durability.recovery_point == log.log_end_offset and not log.fenced for log in logs)
        )
