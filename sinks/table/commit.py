"""The commit protocol (landing.md, Commit): pure cores that yield store operations in order and are sent the answers.

A record is put into the first free slot of the log, if absent. Whoever finds the slot taken folds on, and either still may
(nothing that it says has moved: next slot) or is fenced. A put that timed out is put again until the slot holds a record:
only then is anything decided. Nothing is moved or deleted without a fold made after the decision.
"""

from dataclasses import dataclass, replace
from typing import Final

from headrace.errors import CorruptError, StorageError, UndecidedError
from headrace.sinks.table import checkpoint, names, record, shown, slices
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.generations import read_generation, sync
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.store import Delete, Entry, Get, List, Move, Now, Put, PutIfAbsent, Steps, Verify

ATTEMPT_LIFETIME_MS: Final = 3_600_000
"""From the fold that an attempt starts from to its put; far below the sweepers' 7 days."""
RUN_LIFETIME_MS: Final = 24 * 3_600_000
"""The same of a job's run: six days are left between its last put and the sweeping of its oldest file."""


@dataclass(frozen=True, slots=True)
class Won:
    """The record is in the log at `fold.seq` or before, and its files are in place."""

    fold: Fold


@dataclass(frozen=True, slots=True)
class Fenced:
    """The attempt came to nothing, and its files are gone: start again from `fold`."""

    fold: Fold
    why: str


def read_head(base: Fold | None = None) -> Steps[Fold]:
    """Step 1: the fold up to the head, of the generation that is the table now. At most five requests unless loaders race.

    Args:
        base: a fold to go on from, within its generation (which may be found closed); it is used up. It is trusted only if no
            checkpoint is newer.
    Raises (from the generator):
        CorruptError: a hole that stays, or a record that does not follow.
    """
    if base is None or base.seq < 0:
        return (yield from read_generation())
    fold = base
    while True:
        fold = yield from _from_newest_checkpoint(fold)
        listed: tuple[Entry, ...] = yield List(names.log_directory(fold.generation), after=names.record_name(fold.seq))
        first = fold.seq + 1
        last = max((seq for entry in listed if (seq := names.seq_of(entry.name, names.RECORD_SUFFIX)) is not None), default=-1)
        if last < first:
            return fold
        paths = tuple(names.record_path(fold.generation, seq) for seq in range(first, last + 1))
        found: tuple[bytes | None, ...] = yield Get(paths)  # by name: this fills the holes of the list
        hole = _apply_all(fold, paths, found)
        if hole is None:
            return fold
        newest = yield from _newest_checkpoint(fold.generation)
        if newest <= fold.seq:
            raise CorruptError(f"{hole} is missing, and later records are there: the log has a hole; stop and restore it")


def _apply_all(fold: Fold, paths: tuple[str, ...], found: tuple[bytes | None, ...]) -> str | None:
    """Apply records in order; the path of the first hole, if there is one."""
    for path, data in zip(paths, found, strict=True):
        if data is None:
            return path
        fold.apply(record.decode(data, path))
    return None


def _newest_checkpoint(generation: int) -> Steps[int]:
    listed: tuple[Entry, ...] = yield List(names.checkpoint_directory(generation))
    seqs = [names.seq_of(entry.name, names.CHECKPOINT_SUFFIX) for entry in listed]
    return max((seq for seq in seqs if seq is not None), default=-1)


def _from_newest_checkpoint(fold: Fold) -> Steps[Fold]:
    while True:
        newest = yield from _newest_checkpoint(fold.generation)
        if newest <= fold.seq:
            if newest > fold.checkpoint_seq:  # another loader has written it meanwhile
                fold.checkpoint_seq, fold.checkpoint_ms = newest, fold.created_ms
            return fold
        path = names.checkpoint_path(fold.generation, newest)
        (data,) = yield Get((path,))
        if data is not None:  # else it was swept since it was listed, so there is a newer one
            newer = checkpoint.decode(data, path)
            newer.is_opened, newer.follows = newer.is_opened or fold.is_opened, fold.follows
            newer.removed = [path for path in fold.removed if path not in newer.files]
            return newer


def commit(draft: CommitRecord, fold: Fold, *, started_ms: int) -> Steps[Won | Fenced]:
    """Steps 4 to 6: put the draft's record after `fold`, wherever it still may stand.

    Args:
        draft: the record but for `seq` and `prev`; its data files are written and durable in staging. What a replace takes out
            is found here: the files of its slice, which compaction may change meanwhile.
        fold: the fold that the attempt started from; it is used up.
        started_ms: monotonic time of that fold.
    """
    assert draft.says_something, "an empty record is never written"
    assert not _fenced_by(draft, fold), "the draft starts from this fold"
    columns = fold.arrow_schema
    if not (yield Verify()):
        return (yield from give_up(draft, "the topic is no longer what was read"))
    while True:
        now_ms: int = yield Now()
        if now_ms - started_ms >= (RUN_LIFETIME_MS if draft.slice else ATTEMPT_LIFETIME_MS):
            return (yield from give_up(draft, f"the attempt is older than {'a day' if draft.slice else 'an hour'}"))
        mine = replace(draft, seq=fold.seq + 1, prev=fold.attempt, generation=fold.generation)
        if draft.slice:
            mine = replace(mine, remove=tuple(fold.files_of(draft.slice)))
        won = yield from _put(mine)
        if won:
            return (yield from _settle(mine, fold))
        fold = yield from read_head(fold)
        if moved := _fenced_by(draft, fold):
            return (yield from give_up(draft, moved))
        if _columns_moved(draft, columns, fold.arrow_schema):
            return (yield from give_up(draft, "another loader has changed the table's columns"))


