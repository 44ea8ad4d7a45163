"""Keeping a table's log short and its directories clean: checkpoints, unfinished moves, sweeping (landing.md, Rules). Pure.

Any loader may do any of it at any time, twice or halfway. Time bounds are the store's, because only its clock stamps files.
"""

from typing import Final

from headrace.sinks.table import checkpoint, names
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.store import Delete, Entry, List, Move, Put, PutIfAbsent, Steps, StoreNow, SyncLog

CHECKPOINT_RECORDS: Final = 100
CHECKPOINT_INTERVAL_MS: Final = 3_600_000
DAY_MS: Final = 24 * 3_600_000
SWEEP_UNNAMED_MS: Final = 7 * DAY_MS
SWEEP_REMOVED_MS: Final = DAY_MS
KEEP_RECORDS_MS: Final = 30 * DAY_MS


def checkpoint_is_due(fold: Fold) -> bool:
    """Whether 100 records or an hour have passed since the newest checkpoint."""
    behind = fold.seq - fold.checkpoint_seq
    return behind >= CHECKPOINT_RECORDS or (behind > 0 and fold.created_ms - fold.checkpoint_ms >= CHECKPOINT_INTERVAL_MS)


def write_checkpoint(fold: Fold) -> Steps[None]:
    """Write the checkpoint of the head. Losing a race to write the same one is as good; a lost answer is tried again later."""
    if fold.seq <= fold.checkpoint_seq:
        return
    yield SyncLog(names.log_directory(fold.generation))
    answer: Put = yield PutIfAbsent(names.checkpoint_path(fold.generation, fold.seq), checkpoint.encode(fold))
    if answer is not Put.UNKNOWN:
        fold.checkpoint_seq, fold.checkpoint_ms = fold.seq, fold.created_ms


def finish_moves(fold: Fold) -> Steps[int]:
    """Move every live file that is still in staging to its place, whoever landed it; how many there were."""
    listed: tuple[Entry, ...] = yield List(names.STAGING, recursive=True)
    pairs = tuple((names.staged(entry.name), entry.name) for entry in listed if entry.name in fold.files)
    if pairs:
        yield SyncLog(names.log_directory(fold.generation))
        yield Move(pairs)
    return len(pairs)


def sweep(generation: int = 1) -> Steps[tuple[str, ...]]:
    """Delete what no fold needs any more; the paths that were deleted.

    Files that no fold names after 7 days (an attempt lives an hour), files in `removed/` after a day, records and checkpoints
    30 days after a checkpoint covered them. The fold is made after the candidates were chosen, so that nothing that has
    landed in between is among them.
    """
    now_ms: int = yield StoreNow()
    candidates = yield from _old_files(now_ms)
    history = yield from _old_history(generation, now_ms)
    if not candidates and not history:
        return ()
    fold = yield from read_head(generation=generation)
    doomed = tuple(path for path, named_as in candidates if not fold.names(named_as)) + history
    if doomed:
        yield SyncLog(names.log_directory(generation))
        yield Delete(doomed)
    return doomed


def _old_files(now_ms: int) -> Steps[list[tuple[str, str]]]:
    """(path, the path by which a fold would name it) of files whose time is over unless a fold names them."""
    staged: tuple[Entry, ...] = yield List(names.STAGING, recursive=True)
    removed: tuple[Entry, ...] = yield List(names.REMOVED, recursive=True)
    quarantine: tuple[Entry, ...] = yield List(names.QUARANTINE)
    unnamed = now_ms - SWEEP_UNNAMED_MS
    old = [(names.staged(entry.name), entry.name) for entry in staged if entry.changed_ms <= unnamed]
    old += [(path := f"{names.QUARANTINE}/{entry.name}", path) for entry in quarantine if entry.changed_ms <= unnamed]
    old += [(names.removed(entry.name), entry.name) for entry in removed if entry.changed_ms <= now_ms - SWEEP_REMOVED_MS]
    return old


def _old_history(generation: int, now_ms: int) -> Steps[tuple[str, ...]]:
    """Records and checkpoints that a checkpoint covers which itself is older than 30 days, and old temporaries."""
    log, kept = names.log_directory(generation), names.checkpoint_directory(generation)
    checkpoints: tuple[Entry, ...] = yield List(kept)
    records: tuple[Entry, ...] = yield List(log)
    hidden: tuple[Entry, ...] = yield List(names.HIDDEN)  # probes of a store's clock that a crash has left
    old = [_checkpoint_seq(entry) for entry in _older(checkpoints, now_ms - KEEP_RECORDS_MS)]
    covering = max((seq for seq in old if seq is not None), default=-1)
    doomed = [f"{log}/{entry.name}" for entry in records if _is_below(entry, names.RECORD_SUFFIX, covering + 1)]
    doomed += [f"{kept}/{entry.name}" for entry in checkpoints if _is_below(entry, names.CHECKPOINT_SUFFIX, covering)]
    for directory, entries in ((log, records), (kept, checkpoints), (names.HIDDEN, hidden)):
        temporaries = [entry for entry in _older(entries, now_ms - SWEEP_UNNAMED_MS) if entry.name.endswith(".tmp")]
        doomed += [f"{directory}/{entry.name}" for entry in temporaries]
    return tuple(doomed)


def _older(entries: tuple[Entry, ...], limit_ms: int) -> list[Entry]:
    return [entry for entry in entries if entry.changed_ms <= limit_ms]


def _checkpoint_seq(entry: Entry) -> int | None:
    return names.seq_of(entry.name, names.CHECKPOINT_SUFFIX)


def _is_below(entry: Entry, suffix: str, limit: int) -> bool:
    seq = names.seq_of(entry.name, suffix)
    return seq is not None and seq < limit
