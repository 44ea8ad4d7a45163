"""The projection of a table's log into an Iceberg table (landing.md, Iceberg projection). Pure: yields steps, is sent answers.

The Iceberg table says which record of our log it shows, its *marks*: generation, seq and attempt. They are written twice in one
transaction with the files: among the table's properties, which outlive expired snapshots, and in the snapshot's summary,
which says of whom the current snapshot is. Both together say where the table stands; anything else (another engine
has written or rolled back, the log went back, another generation) is mended by the difference of the two sets of files.

Why no file is there twice or missing, whoever else commits and whenever this one dies:

1. The table is read before the log's head, so that the head is never older than what the table shows already.
2. What is committed was decided from one snapshot, and takes effect only if that snapshot is still the current one.
3. What a head that is read from here on gives up stays to be read (HoldFiles comes before ReadHead).
4. Nothing is tried again blindly: a commit that was refused, or whose answer was lost, is decided anew from what is there.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from headrace.sinks.table.record import CommitRecord, DataFile

FEW_RECORDS: Final = 500
"""As many records as are read one by one; a table further behind is compared as a whole, which costs its manifests."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Marks:
    """The record of our log that an Iceberg table shows."""

    generation: int
    seq: int
    attempt: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An Iceberg table as it was loaded: its current snapshot, and its marks; None where properties and snapshot differ."""

    snapshot_id: int | None
    marks: Marks | None


@dataclass(frozen=True, slots=True)
class Head:
    """The head of our log (None: it has no record), and its live Parquet files by path, all in their places."""

    marks: Marks | None
    files: Mapping[str, DataFile]


@dataclass(frozen=True, slots=True)
class Live:
    """Names of the files of the snapshot that was loaded: paths of those that were asked for, URLs of the others.

    Its files are altered where another engine has deleted rows of some, or has added one again.
    """

    names: frozenset[str]
    are_altered: bool = False


@dataclass(frozen=True, slots=True)
class LoadTable:
    """Answer: Shown; None if there is no such table."""


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Make the table, empty, for files like `sample`; as good if another has just made it. Answer: None."""

    sample: DataFile


@dataclass(frozen=True, slots=True)
class HoldFiles:
    """No file goes from now on that a snapshot of the table has (`shown_files.py`). Answer: None."""


@dataclass(frozen=True, slots=True)
class ListLive:
    """Answer: Live, of the snapshot that was loaded last. `of`: files of our log, the fewer the cheaper (shown_by_inode.py)."""

    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadHead:
    """Answer: Head."""


@dataclass(frozen=True, slots=True)
class ReadRecords:
    """Answer: tuple[CommitRecord | None, …] of seqs [first, last]; None for what has been swept."""

    generation: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction: files added and removed, and the marks. Answer: bool, False if `snapshot_id` is no longer current."""

    snapshot_id: int | None
    add: tuple[DataFile, ...]
    remove: tuple[str, ...]
    marks: Marks


@dataclass(frozen=True, slots=True)
class Projected:
    """What became of it: the head that the table shows now (None: there is nothing to show yet), files added and removed."""

    marks: Marks | None
    added: int = 0
    removed: int = 0


Step = LoadTable | CreateTable | HoldFiles | ListLive | ReadHead | ReadRecords | Commit
Steps = Generator[Step, Any, T]


def project() -> Steps[Projected]:
    """Bring the Iceberg table up to the head of the log."""
    while True:
        shown: Shown | None = yield LoadTable()
        yield HoldFiles()
        head: Head = yield ReadHead()
        if shown is None or head.marks is None:
            if head.marks is None or not head.files:
                return Projected(None)
            yield CreateTable(next(iter(head.files.values())))
            continue
        step = yield from _decide(shown, head, head.marks)
        if step is None:
            return Projected(head.marks)
        committed: bool = yield step
        if committed:
            return Projected(head.marks, len(step.add), len(step.remove))


def _decide(shown: Shown, head: Head, to: Marks) -> Steps[Commit | None]:
    """What to commit, if anything."""
    records = yield from _records_since(shown.marks, to)
    if records is not None and not any(record.remove for record in records):
        add = tuple(file for record in records for file in record.add if file.path in head.files)
        return Commit(shown.snapshot_id, add, (), to) if add else None
    live, files = yield from _compared(records or (), head)
    if live.are_altered:  # all are taken out and put in anew: then they are younger than any deletes of their rows
        return Commit(shown.snapshot_id, tuple(head.files.values()), tuple(sorted(live.names)), to)
    add = tuple(file for path, file in files.items() if path not in live.names)
    remove = tuple(sorted(live.names - head.files.keys()))
    if not add and not remove and records is not None:
        return None
    return Commit(shown.snapshot_id, add, remove, to)


def _compared(records: Sequence[CommitRecord], head: Head) -> Steps[tuple[Live, Mapping[str, DataFile]]]:
    """What is live, and what should be: of the files that records touch, or of all where one of those is not to be found."""
    added = {file.path for record in records for file in record.add}
    removed = {path for record in records for path in record.remove}
    if records:
        live: Live = yield ListLive(tuple(sorted(added | removed)))
        if not live.are_altered and removed - added <= live.names:
            return Live(live.names & (added | removed)), {path: file for path, file in head.files.items() if path in added}
    live = yield ListLive(tuple(head.files))
    return live, head.files


def _records_since(marks: Marks | None, to: Marks) -> Steps[Sequence[CommitRecord] | None]:
    """The records after `marks` up to the head; None if the marks are not of this log, or too old to tell."""
    if marks is None or not 0 <= to.seq - marks.seq <= FEW_RECORDS:
        return None
    if marks.seq == to.seq:
        return () if marks.attempt == to.attempt else None
    found: tuple[CommitRecord | None, ...] = yield ReadRecords(to.generation, marks.seq, to.seq)
    records = [record for record in found if record is not None]
    if len(records) < len(found) or (records[0].attempt, records[-1].attempt) != (marks.attempt, to.attempt):
        return None
    return records[1:]
