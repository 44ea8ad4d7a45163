"""Every invariant of landing.md, verified offline: over the records that are still kept, the newest fold, and the files.

`deep` reads the data files too: checksum, rows, content hash, and the order of rows. Nothing is changed.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from headrace.errors import CorruptError, StorageError, UsageError, VersionError
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table import checkpoint, names, record
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import find, open_live, tables
from headrace.sinks.table.record import CAUSES, CommitRecord, DataFile, LandedRange
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

    @property
    def state(self) -> str:
        return f"{len(self.broken)} broken" if self.broken else "ok"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "state": "broken" if self.broken else "ok"}


def check_root(root: str, *, deep: bool) -> Iterator[Report]:
    """Check every table below a root, one report each.

    Raises:
        UsageError: there is no such directory, or no table in it.
    """
    topics = tables(root)
    if not topics:
        below = f"{root.rstrip('/')}/landed"
        meant = f"did you mean {below}?" if open_root(below).is_there() else "name the directory that `headrace load` writes to"
        raise UsageError(f"{root}: no landed tables there; {meant}")
    for topic in topics:
        yield check_table(root, topic, deep=deep)


def check_table(where: Path | str, topic: str, *, deep: bool) -> Report:
    """Check one table."""
    report, root = Report(topic), open_root(where)
    store = root.table(topic)
    placed = _data_files(store)  # before the log: what a running loader lands meanwhile is not held against it
    try:
        fold = _check_history(store, report)
        _check_files(root, topic, fold, report)
        report.broken += [
            f"{root.location(topic, name)} lies among the data, and the log does not name it"
            for name in placed - fold.files.keys()
        ]
        if deep:
            _check_contents(root, topic, fold, report)
    except (CorruptError, VersionError, StorageError) as error:
        report.broken.append(str(error))
    return report


def _check_history(store: Store, report: Report) -> Fold:
    """Fold all kept records, and compare with every checkpoint passed on the way."""
    generation = 1
    checkpoints = _seqs(store, names.checkpoint_directory(generation), names.CHECKPOINT_SUFFIX)
    seqs = _seqs(store, names.log_directory(generation), names.RECORD_SUFFIX)  # listed later: none is newer than these
    fold = Fold(generation)
    report.broken += _holes(seqs, checkpoints)
    if checkpoints and (not seqs or seqs[0] > 0):  # the first records have been swept
        covering = [seq for seq in checkpoints if not seqs or seq >= seqs[0] - 1]
        if not covering:
            raise CorruptError(f"records before {seqs[0]} are gone, and no checkpoint covers them")
        fold = _checkpoint(store, generation, covering[0] if seqs else covering[-1])
    for seq in seqs:
        if seq <= fold.seq:
            continue
        if seq != fold.seq + 1:
            raise CorruptError(f"record {fold.seq + 1} is missing, and record {seq} is there")
        path = names.record_path(generation, seq)
        (data,) = store.get((path,))
        if data is None:
            raise CorruptError(f"{path} went away")
        one = record.decode(data, path)
        report.broken += [f"record {seq}: {what}" for what in _broken_in(one, fold)]
        fold.apply(one)
        report.records += 1
        if seq in checkpoints:
            report.broken += _compare(_checkpoint(store, generation, seq), fold)
    return fold


def _holes(seqs: list[int], checkpoints: list[int]) -> Iterator[str]:
    """Records that are gone though nothing sweeps them: sweeping takes the oldest first, and never the head."""
    if seqs:
        yield from (f"record {seq} is missing" for seq in sorted(set(range(seqs[0], seqs[-1])).difference(seqs)))
    newest = checkpoints[-1] if checkpoints else -1
    if seqs and newest > seqs[-1]:
        yield f"records {seqs[-1] + 1} to {newest} are missing: a checkpoint covers them, and older ones are there"


def _data_files(store: Store) -> set[str]:
    """What engines that read the directory take for data: every file below it whose path has no name with `_` or `.` first.

    Nothing where files are written in place, before they are committed: there no engine is promised anything by directory.
    """
    if not store.stages:
        return set()
    found = (entry.name for entry in store.list("", after="", recursive=True))
    return {name for name in found if not any(part.startswith(("_", ".")) for part in name.split("/"))}


def _seqs(store: Store, directory: str, suffix: str) -> list[int]:
    found = (names.seq_of(entry.name, suffix) for entry in store.list(directory, after="", recursive=False))
    return sorted(seq for seq in found if seq is not None)


def _checkpoint(store: Store, generation: int, seq: int) -> Fold:
    path = names.checkpoint_path(generation, seq)
    (data,) = store.get((path,))
    if data is None:
        raise CorruptError(f"{path} went away")
    return checkpoint.decode(data, path)


def _compare(stored: Fold, fold: Fold) -> list[str]:
    where = f"checkpoint {stored.seq}"
    same = {
        "attempt": stored.attempt == fold.attempt,
        "live files": stored.files == fold.files,
        "ends": stored.ends == fold.ends,
        "audit sums": stored.audit == fold.audit,
        "lost gaps": stored.lost == fold.lost,
        "quarantined": stored.quarantined == fold.quarantined,
        "streams": all(fold.streams.get(key) == stream for key, stream in stored.streams.items()),
    }
    return [f"{where}: its {what} are not those of the records" for what, equal in same.items() if not equal]


def _broken_in(one: CommitRecord, before: Fold) -> Iterator[str]:
    for landed in one.ranges:
        yield from _broken_range(landed)
    if one.kind == "load":
        yield from _broken_load(one)
    elif one.ranges:
        yield f"a {one.kind} record has ranges"
    if one.kind == "compact":
        yield from _broken_compaction(one, before)


def _broken_range(landed: LandedRange) -> Iterator[str]:
    where = f"partition {landed.partition} [{landed.start}, {landed.end})"
    if not landed.balances:
        yield f"{where}: rows + quarantined + duplicates + gaps are not its length"
    at = landed.start
    for gap in landed.gaps:
        if gap.start < at or gap.end <= gap.start or gap.end > landed.end:
            yield f"{where}: gap [{gap.start}, {gap.end}) is not inside it, in order"
        if gap.why not in CAUSES:
            yield f"{where}: a gap's cause is {gap.why!r}"
        at = gap.end


def _broken_load(one: CommitRecord) -> Iterator[str]:
    added = sum(file.rows for file in one.add)
    if sum(landed.rows for landed in one.ranges) != added:
        yield "rows of its ranges and of its files differ"
    quarantined = one.quarantine.count if one.quarantine else 0
    if sum(landed.quarantined for landed in one.ranges) != quarantined:
        yield "quarantined records of its ranges and of its file differ"
    if one.audit and sum(total.count for total in one.audit) > added:
        yield "the audit counts more rows than land"
    covered = {(landed.incarnation, landed.partition): landed for landed in one.ranges}
    for file in one.add:
        for span in file.ranges:
            of = covered.get((span.incarnation, span.partition))
            if of is None or span.start < of.start or span.end > of.end:
                yield f"{file.path}: [{span.start}, {span.end}) of partition {span.partition} is not in its ranges"


def _broken_compaction(one: CommitRecord, before: Fold) -> Iterator[str]:
    gone = [before.files[path] for path in one.remove if path in before.files]
    if sum(file.rows for file in gone) != sum(file.rows for file in one.add):
        yield "a compaction changes the number of rows"
    sums = [sum(int(file.content_hash, 16) for file in files) % (1 << 64) for files in (gone, one.add)]
    if sums[0] != sums[1]:
        yield "a compaction changes the content hash"


def _check_files(root: Root, topic: str, fold: Fold, report: Report) -> None:
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
    paths = tuple(quarantine.path for quarantine in fold.quarantined)
    report.broken += [f"{path} is missing" for path, size in zip(paths, store.sizes(paths), strict=True) if size is None]
    if waiting:
        report.remarks.append(f"{waiting} live files are still in staging; the next loader moves them")
    report.remarks += [
        f"lost: partition {lost.partition} (incarnation {lost.incarnation}), offsets {lost.gap.start} to {lost.gap.end}"
        for lost in fold.lost
    ]


def _check_contents(root: Root, topic: str, fold: Fold, report: Report) -> None:
    store = root.table(topic)
    for quarantine in fold.quarantined:
        report.broken += _broken_quarantine(store, quarantine.path, quarantine.count)
    for file in fold.files.values():
        with open_live(str(root), topic, file.path) as data:
            report.broken += [f"{file.path}: {what}" for what in _broken_contents(data, file)]


def _broken_quarantine(store: Store, path: str, count: int) -> Iterator[str]:
    import zstandard

    try:
        with store.open(path) as raw, zstandard.ZstdDecompressor().stream_reader(raw) as lines:
            found = sum(piece.count(b"\n") for piece in iter(lambda: lines.read(1 << 20), b""))
    except (OSError, zstandard.ZstdError) as error:
        yield f"{path} cannot be read: {error}"
        return
    if found != count:
        yield f"{path} has {found} records, the log says {count}"


def _broken_contents(data: BufferedReader, file: DataFile) -> Iterator[str]:
    import crc32c

    from headrace.audit import HASH_MODULUS
    from headrace.sinks.content_hash import content_hash
    from headrace.sinks.formats.catalog import LandedRows

    checksum = 0
    while piece := data.read(1 << 20):
        checksum = crc32c.crc32c(piece, checksum)
    if file.checksum != f"crc32c:{checksum:08x}":
        yield f"its checksum is crc32c:{checksum:08x}, the log says {file.checksum}"
        return
    rows, total, last = 0, 0, (-1, -1, -1)
    data.seek(0)
    with LandedRows(data, file.format, file.path) as landed:
        for batch in landed.batches():
            rows += batch.num_rows
            total = (total + content_hash(batch)) % HASH_MODULUS
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
