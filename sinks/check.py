"""Every invariant of landing.md, verified offline: over the records that are still kept, the newest fold, and the files.

`deep` reads the data files too: checksum, rows, content hash, and the order of rows. Nothing is changed.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from headrace.errors import CorruptError, UsageError
from headrace.sinks.check_history import History, check_history
from headrace.sinks.recovery import said
from headrace.sinks.repair import data_files, repair_table
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table import names
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import find, open_live, tables
from headrace.sinks.table.record import DataFile, Quarantine
from headrace.sinks.table.store import Store


@dataclass(slots=True)
class Report:
    """What `check` found of one table. `remarks` are allowed states worth knowing: lost offsets, files on their way."""

    topic: str
    records: int = 0
    files: int = 0
    rows: int = 0
    broken: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        return f"{len(self.broken)} broken" if self.broken else "ok"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "state": "broken" if self.broken else "ok"}


def check_root(root: str, *, deep: bool, repair: bool = False) -> Iterator[Report]:
    """Check every table below a root, one report each; with `repair` after mending what can be mended.

    Raises:
        UsageError: there is no such directory, or no table in it.
    """
    topics = tables(root)
    if not topics:
        below = f"{root.rstrip('/')}/landed"
        meant = f"did you mean {below}?" if open_root(below).is_there() else "name the directory that `headrace load` writes to"
        raise UsageError(f"{root}: no landed tables there; {meant}")
    for topic in topics:
        yield check_table(root, topic, deep=deep, repair=repair)


def check_table(where: Path | str, topic: str, *, deep: bool, repair: bool = False) -> Report:
    """Check one table; with `repair` after mending what can be mended. Whatever comes in between is broken about this table."""
    report, root = Report(topic), open_root(where)
    store = root.table(topic)
    try:
        if repair:
            report.repaired += repair_table(store)
        placed = data_files(store)  # before the log: what a running loader lands meanwhile is not held against it
        history = check_history(store)
        report.records, report.broken = history.records, history.broken
        for fold in history.folds:
            _check_files(root, topic, fold, report)
        _check_places(placed, history, report)
        if deep:
            for fold in history.folds:
                _check_contents(root, topic, fold, report)
    except Exception as error:  # noqa: BLE001 - any bytes may lie there, and the other tables are checked all the same
        report.broken.append(said(error))
    return report


def _check_places(placed: set[str], history: History, report: Report) -> None:
    """What lies among the data is live, or was until it was taken out."""
    report.broken += [unnamed(name) for name in strangers(placed, history)]
    if leaving := placed.intersection(history.fold.removed) - history.fold.files.keys():
        report.remarks.append(f"{len(leaving)} files that were taken out are still in place; `check --repair` moves them")
    if history.pending is not None:
        ends = f"generation {history.pending.generation} is loaded beside generation {history.fold.generation}"
        report.remarks.append(f"a rewind is in progress: {ends}")


def strangers(placed: set[str], history: History) -> list[str]:
    """What lies among the data, and is neither live nor was until it was taken out; `placed` was listed before the log."""
    return sorted(placed - history.fold.files.keys() - set(history.fold.removed))


def unnamed(name: str) -> str:
    """What is said of such a file."""
    return f"{name} lies among the data, and the log does not name it"


def _check_files(root: Root, topic: str, fold: Fold, report: Report) -> None:
    if fold.is_opened:
        report.files, report.rows = len(fold.files), sum(file.rows for file in fold.files.values())
    waiting = 0
    store = root.table(topic)
    for name, found in find(store, fold.files).items():
        if found is None:
            report.broken.append(f"{root.location(topic, name)}: the log names this file, and it is missing")
            continue
        if found.size_bytes != fold.files[name].bytes:
            path = root.location(topic, found.path)
            report.broken.append(f"{path} has {found.size_bytes} bytes, the log says {fold.files[name].bytes}")
        waiting += found.path.startswith(names.STAGING)
    paths = tuple(fold.quarantined)
    report.broken += [f"{path} is missing" for path, size in zip(paths, store.sizes(paths), strict=True) if size is None]
    if waiting and fold.is_opened:
        report.remarks.append(f"{waiting} live files are still in staging; the next loader moves them")
    report.remarks += [
        f"lost: partition {lost.partition} (incarnation {lost.incarnation}), offsets {lost.gap.start} to {lost.gap.end}"
        for lost in fold.lost
    ]


def _check_contents(root: Root, topic: str, fold: Fold, report: Report) -> None:
    store = root.table(topic)
    for quarantine in fold.quarantined.values():
        report.broken += _broken_quarantine(store, quarantine)
    for file in fold.files.values():
        with open_live(str(root), topic, file.path) as data:
            report.broken += [f"{file.path}: {what}" for what in _broken_contents(data, file, is_ordered=not fold.is_derived)]


def _broken_quarantine(store: Store, quarantine: Quarantine) -> Iterator[str]:
    from headrace.sinks.quarantined import entries

    try:
        for _ in entries(store, quarantine):
            pass
    except CorruptError as error:
        yield str(error)


def _broken_contents(data: BufferedReader, file: DataFile, *, is_ordered: bool) -> Iterator[str]:
    from headrace.audit import HASH_MODULUS
    from headrace.sinks.content_hash import content_hash
    from headrace.sinks.data_file import checksum_of
    from headrace.sinks.formats.catalog import LandedRows

    if (checksum := checksum_of(data)) != file.checksum:
        yield f"its checksum is {checksum}, the log says {file.checksum}"
        return
    rows, total, last = 0, 0, (-1, -1, -1)
    data.seek(0)
    with LandedRows(data, file.format, file.path) as landed:
        for batch in landed.batches():
            rows += batch.num_rows
            total = (total + content_hash(batch)) % HASH_MODULUS
            if not is_ordered:
                continue
            keys = zip(*(batch.column(name).to_pylist() for name in ("_partition", "_incarnation", "_offset")), strict=True)
            for key in keys:
                if key <= last:
                    yield f"row {key} does not follow {last}: partition, incarnation, offset"
                    return
                last = key
    if rows != file.rows:
        yield f"it has {rows} rows, the log says {file.rows}"
    if f"{total:016x}" != file.content_hash:
        yield f"its content hash is {total:016x}, the log says {file.content_hash}"
