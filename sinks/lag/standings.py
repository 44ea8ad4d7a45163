"""Where each partition stands that this process lands: written by the loader's loop, read by the threads that tell of it.

Single attributes are set and read, so nobody waits for anybody; what is read together may be a moment apart. A partition stays
while its table starts over after an error, when it matters most, and goes when another loader has it or the topic is gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.sinks.lag.backlog import Backlog, Pace, Retention
from headrace.sinks.recovery import Recovery, Trouble
from headrace.sinks.table.fold import Fold

Where = tuple[str, int]  # (topic, partition)


@dataclass(slots=True)
class PartitionStanding:
    """One partition; `log_start` and `end` are None until the broker has said them."""

    landed: int
    begun: int
    """Where this process began to read."""
    read: int
    oldest_ms: int | None = None
    log_start: int | None = None
    end: int | None = None
    since_ms: int | None = None
    pace: Pace = field(default_factory=Pace)
    moves_per_second: float | None = None

    def backlog(self) -> Backlog | None:
        """What has not landed; None while the broker has not said where the log ends."""
        landed, log_start, end = self.landed, self.log_start, self.end
        if log_start is None or end is None:
            return None
        return Backlog(landed, log_start, end, self.oldest_ms, self.since_ms)

    def bounds(self, log_start: int, end: int, *, wall_ms: int, monotonic_ms: int) -> None:
        """The broker has said where the log starts and ends."""
        self.moves_per_second = self.pace.saw(log_start, monotonic_ms)
        if end <= self.landed:
            self.since_ms = None
        elif self.since_ms is None:
            self.since_ms = wall_ms
        self.log_start, self.end = log_start, end


@dataclass(slots=True)
class TableStanding:
    """One table: its partitions, and how its files are."""

    partitions: dict[int, PartitionStanding] = field(default_factory=dict)
    records: int = 0
    """Records that this process has taken."""
    files: int = 0
    file_bytes: int = 0
    last_commit_ms: int | None = None
    retention: Retention | None = None
    """None: not known (yet)."""
    recovery: Recovery = field(default_factory=Recovery)

    def begin(self, partition: int, landed: int) -> None:
        """A partition is read from where it has landed; what is known of what comes after that still holds."""
        known = self.partitions.get(partition)
        if known is None or known.landed != landed:
            before = known.begun if known and known.begun <= landed else landed
            self.partitions[partition] = PartitionStanding(landed, before, landed)
        else:
            known.read = landed

    def keep(self, partitions: Iterable[int]) -> None:
        """Only these are ours: another loader has the others, or they are gone."""
        for partition in self.partitions.keys() - set(partitions):
            del self.partitions[partition]

    def saw(self, partition: int, message: Any) -> None:
        """A record has been read, which is the next to land if none is known yet."""
        standing = self.partitions.get(partition)
        if standing is not None and standing.oldest_ms is None and message.offset() >= standing.landed:
            timestamp_ms = message.timestamp()[1]
            standing.oldest_ms = timestamp_ms if timestamp_ms >= 0 else None

    def took(self, partition: int, next_offset: int, records: int = 0) -> None:
        """Up to `next_offset` it has been read."""
        self.records += records
        if (standing := self.partitions.get(partition)) is not None:
            standing.read = next_offset

    def landed(self, ends: Iterable[tuple[int, int]], fold: Fold) -> None:
        """A commit: (partition, next offset to land), and the table as it is now."""
        for partition, offset in ends:
            standing = self.partitions.get(partition)
            if standing is not None and standing.landed != offset:
                standing.oldest_ms = standing.since_ms = None
                standing.landed = offset
        self.show(fold)

    def show(self, fold: Fold) -> None:
        """The table as it is now."""
        self.files, self.file_bytes = len(fold.files), sum(file.bytes for file in fold.files.values())
        self.last_commit_ms = fold.created_ms if fold.seq >= 0 else None


class Standings:
    """All tables of one loader, by topic."""

    def __init__(self) -> None:
        self.tables: dict[str, TableStanding] = {}
        self.goals: Mapping[Where, int] | None = None
        """With `--once`: up to which offsets it lands, once that is known."""

    def table(self, topic: str) -> TableStanding:
        return self.tables.setdefault(topic, TableStanding())

    def partitions(self) -> list[tuple[Where, PartitionStanding]]:
        """All of them, by topic and number."""
        tables = sorted(self.tables.copy().items())
        return [((topic, number), one) for topic, table in tables for number, one in sorted(table.partitions.copy().items())]

    def troubles(self) -> dict[str, Trouble]:
        """Why tables do not land, by topic: of those that fail."""
        found = ((topic, table.recovery.trouble) for topic, table in sorted(self.tables.copy().items()))
        return {topic: trouble for topic, trouble in found if trouble is not None}

    def why_not_all_land(self) -> str | None:
        """What fails, in a line; None if nothing does."""
        if not (troubles := self.troubles()):
            return None
        topic, first = next(iter(troubles.items()))
        others = f", and {len(troubles) - 1} more" if len(troubles) > 1 else ""
        return f"{topic} does not land{others}: {first.error}"
