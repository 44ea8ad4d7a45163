"""Where a table ends and its topic goes on: a pure core that yields what must be asked, in order, and is sent the answers.

    fold ──▶ look at the log ──▶ fetch [fold's end, log's end) of each partition ──▶ still the same topic? ──▶ answered
     ▲              │ alarming, and not seen twice      │ some of it is not there             │ no
     ╰──── rest ◀───┴───────────────────────────────────┴─────────────────────────────────────╯

A loader lands all the while, and retention takes what has landed. So ends are asked after the fold: asked before it, they might
lie below it, as if the log had been cut. What looks lost or cut may have landed since the fold: only who folds again, and sees
the same, may believe it. And what was read counts only if the topic has not been made anew meanwhile. Nothing is written, and
no group is joined.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.errors import HeadraceError
from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.table.fold import Fold

MOST_LOOKS: Final = 10


class OvertakenError(HeadraceError):
    """Rows that had not landed are gone from the broker, so that no answer is without a gap."""


@dataclass(frozen=True, slots=True)
class ReadFold:
    """Answer: Fold, of the table as it is now; an empty one where there is no table."""


@dataclass(frozen=True, slots=True)
class Look:
    """Answer: Mapping[int, Sight]: all partitions of the topic, as they are now; none where there is no topic."""

    fold: Fold


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait until loaders and the broker may have moved on. Answer: None."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is to be read of a partition: offsets [place.offset, end) of an incarnation; of the topic with that id."""

    partition: int
    place: Resume
    end: int
    topic_id: str | None

    @property
    def count(self) -> int:
        """Offsets: so many records at most."""
        return max(self.end - self.place.offset, 0)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Answer: what was read of the spans; None: some of it is not there any more."""

    fold: Fold
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class IsSame:
    """Answer: whether the topic is the one that was looked at, with the records that had landed."""

    fold: Fold
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A table at its fold, and what the broker had beyond: no offset is in both, and none in between is in neither."""

    fold: Fold
    spans: tuple[Span, ...]
    fetched: Any


Steps = Generator[ReadFold | Look | Rest | Fetch | IsSame, Any, Answered]
_Alarms = dict[int, tuple[int, str | None, int]]  # partition → (incarnation, cause of the gap, the fold's end)


def ask(topic: str) -> Steps:
    """Ask for a table and the rest of its topic.

    Raises (from the generator):
        OvertakenError: retention has taken what had not landed, or takes it faster than it is read.
    """
    suspected: _Alarms = {}
    for _ in range(MOST_LOOKS):
        fold: Fold = yield ReadFold()
        sights: Mapping[int, Sight] = yield Look(fold)
        places = {partition: resume(fold, partition, sight) for partition, sight in sights.items()}
        alarms = _alarms(fold, places)
        if alarms and alarms != suspected:
            suspected = alarms
            yield Rest()
            continue
        _refuse_lost(topic, places)
        spans = tuple(_span(partition, places[partition], sights[partition]) for partition in sorted(places))
        fetched = yield Fetch(fold, spans)
        if fetched is not None and (yield from _is_same(fold, spans)):
            return Answered(fold, spans, fetched)
    raise OvertakenError(f"table {topic}: the log changes faster than it can be read; ask without --live")


def _is_same(fold: Fold, spans: tuple[Span, ...]) -> Generator[ReadFold | IsSame, Any, bool]:
    """Whether the topic still is what was looked at; of what had not begun to land, only a new fold knows."""
    if any((span.place.incarnation, span.partition) not in fold.ends for span in spans):
        fold = yield ReadFold()
    answer: bool = yield IsSame(fold, spans)
    return answer


def _alarms(fold: Fold, places: Mapping[int, Resume]) -> _Alarms:
    """What is not to be believed at once."""
    return {
        partition: (place.incarnation, place.gap, fold.end(fold.incarnation(partition), partition))
        for partition, place in places.items()
        if place.alarm
    }


def _span(partition: int, place: Resume, sight: Sight) -> Span:
    return Span(partition, place, sight.log_end, sight.topic_id)


def _refuse_lost(topic: str, places: Mapping[int, Resume]) -> None:
    for partition, place in places.items():
        if place.gap == "lost":
            raise OvertakenError(f"table {topic}, partition {partition}: {place.alarm}; ask without --live for what has landed")
