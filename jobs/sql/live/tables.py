"""Tables with what the broker still has of their topics: a session's tables where `--live` is asked for."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from headrace.errors import UsageError
from headrace.jobs.sql.live.asking import Answered, Fetch, IsSame, Look, ReadFold, Rest, Span, ask
from headrace.jobs.sql.tables import OpenTable, opened
from headrace.sinks.resume import Sight
from headrace.sinks.stores.local import LocalRoot
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import LiveFile, head, located, tables
from headrace.sinks.table.record import CommitRecord, DataFile
from headrace.sinks.table.store import Store

_REST_S: Final = 1.0


class Broker(Protocol):
    """What is asked of a cluster (fetching.py)."""

    def topics(self) -> Any: ...
    def look(self, name: str, fold: Fold) -> dict[int, Sight]: ...
    def is_same(self, name: str, fold: Fold, spans: Sequence[Span]) -> bool: ...
    def fetch(self, name: str, fold: Fold, spans: Sequence[Span], store: Store) -> CommitRecord | None: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the broker had of a topic beyond its table: rows that are asked, and records that are none, as when they land."""

    topic: str
    rows: int
    quarantined: int
    duplicates: int

    @classmethod
    def of(cls, topic: str, record: CommitRecord) -> "Fetched":
        """What a record that a loader would have put says of it."""
        ranges = record.ranges
        return cls(topic, sum(r.rows for r in ranges), sum(r.quarantined for r in ranges), sum(r.duplicates for r in ranges))

    def __str__(self) -> str:
        return (
            f"{self.topic}: {self.rows:,} rows from the broker; left out: {self.quarantined:,} undecodable,"
            f" {self.duplicates:,} repeated"
        )


class LiveTables:
    """The tables below a root, and the topics of a cluster; each statement asks both anew.

    Args:
        scratch: a folder for what is read of the broker, whose files the session may open.
    """

    def __init__(self, root: str, broker: Broker, scratch: Path) -> None:
        self.root, self._broker = root, broker
        self._scratch = LocalRoot(scratch)
        self._fetched: list[Fetched] = []

    def told(self) -> list[Fetched]:
        """What has been fetched since this was last called."""
        told, self._fetched = self._fetched, []
        return told

    def _landed(self) -> list[str]:
        """The topics that have tables; none where no loader has made the root yet."""
        return tables(self.root) if open_root(self.root).is_there() else []

    def names(self) -> list[str]:
        """The topics that have landed, and those that are to."""
        return sorted({*self._landed(), *self._broker.topics()})

    def landed(self, topic: str) -> OpenTable:
        return opened(self._fold(topic), topic, lambda files: located(open_root(self.root), topic, files))

    def open(self, topic: str, as_of: str | None) -> OpenTable:
        """A table now, with the rest of its topic.

        Raises:
            UsageError: it is asked for as of another moment.
            OvertakenError: what had not landed is gone.
            PeerError: the cluster or the registry does not answer.
        """
        if as_of is not None:
            raise UsageError(f"{topic}: --live is now; leave AS OF {as_of} away, or --live")
        fold = self._fold(topic)
        if fold.is_derived:
            return self._joined(topic, Answered(fold, (), None))
        return self._joined(topic, self._carry_out(topic, fold))

    def _carry_out(self, topic: str, first: Fold) -> Answered:
        steps, known = ask(topic), [first]
        answer: Any = None
        try:
            while True:
                match steps.send(answer):
                    case ReadFold():
                        answer = known.pop() if known else self._fold(topic)
                    case Look(fold):
                        answer = self._broker.look(topic, fold)
                    case Fetch(fold, spans):
                        shutil.rmtree(self._scratch.directory / topic, ignore_errors=True)
                        answer = self._broker.fetch(topic, fold, spans, self._scratch.table(topic))
                    case IsSame(fold, spans):
                        answer = self._broker.is_same(topic, fold, spans)
                    case Rest():
                        time.sleep(_REST_S)
        except StopIteration as done:
            found: Answered = done.value
            return found

    def _fold(self, topic: str) -> Fold:
        """The table as it is now; an empty fold where there is none yet."""
        root = open_root(self.root)
        return head(root, topic) if topic in self._landed() else Fold()

    def _joined(self, topic: str, answered: Answered) -> OpenTable:
        fold, record = answered.fold, answered.fetched
        added: tuple[DataFile, ...] = () if record is None else record.add
        if record is not None:
            self._fetched.append(Fetched.of(topic, record))
        mine = {file.path for file in added}

        def locate(files: Sequence[DataFile]) -> list[LiveFile]:
            there = located(open_root(self.root), topic, [file for file in files if file.path not in mine])
            return there + located(self._scratch, topic, [file for file in files if file.path in mine])

        table = opened(fold, topic, locate)
        schema = table.arrow_schema if record is None else record.arrow_schema or table.arrow_schema
        return OpenTable(topic, table.seq, table.files + added, schema, locate)
