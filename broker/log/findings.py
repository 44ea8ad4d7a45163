"""What a look at a log directory (inspection.py) finds: a report of each partition, and of the directory itself."""

from dataclasses import dataclass, field
from typing import NamedTuple

_FAULTS_KEPT = 100  # of one partition


class Fault(NamedTuple):
    """What is wrong, in which file (below the log directory), at which byte (None: in all of it)."""

    file: str
    byte: int | None
    what: str


@dataclass(slots=True)
class Report:
    """What was found of one partition, or (with `topic` None) of the directory itself; `bytes` are of segments' logs."""

    directory: str  # the partition's, below the log directory; empty for itself
    topic: str | None
    partition: int | None
    segments: int = 0
    bytes: int = 0
    records: int = 0
    log_start_offset: int = 0
    log_end_offset: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    @property
    def state(self) -> str:
        """`damaged`, `leftovers` (the next start has something to repair or remove), or `clean`."""
        return "damaged" if self.faults else "leftovers" if self.notes else "clean"

    def fault(self, file: str, byte: int | None, what: str) -> None:
        """Note a fault; so many and no more."""
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(Fault(self._below(file), byte, what))

    def note(self, file: str, byte: int | None, what: str) -> None:
        """Note what the next start sees to."""
        if len(self.notes) < _FAULTS_KEPT:
            self.notes.append(Fault(self._below(file), byte, what))

    def unreadable(self, file: str, error: OSError) -> None:
        """Note that a file, or all of the directory, cannot be read."""
        self.fault(file, None, f"cannot be read: {error.strerror or error}")

    def _below(self, file: str) -> str:
        return "/".join(filter(None, (self.directory, file)))
