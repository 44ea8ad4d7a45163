"""One log directory: what is found in it, its checkpoints, housekeeping, clean shutdown. `LogDirectories` holds them together.

Layout: `<path>/<topic>-<partition>/…`, beside the checkpoints of `checkpoint.py`. A deleted topic's directories are renamed to
`<topic>-<partition>.<topic id>-delete` and removed after `file.delete.delay.ms`.
The marker of a clean shutdown is removed, durably, before anything is loaded and written last (KAFKA-10471, KAFKA-15375).

Housekeeping looks at the logs that are *awake*: something was done with them, and they have not come to rest since. Thousands
that are idle cost nothing, but for a look at all of them every few minutes. What looks at many logs is a generator: it yields
after each, so that the shell can let others have the loop meanwhile.

A partition that cannot be read is offline, alone, and what the checkpoints say of it is kept. The directory is, with all its
partitions, once one of its own files fails.
"""

import itertools
import logging
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from headrace.broker.log import checkpoint
from headrace.broker.log.checkpoint import TopicPartition
from headrace.broker.log.claims import Claim
from headrace.broker.log.config import LogConfig, with_overrides
from headrace.broker.log.disk import Disk, is_full, is_out_of_descriptors, read_whole, write_whole
from headrace.broker.log.holding import release
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.offset_checkpoints import OffsetCheckpoints
from headrace.broker.log.partition_files import DELETED_SUFFIX, deleted_path, holds_records, remove_partition
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.scanning import Facts
from headrace.broker.log.space import FreeSpace
from headrace.broker.log.steps import BackgroundStep, CheckpointWrite, Removal
from headrace.errors import CorruptError, StorageError

logger = logging.getLogger(__name__)

