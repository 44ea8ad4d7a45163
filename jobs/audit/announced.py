"""What agents have announced on `_audit`, folded: the agents' side of the audit. Pure; reads no file and no clock.

Source: audit.md, "Is it all there, is it the same"; ADR 0055. Values on `_audit` are absolute, so a message may be missing or
repeated without harm to those after it. Of each `sent/` window the whole message with the greatest count is taken, the later
one winning ties; `acked` is the greatest per partition; the state comes from the run whose heartbeat was appended last; two
runs of one agent that overlap for more than a minute are a clone.

What an agent has once claimed stays claimed, whatever run speaks next: for each window the first heartbeat counts that claims a
time past it, with the offsets that it had acknowledged then. That a run has finished counts only while no other has spoken.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from headrace.audit import HEARTBEAT_INTERVAL_MS, WINDOW_MS, AgentMessage, RetiredMessage, SentMessage, State
from headrace.jobs.audit.sent_windows import Sent, SentWindows
from headrace.jobs.audit.totals import Gap, Totals

LATENESS_MS = 300_000
CLONE_OVERLAP_MS = 60_000
MOST_CLAIMS = 300
"""Two days of windows. An older one is judged by the oldest claim that is kept: the same claim, with later offsets."""
MOST_ACKED = 8
"""Of a partition, one each half minute: an excess among what is older is told by the claims, ten minutes apart."""

Ends = Mapping[int, int]
"""Partition → offset after the last."""
_ANY_TOPIC = ""
"""Whose claims are those of a heartbeat that names no topic."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One record of `_audit`; `appended_ms` is the broker's time (LogAppendTime).

    `holes`: how often offsets before it, in its partition, hold nothing, because it was compacted before it landed, or lost.
    """

    appended_ms: int
    message: AgentMessage | SentMessage | RetiredMessage
    holes: int = 0


@dataclass(frozen=True, slots=True)
class Clone:
    """Two runs of one agent that both spoke from `from_ms` to `to_ms` (append times)."""

    runs: tuple[str, str]
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Claim:
    """All of a topic that was readable at `drained_to_ms` (infinite: finished) is announced, and acknowledged below `ends`."""

    drained_to_ms: float
    appended_ms: int
    ends: Ends


@dataclass(frozen=True, slots=True)
class Agent:
    """All that one agent has announced.

    `host` and `heard_ms` (append time of the last heartbeat) are None for an agent without a heartbeat. `frontier_ms` is the
    furthest time claimed: -inf while none is, and +inf while the last that was heard is that a finite input has finished.
    `acked` is the greatest offset per topic and partition, of heartbeats and windows alike; `acked_ms` has those of the last
    minutes with the append times by which they were heard. `sent` has windows by topic, then by start. `retired_ms` is set for
    an agent that was retired and has not spoken since: its word is not needed for windows that end after that time. `gaps`:
    what of a topic was announced in messages that are not there.
    """

    agent_id: str
    host: str | None
    state: State | None
    frontier_ms: float
    heard_ms: int | None
    acked: Mapping[str, Ends]
    sent: Mapping[str, Mapping[int, Sent]]
    clone: Clone | None
    claims: Mapping[str, Sequence[Claim]] = field(default_factory=dict)
    acked_ms: Mapping[str, Mapping[int, Sequence[tuple[int, int]]]] = field(default_factory=dict)
    retired_ms: float | None = None
    gaps: Mapping[str, Sequence[Gap]] = field(default_factory=dict)
    clock_ahead_ms: int | None = None
    """The host's clock at the last heartbeat, less the broker's when it was appended: the way there makes it some ms less."""
    known_since_ms: float = -math.inf
    """From when on (append time) all that it has said is there; -inf where nothing was ever taken out."""
    agreed: frozenset[str] = frozenset()
    """Topics of which all is there all the same: its totals once agreed with it."""

    def sent_of(self, topic: str, start_ms: int) -> Sent | None:
        """What is announced of a window of a topic."""
        return self.sent.get(topic, {}).get(start_ms)

    def writes_to(self, topic: str) -> bool:
        """Whether the agent's word is needed for a topic: it names the topic, or it has named none yet and may still do so."""
        return topic in self.acked or not self.acked

    def claim_past(self, topic: str, past_ms: float) -> Claim | None:
        """The first claim of a topic to have drained it past a time; None while there is none."""
        found = [
            claims[first]
            for claims in (self.claims.get(topic, ()), self.claims.get(_ANY_TOPIC, ()))
            if (first := bisect_right(claims, past_ms, key=_drained_to)) < len(claims)
        ]
        return min(found, key=lambda claim: claim.appended_ms, default=None)

    def acknowledged(self, topic: str, past_ms: float) -> Ends:
        """What it had acknowledged when it first claimed to have drained a topic past a time; else all that it ever had."""
        claim = self.claim_past(topic, past_ms)
        return self.acked.get(topic, {}) if claim is None else claim.ends

    def drained_to_ms(self, topic: str) -> float:
        """The furthest time that is claimed of a topic, as far as windows need it; -inf while none is."""
        last = (claims[-1] for claims in (self.claims.get(topic), self.claims.get(_ANY_TOPIC)) if claims)
        return max((claim.drained_to_ms for claim in last), default=-math.inf)

    def acknowledged_ms(self, topic: str, partition: int, offset: int) -> float:
        """By when (append time) the agent knew a partition to have been written beyond an offset; infinite if it does not."""
        if self.acked.get(topic, {}).get(partition, 0) <= offset:
            return math.inf
        lately = (heard_ms for end, heard_ms in self.acked_ms[topic][partition] if end > offset)
        claimed = (claim.appended_ms for claim in self.claims.get(topic, ()) if claim.ends.get(partition, 0) > offset)
        return min(chain(lately, claimed))