def _put(mine: CommitRecord) -> Steps[bool]:
    """Put until the slot holds a record; whether that is ours.

    Raises:
        UndecidedError: a put was not answered, and the next one failed.
    """
    path = names.record_path(mine.generation, mine.seq)
    data = record.encode(mine)
    is_undecided = False
    while True:
        try:
            answer: Put = yield PutIfAbsent(path, data)
        except StorageError as error:
            if is_undecided:
                raise UndecidedError(f"{path}: a put was not answered, and then: {error}") from error
            raise
        if answer is Put.CREATED:
            return True
        if answer is Put.UNKNOWN:  # absent now would prove nothing: the request may still be on its way
            is_undecided = True
            continue
        (held,) = yield Get((path,))
        # A record that has been swept since was another's: ours is younger than an hour.
        return held is not None and record.decode(held, path).attempt == mine.attempt


def _fenced_by(draft: CommitRecord, fold: Fold) -> str:
    """What others' records have moved under the draft; empty if nothing."""
    if fold.is_closed:
        return f"generation {fold.generation} has been closed by a rewind"
    if reason := slices.of_other_kind(draft.kind, fold) or (slices.overtaken(draft, fold) if draft.slice else ""):
        return reason
    for landed in draft.ranges:
        end = fold.end(landed.incarnation, landed.partition)
        if end != landed.start:
            return f"partition {landed.partition} has landed up to {end}, this attempt starts at {landed.start}"
        if fold.incarnation(landed.partition) > landed.incarnation:
            return f"partition {landed.partition} has gone on under a later incarnation"
    for path in (*draft.remove, *draft.keep, *draft.keeps_quarantine):
        if not fold.has(path):
            return f"{path} is no longer live"
    for path in draft.remove:
        if fold.is_pinned(path):
            return f"{path} is kept by a rewind in progress"
    return _rewind_fenced_by(draft, fold)


def _rewind_fenced_by(draft: CommitRecord, fold: Fold) -> str:
    forked = fold.fork.next if fold.fork else fold.generation
    if draft.kind == "fork" and draft.next != forked + 1:
        return f"another rewind has begun: generation {forked}"
    if draft.kind == "close" and draft.next != forked:
        return f"generation {draft.next} has been given up for generation {forked}"
    return next(fold.behind(draft.ends), "") if draft.kind == "close" else ""


def _columns_moved(draft: CommitRecord, before: str | None, now: str | None) -> bool:
    """Whether others have changed the columns since, and not as the draft does; a draft that changes none goes with any."""
    return draft.arrow_schema is not None and now not in (before, draft.arrow_schema)


def _settle(mine: CommitRecord, fold: Fold) -> Steps[Won | Fenced]:
    """Step 6: see the record in a fold made after the put (the slot may have been history already), then move the files."""
    fold = yield from read_head(fold)
    if fold.attempts.get(mine.seq) != mine.attempt and not _shows(mine, fold):
        return (yield from give_up(mine, "the slot belonged to the past"))
    yield from move_into_place(mine, fold)
    return Won(fold)


def _shows(mine: CommitRecord, fold: Fold) -> bool:
    """Whether a fold shows by what it holds that the record has won."""
    if fold.fork is not None and fold.fork.attempt == mine.attempt:
        return True
    if mine.slice and (owner := fold.slices.get(mine.slice)) is not None and owner.attempt == mine.attempt:
        return True
    return any(file.path in fold.files for file in mine.add) or (
        mine.quarantine is not None and fold.names(mine.quarantine.path)
    )


def move_into_place(mine: CommitRecord, fold: Fold) -> Steps[None]:
    """Move what `mine` removed to `removed/`, and what it added from staging to its place; can be done again by anyone."""
    if not fold.is_opened or fold.is_closed or mine.kind in ("fork", "close"):
        return  # these files move when the rewind is over
    yield from sync(fold)
    # A file only ever moves forward: staging, place, removed. Looking in that order misses no mover.
    pairs = yield from shown.moves_away(path for path in mine.remove if not fold.has(path))
    pairs += [(names.staged(file.path), file.path) for file in mine.add if file.path in fold.files]
    if pairs:
        yield Move(tuple(pairs))


def give_up(draft: CommitRecord, why: str) -> Steps[Won | Fenced]:
    """Delete the attempt's files, unless a fold made now shows that an earlier try of it had won."""
    fold = yield from read_generation(draft.generation)
    if _shows(draft, fold):
        yield from move_into_place(draft, fold)
        return Won(fold)
    if fold.generation != draft.generation:
        return Fenced(fold, why)  # its generation is history: whether the files were live in it is not known, they are swept
    yield from sync(fold)
    # Where it had not been moved yet, or was written: no fold names it, so that it is nobody's.
    paths = [path for file in draft.add for path in (names.staged(file.path), file.path)]
    paths += [draft.quarantine.path] if draft.quarantine else []
    if paths:
        yield Delete(tuple(paths))
    return Fenced(fold, why)
