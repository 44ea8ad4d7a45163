"""Where events differ from what was announced: differences of sums in, events and intervals out. Pure.

A window's hash is a sum of its events' hashes, so a difference of two sums is the sum of the hashes of what is too much less
those of what is missing. An event that is missing in one window and one too many in another leaves the same difference in
both, with opposite signs; one event too many leaves its own hash. What is missing leaves a hole in the positions of its
stream, since each row covers its source from `since` to its end (audit.md, One row per line).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from headrace.audit import HASH_MODULUS
from headrace.jobs.audit.evidence import WindowSum
from headrace.sinks.table.fold import LandedStream, StreamKey
from headrace.sinks.table.intervals import IntervalSet

Kind = Literal["moved", "doubled", "excess", "missing", "altered"]
MOST_HOLES: Final = 8
"""Intervals that are named for one window: more of them tell nobody where to look."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An agent's window of a topic in which not that was found which was expected."""

    topic: str
    agent: str
    window_start_ms: int
    expected: WindowSum
    found: WindowSum

    @property
    def missing(self) -> int:
        """How many fewer were found; negative: how many more."""
        return self.expected.count - self.found.count

    @property
    def content_hash(self) -> int:
        """Σ of the hashes of what is missing less that of what is too much, mod 2⁶⁴."""
        return (self.expected.content_hash - self.found.content_hash) % HASH_MODULUS


@dataclass(frozen=True, slots=True)
class Place:
    """Where `count` events (of an interval of positions: at most so many) differ, as far as it can be told.

    `positions` [first, end) in `stream`; `files`: those that hold the rows. Of a moved event `topic` and `window_start_ms` say
    where it is missing, and `moved_to` where it is.
    """

    kind: Kind
    topic: str
    agent: str
    window_start_ms: int
    count: int
    stream: str | None = None
    positions: tuple[int, int] | None = None
    files: tuple[str, ...] = ()
    moved_to: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """An agent's rows of one window and of its neighbours, one element a row in each array.

    `within`: whether a row is of the window itself. `landed`: what the records say has landed of each stream, where they
    still do. `changed`: numbers of the files whose rows are not those that were committed.
    """

    streams: Sequence[str]
    codes: np.ndarray
    since: np.ndarray
    position: np.ndarray
    end: np.ndarray
    part: np.ndarray
    hashes: np.ndarray
    within: np.ndarray
    files: Sequence[str]
    file_codes: np.ndarray
    landed: Mapping[str, IntervalSet] = field(default_factory=dict)
    changed: frozenset[int] = frozenset()

    def only(self, mask: np.ndarray) -> "Rows":
        arrays = ("codes", "since", "position", "end", "part", "hashes", "within", "file_codes")
        kept = {name: getattr(self, name)[mask] for name in arrays}
        return Rows(streams=self.streams, files=self.files, landed=self.landed, changed=self.changed, **kept)


def moves(differences: Sequence[Difference]) -> tuple[list[tuple[Difference, Difference]], list[Difference]]:
    """Pairs of (where events are missing, where the same are too many), and the differences that are in no pair."""
    come: dict[tuple[str, int, int], list[Difference]] = {}
    for one in differences:
        if one.missing < 0:
            come.setdefault((one.agent, -one.missing, -one.content_hash % HASH_MODULUS), []).append(one)
    pairs = []
    paired: set[int] = set()
    for one in differences:
        if one.missing > 0 and (others := come.get((one.agent, one.missing, one.content_hash))):
            other = others.pop()
            pairs.append((one, other))
            paired |= {id(one), id(other)}
    return pairs, [one for one in differences if id(one) not in paired]


def moved(gone: Difference, come: Difference, rows: Rows) -> list[Place]:
    """The places of events that are missing in one window and too many in another, of which `rows` are."""
    to = (come.topic, come.window_start_ms)
    mine = rows.only(rows.within)
    found = _summing_to(mine.hashes, gone.missing, gone.content_hash)
    if found is None:
        return [Place("moved", gone.topic, gone.agent, gone.window_start_ms, gone.missing, moved_to=to)]
    return [_of_row("moved", gone, mine, row, moved_to=to) for row in found]


def within(difference: Difference, rows: Rows) -> list[Place]:
    """The places of what differs in one window, by its rows and their neighbours."""
    mine = rows.only(rows.within)
    again = _repeated(mine)
    places = [_of_row("doubled", difference, mine, row) for row in again]
    missing = difference.missing + len(again)
    left = (difference.content_hash + int(mine.hashes[again].sum(dtype=np.uint64))) % HASH_MODULUS
    if missing == 0 and left == 0:
        return places
    holes = _gone(list(_holes(rows)), rows.landed)
    if missing < 0 and (extra := _summing_to(mine.hashes, -missing, -left % HASH_MODULUS)) is not None:
        return places + [_of_row("excess", difference, mine, row) for row in extra]
    named = [_of_hole(difference, rows, hole, missing) for hole in holes[:MOST_HOLES]]
    if missing < 0:
        return places + named + [_of_all("excess", difference, mine, -missing)]
    if missing > 0:
        return places + (named or [_of_all("missing", difference, rows, missing)])
    return places + named + [_of_all("altered", difference, mine, 1)]


