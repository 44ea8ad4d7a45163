"""The files of a topic's partitions coming and going, many at a time, in three steps so that the slow one may run in a thread.

What is captured on the loop, `run` does to the files, `complete` notes on the loop again. Those on the loop have a form in
steps, which lets others go on between some partitions and the next. A partition's directory counts
once `partition.metadata` is in it, so a creation that a crash cut short leaves what the next start removes; a deletion is one
rename, whose files go later.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from headrace.broker.log import checkpoint
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk, write_whole
from headrace.broker.log.file_names import LOG
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.recovery import load_log
from headrace.broker.log.scanning import Facts
from headrace.errors import StorageError

logger = logging.getLogger(__name__)
DELETED_SUFFIX = "-delete"
_AT_A_TIME = 50  # to hand over so many logs takes 0.25 ms


@dataclass(slots=True)
class Creation:
    """Empty logs for partitions of one topic, in one or several log directories."""

    disk: Disk
    paths: Mapping[int, str]  # by partition
    topic_id: UUID
    config: LogConfig
    now_ms: int
    on_complete: Callable[[int, LoadedLog], None]  # of each partition
    on_failure: Callable[[str, OSError], None]  # told which path
    _loaded: dict[int, LoadedLog] = field(default_factory=dict)
    _failure: tuple[str, OSError] | None = None

    def run(self) -> None:
        """Make the files, durably, or none of them; raises nothing, may run on any thread."""
        path = ""
        try:
            for partition, path in self.paths.items():
                self._make(partition, path)
            for path in sorted(set(map(parent, self.paths.values()))):
                self.disk.sync_directory(path)  # one for all names in it
        except OSError as error:
            self._failure = (path, error)
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
        for path in self.paths.values():
            try:
                remove_partition(self.disk, path)
            except OSError as error:  # harmless: the topic's deletion, finished by the next start, removes it
                logger.error("files remain", extra={"path": path, "error": str(error)})

    def complete(self) -> None:
        """`complete_in_steps`, in one."""
        for _ in self.complete_in_steps():
            pass

    def complete_in_steps(self) -> Generator[None, None, None]:
        """Hand the logs over; on the loop.

        Raises:
            StorageError: the disk fails; there are none.
        """
        if self._failure is not None:
            path, error = self._failure
            self.on_failure(path, error)
            raise StorageError(f"{path}: {error.strerror or error}") from error
        for count, (partition, loaded) in enumerate(self._loaded.items(), 1):
            self.on_complete(partition, loaded)
            if count % _AT_A_TIME == 0:
                yield


@dataclass(slots=True)
class Deletion:
    """A topic's logs that are to be renamed away."""

    disk: Disk
    taken: Iterator[PartitionLog]  # each is gone, for everybody else, when it is taken
    on_complete: Callable[[PartitionLog], None]  # of each
    logs: list[PartitionLog] = field(default_factory=list)  # all of them, once it has begun
    _error: OSError | None = None

    def begin(self) -> None:
        """`begin_in_steps`, in one."""
        for _ in self.begin_in_steps():
            pass

    def begin_in_steps(self) -> Generator[None, None, None]:
        """Take the logs away; on the loop."""
        for log in self.taken:
            self.logs.append(log)
            if len(self.logs) % _AT_A_TIME == 0:
                yield

    def run(self) -> None:
        """Rename, durably; raises nothing, may run on any thread."""
        try:
            for log in self.logs:
                self.disk.rename(log.path, deleted_path(log))
            for path in sorted({parent(log.path) for log in self.logs}):
                self.disk.sync_directory(path)
        except OSError as error:
            self._error = error

    def complete(self) -> None:
        """`complete_in_steps`, in one."""
        for _ in self.complete_in_steps():
            pass

    def complete_in_steps(self) -> Generator[None, None, None]:
        """Let go of the logs, and have their files removed later; on the loop.

        Raises:
            StorageError: the disk fails; the next start deletes what is left.
        """
        for count, log in enumerate(self.logs, 1):
            log.abandon()
            if self._error is None:
                self.on_complete(log)
            if count % _AT_A_TIME == 0:
                yield
        if self._error is not None:
            raise StorageError(str(self._error)) from self._error


def parent(path: str) -> str:
    """The directory that holds `path`."""
    return path.rpartition("/")[0]


def deleted_path(log: PartitionLog) -> str:
    """What a deleted partition's directory is called until its files are removed."""
    name = f"{log.topic}-{log.partition}.{log.topic_id.hex}{DELETED_SUFFIX}"
    return f"{parent(log.path)}/{name[-255:]}"  # a name may not be longer; the end tells what it is


def remove_partition(disk: Disk, path: str) -> None:
    """Remove a partition's directory with its files; one that is gone already is fine."""
    try:
        names = disk.list(path)
    except FileNotFoundError:
        return
    for entry in names:
        disk.remove(f"{path}/{entry}")
    disk.remove_directory(path)


def holds_records(disk: Disk, path: str) -> bool:
    """Whether a partition's directory has a log that is not empty. Raises OSError."""
    for name in disk.list(path):
        if name.endswith(LOG):
            file = disk.open(f"{path}/{name}")
            try:
                if file.size():
                    return True
            finally:
                file.close()
    return False
