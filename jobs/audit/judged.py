"""What a verdict holds: each window of a topic, its state, why, and its rows, small where there is little to tell. Pure.

Half a year of 50 topics with two agents each has 2.6 million rows. Nearly all of them say that what was sent has landed, and
nothing else: of these one number is kept, and who it is of. Windows and rows are made of that as they are asked for.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, overload

from headrace.jobs.audit.reasons import Reason

Verdict = Literal["complete", "incomplete", "unknown"]
SEVERITY: Final[tuple[Verdict, ...]] = ("complete", "incomplete", "unknown")
_MOST: Final = 1 << 64
SUMMED: Final = ("sent", "rejected", "dropped", "landed", "late", "quarantined", "duplicates", "lost")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. What belongs to no agent has `agent` None, and None where only an agent could have counted."""

    topic: str
    window_start_ms: int
    agent: str | None
    host: str | None
    sent: int | None
    rejected: int | None
    dropped: int | None
    landed: int
    late: int | None
    quarantined: int
    duplicates: int
    lost: int
    state: Verdict


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """One window of one topic: its state, why, and its rows."""

    topic: str
    window_start_ms: int
    state: Verdict
    reasons: tuple[Reason, ...]
    rows: tuple[Row, ...]


class Windows(Sequence[WindowVerdict]):
    """Windows of one topic, by start; made of what it is given, and held no longer than that takes."""

    __slots__ = ("_ends", "_odd", "_people", "_reasons", "_sent", "_starts", "_states", "_topic", "_who")

    def __init__(self, windows: Iterable[WindowVerdict] = ()) -> None:
        self._topic = ""
        starts: list[int] = []
        self._states, self._ends = bytearray(), array("Q")
        """Of each window: its state, and where its rows end."""
        self._reasons: dict[int, tuple[Reason, ...]] = {}
        self._who, self._sent = array("I"), array("Q")
        """Of each row: whose it is, and what was sent, and has landed; of one that says more neither counts."""
        self._odd: dict[int, Row] = {}
        numbers: dict[tuple[str | None, str | None], int] = {}
        for window in windows:
            self._topic = window.topic
            if window.reasons:
                self._reasons[len(starts)] = window.reasons
            for row in window.rows:
                if not (is_plain := _is_plain(row)):
                    self._odd[len(self._who)] = row
                self._who.append(numbers.setdefault((row.agent, row.host), len(numbers)))
                self._sent.append(row.landed if is_plain else 0)
            starts.append(window.window_start_ms)
            self._states.append(SEVERITY.index(window.state))
            self._ends.append(len(self._who))
        self._people = tuple(numbers)
        self._starts = _packed(starts)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> WindowVerdict: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[WindowVerdict]: ...
    def __getitem__(self, at: int | slice) -> WindowVerdict | Sequence[WindowVerdict]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        window = WindowVerdict(self._topic, self._starts[at], SEVERITY[self._states[at]], self._reasons.get(at, ()), ())
        rows = range(self._ends[at - 1] if at else 0, self._ends[at])
        return replace(window, rows=tuple(self._row(window, number) for number in rows))

    def _row(self, window: WindowVerdict, number: int) -> Row:
        return self._odd.get(number) or _plain(window, *self._people[self._who[number]], self._sent[number])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_are_equal, self, other))

    def __hash__(self) -> int:
        return hash((self._topic, len(self)))

    def __repr__(self) -> str:
        return repr(tuple(self))

    @property
    def starts(self) -> Sequence[int]:
        """The start of each, ms."""
        return self._starts

    def states(self) -> Iterator[tuple[int, Verdict]]:
        """Start and state of each."""
        return zip(self._starts, (SEVERITY[state] for state in self._states), strict=True)

    def reasons(self) -> Iterator[tuple[int, tuple[Reason, ...]]]:
        """Start and reasons of each."""
        return ((start_ms, self._reasons.get(at, ())) for at, start_ms in enumerate(self._starts))

    def count_of(self, state: Verdict) -> int:
        """How many are of a state."""
        return self._states.count(SEVERITY.index(state))

    def of_state(self, state: Verdict) -> Iterator[WindowVerdict]:
        """Those of a state."""
        return (self[at] for at, code in enumerate(self._states) if SEVERITY[code] == state)

    def between(self, since_ms: int, until_ms: int) -> Sequence[WindowVerdict]:
        """Those that begin within a time."""
        return self[bisect_left(self._starts, since_ms) : bisect_left(self._starts, until_ms)]


def _packed(starts: list[int]) -> Sequence[int]:
    """In eight bytes each, unless a damaged record speaks of a time that has more."""
    try:
        return array("q", starts)
    except OverflowError:
        return starts


def _is_plain(row: Row) -> bool:
    return (
        row.agent is not None
        and 0 <= row.landed < _MOST
        and row.sent == row.landed
        and row.rejected == row.dropped == row.late == row.quarantined == row.duplicates == row.lost == 0
    )


def _plain(window: WindowVerdict, agent: str | None, host: str | None, sent: int) -> Row:
    """The row of an agent of which all has landed that it has sent, and that has nothing else to say."""
    return Row(window.topic, window.window_start_ms, agent, host, sent, 0, 0, sent, 0, 0, 0, 0, window.state)


def _are_equal(one: object, other: object) -> bool:
    return one == other


@dataclass(frozen=True, slots=True)
class TopicVerdict:
    """All windows of a topic; `state` is the worst, unknown before incomplete; `reasons` are those of no single window.

    `assumed` says of which agents no word was asked for, because they are retired or were taken for it, and what else it rests
    on that nobody announced.
    """

    topic: str
    state: Verdict
    reasons: tuple[Reason, ...]
    windows: Windows
    assumed: tuple[str, ...] = ()


def worst(states: Iterable[Verdict]) -> Verdict:
    """Unknown if any is unknown, else incomplete if any is, else complete."""
    return SEVERITY[max((SEVERITY.index(state) for state in states), default=0)]


def sums_of(windows: Iterable[WindowVerdict]) -> Counter[str]:
    """Each column of numbers over all rows; `foreign`: what of `landed` is nobody's."""
    sums = Counter[str]()
    for window in windows:
        for row in window.rows:
            for name in SUMMED:
                sums[name] += getattr(row, name) or 0
            if row.agent is None:
                sums["foreign"] += row.landed
    return sums
