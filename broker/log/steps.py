"""Disk work that may leave the loop: small files beside the logs, and files whose time is over."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.broker.log.disk import Disk, is_full, remove_if_there, write_whole
from headrace.broker.log.partition_files import remove_partition

logger = logging.getLogger(__name__)


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
    """The offset checkpoints of a directory, as they were when this was made; those that have changed."""

    disk: Disk
    path: str
    files: Mapping[str, bytes]
    on_success: Callable[[], None]
    on_failure: Callable[[OSError], None]
    error: OSError | None = None

    def run(self) -> None:
        try:
            for name, content in self.files.items():
                write_whole(self.disk, self.path, name, content)
        except OSError as error:
            self.error = error

    def complete(self) -> None:
        """A full disk only puts it off: what is on disk is older, and recovery scans more."""
        if self.error is None:
            self.on_success()
        elif is_full(self.error):
            logger.warning("checkpoints are not written: the disk is full", extra={"path": self.path})
        else:
            self.on_failure(self.error)


@dataclass(slots=True)
class Removal:
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
