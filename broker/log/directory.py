"""All logs of one broker: opening and recovering them, checkpoints, housekeeping, clean shutdown.

Layout: `<path>/<topic>-<partition>/…`, beside the checkpoints of `checkpoint.py`. A deleted topic's directories are renamed to
`<topic>-<partition>.<topic id>-delete` and removed after `file.delete.delay.ms`.
The marker of a clean shutdown is removed, durably, before anything is loaded and written last (KAFKA-10471, KAFKA-15375).
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from headrace.broker.log import checkpoint
from headrace.broker.log.checkpoint import TopicPartition
from headrace.broker.log.config import LogConfig, with_overrides
from headrace.broker.log.disk import Disk, Lock, read_whole, write_whole
from headrace.broker.log.partition_files import DELETED_SUFFIX, Creation, Deletion, remove_partition
from headrace.broker.log.partition_log import LoadedLog, PartitionLog
from headrace.broker.log.recovery import Facts, load_log
from headrace.broker.log.segment import remove_if_there
from headrace.broker.log.space import FreeSpace
from headrace.errors import CorruptError, StorageError, UsageError

logger = logging.getLogger(__name__)

_DIRECTORY = re.compile(r"(?P<topic>[a-zA-Z0-9._-]{1,249})-(?P<partition>\d+)")
_LOCK = ".lock"
_MAX_LOG_UNCHECKPOINTED_BYTES = 64 * 1024 * 1024
_MAX_UNCHECKPOINTED_BYTES = 256 * 1024 * 1024  # in all logs: at 300 bytes a batch, under three seconds of recovery
_PROGRESS_INTERVAL = 500
_OFFSET_CHECKPOINTS = (checkpoint.RECOVERY_POINT, checkpoint.LOG_START, checkpoint.HIGH_WATERMARK)  # the order of `Facts`

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
    retention_check_interval_ms: int = 300_000
    flush_checkpoint_interval_ms: int = 60_000
    high_watermark_checkpoint_interval_ms: int = 5_000


class BackgroundStep(Protocol):
    """Disk work that may leave the loop: `run` on any thread, then `complete` on the loop."""

    def run(self) -> None:
        """Block on the disk; raises nothing."""
        ...

    def complete(self) -> None:
        """Take note of the outcome."""
        ...


@dataclass(slots=True)
class CheckpointWrite:
    """Offset checkpoints, as they were when this was made; `error` says whether they are on disk after `run`."""

    disk: Disk
    path: str
    files: Mapping[str, bytes]
    written: dict[str, bytes]
    error: OSError | None = None

    def run(self) -> None:
        try:
            for name, content in self.files.items():
                write_whole(self.disk, self.path, name, content)
        except OSError as error:
            self.error = error

    def complete(self) -> None:
        if self.error is None:
            self.written.update(self.files)
        else:
            logger.error("checkpoints could not be written", extra={"path": self.path, "error": str(self.error)})


@dataclass(slots=True)
class _Removal:
    """Files and directories that were taken away before, and whose delay is over; a large file may take a while."""

    disk: Disk
    files: Sequence[str]
    directories: Sequence[str]
    errors: list[tuple[str, OSError]] = field(default_factory=list)

    def run(self) -> None:
        for remove, paths in ((remove_if_there, self.files), (remove_partition, self.directories)):
            for path in paths:
                try:
                    remove(self.disk, path)
                except OSError as error:
                    self.errors.append((path, error))

    def complete(self) -> None:
        for path, error in self.errors:  # harmless: the next start removes it
            logger.error("deleted files remain", extra={"path": path, "error": str(error)})


class LogDirectory:
    """The logs of one broker; `LogDirectory.open` makes it."""

    def __init__(self, disk: Disk, path: str, config: LogDirectoryConfig, lock: Lock, cluster_id: str, now_ms: int) -> None:
        self.path, self.config, self.cluster_id = path, config, cluster_id
        self._disk, self._lock = disk, lock
        self._space = FreeSpace(disk, path, config.free_bytes_min)
        self._logs: dict[TopicPartition, PartitionLog] = {}
        self._deleted: list[tuple[int, str]] = []  # when to remove, directory
        self._written: dict[str, bytes] = {}  # checkpoints as they are on disk
        self._now_ms = self._checkpointed_ms = self._retained_ms = now_ms

    @classmethod
    def open(
        cls, disk: Disk, path: str, config: LogDirectoryConfig, now_ms: int, *, overrides: Overrides = MappingProxyType({})
    ) -> "LogDirectory":
        """Lock the directory, then load every log in it, recovering what a crash has left.

        Args:
            path: absolute; made if it is not there.
            now_ms: wall time.
            overrides: topic → its own settings, so that retention never runs with the defaults (KAFKA-9254).
        Raises:
            UsageError: in use by another process, or it belongs to another node.
            StorageError: damaged beyond repair, or the disk fails. VersionError: written by a newer version.
        """
        try:
            disk.make_directory(path)
            lock = disk.lock(f"{path}/{_LOCK}")
        except BlockingIOError as error:
            raise UsageError(f"log.dirs {path}: another broker uses it; stop that one, or name another directory") from error
        except OSError as error:
            raise UsageError(f"log.dirs {path}: {error.strerror or error}; name a directory that can be written") from error
        try:
            directory = cls(disk, path, config, lock, _identify(disk, path, config), now_ms)
            directory._load(overrides, now_ms)
        except OSError as error:
            lock.release()
            raise StorageError(f"log.dirs {path}: {error.strerror or error}") from error
        except BaseException:
            lock.release()
            raise
        return directory

    def _load(self, overrides: Overrides, now_ms: int) -> None:
        names = self._disk.list(self.path)
        clean = checkpoint.CLEAN_SHUTDOWN in names
        if clean:
            self._disk.remove(f"{self.path}/{checkpoint.CLEAN_SHUTDOWN}")
            self._disk.sync_directory(self.path)
        points = {name: self._read_offsets(name) for name in _OFFSET_CHECKPOINTS}
        found = []
        for name in names:
            if name.endswith(DELETED_SUFFIX):
                remove_partition(self._disk, f"{self.path}/{name}")
            elif match := _DIRECTORY.fullmatch(name):
                found.append((name, match["topic"], int(match["partition"])))
        for count, (name, topic, partition) in enumerate(found, 1):
            at = (topic, partition)
            facts = Facts(clean, *(points[kind].get(at, 0) for kind in _OFFSET_CHECKPOINTS))
            self._load_one(name, topic, partition, overrides.get(topic, {}), facts, now_ms)
            if count % _PROGRESS_INTERVAL == 0:
                logger.info("loading logs", extra={"loaded": count, "of": len(found)})
        self._write_checkpoints()
        logger.info("logs loaded", extra={"count": len(self._logs), "clean": clean})

    def _load_one(
        self, name: str, topic: str, partition: int, overrides: Mapping[str, str | None], facts: Facts, now_ms: int
    ) -> None:
        path = f"{self.path}/{name}"
        metadata = read_whole(self._disk, f"{path}/{checkpoint.PARTITION_METADATA}")
        if metadata is None:  # a crash in the middle of `create`, before anything was acknowledged
            logger.warning("removing a log that was never completely made", extra={"log": path})
            remove_partition(self._disk, path)
            return
        topic_id = checkpoint.decode_partition_metadata(metadata, f"{path}/{checkpoint.PARTITION_METADATA}")
        config = with_overrides(self.config.defaults, overrides)
        loaded = load_log(self._disk, path, config, facts, now_ms)
        log = PartitionLog(self._disk, path, topic, partition, topic_id, config, self._space, loaded, now_ms)
        if config.flushes or loaded.has_hole:
            log.sync(checkpoint=loaded.has_hole)  # what recovery kept is exposed now, so it must be durable now
        self._logs[topic, partition] = log

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

    # Logs

    def get(self, topic: str, partition: int) -> PartitionLog | None:
        """The log of a partition, or None."""
        return self._logs.get((topic, partition))

    def all(self) -> list[PartitionLog]:
        """Every log, in the order of topic and partition."""
        return [self._logs[at] for at in sorted(self._logs)]

    def create(self, topic: str, partition: int, topic_id: UUID, overrides: Mapping[str, str | None]) -> PartitionLog:
        """Make one empty log here and now; see `begin_creation`."""
        creation = self.begin_creation(topic, [partition], topic_id, overrides)
        creation.run()
        creation.complete()
        return self._logs[topic, partition]

    def begin_creation(
        self, topic: str, partitions: Iterable[int], topic_id: UUID, overrides: Mapping[str, str | None]
    ) -> Creation:
        """Empty logs to be made, durably; those that are there with the same topic id stay as they are.

        Raises:
            ConfigError: a bad override. StorageError: a log with another topic id is in the way.
        """
        config = with_overrides(self.config.defaults, overrides)
        names = {}
        for partition in partitions:
            log = self._logs.get((topic, partition))
            if log is None:
                names[partition] = f"{topic}-{partition}"
            elif log.topic_id != topic_id:
                raise StorageError(f"{log.path}: belongs to topic id {log.topic_id}, not {topic_id}")

        def created(loaded: Mapping[int, LoadedLog]) -> None:
            for partition, each in loaded.items():
                path = f"{self.path}/{names[partition]}"
                self._logs[topic, partition] = PartitionLog(
                    self._disk, path, topic, partition, topic_id, config, self._space, each, self._now_ms
                )

        return Creation(self._disk, self.path, names, topic_id, config, self._now_ms, created)

    def configure(self, topic: str, overrides: Mapping[str, str | None]) -> None:
        """Give a topic's logs other settings of their own.

        Raises:
            ConfigError: a bad override; nothing has changed.
        """
        config = with_overrides(self.config.defaults, overrides)
        for log in self._logs.values():
            if log.topic == topic:
                log.configure(config)

    def delete(self, topic: str, topic_id: UUID) -> None:
        """Take away a topic's logs here and now; see `begin_deletion`."""
        deletion = self.begin_deletion(topic, topic_id)
        deletion.run()
        deletion.complete()

    def begin_deletion(self, topic: str, topic_id: UUID) -> Deletion:
        """A topic's logs, which are gone from here on, to be taken away durably; their files are removed after the delay."""
        found = [at for at, log in self._logs.items() if (log.topic, log.topic_id) == (topic, topic_id)]
        logs = [self._logs.pop(at) for at in sorted(found)]
        for log in logs:
            log.closed = True

        def deleted(names: Sequence[str]) -> None:
            self._deleted += [
                (self._now_ms + log.config.file_delete_delay_ms, name) for log, name in zip(logs, names, strict=True)
            ]

        return Deletion(self._disk, self.path, logs, deleted)

    # Housekeeping

    def due_steps(self, now_ms: int) -> list[BackgroundStep]:
        """Disk work that is due: fsyncs (for `flush.ms`, or so that recovery has little to scan), checkpoints, files to remove.

        The shell runs each and completes it before it asks again, and then calls `keep_house`.
        """
        logs = [log for log in self._logs.values() if not log.fenced]
        due = [
            log
            for log in logs
            if log.checkpoint_due(
                now_ms, max_bytes=_MAX_LOG_UNCHECKPOINTED_BYTES, max_age_ms=self.config.flush_checkpoint_interval_ms
            )
        ]
        due_bytes = sum(log.uncheckpointed_bytes for log in due)
        rest = sum(log.uncheckpointed_bytes for log in logs) - due_bytes
        for log in sorted(logs, key=lambda log: -log.uncheckpointed_bytes):
            if rest <= _MAX_UNCHECKPOINTED_BYTES:
                break
            if log not in due:
                due.append(log)
                rest -= log.uncheckpointed_bytes
        steps: list[BackgroundStep] = [log.begin_sync(checkpoint=True) for log in due]
        steps += [log.begin_sync() for log in logs if log.sync_due(now_ms) and log not in due]
        if now_ms - self._checkpointed_ms >= self.config.high_watermark_checkpoint_interval_ms:
            self._checkpointed_ms = now_ms
            write = self._checkpoint_write()
            steps += [write] if write.files else []
        return [*steps, *self._due_removals(now_ms)]

    def log_start_step(self) -> "CheckpointWrite":
        """The log start offsets as they are now, to be made durable; not beside `due_steps`, which write the same file."""
        return self._checkpoint_write((checkpoint.LOG_START,))

    def maintain(self, now_ms: int) -> None:
        """Everything that is due, here and now; blocks on the disk."""
        for step in self.due_steps(now_ms):
            step.run()
            step.complete()
        self.keep_house(now_ms)

    def keep_house(self, now_ms: int) -> None:
        """What is quick: free space, retention (which renames), old producers, idle files; about once a second."""
        self._now_ms = now_ms
        self._look_at_space()
        if now_ms - self._retained_ms >= self.config.retention_check_interval_ms:
            self._retained_ms = now_ms
            for log in self._logs.values():
                log.retain(now_ms)
        for log in self._logs.values():
            log.tidy(now_ms, producer_expiration_ms=self.config.producer_id_expiration_ms)

    def _look_at_space(self) -> None:
        was_nearly_full = self._space.is_nearly_full
        try:
            self._space.refresh()
        except OSError as error:
            logger.error("free space is not known", extra={"path": self.path, "error": str(error)})
        if self._space.is_nearly_full is not was_nearly_full:
            said = "disk nearly full: produce is refused" if not was_nearly_full else "disk has room again: produce is taken"
            logger.warning(said, extra={"path": self.path, "floor_bytes": self._space.floor_bytes})

    def _due_removals(self, now_ms: int) -> list[_Removal]:
        files = [name for log in self._logs.values() for name in log.take_deleted(now_ms)]
        directories = [f"{self.path}/{name}" for due_ms, name in self._deleted if due_ms <= now_ms]
        self._deleted = [entry for entry in self._deleted if entry[0] > now_ms]
        return [_Removal(self._disk, files, directories)] if files or directories else []

    def _checkpoint_write(self, names: Collection[str] = _OFFSET_CHECKPOINTS) -> CheckpointWrite:
        logs = self._logs.items()
        contents = {
            checkpoint.RECOVERY_POINT: checkpoint.encode_offsets({at: log.recovery_point for at, log in logs}),
            checkpoint.LOG_START: checkpoint.encode_offsets({at: log.log_start_offset for at, log in logs}),
            checkpoint.HIGH_WATERMARK: checkpoint.encode_offsets({at: log.high_watermark for at, log in logs}),
        }
        changed = {name: content for name, content in contents.items() if name in names and self._written.get(name) != content}
        return CheckpointWrite(self._disk, self.path, changed, self._written)

    def _write_checkpoints(self) -> None:
        write = self._checkpoint_write()
        write.run()
        write.complete()
        if write.error is not None:
            raise StorageError(f"{self.path}: {write.error.strerror or write.error}")

    def close(self, now_ms: int) -> None:
        """Write everything and say that it was a clean shutdown; not where a log could not be written whole.

        Raises:
            StorageError: the disk fails; the next start recovers.
        """
        try:
            for removal in self._due_removals(now_ms):
                removal.run()
                removal.complete()
            for log in self.all():
                log.close()
            self._write_checkpoints()
            if all(log.recovery_point == log.log_end_offset and not log.fenced for log in self._logs.values()):
                write_whole(self._disk, self.path, checkpoint.CLEAN_SHUTDOWN, checkpoint.CLEAN_SHUTDOWN_CONTENT)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error
        finally:
            self._lock.release()


def _identify(disk: Disk, path: str, config: LogDirectoryConfig) -> str:
    """The cluster id of a directory; a new one is given the configured ids."""
    content = read_whole(disk, f"{path}/{checkpoint.META_PROPERTIES}")
    if content is not None:
        properties = checkpoint.decode_properties(content)
        if properties.get("node.id", "") != str(config.node_id):
            raise UsageError(
                f"log.dirs {path}: belongs to node {properties.get('node.id')}, but node.id is {config.node_id}; correct one"
            )
        return properties.get("cluster.id", config.cluster_id)
    properties = {"version": "1", "cluster.id": config.cluster_id, "node.id": str(config.node_id)}
    write_whole(disk, path, checkpoint.META_PROPERTIES, checkpoint.encode_properties(properties))
    return config.cluster_id
