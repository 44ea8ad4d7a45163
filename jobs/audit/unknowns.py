"""Why a window cannot be judged yet: whose word, and what of the log, is still missing. Pure (verdict.py has the rules)."""

import math
from collections.abc import Iterable

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.announced import Agent, Clone, is_beyond
from headrace.jobs.audit.case import Case
from headrace.jobs.audit.evidence import Recount
from headrace.jobs.audit.faults import unlike_day
from headrace.jobs.audit.known_agents import SILENT_MS
from headrace.jobs.audit.reasons import Kind, Reason
from headrace.jobs.audit.wording import how_long, name_of, when

LARGE_OFFSET_MS = 60_000
"""Of a clock: what is told of an agent that is waited for."""


class Unknowns:
    """Of one topic."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._drained_to_ms = {agent.agent_id: agent.drained_to_ms(case.topic) for agent in case.writers}
        self._behind = [agent for agent in case.writers if is_beyond(agent.acked.get(case.topic, {}), case.landed.ends)]

    def of(self, start_ms: int | None) -> list[Reason]:
        """Of a window (None: of the topic, where it has no window)."""
        case = self._case
        if case.landed.damage:
            return [Reason("damaged", f"the table cannot be read: {case.landed.damage}")]
        if damaged := [one.what for one in case.landed.damaged if start_ms is None or one.overlaps(start_ms)]:
            more = f" (and {len(damaged) - 1} more files)" if len(damaged) > 1 else ""
            return [Reason("damaged", f"a landed file cannot be read: {damaged[0]}{more}")]
        reasons = [reason for agent in case.writers if (reason := self._frontier(agent, start_ms))]
        reasons += self._unlanded(start_ms)
        reasons += self._inaudible(start_ms)
        if not case.writers:
            reasons += self._unreached(start_ms)
        if start_ms is not None and case.landed.is_summed(start_ms):
            reasons += [reason for agent in case.writers if (reason := self._awaited(agent, start_ms))]
            reasons += unlike_day(case, start_ms, is_awaited=True)
        return reasons

    def _frontier(self, agent: Agent, start_ms: int | None) -> Reason | None:
        needed_ms, drained_to_ms = self._case.needed_ms(start_ms), self._drained_to_ms[agent.agent_id]
        if self._case.is_retired(agent, start_ms) and (drained_to_ms <= needed_ms or agent.clone):
            self._case.assume(agent)
            return None
        if agent.clone and not self._was_claimed_before(agent, agent.clone, needed_ms):
            one, other = agent.clone.runs
            span = f"from {when(agent.clone.from_ms)} to {when(agent.clone.to_ms)}"
            told = f"{name_of(agent)} is cloned: runs {one} and {other} both spoke {span}"
            return Reason("cloned", told, agent.agent_id)
        if drained_to_ms > needed_ms:
            return None
        if agent.heard_ms is None:
            return Reason("unheard", f"{name_of(agent)} has sent no heartbeat that has landed", agent.agent_id)
        drained = f"drained to {when(agent.frontier_ms)}" if math.isfinite(agent.frontier_ms) else "not drained yet"
        needed = f", not past {when(needed_ms)}" if math.isfinite(needed_ms) else ""
        kind, silence = self._silence(agent, agent.heard_ms)
        clock = _clock(agent, agent.heard_ms, needed_ms)
        return Reason(kind, f"{name_of(agent)} is {drained}{needed}{silence}{clock}", agent.agent_id)

    def _was_claimed_before(self, agent: Agent, clone: Clone, needed_ms: float) -> bool:
        claim = agent.claim_past(self._case.topic, needed_ms)
        return claim is not None and claim.appended_ms < clone.from_ms

    def _silence(self, agent: Agent, heard_ms: int) -> tuple[Kind, str]:
        if agent.state == "stopped":
            return "stopped", "; it was stopped"
        is_silent = self._case.now_ms - heard_ms > SILENT_MS
        return ("silent", f"; last heard {when(heard_ms)}") if is_silent else ("behind", "")

    def _unlanded(self, start_ms: int | None) -> list[Reason]:
        ends = self._case.landed.ends
        behind: dict[int, tuple[int, str]] = {}
        for agent in self._behind:
            for partition, end in self._acknowledged(agent, start_ms):
                if end > ends.get(partition, 0):
                    behind[partition] = max(behind.get(partition, (0, "")), (end, name_of(agent)))
        told = "partition {} has landed up to offset {}; {} had {} acknowledged"
        return [
            Reason("unlanded", told.format(partition, ends.get(partition, 0), name, end))
            for partition, (end, name) in sorted(behind.items())
        ]

    def _acknowledged(self, agent: Agent, start_ms: int | None) -> Iterable[tuple[int, int]]:
        """The offsets that the table must have passed before an agent's window can be judged."""
        topic = self._case.topic
        if start_ms is None:
            return agent.acked.get(topic, {}).items()
        sent = self._case.sent(agent, start_ms)
        acknowledged = agent.acknowledged(topic, self._case.needed_ms(start_ms))
        return (*acknowledged.items(), *(sent.acked.items() if sent else ()))

    def _inaudible(self, start_ms: int | None) -> list[Reason]:
        landed = self._case.landed
        if not landed.heard:
            return [Reason("audit_absent", "nothing of _audit has landed")]
        if start_ms is None:
            return []
        spoken_of = range(start_ms, start_ms + WINDOW_MS + self._case.lateness_ms + 1, WINDOW_MS)
        unheard = sum(lost.count for lost in landed.unheard if any(lost.overlaps(at) for at in spoken_of))
        told = f"{unheard} messages of _audit were lost, and may have spoken of this window"
        return [Reason("audit_lost", told)] if unheard else []

    def _unreached(self, start_ms: int | None) -> list[Reason]:
        landed = self._case.landed
        if start_ms is None:
            told = "no agent has announced anything of it, and no table has landed"
            return [] if landed.ends else [Reason("unannounced", told)]
        needed_ms = self._case.needed_ms(start_ms)
        told = "no agent writes it, and partition {} has landed up to {}, not past {}"
        return [
            Reason("unlanded", told.format(partition, when(reached_ms) if reached_ms else "nothing", when(needed_ms)))
            for partition, reached_ms in sorted(landed.reached_ms.items())
            if reached_ms <= needed_ms
        ]

    def _awaited(self, agent: Agent, start_ms: int) -> Reason | None:
        found = self._case.sent(agent, start_ms)
        landed, sent = self._case.landed_of(agent, start_ms).count, found.count if found else 0
        if landed <= sent:
            return None
        recount = self._case.recounts.get((agent.agent_id, start_ms))
        if self._case.is_retired(agent, start_ms):
            return None
        is_known = start_ms >= agent.known_since_ms or self._case.topic in agent.agreed
        if not is_known and (recount is None or recount.distinct > sent):
            told = f"{landed - sent} more have landed than is known of {name_of(agent)}: what it said before"
            return Reason("audit_lost", f"{told} {when(agent.known_since_ms)} is no longer in _audit", agent.agent_id)
        if self._is_excess(agent, recount, sent):
            return None
        told = f"{landed - sent} more have landed than {name_of(agent)} has announced"
        # What was on its way when it stopped may be in the log: its next run sends that again, and counts it.
        awaited = "it was stopped: its next run's" if agent.state == "stopped" else "its next"
        return Reason("awaited", f"{told}; {awaited} heartbeat is awaited", agent.agent_id)

    def _is_excess(self, agent: Agent, recount: Recount | None, sent: int) -> bool:
        """Whether no announcement can explain rows any more: they are repeats, or were in the log when it claimed its time."""
        if recount is None:
            return False
        if recount.distinct <= sent:
            return True
        known_ms = (
            min((other.acknowledged_ms(self._case.topic, partition, end - 1) for other in self._case.known), default=math.inf)
            for partition, end in recount.ends.items()
        )
        return agent.frontier_ms >= max(known_ms)


def _clock(agent: Agent, heard_ms: int, needed_ms: float) -> str:
    """What an agent's clock has to do with it: claims of one that is behind are held back, windows of one ahead yet to come."""
    ahead_ms = agent.clock_ahead_ms or 0
    if ahead_ms < -LARGE_OFFSET_MS:
        return f"; its clock is {how_long(-ahead_ms)} behind the broker's, which holds that back"
    if ahead_ms > LARGE_OFFSET_MS and needed_ms > heard_ms:
        return f"; its clock is {how_long(ahead_ms)} ahead of the broker's, and so are windows of what it reads"
    return ""
