"""What an agent says it has announced in all, against what its windows' messages come to: so a lost message is noticed. Pure.

Values on `_audit` are absolute, so a lost message that a later one repeats is never missed. One that none repeats is not to be
seen in its window if its events are lost too. Each heartbeat tells, by topic, what all `sent/` messages before it come to; a
difference is what was in a message that is not there (ADR 0055).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.audit import HASH_MODULUS, WINDOW_MS, SentMessage, Total, window_start_ms
from headrace.jobs.audit.sent_windows import Sent

_NOTHING = Total(0, 0)


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that were announced in no message that is there, of one topic; `more` than at the heartbeat before.

    It was lost between a heartbeat that had claimed `after_ms` (None: nothing) and one that was appended at `until_ms`, or
    that says that its host's clock is ahead, and was there then.
    """

    more: Total
    after_ms: float | None
    until_ms: int

    def starts(self, lateness_ms: int) -> range | None:
        """The windows that the events may be of, unless they are late, or say themselves that they are of a time yet to come;
        None: any. What was not claimed was written later."""
        if self.after_ms is None:
            return None
        first = window_start_ms(int(self.after_ms) - lateness_ms - WINDOW_MS) + WINDOW_MS
        return range(first, window_start_ms(self.until_ms) + 1, WINDOW_MS)


@dataclass(slots=True)
class Totals:
    """Of one agent, while its messages are folded.

    `is_whole`: whether all that it has said up to here was there: in a log that nothing was taken out of, and from the first
    heartbeat on whose totals agree with what is there. `agreed`: the topics of which they once did.
    """

    is_whole: bool = True
    gaps: dict[str, list[Gap]] = field(default_factory=dict)
    agreed: set[str] = field(default_factory=set)
    _said: dict[str, Total] = field(default_factory=dict)
    _missed: dict[str, Total] = field(default_factory=dict)
    """What was not to be found at the last heartbeat; where not all is there, less what has never been since the first."""
    _before: dict[str, Total] = field(default_factory=dict)
    _matched_ms: dict[str, float | None] = field(default_factory=dict)

    def on_sent(self, message: SentMessage, old: Sent) -> None:
        """A message takes the place of what was said before."""
        so_far = self._said.get(message.topic, _NOTHING)
        self._said[message.topic] = Total(
            so_far.count + message.count - old.count,
            (so_far.content_hash + message.content_hash - old.content_hash) % HASH_MODULUS,
        )

    def on_heartbeat(
        self, totals: Mapping[str, Total], claimed_ms: float | None, until_ms: int, *, is_after_hole: bool = False
    ) -> None:
        """Compare.

        Args:
            claimed_ms: the furthest time that the agent has claimed so far.
            until_ms: the latest time of now: when it was appended, or what its host's clock says.
            is_after_hole: since its last heartbeat something of the log was taken out: what is missed may have been that, and
                a later message may tell of it. (That something was lost there is said by the table.)
        """
        if is_after_hole:
            self.is_whole = False
            self.agreed.clear()
        self.agreed |= {topic for topic, total in totals.items() if total == self._said.get(topic, _NOTHING)}
        self.is_whole = self.is_whole or totals.keys() <= self.agreed
        for topic, total in totals.items():
            missed = _difference(total, self._said.get(topic, _NOTHING))
            if not self.is_whole:
                taken_out = self._before.get(topic)
                if (
                    taken_out is None or is_after_hole or missed.count < taken_out.count
                ):  # some of it is told of again by a later message
                    self._before[topic] = taken_out = missed
                missed = _difference(missed, taken_out)
            before = self._missed.get(topic, _NOTHING)
            gaps = self.gaps.setdefault(topic, [])
            if missed == _NOTHING:
                gaps.clear()
            elif missed.count < before.count:  # some are told of by a later message; of which, cannot be told
                gaps[:] = [Gap(missed, gaps[0].after_ms if gaps else None, until_ms)]
            elif missed != before:
                gaps.append(Gap(_difference(missed, before), self._matched_ms.get(topic), until_ms))
            self._missed[topic], self._matched_ms[topic] = missed, claimed_ms


def _difference(one: Total, other: Total) -> Total:
    return Total(one.count - other.count, (one.content_hash - other.content_hash) % HASH_MODULUS)
