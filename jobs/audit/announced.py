"""What agents have announced on `_audit`, folded: the agents' side of the audit. Pure; reads no file and no clock.

Source: audit.md, "Is it all there, is it the same". Values on `_audit` are absolute, so a message may be missing or repeated
without harm to those after it. Of each `sent/` window the whole message with the greatest count is taken, the later one
winning ties; `acked` is the greatest per partition; state and frontier come from the run whose heartbeat was appended last;
two runs of one agent that overlap for more than a minute are a clone.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.audit import WINDOW_MS, AgentMessage, SentMessage, State

LATENESS_MS = 300_000
CLONE_OVERLAP_MS = 60_000

Ends = Mapping[int, int]
"""Partition → offset after the last."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One record of `_audit`; `appended_ms` is the broker's time (LogAppendTime)."""

    appended_ms: int
    message: AgentMessage | SentMessage


@dataclass(frozen=True, slots=True)
class Clone:
    """Two runs of one agent that both spoke from `from_ms` to `to_ms` (append times)."""

    runs: tuple[str, str]
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Sent:
    """One agent's window of one topic; `late` events were announced after its claimed time had passed the window + lateness."""

    message: SentMessage
    late: int


@dataclass(frozen=True, slots=True)
class Agent:
    """All that one agent has announced.

    `host` and `heard_ms` (append time of the last heartbeat) are None for an agent without a heartbeat. `frontier_ms` is -inf
    while nothing is claimed and +inf once a finite input has finished. `acked` is the greatest offset per topic and partition,
    of heartbeats and windows alike. `sent` is keyed by topic and window start.
    """

    agent_id: str
    host: str | None
    state: State | None
    frontier_ms: float
    heard_ms: int | None
    acked: Mapping[str, Ends]
    sent: Mapping[tuple[str, int], Sent]
    clone: Clone | None

    def writes_to(self, topic: str) -> bool:
        """Whether the agent's word is needed for a topic: it names the topic, or it has named none yet and may still do so."""
        return topic in self.acked or not self.acked


@dataclass(slots=True)
class _Hearing:
    """One agent while its messages are folded, in the order of the log."""

    heartbeat: AgentMessage | None = None
    heard_ms: int | None = None
    furthest_ms: float = -math.inf
    """The greatest time claimed. What a finished input says of the end of time binds no input that is given later."""
    acked: dict[str, dict[int, int]] = field(default_factory=dict)
    greatest: dict[tuple[str, int], SentMessage] = field(default_factory=dict)
    on_time: dict[tuple[str, int], int] = field(default_factory=dict)
    """What had been announced of a window when the claimed time passed it; `open` are the windows that it has not passed."""
    open: set[tuple[str, int]] = field(default_factory=set)
    runs: dict[str, tuple[int, int]] = field(default_factory=dict)

    def on_heartbeat(self, message: AgentMessage, appended_ms: int, lateness_ms: int) -> None:
        self.heartbeat, self.heard_ms = message, appended_ms
        for topic, ends in message.acked.items():
            self._acknowledge(topic, ends)
        drained_to_ms = message.drained_to_ms
        if drained_to_ms is None or drained_to_ms <= self.furthest_ms:
            return
        self.furthest_ms = drained_to_ms
        for window in [window for window in self.open if _is_past(drained_to_ms, window[1], lateness_ms)]:
            self.open.remove(window)
            self.on_time[window] = self.greatest[window].count

    def on_sent(self, message: SentMessage, lateness_ms: int) -> None:
        window = (message.topic, message.window_start_ms)
        self._acknowledge(message.topic, message.acked)
        known = self.greatest.get(window)
        if known is None and _is_past(self.furthest_ms, message.window_start_ms, lateness_ms):
            self.on_time[window] = 0
        elif known is None:
            self.open.add(window)
        if known is None or message.count >= known.count:
            self.greatest[window] = message

    def on_run(self, run: str, appended_ms: int) -> None:
        first, last = self.runs.get(run, (appended_ms, appended_ms))
        self.runs[run] = (min(first, appended_ms), max(last, appended_ms))

    def _acknowledge(self, topic: str, ends: Ends) -> None:
        known = self.acked.setdefault(topic, {})
        for partition, end in ends.items():
            known[partition] = max(known.get(partition, 0), end)

    def folded(self, agent_id: str) -> Agent:
        sent = {
            window: Sent(message, late=message.count - self.on_time.get(window, message.count))
            for window, message in self.greatest.items()
        }
        heartbeat = self.heartbeat
        return Agent(
            agent_id,
            heartbeat.host if heartbeat else None,
            heartbeat.state if heartbeat else None,
            frontier_of(heartbeat) if heartbeat else -math.inf,
            self.heard_ms,
            self.acked,
            sent,
            _clone(self.runs),
        )


def frontier_of(message: AgentMessage) -> float:
    """The time (ms) up to which the agent claims to have shipped every line; infinite for a finite input that has ended."""
    if message.state == "finished":
        return math.inf
    return -math.inf if message.drained_to_ms is None else message.drained_to_ms


def fold(announcements: Iterable[Announcement], *, lateness_ms: int = LATENESS_MS) -> dict[str, Agent]:
    """Fold the records of `_audit`, given in the order of the log, into one Agent per agent id.

    Args:
        announcements: each agent's in the order of their offsets (an agent keeps to one partition).
        lateness_ms: how long after its end a window still takes lines that are not late.
    """
    hearings: dict[str, _Hearing] = {}
    for announcement in announcements:
        message = announcement.message
        hearing = hearings.setdefault(message.agent_id, _Hearing())
        hearing.on_run(message.run, announcement.appended_ms)
        if isinstance(message, AgentMessage):
            hearing.on_heartbeat(message, announcement.appended_ms, lateness_ms)
        else:
            hearing.on_sent(message, lateness_ms)
    return {agent_id: hearing.folded(agent_id) for agent_id, hearing in hearings.items()}


def _is_past(frontier_ms: float, window_start_ms: int, lateness_ms: int) -> bool:
    return frontier_ms > window_start_ms + WINDOW_MS + lateness_ms


def _clone(runs: Mapping[str, tuple[int, int]]) -> Clone | None:
    """The first pair that overlaps too long: in order of start, each run against the one before it that lasted longest."""
    longest: tuple[int, str] | None = None
    for run, (from_ms, to_ms) in sorted(runs.items(), key=lambda item: item[1]):
        if longest and min(to_ms, longest[0]) - from_ms > CLONE_OVERLAP_MS:
            return Clone((longest[1], run), from_ms, min(to_ms, longest[0]))
        longest = max(longest or (to_ms, run), (to_ms, run))
    return None
