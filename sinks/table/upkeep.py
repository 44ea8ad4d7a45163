"""Keeping a table's log short and its directories clean: checkpoints, unfinished moves, sweeping (landing.md, Rules). Pure.

Any loader may do any of it at any time, twice or halfway. Time bounds are the store's, because only its clock stamps files.
"""

import re
from typing import Final

from headrace.sinks.table import checkpoint, names, shown
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.generations import read_generation, sync
from headrace.sinks.table.store import Delete, Entry, Get, List, Move, Put, PutIfAbsent, Steps, StoreNow

CHECKPOINT_RECORDS: Final = 100
CHECKPOINT_INTERVAL_MS: Final = 3_600_000
DAY_MS: Final = 24 * 3_600_000
SWEEP_UNNAMED_MS: Final = 7 * DAY_MS
SWEEP_REMOVED_MS: Final = DAY_MS
KEEP_RECORDS_MS: Final = 30 * DAY_MS
_OUR_NAME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+\.[a-z.]+")
"""`<attempt>-<number>.<format>`."""


def checkpoint_is_due(fold: Fold) -> bool:
    """Whether 100 records or an hour have passed since the newest checkpoint."""
    behind = fold.seq - fold.checkpoint_seq
    return behind >= CHECKPOINT_RECORDS or (behind > 0 and fold.created_ms - fold.checkpoint_ms >= CHECKPOINT_INTERVAL_MS)


def write_checkpoint(fold: Fold) -> Steps[None]:
    """Write the checkpoint of the head. Losing a race to write the same one is as good; a lost answer is tried again later.

    Files that the records it covers have taken out are moved before: nobody would know of them after.
    """
    if fold.seq <= fold.checkpoint_seq:
        return
    yield from sync(fold)
    yield from _move_removed(fold)
    answer: Put = yield PutIfAbsent(names.checkpoint_path(fold.generation, fold.seq), checkpoint.encode(fold))
    if answer is not Put.UNKNOWN:
        fold.checkpoint_seq, fold.checkpoint_ms = fold.seq, fold.created_ms


def finish_moves(fold: Fold) -> Steps[int]:
    """Move what was taken out to `removed/`, and live files from staging to their place, whoever landed them; how many.

    While a rewind's generation is not opened, its files wait.
    """
    if not fold.is_opened or fold.is_closed:
        return 0
    listed: tuple[Entry, ...] = yield List(names.STAGING, recursive=True)
    pairs = tuple((names.staged(entry.name), entry.name) for entry in listed if entry.name in fold.files)
    if pairs or fold.removed:
        yield from sync(fold)
        yield from _move_removed(fold)
    if pairs:
        yield Move(pairs)
    return len(pairs)


def _move_removed(fold: Fold) -> Steps[None]:
    if not fold.is_opened or fold.is_closed:
        return
    pairs = yield from shown.moves_away(path for path in fold.removed if not fold.names(path))
    if pairs:
        yield Move(tuple(pairs))
    fold.removed.clear()


def sweep(*, stages: bool = True) -> Steps[tuple[str, ...]]:
    """Delete what no fold needs any more; the paths that were deleted.

    Files that no fold names after 7 days (an attempt lives an hour), files in `removed/` after a day, records and checkpoints
    30 days after a checkpoint covered them. The folds are made after the candidates were chosen, so that nothing that has
    landed in between is among them.

    Args:
        stages: as of the store; where it does not, files that were never committed lie in place.
    """
    now_ms: int = yield StoreNow()
    candidates = yield from _old_files(now_ms)
    if not stages and not (yield from shown.is_shown()):
        candidates += [(path, path) for path in (yield from old_in_place(now_ms))]
    history = yield from _old_history(now_ms)
    if not candidates and not history:
        return ()
    folds = yield from read_folds()
    leaving = set(folds[0].removed)  # still to be moved to `removed/`, and read there for a day
    unnamed = [path for path, named_as in candidates if not any(each.names(named_as) for each in folds)]
    doomed = tuple(path for path in unnamed if path not in leaving) + history
    if doomed:
        yield from sync(folds[0])
        yield Delete(doomed)
    return doomed


def read_folds() -> Steps[list[Fold]]:
    """The fold, and that of a rewind in progress, which has files of its own: what neither names is nobody's."""
    fold = yield from read_generation()
    return [fold] if fold.fork is None else [fold, (yield from read_generation(fold.fork.next))]


