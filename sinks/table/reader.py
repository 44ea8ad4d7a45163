"""Reading landed tables by their log: exactly the committed rows, a snapshot (landing.md, What each reader is promised).

Needs no Kafka, no Arrow and nothing running; `headrace query`, jobs and the audit build on it.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from headrace.errors import CorruptError, StorageError, UsageError, VersionError
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table import names
from headrace.sinks.table.audit_totals import AuditTotal
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.fold import Fold, LandedStream, Owner, PartitionEnd, StreamKey
from headrace.sinks.table.record import DataFile, OffsetRange
from headrace.sinks.table.seen import Seen, read_seen
from headrace.sinks.table.store import Store, carry_out, missing


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of committed rows.

    `path` is where it was found (staging, place or `removed/`), absolute, a URL where the root is one; `name` is its path in
    the table once in place, by which `open_live` opens it wherever it is;
    `dt` (YYYY-MM-DD) and `hour` (HH) are the UTC hour of its directory, empty where the table is laid out otherwise.
    """

    path: str
    name: str
    format: str
    rows: int
    bytes: int
    min_event_time_ms: int
    max_event_time_ms: int
    dt: str
    hour: str
    ranges: tuple[OffsetRange, ...]
    content_hash: str
    checksum: str
    damage: str | None = None
    """Why it cannot be read: nowhere to be found, or of another size; only in a snapshot that need not be whole."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Offsets [start, end) that nothing allowed explains, between records of these Kafka times (None: unknown, unbounded)."""

    incarnation: int
    partition: int
    start: int
    end: int
    after_ms: int | None
    before_ms: int | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Undecodable records with Kafka timestamps in [start_ms, end_ms): ten minutes, or longer where there are many such."""

    start_ms: int
    end_ms: int
    count: int


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """A table as of record `seq`, whose attempt is `attempt` (−1 and None: nothing has landed yet)."""

    topic: str
    generation: int
    seq: int
    attempt: str | None
    input: str | None
    arrow_schema: str | None
    """Its columns as the log says them; None where it says none."""
    files: tuple[LiveFile, ...]
    ends: Mapping[tuple[int, int], PartitionEnd]
    """(incarnation, partition) → where its landing stands; `.offset` is the first offset not covered."""
    audit: Mapping[tuple[str, int], AuditTotal]
    """(agent_id, window_start_ms) → what has landed; of the days that are not in `settled`."""
    settled: Mapping[int, AuditTotal]
    """Start of a day of event time (ms) → what has landed of all agents and windows, which are not told apart any more."""
    expired_ms: int | None
    """The time of the newest event in files that have expired; None: none has."""
    streams: Mapping[StreamKey, LandedStream]
    """(partition, agent_id, stream_id) → which positions have landed; of streams that records have touched in the last days."""
    lost: tuple[Lost, ...]
    quarantined: tuple[Quarantined, ...]
    slices: Mapping[str, Owner]
    """Of a table that jobs write: the run whose output each slice is."""
    uncounted_until_ms: int | None = None
    """Windows before it have sums that are not those of its rows (fold.py)."""

    @property
    def is_derived(self) -> bool:
        """Whether jobs write the table, and no loader."""
        return bool(self.slices)


def tables(root: Path | str) -> list[str]:
    """The topics that have a table below `root`, by name.

    Raises:
        UsageError: there is no such directory.
    """
    where = open_root(root)
    if not where.is_there():
        raise UsageError(f"{where}: no such directory; name the directory that `headrace load` writes to")
    return where.tables()


def snapshot(root: Path | str, topic: str, *, is_whole: bool = True) -> TableSnapshot:
    """The table of `topic` as it is now.

    A file may move from staging to its place after this returns: `open_live` finds it all the same.

    Args:
        is_whole: whether each live file has to be there, with its size; else its `damage` says what is wrong with it.
    Raises:
        UsageError: no such table.
        CorruptError, VersionError, StorageError: its log cannot be read; a live file is missing, or of another size.
    """
    where = open_root(root)
    if not topic or "/" in topic or topic in (".", "..") or topic not in tables(root):
        shown = ", ".join(tables(root)) or "none"
        raise UsageError(f"{where}: no table {topic!r}; tables there: {shown}")
    fold = head(where, topic)
    return TableSnapshot(
        topic,
        fold.generation,
        fold.seq,
        fold.attempt,
        fold.input,
        fold.arrow_schema,
        tuple(located(where, topic, [fold.files[name] for name in sorted(fold.files)], is_whole=is_whole)),
        fold.ends,
        fold.audit.windows,
        fold.audit.settled(),
        fold.expired_ms,
        fold.streams,
        tuple(
            Lost(lost.incarnation, lost.partition, lost.gap.start, lost.gap.end, lost.gap.after_ms, lost.gap.before_ms)
            for lost in fold.lost
        ),
        tuple(Quarantined(one.window_start_ms, one.end_ms, one.count) for one in fold.quarantine_windows),
        fold.slices,
        fold.uncounted_until_ms,
    )


def seen(root: Path | str, topic: str) -> Seen:
    """What loaders have seen of the ends of a table's partitions: of each the latest that the table had come to.

    Raises:
        StorageError: the store failed.
    """
    return carry_out(read_seen(), open_root(root).table(topic))


def head(root: Root, topic: str, known: Fold | None = None) -> Fold:
    """The fold of a table as it is now; `known` is an earlier one to go on from, which is used up.

    Raises:
        CorruptError, VersionError, StorageError: its log cannot be read.
    """
    store = root.table(topic)
    try:
        fold = carry_out(read_head(known), store)
        return carry_out(read_head(), store) if fold.is_closed else fold
    except CorruptError as error:
        raise CorruptError(f"table {root.location(topic, '')}: {error}; run: headrace check {root}") from error
    except VersionError as error:
        raise VersionError(f"table {root.location(topic, '')}: {error}") from error


def is_derived(root: Path | str, topic: str) -> bool:
    """Whether jobs write a table; False for one whose log cannot be read. Folded once a process: no table ever changes that.

    Raises:
        StorageError: the store failed.
    """
    where = open_root(root)
    known = _DERIVED.get((str(where), topic))
    if known is None:
        try:
            fold = head(where, topic)
        except (CorruptError, VersionError):
            return False
        known = fold.is_derived
        if fold.seq >= 0:
            _DERIVED[str(where), topic] = known
    return known


_DERIVED: Final[dict[tuple[str, str], bool]] = {}


def located(root: Root, topic: str, files: Sequence[DataFile], *, is_whole: bool = True) -> list[LiveFile]:
    """Live files of a fold, where they are now; `is_whole` as `snapshot` has it.

    Raises:
        StorageError: one is nowhere. CorruptError: one has another size than the log says.
    """
    found = find(root.table(topic), [file.path for file in files])
    return [_live_file(root, topic, file, found[file.path], is_whole=is_whole) for file in files]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a file is, in its table's directory, and how large."""

    path: str
    size_bytes: int


