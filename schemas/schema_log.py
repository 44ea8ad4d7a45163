"""What a registry asks of the log that it is the fold of, and what it is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.schemas.records import Entry, read


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log; `offset` + 1 is where the next one is, or later. Made off the loop: `entry` is parsed."""

    offset: int
    key: bytes | None
    value: bytes | None
    entry: Entry | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entry", read(self.key, self.value))


class LogReader(Protocol):
    """Who follows the log; called on the event loop."""

    def on_records(self, records: Sequence[LogRecord]) -> None:
        """The next records, in order."""

    def on_end(self, offset: int) -> None:
        """All records before `offset` have been given, and it was the log's end."""


class SchemaLog(Protocol):
    """The topic `_schemas`; the one on Kafka and the one in memory pass the same contract tests."""

    async def append(self, key: bytes, value: bytes | None) -> int:
        """Write one record, acknowledged by all in-sync replicas, and return its offset.

        Raises:
            PeerError: it was not acknowledged; it may be in the log all the same.
        """
        ...

    async def end_offset(self) -> int:
        """Where the next record will go.

        Raises:
            PeerError: the broker does not say.
        """
        ...

    async def cluster_id(self) -> str:
        """Of the Kafka cluster that keeps it.

        Raises:
            PeerError: the broker does not say.
        """
        ...
