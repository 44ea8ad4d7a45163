"""A table as it was: the fold as of a record or a time, from the checkpoints and records that are still kept. Pure.

Records are kept for 30 days after a checkpoint covers them (landing.md, Rules), files that were taken out for a day.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from headrace.errors import UsageError
from headrace.sinks.table import checkpoint, names, record
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.store import Entry, Get, List, Steps

_MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of a table's history: after record `seq`, or after the last one that was written up to `time_ms`."""

    text: str
    seq: int | None = None
    time_ms: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Moment | None":
        """A record's number, an ISO 8601 time (UTC without an offset), or `latest`: None.

        Raises:
            UsageError: it is none of them.
        """
        if text == "latest":
            return None
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
            return cls(text, seq=int(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(f"as of {text!r}: give a record's number, a time as 2026-11-27T12:00, or latest") from None
        return cls(text, time_ms=int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))

    def covers(self, seq: int, created_ms: int) -> bool:
        """Whether a record belongs to the history before it."""
        if self.seq is not None:
            return seq <= self.seq
        return self.time_ms is not None and created_ms <= self.time_ms


def read_as_of(moment: Moment, head: Fold) -> Steps[Fold]:
    """The fold of a table as of a moment.

    Args:
        head: the table as it is now; a moment in an earlier generation is found while the log still has it.
    Raises (from the generator):
        UsageError: it lies before what is kept, or after the newest record. CorruptError: the log is damaged.
    """
    if moment.seq is not None and moment.seq > head.seq:
        raise UsageError(f"as of {moment.text}: the newest record is {head.seq}")
    kept = _Kept((yield List(names.CHECKPOINTS, recursive=True)), (yield List(names.LOG, recursive=True)))
    for generation in range(head.generation, 0, -1):
        if generation > 1 and (yield from _is_before_opening(moment, generation, kept)):
            continue
        fold = yield from _within(generation, moment, kept)
        if fold is not None:
            return fold
    raise UsageError(f"as of {moment.text}: the log is kept from record {kept.first(head.generation)} on; name a later one")


class _Kept:
    """Which checkpoints and records a table's log still has, by generation."""

    def __init__(self, checkpoints: tuple[Entry, ...], records: tuple[Entry, ...]) -> None:
        self.checkpoints = _by_generation(checkpoints, names.CHECKPOINT_SUFFIX)
        self.records = _by_generation(records, names.RECORD_SUFFIX)

    def first(self, generation: int) -> int:
        """The first record of a generation that can still be folded to."""
        records = self.records.get(generation, [])
        begins = records[:1] if records[:1] == [0] else []
        return min([*self.checkpoints.get(generation, []), *begins], default=-1)


def _by_generation(entries: tuple[Entry, ...], suffix: str) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in entries:
        if (at := names.generation_and_seq(entry.name, suffix)) is not None:
            found.setdefault(at[0], []).append(at[1])
    return {generation: sorted(seqs) for generation, seqs in found.items()}


def _is_before_opening(moment: Moment, generation: int, kept: _Kept) -> Steps[bool]:
    """Whether an earlier generation was the table then: it was until its close record."""
    last = max(kept.records.get(generation - 1, []), default=None)
    if last is None:
        return False
    path = names.record_path(generation - 1, last)
    (data,) = yield Get((path,))
    closed = record.decode(data, path) if data is not None else None
    if closed is None or closed.kind != "close":
        return False
    if moment.seq is not None:
        return moment.seq < min(kept.records.get(generation, [moment.seq]), default=0)
    return moment.time_ms is not None and moment.time_ms < closed.created_ms


def _within(generation: int, moment: Moment, kept: _Kept) -> Steps[Fold | None]:
    """The fold of one generation as of a moment; None: what it takes is not kept."""
    fold = yield from _begin(generation, moment, kept)
    if fold is None:
        return None
    seqs = [seq for seq in kept.records.get(generation, []) if seq > fold.seq and (moment.seq is None or seq <= moment.seq)]
    for paths in _in_parts([names.record_path(generation, seq) for seq in seqs]):
        found: tuple[bytes | None, ...] = yield Get(paths)
        for path, data in zip(paths, found, strict=True):
            one = record.decode(data, path) if data is not None else None
            if one is None or one.seq != fold.seq + 1:
                return None
            if not moment.covers(one.seq, one.created_ms):
                return fold if fold.seq >= 0 else None
            fold.apply(one)
    is_reached = moment.seq is None or fold.seq == moment.seq
    return fold if is_reached and fold.seq >= 0 else None


def _in_parts(paths: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(paths[start : start + 100]) for start in range(0, len(paths), 100))


def _begin(generation: int, moment: Moment, kept: _Kept) -> Steps[Fold | None]:
    """What to fold on from: the newest checkpoint that the moment covers, or the generation's beginning."""
    for seq in reversed(kept.checkpoints.get(generation, [])):
        if moment.seq is not None and seq > moment.seq:
            continue
        path = names.checkpoint_path(generation, seq)
        (data,) = yield Get((path,))
        if data is not None and moment.covers(seq, (fold := checkpoint.decode(data, path)).created_ms):
            return fold
    if generation == 1:
        return Fold(1)
    first = min(kept.records.get(generation, []), default=None)
    forked = None if first is None else (yield from _within(generation - 1, Moment(moment.text, seq=first - 1), kept))
    return checkpoint.begin(forked.fork) if forked is not None and forked.fork is not None else None


def kept_since(fold: Fold, head: Fold, is_there: Callable[[Sequence[str]], bool]) -> Steps[int | None]:
    """The first record after `fold` as of which every file is still there; None: that cannot be told."""
    last: int | None = None
    paths = [names.record_path(head.generation, seq) for seq in range(fold.seq + 1, head.seq + 1)]
    for part in _in_parts(paths):
        found: tuple[bytes | None, ...] = yield Get(part)
        for path, data in zip(part, found, strict=True):
            one = record.decode(data, path) if data is not None else None
            if one is not None and one.remove and not is_there(one.remove):
                last = one.seq
    return last
