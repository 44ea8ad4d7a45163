"""Reading landed tables by their log: exactly the committed rows, a snapshot (landing.md, What each reader is promised).

Needs no Kafka, no Arrow and nothing running; `headrace query`, jobs and the audit build on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.audit import window_start_ms
from headrace.errors import CorruptError, StorageError, UsageError, VersionError
from headrace.sinks.table import names
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.fold import AuditTotal, Fold, PartitionEnd
from headrace.sinks.table.record import DataFile, OffsetRange
from headrace.sinks.table.store import LocalStore, carry_out


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of committed rows.

    `path` is where it was found (staging, place or `removed/`), absolute; `name` is its path in the table once in place;
    `dt` (YYYY-MM-DD) and `hour` (HH) are the UTC hour of its directory, empty where the table is laid out otherwise.
    """

    path: Path
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
    """Undecodable records of one ten-minute window of Kafka time; `path` of their file, absolute."""

    window_start_ms: int
    count: int
    path: Path


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """A table as of record `seq`, whose attempt is `attempt` (−1 and None: nothing has landed yet)."""

    topic: str
    generation: int
    seq: int
    attempt: str | None
    input: str | None
    files: tuple[LiveFile, ...]
    ends: Mapping[tuple[int, int], PartitionEnd]
    """(incarnation, partition) → where its landing stands; `.offset` is the first offset not covered."""
    audit: Mapping[tuple[str, int], AuditTotal]
    """(agent_id, window_start_ms) → what has landed."""
    lost: tuple[Lost, ...]
    quarantined: tuple[Quarantined, ...]


def tables(root: Path | str) -> list[str]:
    """The topics that have a table below `root`, by name.

    Raises:
        UsageError: there is no such directory.
    """
    root = local_path(root)
    if not root.is_dir():
        raise UsageError(f"{root}: no such directory; name the directory that `headrace load` writes to")
    return sorted(entry.name for entry in root.iterdir() if (entry / names.LOG).is_dir())


def snapshot(root: Path | str, topic: str) -> TableSnapshot:
    """The table of `topic` as it is now.

    A file may move from staging to its place after this returns: on FileNotFoundError ask for `locate(root, topic, name)`.

    Raises:
        UsageError: no such table.
        CorruptError, VersionError, StorageError: its log cannot be read; a live file is missing.
    """
    root = local_path(root)
    table = root / topic
    if not topic or "/" in topic or topic in (".", "..") or not (table / names.LOG).is_dir():
        known = ", ".join(tables(root)) or "none"
        raise UsageError(f"{root}: no table {topic!r}; tables there: {known}")
    try:
        fold = carry_out(read_head(), LocalStore(table))
    except CorruptError as error:
        raise CorruptError(f"table {table}: {error}; run: headrace check {root}") from error
    except VersionError as error:
        raise VersionError(f"table {table}: {error}") from error
    return TableSnapshot(
        topic,
        fold.generation,
        fold.seq,
        fold.attempt,
        fold.input,
        tuple(_live_file(table, file) for file in sorted(fold.files.values(), key=lambda file: file.path)),
        fold.ends,
        fold.audit,
        tuple(
            Lost(lost.incarnation, lost.partition, lost.gap.start, lost.gap.end, lost.gap.after_ms, lost.gap.before_ms)
            for lost in fold.lost
        ),
        tuple(_quarantined(table, fold)),
    )


def locate(root: Path | str, topic: str, name: str) -> Path:
    """Where a live file is now: in staging, else in place, else in `removed/`; files only move in that order.

    Raises:
        StorageError: it is nowhere.
    """
    return _find(local_path(root) / topic, name)


def _find(table: Path, name: str) -> Path:
    for path in (names.staged(name), name, names.removed(name)):
        if (table / path).exists():
            return (table / path).absolute()
    raise StorageError(f"{table / name}: the log names this file, and it is missing; run: headrace check {table.parent}")


def _sized(path: Path, size_bytes: int) -> Path:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return path  # moved on since; a file never changes on its way
    if found != size_bytes:
        raise CorruptError(f"{path} has {found} bytes, the log says {size_bytes}; a landed file was changed; restore it")
    return path


def _live_file(table: Path, file: DataFile) -> LiveFile:
    keys = dict(part.split("=", 1) for part in file.path.split("/")[:-1] if "=" in part)
    return LiveFile(
        _sized(_find(table, file.path), file.bytes),
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
    )


def _quarantined(table: Path, fold: Fold) -> list[Quarantined]:
    found = []
    for quarantine in fold.quarantined:
        path = (table / quarantine.path).absolute()
        windows = {window.window_start_ms: window.count for window in quarantine.windows}
        if not windows:  # a record of another writer, which need not say
            windows = {window_start_ms(0): quarantine.count}
        found += [Quarantined(start, count, path) for start, count in sorted(windows.items())]
    return found


def local_path(root: Path | str) -> Path:
    """A `--root` as a path.

    Raises:
        UsageError: it is a URL of a store that this version cannot read.
    """
    text = str(root)
    if "://" in text and not text.startswith("file://"):
        raise UsageError(f"{text}: only tables on a local disk can be read; give a path or file:///…")
    return Path(text.removeprefix("file://"))
