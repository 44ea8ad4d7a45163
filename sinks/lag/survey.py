"""How far landing is behind, asked of the tables' logs and of the broker; no loader need run, and nothing is changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.clock import Clock
from headrace.librdkafka import checked_keys
from headrace.sinks.config import LoadConfig
from headrace.sinks.lag.backlog import Backlog, Measure, Pace, Retention
from headrace.sinks.places import unknown_table
from headrace.sinks.recovery import said
from headrace.sinks.resume import Sight, resume
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import head
from headrace.sinks.topics import SpotReader, Topic, Topics, Where


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition; what the broker says is None where it has no such topic (any more), what the log says where that cannot be
    read."""

    topic: str
    partition: int
    landed_offset: int | None
    end_offset: int | None
    lag_offsets: int | None
    lag_seconds: float | None
    seconds_until_retention: float | None
    """None: nothing that has not landed is ever taken, or it is not known."""
    lost_offsets: int | None
    """Offsets of all `lost` gaps of the partition."""


@dataclass(frozen=True, slots=True)
class TableLag:
    """One table, all its partitions, and its files; `last_commit_ms` is None where nothing has landed yet."""

    topic: str
    partitions: tuple[PartitionLag, ...]
    last_commit_ms: int | None
    files: int
    file_bytes: int
    error: str | None = None
    """Why the table's log cannot be read."""

    @property
    def files_per_gigabyte(self) -> float | None:
        """Files for each 10⁹ bytes of them."""
        return self.files * 1e9 / self.file_bytes if self.file_bytes else None


class Survey:
    """Looks as often as it is asked to; what it remembers in between is how fast logs' starts move, and the folds."""

    def __init__(self, config: LoadConfig, clock: Clock) -> None:
        self._root = open_root(config.load.root)
        self._clock = clock
        self._folds: dict[str, Fold] = {}
        self._unread: dict[str, str] = {}
        """Why a table's log cannot be read."""
        self._paces: dict[Where, Pace] = {}
        with checked_keys():
            self._topics = Topics(config.kafka, config.load.topics)
            self._spot = SpotReader(config.kafka)

    def close(self) -> None:
        self._spot.close()

    def look(self, only: Sequence[str]) -> list[TableLag]:
        """The tables named, or all: those that have landed and those that are to land. What jobs write is neither.

        Raises:
            UsageError: one of `only` is neither.
            PeerError: Kafka does not answer.
            StorageError: the root cannot be read.
        """
        listed = self._topics.find()
        tables = self._root.tables() if self._root.is_there() else []
        known = sorted({*listed, *tables})
        for name in only:
            if name not in known:
                raise unknown_table(name, known)
        names = [name for name in known if not only or name in only]
        for name in names:
            if name in tables:
                self._fold_on(name)
        names = [name for name in names if name in listed or name in only or not self._fold(name).is_derived]
        backlogs = self._backlogs({name: listed[name] for name in names if name in listed and name not in self._unread})
        retention = self._topics.retention([name for name in names if name in listed])
        return [self._table(name, listed.get(name), backlogs, retention.get(name)) for name in names]

    def _fold_on(self, topic: str) -> None:
        self._unread.pop(topic, None)
        try:
            self._folds[topic] = head(self._root, topic, self._folds.pop(topic, None))
            if self._folds[topic].is_derived:
                self._unread[topic] = "a job writes this table, and no topic lands in it"
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are asked all the same
            self._unread[topic] = said(error)

    def _backlogs(self, topics: Mapping[str, Topic]) -> dict[Where, Backlog]:
        """What has not landed of each partition, going on where a loader would."""
        every = [(name, partition) for name, topic in topics.items() for partition in topic.partitions]
        found: dict[Where, Backlog] = {}
        for (name, partition), (start, end) in self._topics.bounds(every).items():
            sight = Sight(topics[name].topic_id, start, end, None)
            fold = self._fold(name)
            begins = resume(fold, partition, sight)
            landed = fold.end(begins.incarnation, partition) if begins.gap == "lost" else begins.offset
            found[name, partition] = Backlog(landed, start, end)
        behind = {where: max(one.landed, one.log_start) for where, one in found.items() if one.offsets}
        for where, record in self._spot.records_from(behind).items():
            one = found[where]
            found[where] = Backlog(one.landed, one.log_start, one.end, _time_of(record))
        return found

    def _fold(self, topic: str) -> Fold:
        return self._folds.get(topic) or Fold()

    def _table(
        self, name: str, topic: Topic | None, backlogs: Mapping[Where, Backlog], retention: Retention | None
    ) -> TableLag:
        if (error := self._unread.get(name)) is not None:
            unknown = (PartitionLag(name, number, *[None] * 6) for number in (topic.partitions if topic else ()))
            return TableLag(name, tuple(unknown), None, 0, 0, error)
        fold = self._fold(name)
        numbers = {partition for _, partition in fold.ends} | set(topic.partitions if topic else ())
        lags = tuple(self._partition(name, number, backlogs.get((name, number)), retention) for number in sorted(numbers))
        size = sum(file.bytes for file in fold.files.values())
        return TableLag(name, lags, fold.created_ms if fold.seq >= 0 else None, len(fold.files), size)

    def _partition(self, topic: str, number: int, backlog: Backlog | None, retention: Retention | None) -> PartitionLag:
        fold = self._fold(topic)
        lost = sum(one.gap.end - one.gap.start for one in fold.lost if one.partition == number)
        if backlog is None:
            landed = fold.end(fold.incarnation(number), number)
            return PartitionLag(topic, number, landed, None, None, None, None, lost)
        pace = self._paces.setdefault((topic, number), Pace()).saw(backlog.log_start, self._clock.monotonic_ms())
        measure = backlog.measured(retention, pace, self._clock.wall_ms())
        return PartitionLag(topic, number, backlog.landed, backlog.end, *_told(measure), lost)


def _told(measure: Measure) -> tuple[int, float, float | None]:
    until = measure.seconds_until_retention
    return measure.offsets, round(measure.seconds, 3), None if until in (None, float("inf")) else round(until or 0.0, 3)


def _time_of(record: Any) -> int | None:
    if record is None:
        return None
    timestamp_ms = int(record.timestamp()[1])
    return timestamp_ms if timestamp_ms >= 0 else None


def furthest_behind(tables: Iterable[TableLag]) -> tuple[int, float]:
    """(offsets that have not landed in all, age of the oldest of them in seconds)."""
    lags = [lag for table in tables for lag in table.partitions]
    return sum(lag.lag_offsets or 0 for lag in lags), max((lag.lag_seconds or 0.0 for lag in lags), default=0.0)
