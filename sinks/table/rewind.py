"""Rewinding a table: which files stay, what the next generation begins with, the handing over (landing.md, Rewind). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from headrace.sinks.table import checkpoint, names
from headrace.sinks.table.commit import Fenced, Won, commit, read_head
from headrace.sinks.table.fold import Fold, LostGap, PartitionEnd, PartitionKey
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.record import CommitRecord, DataFile
from headrace.sinks.table.store import Now, Steps, SyncLog
from headrace.sinks.table.upkeep import finish_moves


@dataclass(frozen=True, slots=True)
class Parting:
    """Live files by what a rewind makes of them: `kept` whole, `split` (rows below the targets stay), `dropped`."""

    kept: tuple[DataFile, ...]
    split: tuple[DataFile, ...]
    dropped: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """What a generation without rows begins with: how values are read, and under which columns they land."""

    input: str
    arrow_schema: str


def part(files: Iterable[DataFile], targets: Mapping[PartitionKey, int]) -> Parting:
    """Sort files by whether their offsets lie below the targets, (incarnation, partition) → first offset to land again."""
    kept, split, dropped = [], [], []
    for file in files:
        bounds = [(span, targets.get((span.incarnation, span.partition))) for span in file.ranges]
        if bounds and all(target is None or span.end <= target for span, target in bounds):
            kept.append(file)
        elif bounds and all(target is not None and span.start >= target for span, target in bounds):
            dropped.append(file)
        else:  # or it does not say which offsets it holds
            split.append(file)
    return Parting(tuple(kept), tuple(split), tuple(dropped))


def fork_record(
    draft: CommitRecord,
    fold: Fold,
    targets: Mapping[PartitionKey, PartitionEnd],
    *,
    kept: Iterable[DataFile],
    begins: Fold,
    columns: Columns | None = None,
) -> CommitRecord:
    """The record that forks the next generation off `fold`, with the partitions of `targets` gone back to there.

    Args:
        draft: what names the attempt; `add` are the files that the next generation has alone.
        kept: live files that both generations have.
        begins: streams, audit sums and quarantine files of the next generation.
        columns: what it begins with, if nothing is kept; None: with what is landed first.
    """
    names = tuple(file.path for file in kept)
    has_rows = bool(names or draft.add)
    assert columns is None or not has_rows, "rows have columns"
    first = None if columns is None else columns.arrow_schema
    state = replace(
        begins,
        arrow_schema=fold.arrow_schema if has_rows else first,  # what has no file yet may begin with other columns
        ends=fold.ends | dict(targets),
        lost=[part for lost in fold.lost for part in _lost_below(lost, targets.get((lost.incarnation, lost.partition)))],
    )
    return replace(
        draft,
        kind="fork",
        generation=fold.generation,
        next=(fold.fork.next if fold.fork else fold.generation) + 1,
        keep=names,
        input=fold.input if columns is None else columns.input,
        state=checkpoint.state(state),
    )


def _lost_below(lost: LostGap, target: PartitionEnd | None) -> list[LostGap]:
    if target is None or lost.gap.end <= target.offset:
        return [lost]
    if lost.gap.start >= target.offset:
        return []
    return [replace(lost, gap=replace(lost.gap, end=target.offset))]


def hand_over(draft: CommitRecord, following: Fold) -> Steps[Won | Fenced]:
    """End the generation that `following` is forked off, if it has been reached, and move the files of both.

    Args:
        draft: what names the attempt.
        following: the next generation's fold; it is used up.
    """
    started_ms: int = yield Now()
    fold = yield from read_head()
    if fold.generation == following.generation:
        return Won((yield from _settle_in(fold)))
    ends = tuple((*key, end.offset) for key, end in following.ends.items())
    close = replace(draft, kind="close", generation=fold.generation, next=following.generation, ends=ends)
    forked = fold.fork.next if fold.fork else fold.generation
    if behind := next(fold.behind(ends), "" if forked == close.next else "it has been given up"):
        return Fenced(fold, behind)
    yield SyncLog(names.log_directory(following.generation))  # what it has landed must outlive the close that relies on it
    outcome = yield from commit(close, fold, started_ms=started_ms)
    if isinstance(outcome, Fenced):
        return outcome
    return Won((yield from _settle_in((yield from read_generation()))))


def _settle_in(fold: Fold) -> Steps[Fold]:
    yield from finish_moves(fold)
    return fold