def unseen(difference: Difference, streams: Mapping[StreamKey, LandedStream]) -> list[Place]:
    """Where events differ whose rows do not say whose they are: beside what has landed of their agent's streams.

    An interval that has not landed may also be of lines that were rejected.
    """
    what: Kind = "missing" if difference.missing > 0 else "excess" if difference.missing < 0 else "altered"
    where = (what, difference.topic, difference.agent, difference.window_start_ms, abs(difference.missing) or 1)
    landed: dict[str, IntervalSet] = {}
    for (_, agent, stream), known in streams.items():
        if agent == difference.agent:
            for start, end in known.landed:
                landed.setdefault(stream, IntervalSet()).add(start, end)
    holes = [
        Place(*where, stream, (before[1], after[0]))
        for stream, intervals in sorted(landed.items())
        for before, after in pairwise(intervals)
    ]
    return (holes[:MOST_HOLES] if what == "missing" else []) or [Place(*where)]


def _repeated(rows: Rows) -> np.ndarray:
    """Indexes of the rows whose identity an earlier one bears."""
    order = np.lexsort((rows.part, rows.position, rows.codes))
    same = np.ones(max(0, len(order) - 1), bool)
    for values in (rows.codes[order], rows.position[order], rows.part[order]):
        same &= values[1:] == values[:-1]
    return np.sort(order[1:][same])


def _summing_to(hashes: np.ndarray, count: int, total: int) -> list[int] | None:
    """Indexes of one row or two whose hashes sum to a total mod 2⁶⁴; None: there are none, or more are asked for."""
    if count == 1:
        found = np.flatnonzero(hashes == np.uint64(total))
        return [int(found[0])] if len(found) else None
    if count != 2:
        return None
    rest = np.uint64(total) - hashes  # mod 2⁶⁴
    order = np.argsort(hashes, kind="stable")
    at = np.minimum(np.searchsorted(hashes[order], rest), len(hashes) - 1)
    for row in np.flatnonzero(hashes[order][at] == rest).tolist():
        if (other := int(order[at[row]])) != row:
            return sorted((row, other))
    return None


@dataclass(frozen=True, slots=True)
class _Hole:
    stream: str
    start: int
    end: int
    before: int | None
    after: int | None
    """Rows beside it."""


def _holes(rows: Rows) -> Iterator[_Hole]:
    """Intervals of positions that no row covers, beside or between rows of the window."""
    for code in np.unique(rows.codes).tolist():
        of_stream = np.flatnonzero(rows.codes == code)
        order = of_stream[np.lexsort((rows.part[of_stream], rows.position[of_stream]))]
        reached = np.maximum.accumulate(rows.end[order])
        last = int(order[-1])
        for at in np.flatnonzero(rows.since[order][1:] > reached[:-1] + 1).tolist():
            before, after = int(order[at]), int(order[at + 1])
            if rows.within[before] or rows.within[after]:
                yield _Hole(rows.streams[code], int(reached[at]), int(rows.since[after]), before, after)
        landed = rows.landed.get(rows.streams[code])
        for start, end in landed or ():
            if start <= reached[-1] < end - 1 and rows.within[last]:
                yield _Hole(rows.streams[code], int(reached[-1]), end, last, None)
            first = int(order[0])
            if start < rows.since[first] < end and rows.within[first]:
                yield _Hole(rows.streams[code], start, int(rows.since[first]), None, first)


def _gone(holes: list[_Hole], landed: Mapping[str, IntervalSet]) -> list[_Hole]:
    """Of these, those that are known to have landed; else all: rows that are shorter than their lines leave holes, too."""
    return [hole for hole in holes if (known := landed.get(hole.stream)) is not None and hole.start in known] or holes


def _of_hole(difference: Difference, rows: Rows, hole: _Hole, missing: int) -> Place:
    files = {rows.files[rows.file_codes[row]] for row in (hole.before, hole.after) if row is not None}
    where = (hole.stream, (hole.start, hole.end), tuple(sorted(files)))
    return Place("missing", difference.topic, difference.agent, difference.window_start_ms, max(1, missing), *where)


def _of_row(kind: Kind, difference: Difference, rows: Rows, row: int, moved_to: tuple[str, int] | None = None) -> Place:
    return Place(
        kind,
        difference.topic,
        difference.agent,
        difference.window_start_ms,
        1,
        rows.streams[rows.codes[row]],
        (int(rows.position[row]), int(rows.end[row])),
        (rows.files[rows.file_codes[row]],),
        moved_to,
    )


def _of_all(kind: Kind, difference: Difference, rows: Rows, count: int) -> Place:
    """All that is known: the positions of these rows, of those in changed files if there are any; of one stream, or none."""
    changed = np.isin(rows.file_codes, list(rows.changed))
    rows = rows.only(changed) if changed.any() else rows
    files = tuple(sorted({rows.files[code] for code in np.unique(rows.file_codes).tolist()}))
    where = (difference.topic, difference.agent, difference.window_start_ms, count)
    if len(np.unique(rows.codes)) != 1:
        return Place(kind, *where, files=files)
    positions = int(rows.position.min()), int(rows.end.max())
    return Place(kind, *where, rows.streams[rows.codes[0]], positions, files)