def find(store: Store, files: Iterable[str]) -> dict[str, Found | None]:
    """Where each file is now: in staging, else in place, else in `removed/`; files only move in that order.

    Staging is listed once, because it holds little: most of thousands of files are long in place.
    """
    found: dict[str, Found | None] = dict.fromkeys(files)
    for entry in store.list(names.STAGING, after="", recursive=True) if store.stages and found else ():
        if entry.name in found:
            found[entry.name] = Found(names.staged(entry.name), entry.size_bytes)
    for path_of in (str, names.removed):
        missing = [name for name, where in found.items() if where is None]
        for name, size_bytes in zip(missing, store.sizes(tuple(map(path_of, missing))), strict=True) if missing else ():
            if size_bytes is not None:
                found[name] = Found(path_of(name), size_bytes)
    return found


def locate(root: Path | str, topic: str, name: str) -> str:
    """Where a live file is now, as LiveFile.path.

    Raises:
        StorageError: it is nowhere.
    """
    where = open_root(root)
    if (found := find(where.table(topic), [name])[name]) is None:
        raise _missing(where, topic, name)
    return where.location(topic, found.path)


def open_live(root: Path | str, topic: str, name: str) -> BufferedReader:
    """Open a live file, wherever it has moved since it was listed; to read and to seek in.

    Raises:
        StorageError: it is nowhere.
    """
    where = open_root(root)
    if (file := opened(where.table(topic), name)) is None:
        raise _missing(where, topic, name)
    return file


def opened(store: Store, name: str) -> BufferedReader | None:
    """A live file of a table, wherever it is; None: nowhere."""
    for path in (names.staged(name), name, names.removed(name)):
        if store.stages or not path.startswith(names.STAGING):
            with contextlib.suppress(FileNotFoundError):
                return store.open(path)
    return None


def _missing(root: Root, topic: str, name: str) -> StorageError:
    return missing(root.location(topic, name), str(root))


def _live_file(root: Root, topic: str, file: DataFile, found: Found | None, *, is_whole: bool) -> LiveFile:
    path = root.location(topic, found.path if found is not None else file.path)
    error: CorruptError | StorageError | None = None
    if found is None:
        error = _missing(root, topic, file.path)
    elif found.size_bytes != file.bytes:
        said = f"{path} has {found.size_bytes} bytes, the log says {file.bytes}"
        error = CorruptError(f"{said}; a landed file was changed; restore it")
    if error is not None and is_whole:
        raise error
    keys = dict(part.split("=", 1) for part in file.path.split("/")[:-1] if "=" in part)
    return LiveFile(
        path,
        file.path,
        file.format,
        file.rows,
        file.bytes,
        file.min_event_time_ms,
        file.max_event_time_ms,
        keys.get("dt", ""),
        keys.get("hour", ""),
        file.ranges,
        file.content_hash,
        file.checksum,
        None if error is None else str(error),
    )
