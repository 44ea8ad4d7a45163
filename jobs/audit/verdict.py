"""The verdict: is every event of a topic there, and is it the same? Pure; reads no file and no clock.

Source: audit.md, "Verdict". For a topic and a window of event time, first matching wins:

    unknown      an agent has not claimed a time past the window's end + lateness, or two runs of it are a clone; or the table's
                 ends are not past what the first claim past it, and the window's own messages, say is acknowledged; or more
                 has landed than was announced, while the next announcement is awaited, or where what was announced then is gone
    incomplete   something is lost or dropped, or less or more has landed than was announced, or the hashes differ
    complete     otherwise; events that were rejected or quarantined are shown beside it

A claim covers every line that was read before it. So rows beyond the announced count are awaited until their agent has claimed
a time at which they were known to be in the log, and are an excess then: by the broker's clock alone, for the hosts' own may be
set back. Windows that a retired agent has never claimed are judged by what it has announced at least.
A topic in which no agent writes has nothing to be compared with: complete says only that the table has passed the window in
every partition, or has seen its end, and that nothing in it was lost.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from headrace.audit import HASH_MODULUS, HEARTBEAT_INTERVAL_MS, WINDOW_MS, Total, window_start_ms
from headrace.jobs.audit.announced import LATENESS_MS, Agent, Clone, Ends
from headrace.jobs.audit.evidence import Landed, Recount, Trouble, WindowSum
from headrace.jobs.audit.reasons import Kind, Reason
from headrace.jobs.audit.totals import Gap
from headrace.sinks.table.audit_totals import DAY_MS, day_start_ms

Verdict = Literal["complete", "incomplete", "unknown"]
_SEVERITY: tuple[Verdict, ...] = ("complete", "incomplete", "unknown")
_MOST_SHOWN: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


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


@dataclass(frozen=True, slots=True)
class TopicVerdict:
    """All windows of a topic; `state` is the worst, unknown before incomplete; `reasons` are those of no single window.

    `assumed` says of which agents no word was asked for, because they are retired or were taken for it.
    """

    topic: str
    state: Verdict
    reasons: tuple[Reason, ...]
    windows: tuple[WindowVerdict, ...]
    assumed: tuple[str, ...] = ()


def worst(states: Iterable[Verdict]) -> Verdict:
    """Unknown if any is unknown, else incomplete if any is, else complete."""
    return _SEVERITY[max((_SEVERITY.index(state) for state in states), default=0)]


def excesses(topic: str, agents: Mapping[str, Agent], landed: Landed) -> set[tuple[str, int]]:
    """The (agent, window start) of which more has landed than was announced: these need a Recount."""
    return {key for key, sums in landed.sums.items() if sums.count > _sent_count(agents.get(key[0]), topic, key[1])}


def judge(
    topic: str,
    agents: Mapping[str, Agent],
    landed: Landed,
    recounts: Mapping[tuple[str, int], Recount],
    *,
    now_ms: int,
    since_ms: float = -math.inf,
    until_ms: float = math.inf,
    lateness_ms: int = LATENESS_MS,
    retire_after_ms: float = math.inf,
    every_window: bool = False,
) -> TopicVerdict:
    """Judge a topic's windows.

    Args:
        agents: everything announced, by agent id.
        recounts: of each of `excesses`; one that is missing counts as awaited.
        now_ms: wall time; only for how long an agent has been silent.
        since_ms, until_ms: only windows that overlap this time are judged; with an end, also whether every agent is past it,
            for windows that nobody has announced yet.
        retire_after_ms: agents that have been silent for longer are taken for retired.
        every_window: also each window of that time, which has both ends then, that nobody has announced.
    """
    writers = {agent_id: agent for agent_id, agent in agents.items() if agent.writes_to(topic)}
    writers |= {agent_id: _unheard(agent_id) for agent_id, _ in landed.sums if agent_id not in agents}
    writers |= {agent_id: agents[agent_id] for agent_id, _ in landed.sums if agent_id in agents}
    writers = {agent_id: _retired_by_policy(agent, now_ms - retire_after_ms) for agent_id, agent in writers.items()}
    in_order = sorted(writers.values(), key=lambda agent: (agent.host or "", agent.agent_id))
    judging = _Judging(topic, in_order, landed, recounts, now_ms, lateness_ms, agents.values())
    known = _window_starts(topic, writers, landed) | judging.of_gaps()
    if every_window:
        known |= set(range(window_start_ms(int(since_ms)), int(until_ms), WINDOW_MS))
    starts = sorted(start for start in known if since_ms < start + WINDOW_MS and start < until_ms)
    windows = tuple(judging.window(start) for start in starts)
    states = [window.state for window in windows]
    reasons: list[Reason] = []
    if math.isfinite(until_ms):  # what is yet to come of this time has no window so far
        reasons = judging.unknowns(window_start_ms(int(until_ms) - 1))
    elif not windows:
        reasons = judging.unknowns(None)
    if reasons:
        states.append("unknown")
    elif unplaced := judging.unplaced():
        reasons = unplaced
        states.append("incomplete")
    elif not windows and landed.lost:
        reasons = [Reason("lost", f"{sum(lost.count for lost in landed.lost)} lost before they landed")]
        states.append("incomplete")
    return TopicVerdict(topic, worst(states), tuple(reasons), windows, judging.assumed())


def _sent_count(agent: Agent | None, topic: str, start_ms: int) -> int:
    sent = agent.sent.get((topic, start_ms)) if agent else None
    return sent.message.count if sent else 0


def _retired_by_policy(agent: Agent, silent_since_ms: float) -> Agent:
    if agent.retired_ms is None and agent.heard_ms is not None and agent.heard_ms < silent_since_ms:
        return replace(agent, retired_ms=-math.inf)
    return agent


def _unheard(agent_id: str) -> Agent:
    return Agent(agent_id, None, None, -math.inf, None, {}, {}, None)


def _window_starts(topic: str, writers: Mapping[str, Agent], landed: Landed) -> set[int]:
    starts = {start for _, start in landed.sums} | set(landed.foreign)
    starts |= set(landed.unlike) - {day_start_ms(start) for start in starts}
    for agent in writers.values():
        starts |= {start for sent_topic, start in agent.sent if sent_topic == topic}
    for trouble in (*landed.lost, *landed.quarantined):
        starts |= trouble.edges()
    return starts


class _Judging:
    """One topic, judged from what is given; remembers only whom it did not wait for."""

    def __init__(
        self,
        topic: str,
        writers: Sequence[Agent],
        landed: Landed,
        recounts: Mapping[tuple[str, int], Recount],
        now_ms: int,
        lateness_ms: int,
        known: Iterable[Agent],
    ) -> None:
        self.topic, self.writers, self.landed, self.recounts = topic, writers, landed, recounts
        self.now_ms, self.lateness_ms, self._known = now_ms, lateness_ms, known
        self._drained_to_ms = {agent.agent_id: agent.drained_to_ms(topic) for agent in writers}
        self._behind = [agent for agent in writers if self._is_behind(agent.acked.get(topic, {}))]
        self._assumed: dict[str, Agent] = {}
        self._explained = {
            (agent.agent_id, gap): start_ms
            for agent in writers
            for gap in agent.gaps.get(topic, ())
            for agent_id, start_ms in landed.sums
            if agent_id == agent.agent_id and self._excess(agent, start_ms) == gap.more
        }

    def _is_behind(self, ends: Ends) -> bool:
        return any(end > self.landed.ends.get(partition, 0) for partition, end in ends.items())

    def assumed(self) -> tuple[str, ...]:
        """Of whom no word was asked for."""
        retired = [
            f"{_name(agent)} is taken for retired: last heard {when(agent.heard_ms or 0)}"
            for agent in self.writers
            if agent.agent_id in self._assumed
        ]
        until_ms = self.landed.uncounted_until_ms
        told = "windows before {} are not compared by number: rows went back then that do not say whose they are"
        return (*retired, *([] if until_ms is None else [told.format(when(until_ms))]))

    def window(self, start_ms: int) -> WindowVerdict:
        reasons: list[Reason] = self.unknowns(start_ms)
        state: Verdict = "unknown"
        if reasons:
            reasons += self._lost(start_ms)  # whatever else there is to come
        else:
            reasons = self._faults(start_ms)
            state = "incomplete" if reasons else "complete"
        rows = [self._agent_row(agent, start_ms, state) for agent in self.writers if self._concerns(agent, start_ms)]
        rows += self._row_of_nobody(start_ms, state)
        return WindowVerdict(self.topic, start_ms, state, tuple(reasons), tuple(rows))

    def unknowns(self, start_ms: int | None) -> list[Reason]:
        """Why a window (None: the topic, where it has no window) cannot be judged yet."""
        if self.landed.damage:
            return [Reason("damaged", f"the table cannot be read: {self.landed.damage}")]
        reasons = [reason for agent in self.writers if (reason := self._frontier(agent, start_ms))]
        reasons += self._unlanded(start_ms)
        reasons += self._inaudible(start_ms)
        if not self.writers:
            reasons += self._unreached(start_ms)
        if start_ms is not None:
            reasons += [reason for agent in self.writers if (reason := self._awaited(agent, start_ms))]
            reasons += self._unlike_day(start_ms, is_awaited=True)
        return reasons

    def _unlike_day(self, start_ms: int, *, is_awaited: bool) -> list[Reason]:
        """What is said of a day where windows are not told apart. More may have landed of what a retired agent had sent."""
        day = self.landed.unlike.get(day_start_ms(start_ms))
        if day is None or day.is_awaited is not is_awaited or not self.landed.is_summed(day_start_ms(start_ms)):
            return []
        last_ms = day_start_ms(start_ms) + DAY_MS - WINDOW_MS
        retired = [agent for agent in self.writers if self._is_retired(agent, last_ms)]
        if day.landed.count > day.sent.count and retired:
            self._assumed |= {agent.agent_id: agent for agent in retired}
            return []
        date = when(day_start_ms(start_ms))[:10]
        said = f"of {date}, of which windows are not told apart any more, agents sent {day.sent.count}"
        if is_awaited:
            return [Reason("awaited", f"{said}, and {day.landed.count} have landed; count them again with --recount")]
        if day.landed.count < day.sent.count:
            missing = f"{day.sent.count - day.landed.count} are missing"
            return [Reason("missing", f"{said}, and {day.landed.count} have landed: {missing}")]
        return [Reason("altered", f"{said} and as many have landed, but not the same: their hashes differ")]

    def _frontier(self, agent: Agent, start_ms: int | None) -> Reason | None:
        needed_ms = self._needed_ms(start_ms)
        if self._is_retired(agent, start_ms) and (self._drained_to_ms[agent.agent_id] <= needed_ms or agent.clone):
            self._assumed[agent.agent_id] = agent
            return None
        if agent.clone and not self._was_claimed_before(agent, agent.clone, needed_ms):
            one, other = agent.clone.runs
            span = f"from {when(agent.clone.from_ms)} to {when(agent.clone.to_ms)}"
            told = f"{_name(agent)} is cloned: runs {one} and {other} both spoke {span}"
            return Reason("cloned", told, agent.agent_id)
        if self._drained_to_ms[agent.agent_id] > needed_ms:
            return None
        if agent.heard_ms is None:
            return Reason("unheard", f"{_name(agent)} has sent no heartbeat that has landed", agent.agent_id)
        drained = f"drained to {when(agent.frontier_ms)}" if math.isfinite(agent.frontier_ms) else "not drained yet"
        needed = f", not past {when(needed_ms)}" if math.isfinite(needed_ms) else ""
        kind, silence = self._silence(agent, agent.heard_ms)
        return Reason(kind, f"{_name(agent)} is {drained}{needed}{silence}", agent.agent_id)

    def _needed_ms(self, start_ms: int | None) -> float:
        return -math.inf if start_ms is None else start_ms + WINDOW_MS + self.lateness_ms

    def _is_retired(self, agent: Agent, start_ms: int | None) -> bool:
        """Whether an agent's word is not waited for: neither its claim nor that it announces what it had sent."""
        return agent.retired_ms is not None and (start_ms is None or start_ms + WINDOW_MS > agent.retired_ms)

    def _was_claimed_before(self, agent: Agent, clone: Clone, needed_ms: float) -> bool:
        claim = agent.claim_past(self.topic, needed_ms)
        return claim is not None and claim.appended_ms < clone.from_ms

    def _unlanded(self, start_ms: int | None) -> list[Reason]:
        behind: dict[int, tuple[int, str]] = {}
        for agent in self._behind:
            for partition, end in self._acknowledged(agent, start_ms):
                if end > self.landed.ends.get(partition, 0):
                    behind[partition] = max(behind.get(partition, (0, "")), (end, _name(agent)))
        told = "partition {} has landed up to offset {}; {} had {} acknowledged"
        return [
            Reason("unlanded", told.format(partition, self.landed.ends.get(partition, 0), name, end))
            for partition, (end, name) in sorted(behind.items())
        ]

    def _acknowledged(self, agent: Agent, start_ms: int | None) -> Iterable[tuple[int, int]]:
        """The offsets that the table must have passed before an agent's window can be judged."""
        claim = None if start_ms is None else agent.claim_past(self.topic, self._needed_ms(start_ms))
        if claim is None or start_ms is None:
            return agent.acked.get(self.topic, {}).items()
        sent = agent.sent.get((self.topic, start_ms))
        return (*claim.ends.items(), *(sent.message.acked.items() if sent else ()))

    def _silence(self, agent: Agent, heard_ms: int) -> tuple[Kind, str]:
        if agent.state == "stopped":
            return "stopped", "; it was stopped"
        is_silent = self.now_ms - heard_ms > 3 * HEARTBEAT_INTERVAL_MS
        return ("silent", f"; last heard {when(heard_ms)}") if is_silent else ("behind", "")

    def _inaudible(self, start_ms: int | None) -> list[Reason]:
        if not self.landed.heard:
            return [Reason("audit_absent", "nothing of _audit has landed")]
        if start_ms is None:
            return []
        spoken_of = range(start_ms, start_ms + WINDOW_MS + self.lateness_ms + 1, WINDOW_MS)
        unheard = sum(lost.count for lost in self.landed.unheard if any(lost.overlaps(at) for at in spoken_of))
        told = f"{unheard} messages of _audit were lost, and may have spoken of this window"
        return [Reason("audit_lost", told)] if unheard else []

    def _unreached(self, start_ms: int | None) -> list[Reason]:
        if start_ms is None:
            told = "no agent has announced anything of it, and no table has landed"
            return [] if self.landed.ends else [Reason("unannounced", told)]
        needed_ms = start_ms + WINDOW_MS + self.lateness_ms
        told = "no agent writes it, and partition {} has landed up to {}, not past {}"
        return [
            Reason("unlanded", told.format(partition, when(reached_ms), when(needed_ms)))
            for partition, landed_ms in sorted(self.landed.reached_ms.items())
            if (reached_ms := max(landed_ms, self.landed.seen_ms.get(partition, 0))) <= needed_ms
        ]

    def _awaited(self, agent: Agent, start_ms: int) -> Reason | None:
        if not self.landed.is_summed(start_ms):
            return None
        landed, sent = self._landed(agent, start_ms).count, _sent_count(agent, self.topic, start_ms)
        if landed <= sent:
            return None
        recount = self.recounts.get((agent.agent_id, start_ms))
        if self._is_retired(agent, start_ms):
            return None
        is_known = start_ms >= agent.known_since_ms or self.topic in agent.agreed
        if not is_known and (recount is None or recount.distinct > sent):
            told = f"{landed - sent} more have landed than is known of {_name(agent)}: what it said before"
            return Reason("audit_lost", f"{told} {when(agent.known_since_ms)} is no longer in _audit", agent.agent_id)
        if self._is_excess(agent, recount, sent):
            return None
        told = f"{landed - sent} more have landed than {_name(agent)} has announced; its next heartbeat is awaited"
        return Reason("awaited", told, agent.agent_id)

    def _excess(self, agent: Agent, start_ms: int) -> Total:
        landed, sent = self._landed(agent, start_ms), agent.sent.get((self.topic, start_ms))
        count, content_hash = (sent.message.count, sent.message.content_hash) if sent else (0, 0)
        return Total(landed.count - count, (landed.content_hash - content_hash) % HASH_MODULUS)

    def _is_excess(self, agent: Agent, recount: Recount | None, sent: int) -> bool:
        """Whether no announcement can explain rows any more: they are repeats, or were in the log when it claimed its time."""
        if recount is None:
            return False
        if recount.distinct <= sent:
            return True
        known_ms = (
            min((other.acknowledged_ms(self.topic, partition, end - 1) for other in self._known), default=math.inf)
            for partition, end in recount.ends.items()
        )
        return agent.frontier_ms >= max(known_ms)

    def _faults(self, start_ms: int) -> list[Reason]:
        faults = self._lost(start_ms) + self._unlike_day(start_ms, is_awaited=False)
        for agent in self.writers:
            faults += [_unsaid(agent, gap) for gap in self._gaps(agent, start_ms)]
            sent = agent.sent.get((self.topic, start_ms))
            if sent and any(sent.message.dropped.values()):
                causes = ", ".join(f"{cause}: {count}" for cause, count in sorted(sent.message.dropped.items()) if count)
                told = f"{_name(agent)} dropped {sum(sent.message.dropped.values())} ({causes})"
                faults.append(Reason("dropped", told, agent.agent_id))
            faults += self._differences(agent, start_ms) if self.landed.is_summed(start_ms) else ()
        return faults

    def _lost(self, start_ms: int) -> list[Reason]:
        lost = [one for one in self.landed.lost if one.overlaps(start_ms)]
        if not lost:
            return []
        where = [one.where for one in lost if one.where]
        shown = f": {'; '.join(where[:_MOST_SHOWN])}" + (
            f" and {len(where) - _MOST_SHOWN} more" if len(where) > _MOST_SHOWN else ""
        )
        return [Reason("lost", f"{sum(one.count for one in lost)} lost before they landed{shown if where else ''}")]

    def unplaced(self) -> list[Reason]:
        """What was announced in messages that are not there, and may be of any window."""
        return [_unsaid(agent, gap) for agent in self.writers for gap in self._gaps(agent, None)]

    def _gaps(self, agent: Agent, start_ms: int | None) -> list[Gap]:
        """What an agent announced in messages that are not there, and may be of a window (None: of any).

        Where its events have landed, and no message tells of them, it is of that window and of no other.
        """
        found = []
        for gap in agent.gaps.get(self.topic, ()):
            starts = self._starts(agent, gap)
            if (start_ms is None and starts is None) or (start_ms is not None and starts is not None and start_ms in starts):
                found.append(gap)
        return found

    def of_gaps(self) -> set[int]:
        """The windows that what was announced in messages that are not there may be of, where they are known."""
        gaps = ((agent, gap) for agent in self.writers for gap in agent.gaps.get(self.topic, ()))
        return {start_ms for agent, gap in gaps for start_ms in self._starts(agent, gap) or ()}

    def _starts(self, agent: Agent, gap: Gap) -> range | None:
        here = self._explained.get((agent.agent_id, gap))
        return gap.starts(self.lateness_ms) if here is None else range(here, here + 1)

    def _differences(self, agent: Agent, start_ms: int) -> list[Reason]:
        sent, landed = agent.sent.get((self.topic, start_ms)), self._landed(agent, start_ms)
        count = sent.message.count if sent else 0
        said = f"{_name(agent)} sent {count}"
        kind: Kind
        if landed.count < count:
            kind, found = "missing", f", and {landed.count} have landed: {count - landed.count} are missing"
        elif self._is_retired(agent, start_ms):
            self._assumed[agent.agent_id] = agent
            return []
        elif landed.count > count:
            recount = self.recounts[agent.agent_id, start_ms]
            repeats = f"{recount.rows - recount.distinct} of the {recount.rows} rows are repeats"
            kind, found = "excess", f", and {landed.count} have landed: {landed.count - count} too many, {repeats}"
        elif sent and sent.message.content_hash != landed.content_hash:
            kind, found = "altered", " and as many have landed, but not the same: their hashes differ"
        else:
            return []
        return [Reason(kind, said + found, agent.agent_id)]

    def _landed(self, agent: Agent, start_ms: int) -> WindowSum:
        return self.landed.sums.get((agent.agent_id, start_ms), WindowSum(0, 0))

    def _overlapping(self, troubles: Iterable[Trouble], start_ms: int) -> int:
        return sum(trouble.count for trouble in troubles if trouble.overlaps(start_ms))

    def _concerns(self, agent: Agent, start_ms: int) -> bool:
        return (
            bool(self._gaps(agent, start_ms))
            or (self.topic, start_ms) in agent.sent
            or (agent.agent_id, start_ms) in self.landed.sums
        )

    def _agent_row(self, agent: Agent, start_ms: int, state: Verdict) -> Row:
        sent, landed = agent.sent.get((self.topic, start_ms)), self._landed(agent, start_ms)
        return Row(
            self.topic,
            start_ms,
            agent.agent_id,
            agent.host,
            sent=sent.message.count if sent else 0,
            rejected=sent.message.rejected if sent else 0,
            dropped=sum(sent.message.dropped.values()) if sent else 0,
            landed=landed.count,
            late=sent.late if sent else 0,
            quarantined=0,
            duplicates=landed.duplicates,
            lost=0,
            state=state,
        )

    def _row_of_nobody(self, start_ms: int, state: Verdict) -> list[Row]:
        lost = self._overlapping(self.landed.lost, start_ms)
        quarantined = self._overlapping(self.landed.quarantined, start_ms)
        foreign = self.landed.foreign.get(start_ms, 0)
        if not lost and not quarantined and not foreign:
            return []
        return [Row(self.topic, start_ms, None, None, None, None, None, foreign, None, quarantined, 0, lost, state)]


def when(at_ms: float) -> str:
    """A time as people read it: `2026-11-22 13:40:00Z`; one that no calendar knows is the calendar's first or last."""
    at = _EPOCH + timedelta(milliseconds=min(max(at_ms, _FIRST_MS), _LAST_MS))
    return f"{at.replace(tzinfo=None).isoformat(' ', 'seconds')}Z"


def _unsaid(agent: Agent, gap: Gap) -> Reason:
    after = f"after {when(gap.after_ms)} and " if gap.after_ms is not None else ""
    told = (
        f"{_name(agent)} announced {gap.more.count} that no message tells of: one was lost {after}before {when(gap.until_ms)}"
    )
    return Reason("unsaid", told, agent.agent_id)


def _name(agent: Agent) -> str:
    return f"agent {agent.agent_id} ({agent.host})" if agent.host else f"agent {agent.agent_id}"