_DIRECTORY = re.compile(r"(?!__cluster_metadata-)(?P<topic>[a-zA-Z0-9._-]{1,249})-(?P<partition>\d+)")
_MAX_LOG_UNCHECKPOINTED_BYTES = 64 * 1024 * 1024

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
        self._awake: dict[TopicPartition, None] = {}
        self._checkpoints = OffsetCheckpoints(disk, claim.path)
        self._producer_counts: dict[TopicPartition, int] = {}
        self._now_ms = self._checkpointed_ms = self._retained_ms = self._expired_ms = now_ms
        self.directory_id = claim.directory_id or self._identify(claim)

    @property
    def gone(self) -> Mapping[str, Collection[int]]:
        """Deleted or missing logs, by topic, of which the checkpoints say something still."""
        return self._checkpoints.gone

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
            facts_of = self._checkpoints.read()
        except OSError as error:
            self.fail(error)
            return []
        found = []
        for name in names:
            if name.endswith(DELETED_SUFFIX):
                self._remove(f"{self.path}/{name}")
            elif match := _DIRECTORY.fullmatch(name):
                at = match["topic"], int(match["partition"])
                facts = facts_of(at, self._clean)
                topic_id = self._topic_id(f"{self.path}/{name}", at, facts)
                if topic_id in deleted:
                    if not self._remove(f"{self.path}/{name}"):
                        self._keep(at, facts)
                elif topic_id is not None:
                    config = with_overrides(self.config.defaults, overrides.get(at[0], {}))
                    found.append(FoundLog(f"{self.path}/{name}", *at, topic_id, config, facts))
        self._checkpoints.found(itertools.chain(((each.topic, each.partition) for each in found), self.failed))
        return found

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
        log = PartitionLog(self._disk, path, topic, partition, topic_id, config, self.space, loaded, self._awake, self._now_ms)
        self.logs[log.at] = log
        log.wake()
        return log

    def lose(self, path: str, at: TopicPartition, facts: Facts, error: Exception) -> None:
        """A partition cannot be loaded: it is offline until the next start, and what is known of it is kept."""
        logger.error("PARTITION OFFLINE: it cannot be loaded", extra={"log": path, "error": str(error)})
        self._keep(at, facts)

    def _keep(self, at: TopicPartition, facts: Facts) -> None:
        """It cannot be served, and the checkpoints go on to say what they said of it."""
        self.failed[at] = facts
        self._checkpoints.note(at, facts)

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

    def due_steps(self, now_ms: int, *, max_unscanned_bytes: int) -> Iterator[BackgroundStep | None]:
        """Disk work that is due: fsyncs (for `flush.ms`, or so that recovery has little to scan), checkpoints, files to remove.

        The shell runs each and completes it before it asks for the next, and then calls `keep_house`; None is a rest.
        """
        if self.error is not None:
            return
        logs = []
        for log in self._still_there(self._awake):
            if log.durability.uncheckpointed_bytes and not log.fenced:
                logs.append(log)
            yield None
        yield from self._syncs(logs, now_ms, max_unscanned_bytes)
        if now_ms - self._checkpointed_ms >= self.config.high_watermark_checkpoint_interval_ms:
            self._checkpointed_ms = now_ms
            for log in self._still_there(self._awake):
                self._note(log)
                yield None
            write = self._checkpoints.write(self.fail)
            if write.files:
                yield write
        for log in self._still_there(self._awake):
            files = log.retirement.take_deleted(now_ms)
            yield Removal(self._disk, files, []) if files else None
        removal = self._due_removal([], now_ms)
        if removal is not None:
            yield removal

    def _still_there(self, names: Collection[TopicPartition]) -> Iterator[PartitionLog]:
        """Logs, but for those that are deleted before it is their turn."""
        for at in list(names):
            log = self.logs.get(at)
            if log is not None:
                yield log
            else:
                self._awake.pop(at, None)

    def _syncs(self, logs: list[PartitionLog], now_ms: int, max_unscanned_bytes: int) -> Iterator[BackgroundStep | None]:
        """What makes these logs durable, of which each has something that is not."""
        max_bytes, max_age_ms = _MAX_LOG_UNCHECKPOINTED_BYTES, self.config.flush_checkpoint_interval_ms
        due: dict[PartitionLog, None] = {}
        rest = 0
        for log in logs:
            if log.durability.checkpoint_due(now_ms, max_bytes=max_bytes, max_age_ms=max_age_ms):
                due[log] = None
            else:
                rest += log.durability.uncheckpointed_bytes
            yield None
        largest_first = sorted(logs, key=lambda log: -log.durability.uncheckpointed_bytes) if rest > max_unscanned_bytes else ()
        for log in largest_first:
            if rest <= max_unscanned_bytes:
                break
            if log not in due:
                due[log] = None
                rest -= log.durability.uncheckpointed_bytes
        for log in due:
            if not log.closed:
                yield log.begin_sync(checkpoint=True)
        for log in logs:
            yield log.begin_sync() if log not in due and log.sync_due(now_ms) and not log.closed else None

    def log_start_step(self) -> CheckpointWrite:
        """The log start offsets as they are now, to be made durable; not beside `due_steps`, which write the same file."""
        self._note_all(self._still_there(self._awake))
        return self._checkpoints.write(self.fail, (checkpoint.LOG_START,))

    def forgetting_step(self) -> CheckpointWrite:
        """The checkpoints as they are now, which say nothing of what is gone; not beside `due_steps`."""
        self._note_all(self._still_there(self._awake))
        return self._checkpoints.write(self.fail)

    def keep_house(self, now_ms: int) -> Iterator[None]:
        """What is quick: retention (which renames), old producers, idle files; about once a second."""
        self._now_ms = now_ms
        if self.error is not None:
            return
        retains = now_ms - self._retained_ms >= self.config.retention_check_interval_ms
        expires = now_ms - self._expired_ms >= self.config.producer_id_expiration_check_interval_ms
        self._retained_ms = now_ms if retains else self._retained_ms
        self._expired_ms = now_ms if expires else self._expired_ms
        for log in self._still_there(self.logs if retains or expires else self._awake):
            if retains:
                log.retirement.retain(now_ms)
            if expires:
                log.expire_producers(now_ms, self.config.producer_id_expiration_ms)
            self._producer_counts[log.at] = log.producer_count
            self._note(log)
            if log.tidy():
                self._awake.pop(log.at, None)
            else:
                log.wake()
            yield
        if self.space.is_nearly_full:
            pending_bytes = sum(log.retirement.deleted_bytes for log in self.logs.values())
            release(self.logs.values(), self.space.shortfall_bytes - pending_bytes, now_ms)

    def takes_segments(self, now_ms: int) -> bool:
        """Whether the next `keep_house` takes segments away, where they are old, or there is no room."""
        is_due = now_ms - self._retained_ms >= self.config.retention_check_interval_ms
        return self.error is None and (self.space.is_nearly_full or is_due)

    def trim_producers(self, count: int) -> None:
        """Let no log remember more than so many producers."""
        for log in self.logs.values():
            if log.producer_count > count:
                log.trim_producers(count)
            self._producer_counts[log.at] = log.producer_count

    @property
    def producer_count(self) -> int:
        """How many producers all logs remember, as of the last `keep_house`."""
        return sum(self._producer_counts.values())

    def look_at_space(self) -> None:
        """See how much room there is; before `keep_house`."""
        if self.error is not None:
            return
        was_nearly_full = self.space.is_nearly_full
        try:
            self.space.refresh()
        except OSError as error:
            self.fail(error)
            return
        if self.space.is_nearly_full is not was_nearly_full:
            said = "disk nearly full: produce is refused" if not was_nearly_full else "disk has room again: produce is taken"
            logger.warning(said, extra={"path": self.path, "floor_bytes": self.space.floor_bytes})

    def deleted(self, at: TopicPartition) -> None:
        """A log is no more; checkpoints speak of it until they are written again."""
        self._checkpoints.deleted(at)
        self._producer_counts.pop(at, None)

    def remove_later(self, log: PartitionLog) -> None:
        """A deleted log's files go after the delay."""
        self._deleted.append((self._now_ms + log.config.file_delete_delay_ms, deleted_path(log)))

    def _due_removal(self, files: list[str], now_ms: int) -> Removal | None:
        """These files, and the directories of deleted logs whose time is over."""
        directories = [path for due_ms, path in self._deleted if due_ms <= now_ms]
        self._deleted = [entry for entry in self._deleted if entry[0] > now_ms]
        return Removal(self._disk, files, directories) if files or directories else None

    def _note(self, log: PartitionLog) -> None:
        """Let the checkpoints, when they are written, say of it what is so now."""
        recovery_point, start = log.durability.recovery_point, log.log_start_offset
        self._checkpoints.note(log.at, Facts(False, recovery_point, start, log.high_watermark, log.cleaned_to))

    def _note_all(self, logs: Iterable[PartitionLog]) -> None:
        for log in logs:
            self._note(log)

    # Compaction

    def compacted(self) -> Iterator[tuple[PartitionLog, int] | None]:
        """Every log that is to be compacted, with its recovery point on disk, which a crash falls back to; None is a rest."""
        for log in self._still_there(self.logs):
            if log.config.compacts and not log.fenced:
                yield log, self._checkpoints.recovery_point(log.at)
            else:
                yield None

    def _write_checkpoints(self) -> bool:
        """Whether all is on disk."""
        self._note_all(self.logs.values())
        write = self._checkpoints.write(self.fail)
        write.run()
        write.complete()
        return write.error is None

    def close(self, now_ms: int) -> None:
        """Write everything and say that it was a clean shutdown; not where something could not be written whole.

        Raises:
            StorageError: the disk fails; the next start recovers.
        """
        try:
            if self.error is None:
                files = [name for log in self.logs.values() for name in log.retirement.take_deleted(now_ms)]
                removal = self._due_removal(files, now_ms)
                if removal is not None:
                    removal.run()
                    removal.complete()
            for log in self.logs.values():
                log.close()
            if self.error is None and self._write_checkpoints() and self._is_whole():
                write_whole(self._disk, self.path, checkpoint.CLEAN_SHUTDOWN, checkpoint.CLEAN_SHUTDOWN_CONTENT)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error
        finally:
            self._lock.release()

    def _is_whole(self) -> bool:
        """Whether all that is in memory is on disk."""
        logs = self.logs.values()
        return not self.failed and all(log.durability.recovery_point == log.log_end_offset and not log.fenced for log in logs)
