"""All log directories of one broker: where each partition is, where a new one goes, and what is offline.

A partition is found by looking: nothing is kept of where it was, so a directory may be mounted elsewhere. A new one goes to the
directory with the fewest partitions, as in Kafka, those with room first. While a directory is offline, a partition of a known
topic that is not found may be in it: it is offline too, not made anew.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from headrace.broker.log.checkpoint import TopicPartition
from headrace.broker.log.claims import Claims, claim_directories
from headrace.broker.log.compaction.choice import Cleanable
from headrace.broker.log.compaction.clean import CleanJob, CleanResult
from headrace.broker.log.compaction.plan import CleanerLimits, job_for
from headrace.broker.log.compaction.swap import Swap
from headrace.broker.log.config import with_overrides
from headrace.broker.log.directory import FoundLog, LogDirectory, LogDirectoryConfig, Overrides
from headrace.broker.log.disk import Disk, is_full
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.offline import offline_log
from headrace.broker.log.partition_files import Creation, Deletion, parent
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.producers import fair_share
from headrace.broker.log.recovery import load_log
from headrace.broker.log.space import FreeSpace
from headrace.broker.log.steps import BackgroundStep, CheckpointWrite
from headrace.errors import CorruptError, StorageError, UsageError

logger = logging.getLogger(__name__)
MAX_PRODUCERS_IN_ALL = 100_000  # about 40 MB in memory, and 5 MB to 25 MB in snapshots
MAX_UNSCANNED_BYTES = 256 * 1024 * 1024  # in all logs: at 300 bytes a batch, under three seconds of recovery


class LogDirectories:
    """The logs of one broker. Made from claims, then `survey`, `load` or `add` of each log that was found, and `loaded`."""

    def __init__(self, disk: Disk, claims: Claims, config: LogDirectoryConfig, now_ms: int) -> None:
        """Raises StorageError: no directory works."""
        self.config, self.cluster_id = config, claims.cluster_id or config.cluster_id
        self.refused = dict(claims.refused)  # path → why the directory was not opened
        self._disk, self._now_ms = disk, now_ms
        self._directories: list[LogDirectory] = []
        self._offline: dict[TopicPartition, PartitionLog] = {}
        for claim in claims.held:
            try:
                self._directories.append(LogDirectory(disk, claim, config, now_ms))
            except OSError as error:
                claim.lock.release()
                self.refused[claim.path] = error.strerror or str(error)
        self._by_path = {directory.path: directory for directory in self._directories}
        for path, reason in self.refused.items():
            logger.error("LOG DIRECTORY OFFLINE, with its partitions; others go on", extra={"path": path, "error": reason})
        if not self._directories:
            raise StorageError("; ".join(f"log.dirs {path}: {reason}" for path, reason in self.refused.items()))

    @classmethod
    def open(
        cls,
        disk: Disk,
        paths: Sequence[str],
        config: LogDirectoryConfig,
        now_ms: int,
        *,
        overrides: Overrides = MappingProxyType({}),
    ) -> "LogDirectories":
        """Claim the directories and load everything in them, here and now.

        Raises:
            UsageError: as `claim_directories` and `survey`. StorageError: no directory works.
        """
        claims = claim_directories(disk, paths, config.node_id)
        try:
            logs = cls(disk, claims, config, now_ms)
            for found in logs.survey(overrides, ()):
                logs.load(found)
        except BaseException:
            claims.release()
            raise
        logs.loaded()
        return logs

    # Loading

    def survey(self, overrides: Overrides, deleted: Collection[UUID]) -> list[FoundLog]:
        """Every log that is there; see `LogDirectory.survey`.

        Raises:
            UsageError: a partition is in two directories. VersionError: something was written by a newer version.
        """
        found = [each for directory in self._directories for each in directory.survey(overrides, deleted)]
        paths: dict[TopicPartition, str] = {}
        for each in found:
            at = each.topic, each.partition
            if at in paths:
                raise UsageError(f"log.dirs: {paths[at]} and {each.path} are the same partition; move one of them away")
            paths[at] = each.path
        return found

    def load(self, found: FoundLog) -> None:
        """Open a log here and now, with all the repair that it needs."""
        try:
            self.add(found, load_log(self._disk, found.path, found.config, found.facts, self._now_ms))
        except (OSError, CorruptError) as error:
            self.lose(found, error)

    def add(self, found: FoundLog, loaded: LoadedLog) -> None:
        """Take over a log that was opened elsewhere."""
        self._by_path[parent(found.path)].add(found, loaded)

    def lose(self, found: FoundLog, error: Exception) -> None:
        """A log cannot be opened."""
        self._by_path[parent(found.path)].lose(found.path, (found.topic, found.partition), found.facts, error)

    def loaded(self) -> None:
        """All that was found is there, or lost: write down how it is."""
        for directory in self._directories:
            if directory.error is None:
                directory.loaded()

    def restore(self, topic: str, partitions: int, topic_id: UUID, overrides: Mapping[str, str | None]) -> None:
        """Make the logs of a known topic that are not there, or say that they are offline; after `loaded`.

        Raises:
            StorageError: a log with another topic id is in the way.
        """
        self._forget(topic)
        lost = [at for at in range(partitions) if self._is_lost(topic, at)]
        creation = self.begin_creation(topic, sorted({*range(partitions)} - {*lost}), topic_id, overrides)
        creation.run()
        try:
            creation.complete()
        except StorageError as error:
            logger.error("PARTITIONS OFFLINE: they cannot be made", extra={"topic": topic, "error": str(error)})
            lost = [at for at in range(partitions) if self.get(topic, at) is None]
        if lost:
            logger.error("PARTITIONS OFFLINE", extra={"topic": topic, "partitions": lost})
        config, space = with_overrides(self.config.defaults, overrides), self._directories[0].space
        for at in lost:
            log = offline_log(self._disk, topic, at, topic_id, config, space, self._now_ms)
            self._offline[topic, at] = log

    def _forget(self, topic: str) -> None:
        for step in self.forgetting_steps(topic):
            step.run()
            step.complete()

    def _is_lost(self, topic: str, partition: int) -> bool:
        """Whether the partition is not there, but may be in something that is offline."""
        at = topic, partition
        return self.get(topic, partition) is None and (
            self.has_offline_directory
            or any(at in each.failed or partition in each.gone.get(topic, ()) for each in self._directories)
        )

    # Logs

    def get(self, topic: str, partition: int) -> PartitionLog | None:
        """The log of a partition, or None."""
        at = (topic, partition)
        for directory in self._directories:
            log = directory.logs.get(at)
            if log is not None:
                return log
        return self._offline.get(at)

    def all(self) -> list[PartitionLog]:
        """Every log, in the order of topic and partition, also those that are offline."""
        logs = {at: log for directory in self._directories for at, log in directory.logs.items()} | self._offline
        return [logs[at] for at in sorted(logs)]

    @property
    def has_offline_directory(self) -> bool:
        """Whether a directory was not opened, or has failed since."""
        return self.offline_count > 0

    @property
    def offline_count(self) -> int:
        """How many directories cannot be used."""
        return len(self.refused) + sum(directory.error is not None for directory in self._directories)

    def spaces(self) -> list[tuple[str, FreeSpace]]:
        """The directories that were opened, and the room in them."""
        return [(directory.path, directory.space) for directory in self._directories]

    @property
    def is_whole(self) -> bool:
        """Whether every partition can be served, so that what is not there is nowhere."""
        return not self.has_offline_directory and not any(directory.failed for directory in self._directories)

    @property
    def is_complete(self) -> bool:
        """Whether every partition was found; after `restore` of all topics."""
        return not self._offline and not any(directory.failed or directory.error for directory in self._directories)

    @property
    def has_offline_partition(self) -> bool:
        """Whether some partition cannot be served now."""
        return bool(self._offline) or any(log.fenced for each in self._directories for log in each.logs.values())

    def identities(self) -> dict[str, str]:
        """directory.id → path of the directories that were opened; one that is new on a full disk has no id yet."""
        return {each.directory_id: each.path for each in self._directories if each.directory_id}

    def create(self, topic: str, partition: int, topic_id: UUID, overrides: Mapping[str, str | None]) -> PartitionLog:
        """Make one empty log here and now; see `begin_creation`."""
        self._forget(topic)
        creation = self.begin_creation(topic, [partition], topic_id, overrides)
        creation.run()
        creation.complete()
        log = self.get(topic, partition)
        assert log is not None
        return log

    def begin_creation(
        self, topic: str, partitions: Iterable[int], topic_id: UUID, overrides: Mapping[str, str | None]
    ) -> Creation:
        """Empty logs to be made, durably; those that are there with the same topic id stay as they are.

        Raises:
            ConfigError: a bad override. StorageError: a log with another topic id is in the way, or no directory works.
        """
        config = with_overrides(self.config.defaults, overrides)
        absent = []
        for partition in partitions:
            log = self.get(topic, partition)
            if log is None:
                absent.append(partition)
            elif log.topic_id != topic_id:
                raise StorageError(f"{log.path}: belongs to topic id {log.topic_id}, not {topic_id}")
        places = dict(zip(absent, self._places(topic, absent), strict=True))

        def created(partition: int, loaded: LoadedLog) -> None:
            places[partition].adopt(paths[partition], topic, partition, topic_id, config, loaded)

        def failed(path: str, error: OSError) -> None:
            if not is_full(error):
                (self._by_path.get(path) or self._by_path[parent(path)]).fail(error)

        paths = {partition: f"{place.path}/{topic}-{partition}" for partition, place in places.items()}
        return Creation(self._disk, paths, topic_id, config, self._now_ms, created, failed)

    def _places(self, topic: str, partitions: Sequence[int]) -> list[LogDirectory]:
        """Where new partitions go."""
        counts = {directory.path: len(directory.logs) for directory in self._directories if directory.error is None}
        if not counts and partitions:
            raise StorageError("no log directory works")
        places = []
        for partition in partitions:
            for directory in self._directories:
                if (topic, partition) in directory.failed:
                    raise StorageError(f"{directory.path}/{topic}-{partition} cannot be read and is in the way")
                if partition in directory.gone.get(topic, ()) and directory.error is None:
                    raise StorageError(f"{directory.path}: its checkpoints still speak of a deleted {topic}-{partition}")
            path = min(counts, key=lambda path: (self._by_path[path].space.is_nearly_full, counts[path]))
            counts[path] += 1
            places.append(self._by_path[path])
        return places

    def configure(self, topic: str, overrides: Mapping[str, str | None]) -> None:
        """Give a topic's logs other settings of their own.

        Raises:
            ConfigError: a bad override; nothing has changed.
        """
        config = with_overrides(self.config.defaults, overrides)
        for log in self.all():
            if log.topic == topic:
                log.configure(config)

    def delete(self, topic: str, topic_id: UUID) -> None:
        """Take away a topic's logs here and now; see `begin_deletion`."""
        deletion = self.begin_deletion(topic, topic_id)
        deletion.begin()
        deletion.run()
        deletion.complete()

    def begin_deletion(self, topic: str, topic_id: UUID) -> Deletion:
        """A topic's logs, to be taken away durably; their files are removed after the delay."""

        def taken() -> Iterator[PartitionLog]:
            for holder in [*(directory.logs for directory in self._directories), self._offline]:
                for at in sorted(at for at, log in holder.items() if (log.topic, log.topic_id) == (topic, topic_id)):
                    log = holder.pop(at)
                    log.closed = True
                    if holder is not self._offline:
                        self._by_path[parent(log.path)].deleted(at)
                        yield log

        def deleted(log: PartitionLog) -> None:
            self._by_path[parent(log.path)].remove_later(log)

        return Deletion(self._disk, taken(), deleted)

    # Compaction

    def compacted(self) -> Iterator[tuple[PartitionLog, int] | None]:
        """Every log that is to be compacted; see `LogDirectory.compacted`."""
        for directory in self._directories:
            if directory.error is None:
                yield from directory.compacted()

    def begin_clean(self, log: PartitionLog, found: Cleanable, limits: CleanerLimits, now_ms: int) -> CleanJob:
        """What a worker is to do; it leaves half of the room below the disk's floor to others."""
        floor_bytes = self._by_path[parent(log.path)].space.floor_bytes
        return job_for(log, found, limits, now_ms=now_ms, free_bytes_min=floor_bytes // 2)

    def begin_swap(self, log: PartitionLog, result: CleanResult) -> Swap:
        """What a worker has done, to be put into the log."""
        return Swap(self._disk, log, result)

    # Housekeeping

    def due_steps(self, now_ms: int) -> Iterator[BackgroundStep | None]:
        """Disk work that is due; see `LogDirectory.due_steps`."""
        share = MAX_UNSCANNED_BYTES // len(self._directories)
        for directory in self._directories:
            yield from directory.due_steps(now_ms, max_unscanned_bytes=share)

    def log_start_steps(self) -> list[CheckpointWrite]:
        """Where the logs start, to be made durable; see `LogDirectory.log_start_step`."""
        return [directory.log_start_step() for directory in self._directories if directory.error is None]

    def forgetting_steps(self, topic: str) -> list[CheckpointWrite]:
        """What must be written before a topic of that name is made: else, after a crash, what checkpoints say of a deleted one
        would be taken for the new one's, and its records for missing. None mostly.
        """
        concerned = [each for each in self._directories if each.error is None and topic in each.gone]
        return [directory.forgetting_step() for directory in concerned]

    def look_at_space(self) -> None:
        """See how much room there is; before `keep_house`."""
        for directory in self._directories:
            directory.look_at_space()

    def takes_segments(self, now_ms: int) -> bool:
        """Whether the next `keep_house` takes segments away: what holds them should be known then."""
        return any(directory.takes_segments(now_ms) for directory in self._directories)

    def keep_house(self, now_ms: int) -> Iterator[None]:
        """What is quick; see `LogDirectory.keep_house`."""
        self._now_ms = now_ms
        for directory in self._directories:
            yield from directory.keep_house(now_ms)
        count = sum(directory.producer_count for directory in self._directories)
        if count > MAX_PRODUCERS_IN_ALL:
            self._trim_producers(count)

    def _trim_producers(self, count: int) -> None:
        """Keep the state of producers within the memory, and the snapshots, that they may take."""
        logs = [log for directory in self._directories for log in directory.logs.values()]
        share = fair_share([log.producer_count for log in logs], MAX_PRODUCERS_IN_ALL)
        logger.warning("too many producers: those that wrote longest ago are forgotten", extra={"count": count})
        for directory in self._directories:
            directory.trim_producers(share)

    def maintain(self, now_ms: int) -> None:
        """Everything that is due, here and now; blocks on the disk."""
        for step in self.due_steps(now_ms):
            if step is not None:
                step.run()
                step.complete()
        self.look_at_space()
        for _ in self.keep_house(now_ms):
            pass

    def close(self, now_ms: int) -> None:
        """Close every directory.

        Raises:
            StorageError: a disk fails; the next start recovers what is on it.
        """
        errors = []
        for directory in self._directories:
            try:
                directory.close(now_ms)
            except StorageError as error:
                errors.append(error)
        if errors:
            raise StorageError("; ".join(map(str, errors)))
