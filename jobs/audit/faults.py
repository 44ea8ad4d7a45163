"""What is wrong in a window of which all have spoken: lost, dropped, missing, too many, altered. Pure (rules: verdict.py)."""

from typing import Final

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.announced import Agent
from headrace.jobs.audit.case import Case
from headrace.jobs.audit.reasons import Kind, Reason
from headrace.jobs.audit.totals import Gap
from headrace.jobs.audit.wording import name_of, when
from headrace.sinks.table.audit_totals import DAY_MS, day_start_ms

_MOST_SHOWN: Final = 3


def faults(case: Case, start_ms: int) -> list[Reason]:
    """Of a window."""
    found = lost(case, start_ms) + unlike_day(case, start_ms, is_awaited=False)
    for agent in case.writers:
        found += [_unsaid(agent, gap) for gap in case.gaps(agent, start_ms)]
        sent = case.sent(agent, start_ms)
        if sent and any(sent.dropped.values()):
            causes = ", ".join(f"{cause}: {count}" for cause, count in sorted(sent.dropped.items()) if count)
            told = f"{name_of(agent)} dropped {sum(sent.dropped.values())} ({causes})"
            found.append(Reason("dropped", told, agent.agent_id))
        found += differences(case, agent, start_ms) if case.landed.is_summed(start_ms) else ()
    return found


def lost(case: Case, start_ms: int) -> list[Reason]:
    """What of a window may have been lost before it landed, and where."""
    found = [one for one in case.landed.lost if one.overlaps(start_ms)]
    if not found:
        return []
    where = [one.where for one in found if one.where]
    more = f" and {len(where) - _MOST_SHOWN} more" if len(where) > _MOST_SHOWN else ""
    shown = f": {'; '.join(where[:_MOST_SHOWN])}{more}" if where else ""
    return [Reason("lost", f"{sum(one.count for one in found)} lost before they landed{shown}")]


def unlike_day(case: Case, start_ms: int, *, is_awaited: bool) -> list[Reason]:
    """What is said of a day where windows are not told apart. More may have landed of what a retired agent had sent."""
    day = case.landed.unlike.get(day_start_ms(start_ms))
    if day is None or day.is_awaited is not is_awaited or not case.landed.is_summed(day_start_ms(start_ms)):
        return []
    last_ms = day_start_ms(start_ms) + DAY_MS - WINDOW_MS
    retired = [agent for agent in case.writers if case.is_retired(agent, last_ms)]
    if day.landed.count > day.sent.count and retired:
        for agent in retired:
            case.assume(agent)
        return []
    date = when(day_start_ms(start_ms))[:10]
    said = f"of {date}, of which windows are not told apart any more, agents sent {day.sent.count}"
    if is_awaited:
        return [Reason("awaited", f"{said}, and {day.landed.count} have landed; count them again with --recount")]
    if day.landed.count < day.sent.count:
        missing = f"{day.sent.count - day.landed.count} are missing"
        return [Reason("missing", f"{said}, and {day.landed.count} have landed: {missing}")]
    return [Reason("altered", f"{said} and as many have landed, but not the same: their hashes differ")]


def unplaced(case: Case) -> list[Reason]:
    """What was announced in messages that are not there, and may be of any window."""
    return [_unsaid(agent, gap) for agent in case.writers for gap in case.gaps(agent, None)]


def differences(case: Case, agent: Agent, start_ms: int) -> list[Reason]:
    """What of an agent has landed otherwise than it announced."""
    sent, landed = case.sent(agent, start_ms), case.landed_of(agent, start_ms)
    count = sent.count if sent else 0
    said = f"{name_of(agent)} sent {count}"
    kind: Kind
    if landed.count < count:
        kind, found = "missing", f", and {landed.count} have landed: {count - landed.count} are missing"
        if landed.duplicates:
            found += f"; {landed.duplicates} more came and were repeats, as of an agent with an older state"
    elif landed.count > count and case.is_retired(agent, start_ms):  # it may not have lived to announce them
        case.assume(agent)
        return []
    elif landed.count > count:
        recount = case.recounts[agent.agent_id, start_ms]
        repeats = f"{recount.rows - recount.distinct} of the {recount.rows} rows are repeats"
        kind, found = "excess", f", and {landed.count} have landed: {landed.count - count} too many, {repeats}"
    elif sent and sent.content_hash != landed.content_hash:
        kind, found = "altered", " and as many have landed, but not the same: their hashes differ"
    else:
        return []
    return [Reason(kind, said + found, agent.agent_id)]


def _unsaid(agent: Agent, gap: Gap) -> Reason:
    after = f"after {when(gap.after_ms)} and " if gap.after_ms is not None else ""
    span = f"{after}before {when(gap.until_ms)}"
    if gap.more.count > 0:
        told = f"{name_of(agent)} announced {gap.more.count} that no message tells of: one was lost {span}"
    else:
        others = f"{-gap.more.count} more" if gap.more.count else "others"
        told = f"messages tell of {others} than {name_of(agent)} announced: one was altered {span}"
    return Reason("unsaid", told, agent.agent_id)