def _old_files(now_ms: int) -> Steps[list[tuple[str, str]]]:
    """(path, the path by which a fold would name it) of files whose time is over unless a fold names them."""
    staged: tuple[Entry, ...] = yield List(names.STAGING, recursive=True)
    quarantine: tuple[Entry, ...] = yield List(names.QUARANTINE)
    removed = yield from old_removed(now_ms)
    if removed and (yield from shown.is_shown(names.HELD)):
        removed = [path for path in removed if names.is_quarantine(path)]
    unnamed = now_ms - SWEEP_UNNAMED_MS
    old = [(names.staged(entry.name), entry.name) for entry in staged if entry.changed_ms <= unnamed]
    old += [(path := f"{names.QUARANTINE}/{entry.name}", path) for entry in quarantine if entry.changed_ms <= unnamed]
    old += [(names.removed(path), path) for path in removed]
    return old


def old_removed(now_ms: int) -> Steps[list[str]]:
    """Files that were taken out a day ago, by the paths that they had."""
    removed: tuple[Entry, ...] = yield List(names.REMOVED, recursive=True)
    return [entry.name for entry in removed if entry.changed_ms <= now_ms - SWEEP_REMOVED_MS]


def old_in_place(now_ms: int) -> Steps[list[str]]:
    """Files where the data is that were written a week ago; of those only that bear a name as we give them."""
    placed: tuple[Entry, ...] = yield List("", recursive=True)
    return [
        entry.name
        for entry in placed
        if entry.changed_ms <= now_ms - SWEEP_UNNAMED_MS
        and not entry.name.startswith(f"{names.HIDDEN}/")
        and _OUR_NAME.fullmatch(entry.name.rpartition("/")[2])
    ]


def _old_history(now_ms: int) -> Steps[tuple[str, ...]]:
    """Records and checkpoints that a checkpoint covers which itself is older than 30 days, and old temporaries.

    The checkpoint of an opened generation covers all generations before it.
    """
    checkpoints: tuple[Entry, ...] = yield List(names.CHECKPOINTS, recursive=True)
    records: tuple[Entry, ...] = yield List(names.LOG, recursive=True)
    hidden: tuple[Entry, ...] = yield List(names.HIDDEN)  # probes of a store's clock that a crash has left
    seen: tuple[Entry, ...] = yield List(names.SEEN)
    covering: dict[int, int] = {}
    for entry in _older(checkpoints, now_ms - KEEP_RECORDS_MS):
        if (at := names.generation_and_seq(entry.name, names.CHECKPOINT_SUFFIX)) is not None:
            covering[at[0]] = max(at[1], covering.get(at[0], -1))
    opened = yield from _newest_opened(covering)
    doomed = [
        f"{names.LOG}/{entry.name}"
        for entry in records
        if (at := names.generation_and_seq(entry.name, names.RECORD_SUFFIX))
        and (at[0] < opened or at[1] <= covering.get(at[0], -1))
    ]
    doomed += [
        f"{names.CHECKPOINTS}/{entry.name}"
        for entry in checkpoints
        if (at := names.generation_and_seq(entry.name, names.CHECKPOINT_SUFFIX))
        and (at[0] < opened or at[1] < covering.get(at[0], -1))
    ]
    listed = {names.LOG: records, names.CHECKPOINTS: checkpoints, names.HIDDEN: hidden, names.SEEN: seen}
    for directory, entries in listed.items():
        temporaries = [entry for entry in _older(entries, now_ms - SWEEP_UNNAMED_MS) if entry.name.endswith(".tmp")]
        doomed += [f"{directory}/{entry.name}" for entry in temporaries]
    return tuple(doomed)


def _newest_opened(covering: dict[int, int]) -> Steps[int]:
    """The newest generation that one of these checkpoints (generation → number) says is opened."""
    later = tuple(names.checkpoint_path(*at) for at in sorted(covering.items()) if at[0] > 1)
    if not later:
        return 1
    found: tuple[bytes | None, ...] = yield Get(later)
    folds = [checkpoint.decode(data, path) for path, data in zip(later, found, strict=True) if data is not None]
    return max((fold.generation for fold in folds if fold.is_opened), default=1)


def _older(entries: tuple[Entry, ...], limit_ms: int) -> list[Entry]:
    return [entry for entry in entries if entry.changed_ms <= limit_ms]
