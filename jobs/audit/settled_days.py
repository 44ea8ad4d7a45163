"""Days of which a table's log no longer tells windows apart (`sinks/table/audit_totals.py`), against what was announced. Pure.

Where all that agents announced of a day comes to what has landed of it, count and hash, each window is taken to have landed as
it was announced. Where it does not, that is said of the day: the log cannot tell any more which window it is of.
"""

from collections.abc import Mapping

from headrace.audit import HASH_MODULUS, Total
from headrace.jobs.audit.announced import Agent, Ends, is_beyond
from headrace.jobs.audit.evidence import UnlikeDay
from headrace.sinks.table.audit_totals import DAY_MS, AuditTotal, day_start_ms


def unlike_days(
    topic: str, agents: Mapping[str, Agent], settled: Mapping[int, AuditTotal], ends: Ends, lateness_ms: int
) -> dict[int, UnlikeDay]:
    """Those of such days of which something else has landed than agents have announced.

    Args:
        settled: what has landed of each, by its start.
        ends: up to where the table has landed.
    """
    sent = dict.fromkeys(settled, Total(0, 0))
    is_behind: set[int] = set()
    for agent in agents.values():
        days: set[int] = set()
        for start_ms, one in agent.sent.get(topic, {}).items():
            if (day_ms := day_start_ms(start_ms)) not in settled:
                continue
            days.add(day_ms)
            so_far = sent[day_ms]
            sent[day_ms] = Total(so_far.count + one.count, (so_far.content_hash + one.content_hash) % HASH_MODULUS)
            if is_beyond(one.acked, ends):
                is_behind.add(day_ms)
        is_behind |= {day for day in days if is_beyond(agent.acknowledged(topic, day + DAY_MS + lateness_ms), ends)}
    return {
        day_ms: UnlikeDay(sent[day_ms], landed, is_awaited=landed.count > sent[day_ms].count or day_ms in is_behind)
        for day_ms, total in settled.items()
        if (landed := Total(total.count, total.hash)) != sent[day_ms]
    }
