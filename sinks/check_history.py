"""The history of one table, as far as it is kept: every record of every generation, and every checkpoint passed on the way."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.errors import CorruptError
from headrace.sinks.table import checkpoint, names, record
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CAUSES, CommitRecord, LandedRange
from headrace.sinks.table.store import Store


@dataclass(slots=True)
class History:
    """What was found: the table's fold and, during a rewind, that of the generation which is to take over."""

    fold: Fold = field(default_factory=Fold)
    pending: Fold | None = None
    records: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def folds(self) -> list[Fold]:
        return [self.fold] if self.pending is None else [self.fold, self.pending]


def check_history(store: Store) -> History:
    """Fold all kept records, generation by generation, and check every invariant of landing.md that they can break.

    Raises:
        CorruptError, VersionError: the history cannot be folded.
    """
    history = History()
    checkpoints = _listed(store, names.CHECKPOINTS, names.CHECKPOINT_SUFFIX)
    records = _listed(store, names.LOG, names.RECORD_SUFFIX)  # listed later: none is newer than these
    generation = _oldest(store, checkpoints, records)
    begun: Fold | None = Fold(generation) if generation == 1 else None
    while True:
        fold = _fold(store, generation, begun, records.get(generation, []), checkpoints.get(generation, []), history)
        if fold.fork is None or not fold.is_closed:
            break
        begun = checkpoint.begin(fold.fork)
        begun.is_opened = True
        begun.removed = [path for path in (*fold.files, *fold.removed) if path not in begun.files]
        generation = fold.fork.next
    history.fold = fold
    if fold.fork is not None:
        begun, generation = checkpoint.begin(fold.fork), fold.fork.next
        history.pending = _fold(store, generation, begun, records.get(generation, []), checkpoints.get(generation, []), history)
    return history


def _oldest(store: Store, checkpoints: dict[int, list[int]], records: dict[int, list[int]]) -> int:
    """The generation to begin with: the first of which all is known, and which was the table."""
    if 1 in records or not checkpoints:
        return 1
    for generation, seqs in sorted(checkpoints.items()):
        if _checkpoint(store, generation, seqs[-1]).is_opened:
            return generation
    raise CorruptError("the first records are gone, and no checkpoint covers them")


def _listed(store: Store, directory: str, suffix: str) -> dict[int, list[int]]:
    """The numbers of records or checkpoints, ascending, by generation."""
    found: dict[int, list[int]] = {}
    for entry in store.list(directory, after="", recursive=True):
        if (at := names.generation_and_seq(entry.name, suffix)) is not None:
            found.setdefault(at[0], []).append(at[1])
    return {generation: sorted(seqs) for generation, seqs in found.items()}


def _fold(store: Store, generation: int, begun: Fold | None, seqs: list[int], checkpoints: list[int], history: History) -> Fold:
    """One generation to its head, from `begun` on, or where its first records have been swept from a checkpoint."""
    where = "" if generation == 1 else f"generation {generation}, "
    history.broken += [f"{where}{hole}" for hole in _holes(seqs, checkpoints)]
    fold = begun
    if fold is None or (checkpoints and (not seqs or seqs[0] > fold.seq + 1)):
        covering = [seq for seq in checkpoints if not seqs or seq >= seqs[0] - 1]
        if not covering:
            raise CorruptError(f"{where}records before {seqs[0] if seqs else 0} are gone, and no checkpoint covers them")
        stored = _checkpoint(store, generation, covering[0] if seqs else covering[-1])
        if fold is not None:
            stored.is_opened, stored.removed = fold.is_opened, [path for path in fold.removed if path not in stored.files]
        fold = stored
    for seq in seqs:
        if seq <= fold.seq:
            continue
        if seq != fold.seq + 1:
            raise CorruptError(f"{where}record {fold.seq + 1} is missing, and record {seq} is there")
        path = names.record_path(generation, seq)
        (data,) = store.get((path,))
        if data is None:
            raise CorruptError(f"{path} went away")
        one = record.decode(data, path)
        history.broken += [f"{where}record {seq}: {what}" for what in _broken_in(one, fold)]
        fold.apply(one)
        history.records += 1
        if seq in checkpoints:
            history.broken += [f"{where}{what}" for what in _compare(_checkpoint(store, generation, seq), fold)]
    return fold


def _holes(seqs: list[int], checkpoints: list[int]) -> Iterator[str]:
    """Records that are gone though nothing sweeps them: sweeping takes the oldest first, and never the head."""
    if seqs:
        yield from (f"record {seq} is missing" for seq in sorted(set(range(seqs[0], seqs[-1])).difference(seqs)))
    newest = checkpoints[-1] if checkpoints else -1
    if seqs and newest > seqs[-1]:
        yield f"records {seqs[-1] + 1} to {newest} are missing: a checkpoint covers them, and older ones are there"


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
        "audit sums": stored.audit.agrees_with(fold.audit),
        "lost gaps": stored.lost == fold.lost,
        "quarantined": (stored.quarantined, stored.quarantine_windows) == (fold.quarantined, fold.quarantine_windows),
        "slices": stored.slices == fold.slices,
        "rewind": (stored.fork, stored.is_closed) == (fold.fork, fold.is_closed),
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
    if one.kind == "expire" and (one.add or one.quarantine):
        yield "an expire record adds files"


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
    hashes = [file.content_hash for file in gone], [file.merged_hash or file.content_hash for file in one.add]
    before_sum, after_sum = (sum(int(each, 16) for each in files) % (1 << 64) for files in hashes)
    if before_sum != after_sum:
        yield "a compaction changes the content hash"
    yield from _broken_quarantine_merge(one, before)


def _broken_quarantine_merge(one: CommitRecord, before: Fold) -> Iterator[str]:
    gone = [before.quarantined[path] for path in one.remove if path in before.quarantined]
    made = [one.quarantine] if one.quarantine else []
    if sum(found.count for found in gone) != sum(found.count for found in made):
        yield "a compaction changes the number of quarantined records"
    hashes = [[found.content_hash for found in files if found.content_hash is not None] for files in (gone, made)]
    if [len(known) for known in hashes] != [len(gone), len(made)]:
        return  # an earlier headrace has written some, and said none
    before_sum, after_sum = (sum(int(each, 16) for each in known) % (1 << 64) for known in hashes)
    if before_sum != after_sum:
        yield "a compaction changes the content hash of quarantined records"