def is_beyond(acknowledged: Ends, ends: Ends) -> bool:
    """Whether something of a topic was acknowledged that does not lie below these ends."""
    return any(end > ends.get(partition, 0) for partition, end in acknowledged.items())


def _drained_to(claim: Claim) -> float:
    return claim.drained_to_ms


@dataclass(slots=True)
class _Hearing:
    """One agent while its messages are folded, in the order of the log."""

    known_since_ms: float = -math.inf
    holes: int = 0
    """Before the last heartbeat."""
    heartbeat: AgentMessage | None = None
    heard_ms: int | None = None
    furthest_ms: float = -math.inf
    """The greatest time claimed. What a finished input says of the end of time binds no input that is given later."""
    retired_ms: float | None = None
    claims: dict[str, list[Claim]] = field(default_factory=dict)
    acked: dict[str, dict[int, int]] = field(default_factory=dict)
    acked_ms: dict[str, dict[int, list[tuple[int, int]]]] = field(default_factory=dict)
    sent: dict[str, SentWindows] = field(default_factory=lambda: defaultdict(SentWindows))
    runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)

    def on_heartbeat(self, message: AgentMessage, appended_ms: int, lateness_ms: int, holes: int) -> None:
        is_after_hole, self.holes = holes > self.holes, holes
        self.heartbeat, self.heard_ms, self.retired_ms = message, appended_ms, None
        for topic, ends in message.acked.items():
            self._acknowledge(topic, ends, appended_ms)
        drained_to_ms = message.drained_to_ms
        if drained_to_ms is not None:
            self.furthest_ms = max(self.furthest_ms, drained_to_ms)
        if message.totals is not None:
            claimed_ms = self.furthest_ms if math.isfinite(self.furthest_ms) else None
            until_ms = max(appended_ms, message.clock_ms or 0)
            self.totals.on_heartbeat(message.totals, claimed_ms, until_ms, is_after_hole=is_after_hole)
        if drained_to_ms is None:
            return
        for topic in message.acked or (_ANY_TOPIC,):
            self._claim(topic, drained_to_ms, appended_ms, lateness_ms)

    def _claim(self, topic: str, drained_to_ms: int, appended_ms: int, lateness_ms: int) -> None:
        """Keep a claim that passes windows which none before it has."""
        claims = self.claims.setdefault(topic, [])
        if claims and _passed(drained_to_ms, lateness_ms) <= _passed(claims[-1].drained_to_ms, lateness_ms):
            return
        ends = self.acked.get(topic, {})
        claims.append(Claim(drained_to_ms, appended_ms, claims[-1].ends if claims and claims[-1].ends == ends else dict(ends)))
        del claims[:-MOST_CLAIMS]
        if topic in self.sent:
            windows = self.sent[topic]
            windows.close([start_ms for start_ms in windows.open if _is_past(drained_to_ms, start_ms, lateness_ms)])

    def on_sent(self, message: SentMessage, appended_ms: int, lateness_ms: int) -> None:
        self._acknowledge(message.topic, message.acked, appended_ms)
        claimed = [claims[-1].drained_to_ms for topic in (message.topic, _ANY_TOPIC) if (claims := self.claims.get(topic))]
        is_past = _is_past(max(claimed, default=-math.inf), message.window_start_ms, lateness_ms)
        replaced = self.sent[message.topic].say(message, is_past=is_past)
        if replaced is not None:
            self.totals.on_sent(message, replaced)

    def on_run(self, run: str, appended_ms: int) -> None:
        first, last = self.runs.get(run, (appended_ms, appended_ms))
        self.runs[run] = (min(first, appended_ms), max(last, appended_ms))

    def _acknowledge(self, topic: str, ends: Ends, appended_ms: int) -> None:
        known, known_ms = self.acked.setdefault(topic, {}), self.acked_ms.setdefault(topic, {})
        for partition, end in ends.items():
            if end > known.get(partition, 0):
                known[partition] = end
                lately = known_ms.setdefault(partition, [])
                if lately and lately[-1][1] // HEARTBEAT_INTERVAL_MS == appended_ms // HEARTBEAT_INTERVAL_MS:
                    lately.pop()
                lately.append((end, appended_ms))
                del lately[:-MOST_ACKED]

    def folded(self, agent_id: str) -> Agent:
        heartbeat, heard_ms, claims = self.heartbeat, self.heard_ms, self.claims
        if heartbeat is not None and heard_ms is not None and heartbeat.state == "finished":
            ended = {
                topic: Claim(math.inf, heard_ms, dict(self.acked.get(topic, {}))) for topic in heartbeat.acked or (_ANY_TOPIC,)
            }
            claims = {**claims, **{topic: [*claims.get(topic, ()), claim] for topic, claim in ended.items()}}
        return Agent(
            agent_id,
            heartbeat.host if heartbeat else None,
            heartbeat.state if heartbeat else None,
            math.inf if heartbeat and heartbeat.state == "finished" else self.furthest_ms,
            heard_ms,
            self.acked,
            self.sent,
            _clone(self.runs),
            claims,
            self.acked_ms,
            self.retired_ms,
            self.totals.gaps,
            heartbeat.clock_ms - heard_ms if heartbeat and heartbeat.clock_ms and heard_ms else None,
            -math.inf if self.totals.is_whole else self.known_since_ms,
            frozenset(self.totals.agreed),
        )


