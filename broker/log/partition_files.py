"""The files of a topic's partitions coming and going, many at a time, in three steps so that the slow one may run in a thread.

What `begin…` captures on the loop, `run` does to the files, `complete` notes on the loop again. A partition's directory counts
once `partition.metadata` is in it, so a creation that a crash cut short leaves what the next start removes; a deletion is one
rename, whose files go later.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from headrace.broker.log import checkpoint
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk, write_whole
from headrace.broker.log.partition_log import LoadedLog, PartitionLog
from headrace.broker.log.recovery import Facts, load_log
from headrace.errors import StorageError

logger = logging.getLogger(__name__)
DELETED_SUFFIX = "-delete"


@dataclass(slots=True)
class Creation:
    """Empty logs for partitions of one topic, in one directory."""

    disk: Disk
    directory: str
    names: Mapping[int, str]  # partition → directory's name
    topic_id: UUID
    config: LogConfig
    now_ms: int
    on_complete: Callable[[Mapping[int, LoadedLog]], None]
    _loaded: dict[int, LoadedLog] = field(default_factory=dict)
    _error: OSError | None = None

    def run(self) -> None:
        """Make the files, durably, or none of them; raises nothing, may run on any thread."""
        try:
            for partition, name in self.names.items():
                self._make(partition, f"{self.directory}/{name}")
            self.disk.sync_directory(self.directory)  # one for all their names
        except OSError as error:
            self._error = error
            self._undo()

    def _make(self, partition: int, path: str) -> None:
        remove_partition(self.disk, path)  # what a failed creation or deletion could not take away
        self.disk.make_directory(path, durable=False)
        loaded = load_log(self.disk, path, self.config, Facts(clean=True), self.now_ms)
        for segment in loaded.segments:
            segment.close()  # opened again when it is written: most of many partitions are not, for a while
        metadata = checkpoint.encode_partition_metadata(self.topic_id)
        write_whole(self.disk, path, checkpoint.PARTITION_METADATA, metadata)
        self._loaded[partition] = loaded

    def _undo(self) -> None:
        for name in self.names.values():
            try:
                remove_partition(self.disk, f"{self.directory}/{name}")
            except OSError as error:  # harmless: the topic's deletion, finished by the next start, removes it
                logger.error("files remain", extra={"path": f"{self.directory}/{name}", "error": str(error)})

    def complete(self) -> None:
        """Hand the logs over; on the loop.

        Raises:
            StorageError: the disk fails; there are none.
        """
        if self._error is not None:
            raise StorageError(f"{self.directory}: {self._error.strerror or self._error}") from self._error
        self.on_complete(self._loaded)


@dataclass(slots=True)
class Deletion:
    """Logs of one directory that are to be renamed away."""

    disk: Disk
    directory: str
    logs: Sequence[PartitionLog]
    on_complete: Callable[[Sequence[str]], None]
    _error: OSError | None = None

    def run(self) -> None:
        """Rename, durably; raises nothing, may run on any thread."""
        try:
            for log in self.logs:
                self.disk.rename(log.path, f"{self.directory}/{deleted_name(log)}")
            if self.logs:
                self.disk.sync_directory(self.directory)
        except OSError as error:
            self._error = error

    def complete(self) -> None:
        """Let go of the logs, and have their files removed later; on the loop.

        Raises:
            StorageError: the disk fails; the next start deletes what is left.
        """
        for log in self.logs:
            log.abandon()
        if self._error is not None:
            raise StorageError(f"{self.directory}: {self._error.strerror or self._error}") from self._error
        self.on_complete([deleted_name(log) for log in self.logs])


def deleted_name(log: PartitionLog) -> str:
    """The name that a deleted partition's directory has until its files are removed."""
    name = f"{log.topic}-{log.partition}.{log.topic_id.hex}{DELETED_SUFFIX}"
    return name[-255:]  # a name may not be longer; the end tells what it is


def remove_partition(disk: Disk, path: str) -> None:
    """Remove a partition's directory with its files; one that is gone already is fine."""
    try:
        names = disk.list(path)
    except FileNotFoundError:
        return
    for entry in names:
        disk.remove(f"{path}/{entry}")
    disk.remove_directory(path)
