"""Which generation of a table is read (landing.md, Rewind), in at most four requests however long its history. Pure.

    generation 1:  … load, fork(2), load, load, close(2)
    generation 2:              ╰ load, load, load ┴ load, …

A fork record forks off a generation, whose records count on from its number and whose first `prev` is its attempt. Until a
close record ends the older one, that one is the table: the newer loads beside it, its files in staging. A generation whose
predecessor is closed is opened; a checkpoint says so, and who finds it need not look further back.
"""

from collections.abc import Mapping

from headrace.errors import CorruptError
from headrace.sinks.table import checkpoint, names, record
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.store import Entry, Get, List, Steps, SyncLog


def read_generation(wanted: int | None = None) -> Steps[Fold]:
    """The fold to its head of the generation that is the table now, or of generation `wanted`.

    The answer is of a later generation than `wanted` where that one is history of which no record is needed any more, and of
    an earlier one where `wanted` is not forked off.

    Raises (from the generator):
        CorruptError: a hole that stays, or a record that does not follow.
    """
    while True:
        newest = yield from _newest_checkpoints()
        found: tuple[bytes | None, ...] = ()
        if newest:
            found = yield Get(tuple(names.checkpoint_path(*at) for at in newest.items()))
        folds: dict[int, Fold] = {}
        for at, data in zip(newest.items(), found, strict=True):
            if data is not None:  # else it was swept since it was listed, so there is a newer one
                folds[at[0]] = checkpoint.decode(data, names.checkpoint_path(*at))
        if len(folds) < len(newest):
            continue
        fold = _first(folds, wanted)
        records = yield from _records_after(fold, folds)
        hole = _apply(fold, records)
        while hole is None and (following := _following(fold, folds, wanted)) is not None:
            if not fold.is_closed:
                yield from _sync_fork(fold)
            fold = following
            records = yield from _fill(fold, records)
            hole = _apply(fold, records)
        if hole is None:
            return fold
        again = yield from _newest_checkpoints()
        if again == newest:
            raise CorruptError(f"{hole} is missing, and later records are there: the log has a hole; stop and restore it")


def _sync_fork(fold: Fold) -> Steps[None]:
    """What is loaded beside a generation rests on its fork record, in a log that no put into the next one makes durable."""
    yield SyncLog(names.log_directory(fold.generation))


def sync(fold: Fold) -> Steps[None]:
    """Make durable all that a fold rests on: its own log, and the close records that it was reached through."""
    for generation in (*fold.follows, fold.generation):
        yield SyncLog(names.log_directory(generation))


def _first(folds: Mapping[int, Fold], wanted: int | None) -> Fold:
    """Where to begin: the newest generation known to be opened, or `wanted` if that is older and has a checkpoint."""
    opened = max((generation for generation, fold in folds.items() if fold.is_opened), default=1)
    if wanted is not None and wanted < opened and wanted in folds:
        opened = wanted
    return folds.get(opened) or Fold(1)


def _following(fold: Fold, folds: Mapping[int, Fold], wanted: int | None) -> Fold | None:
    """The generation to go on with, before its records after its newest checkpoint; None if `fold` is the one to answer."""
    if fold.fork is None or fold.generation == wanted or not (fold.is_closed or fold.fork.next == wanted):
        return None
    following = folds.get(fold.fork.next) or checkpoint.begin(fold.fork)
    if fold.is_closed:
        following.is_opened, following.follows = True, (*fold.follows, fold.generation)
        following.removed += [path for path in (*fold.files, *fold.removed) if path not in following.files]
    return following


def _newest_checkpoints() -> Steps[dict[int, int]]:
    """The newest checkpoint of each generation that has any."""
    listed: tuple[Entry, ...] = yield List(names.CHECKPOINTS, recursive=True)
    newest: dict[int, int] = {}
    for entry in listed:
        if (at := names.generation_and_seq(entry.name, names.CHECKPOINT_SUFFIX)) is not None:
            newest[at[0]] = max(at[1], newest.get(at[0], -1))
    return newest


def _records_after(fold: Fold, folds: Mapping[int, Fold]) -> Steps[dict[str, bytes | None]]:
    """The records of this generation after `fold`, and of later ones after their checkpoints: one list, one get."""
    after = f"{names.generation_name(fold.generation)}/{names.record_name(fold.seq)}" if fold.seq >= 0 else ""
    listed: tuple[Entry, ...] = yield List(names.LOG, after=after, recursive=True)
    spans: dict[int, tuple[int, int]] = {}
    for entry in listed:
        if (at := names.generation_and_seq(entry.name, names.RECORD_SUFFIX)) is not None and at[0] >= fold.generation:
            first, last = spans.get(at[0], (at[1], at[1]))
            spans[at[0]] = min(first, at[1]), max(last, at[1])
    paths: list[str] = []
    for generation, (first, last) in spans.items():
        known = fold if generation == fold.generation else folds.get(generation)
        start = known.seq + 1 if known else first
        paths += [names.record_path(generation, seq) for seq in range(start, last + 1)]  # by name: fills the list's holes
    if not paths:
        return {}
    found: tuple[bytes | None, ...] = yield Get(tuple(paths))
    return dict(zip(paths, found, strict=True))


def _fill(fold: Fold, records: dict[str, bytes | None]) -> Steps[dict[str, bytes | None]]:
    """Get what the list has not shown at the beginning of a generation that has no checkpoint."""
    own = f"{names.log_directory(fold.generation)}/"
    seqs = [names.seq_of(path.removeprefix(own), names.RECORD_SUFFIX) or 0 for path in records if path.startswith(own)]
    paths = tuple(names.record_path(fold.generation, seq) for seq in range(fold.seq + 1, min(seqs, default=0)))
    if not paths:
        return records
    found: tuple[bytes | None, ...] = yield Get(paths)
    return records | dict(zip(paths, found, strict=True))


def _apply(fold: Fold, records: Mapping[str, bytes | None]) -> str | None:
    """Apply a generation's records in order; the path of the first hole, if there is one."""
    while (path := names.record_path(fold.generation, fold.seq + 1)) in records:
        data = records[path]
        if data is None:
            return path
        fold.apply(record.decode(data, path))
    return None