class Hearings:
    """Folds the records of `_audit`, given in the order of the log, into one Agent per agent id; more may be given later."""

    def __init__(self, *, lateness_ms: int = LATENESS_MS, is_whole: bool = True) -> None:
        """
        Args:
            lateness_ms: how long after its end a window still takes lines that are not late.
            is_whole: whether what is given is all that there ever was, or only what begins at some offset, or has holes.
        """
        self._lateness_ms, self._is_whole = lateness_ms, is_whole
        self._hearings: dict[str, _Hearing] = {}
        self._agents: dict[str, Agent] = {}
        self._changed: set[str] = set()

    def hear(self, announcements: Iterable[Announcement]) -> None:
        """Go on with these: each agent's in the order of their offsets (an agent keeps to one partition)."""
        for announcement in announcements:
            message = announcement.message
            since_ms = -math.inf if self._is_whole else announcement.appended_ms
            hearing = self._hearings.get(message.agent_id)
            if hearing is None:
                hearing = self._hearings[message.agent_id] = _Hearing(since_ms, totals=Totals(self._is_whole))
            self._changed.add(message.agent_id)
            match message:
                case RetiredMessage():
                    hearing.retired_ms = -math.inf if message.at_ms is None else message.at_ms
                    continue
                case AgentMessage():
                    hearing.on_heartbeat(message, announcement.appended_ms, self._lateness_ms, announcement.holes)
                case SentMessage():
                    hearing.on_sent(message, announcement.appended_ms, self._lateness_ms)
            hearing.on_run(message.run, announcement.appended_ms)

    def agents(self) -> dict[str, Agent]:
        """All that has been heard, by agent id."""
        self._agents |= {agent_id: self._hearings[agent_id].folded(agent_id) for agent_id in self._changed}
        self._changed.clear()
        return self._agents


def fold(announcements: Iterable[Announcement], *, lateness_ms: int = LATENESS_MS, is_whole: bool = True) -> dict[str, Agent]:
    """What agents have announced by these records, by agent id; see `Hearings`."""
    hearings = Hearings(lateness_ms=lateness_ms, is_whole=is_whole)
    hearings.hear(announcements)
    return hearings.agents()


def _passed(drained_to_ms: float, lateness_ms: int) -> int:
    """The number of the last window that a claim passes."""
    return int(drained_to_ms - lateness_ms - 1) // WINDOW_MS


def _is_past(drained_to_ms: float, window_start_ms: int, lateness_ms: int) -> bool:
    return drained_to_ms > window_start_ms + WINDOW_MS + lateness_ms


def _clone(runs: Mapping[str, tuple[int, int]]) -> Clone | None:
    """The first pair that overlaps too long: in order of start, each run against the one before it that lasted longest."""
    longest: tuple[int, str] | None = None
    for run, (from_ms, to_ms) in sorted(runs.items(), key=lambda item: item[1]):
        if longest and min(to_ms, longest[0]) - from_ms > CLONE_OVERLAP_MS:
            return Clone((longest[1], run), from_ms, min(to_ms, longest[0]))
        longest = max(longest or (to_ms, run), (to_ms, run))
    return None
