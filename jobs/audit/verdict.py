"""The verdict: is every event of a topic there, and is it the same? Pure; reads no file and no clock.

Source: audit.md, "Verdict". For a topic and a window of event time, first matching wins:

    unknown      a landed file that may hold a row of it cannot be read; or an agent has not claimed a time past its end +
                 lateness, or two runs of it are a clone; or the table's ends are not past what the first claim past it, and
                 the window's own messages, say is acknowledged; or more has landed than was announced, while the next
                 announcement is awaited, or where what was announced then is gone
    incomplete   something is lost or dropped, or less or more has landed than was announced, or the hashes differ
    complete     otherwise; events that were rejected or quarantined are shown beside it

A claim covers every line that was read before it. So rows beyond the announced count are awaited until their agent has claimed
a time at which they were known to be in the log, and are an excess then: by the broker's clock alone, for the hosts' own may be
set back. Windows that a retired agent has never claimed are judged by what it has announced at least.
A topic in which no agent writes has nothing to be compared with: complete says only that the table has passed the window in
every partition, or has seen its end, and that nothing in it was lost.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from headrace.audit import WINDOW_MS, window_start_ms
from headrace.jobs.audit.announced import LATENESS_MS, Agent
from headrace.jobs.audit.case import Case
from headrace.jobs.audit.evidence import Landed, Recount
from headrace.jobs.audit.faults import faults, lost, unplaced
from headrace.jobs.audit.judged import SEVERITY, Row, TopicVerdict, Verdict, Windows, WindowVerdict, worst
from headrace.jobs.audit.reasons import Reason
from headrace.jobs.audit.unknowns import Unknowns
from headrace.jobs.audit.wording import when
from headrace.sinks.table.audit_totals import day_start_ms


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
        now_ms: wall time; for how long an agent has been silent, and whether `until_ms` and the lateness are over.
        since_ms, until_ms: only windows that overlap this time are judged; with an end, also whether every agent is past it,
            for windows that nobody has announced yet.
        retire_after_ms: agents that have been silent for longer are taken for retired.
        every_window: also each window of that time, which has both ends then, that nobody has announced.
    """
    writers = {agent_id: agent for agent_id, agent in agents.items() if agent.writes_to(topic)}
    writers |= {agent_id: _unheard(agent_id) for agent_id, _ in landed.sums if agent_id not in agents}
    writers |= {agent_id: agents[agent_id] for agent_id, _ in landed.sums if agent_id in agents}
    writers = {agent_id: _by_policy(agent, now_ms, retire_after_ms) for agent_id, agent in writers.items()}
    in_order = sorted(writers.values(), key=lambda agent: (agent.host or "", agent.agent_id))
    case = Case(topic, in_order, landed, recounts, now_ms, lateness_ms, agents.values())
    unknowns = Unknowns(case)
    known = _window_starts(topic, writers, landed) | case.of_gaps()
    known |= {start_ms for damaged in landed.damaged for start_ms in damaged.edges(since_ms, until_ms)}
    if every_window:
        known |= set(range(window_start_ms(int(since_ms)), int(until_ms), WINDOW_MS))
    starts = sorted(start for start in known if since_ms < start + WINDOW_MS and start < until_ms)
    windows = Windows(_window(case, unknowns, start) for start in starts)
    states = [state for state in SEVERITY if windows.count_of(state)]
    reasons: list[Reason] = []
    if math.isfinite(until_ms):  # what is yet to come of this time has no window so far
        reasons = unknowns.of(window_start_ms(int(until_ms) - 1))
        if not reasons and now_ms < until_ms + lateness_ms:  # finite inputs have been shipped to their ends, and claim all time
            reasons = [Reason("early", f"this time is not over before {when(int(until_ms) + lateness_ms)}")]
    elif not windows:
        reasons = unknowns.of(None)
    if reasons:
        states.append("unknown")
    elif nowhere := unplaced(case):
        reasons = nowhere
        states.append("incomplete")
    elif not windows and landed.lost:
        reasons = [Reason("lost", f"{sum(lost.count for lost in landed.lost)} lost before they landed")]
        states.append("incomplete")
    return TopicVerdict(topic, worst(states), tuple(reasons), windows, case.assumed())


def _sent_count(agent: Agent | None, topic: str, start_ms: int) -> int:
    sent = agent.sent_of(topic, start_ms) if agent else None
    return sent.count if sent else 0


def is_retired_by_policy(agent: Agent, now_ms: int, retire_after_ms: float) -> bool:
    """Whether an agent that nobody has retired has been silent for longer than that."""
    return agent.retired_ms is None and agent.heard_ms is not None and agent.heard_ms < now_ms - retire_after_ms


def _by_policy(agent: Agent, now_ms: int, retire_after_ms: float) -> Agent:
    return replace(agent, retired_ms=-math.inf) if is_retired_by_policy(agent, now_ms, retire_after_ms) else agent


def _unheard(agent_id: str) -> Agent:
    return Agent(agent_id, None, None, -math.inf, None, {}, {}, None)


def _window_starts(topic: str, writers: Mapping[str, Agent], landed: Landed) -> set[int]:
    starts = {start for _, start in landed.sums} | set(landed.foreign)
    for agent in writers.values():
        starts.update(agent.sent.get(topic, ()))
    starts |= set(landed.unlike) - {day_start_ms(start) for start in starts}
    for trouble in (*landed.lost, *landed.quarantined):
        starts |= trouble.edges()
    return starts


def _window(case: Case, unknowns: Unknowns, start_ms: int) -> WindowVerdict:
    reasons = unknowns.of(start_ms)
    state: Verdict = "unknown"
    if reasons:
        reasons += lost(case, start_ms)  # whatever else there is to come
    else:
        reasons = faults(case, start_ms)
        state = "incomplete" if reasons else "complete"
    rows = [_agent_row(case, agent, start_ms, state) for agent in case.writers if _concerns(case, agent, start_ms)]
    return WindowVerdict(case.topic, start_ms, state, tuple(reasons), (*rows, *_row_of_nobody(case, start_ms, state)))


def _concerns(case: Case, agent: Agent, start_ms: int) -> bool:
    is_summed = (agent.agent_id, start_ms) in case.landed.sums
    return is_summed or case.sent(agent, start_ms) is not None or bool(case.gaps(agent, start_ms))


def _agent_row(case: Case, agent: Agent, start_ms: int, state: Verdict) -> Row:
    sent, landed = case.sent(agent, start_ms), case.landed_of(agent, start_ms)
    return Row(
        case.topic,
        start_ms,
        agent.agent_id,
        agent.host,
        sent=sent.count if sent else 0,
        rejected=sent.rejected if sent else 0,
        dropped=sum(sent.dropped.values()) if sent else 0,
        landed=landed.count,
        late=sent.late if sent else 0,
        quarantined=0,
        duplicates=landed.duplicates,
        lost=0,
        state=state,
    )


def _row_of_nobody(case: Case, start_ms: int, state: Verdict) -> list[Row]:
    lost = case.overlapping(case.landed.lost, start_ms)
    quarantined = case.overlapping(case.landed.quarantined, start_ms)
    foreign = case.landed.foreign.get(start_ms, 0)
    if not lost and not quarantined and not foreign:
        return []
    return [Row(case.topic, start_ms, None, None, None, None, None, foreign, None, quarantined, 0, lost, state)]
