"""Days of which a table's log no longer tells windows apart (`sinks/table/audit_totals.py`), against what was announced. Pure.

Where all that agents announced of a day comes to what has landed of it, count and hash, each window is taken to have landed as
it was announced. Where it does not, that is said of the day: the log cannot tell any more which window it is of.
"""

from collections.abc import Mapping

from headrace.audit import HASH_MODULUS, Total
from headrace.jobs.audit.announced import Agent, Ends
from headrace.jobs.audit.evidence import UnlikeDay, WindowSum
from headrace.sinks.table.audit_totals import AuditTotal, day_start_ms


def as_announced(
    topic: str, agents: Mapping[str, Agent], settled: Mapping[int, AuditTotal], ends: Ends
) -> tuple[dict[tuple[str, int], WindowSum], dict[int, UnlikeDay]]:
    """What agents have announced of the windows of such days, and the days of which something else has landed.

    Args:
        settled: what has landed of each, by its start.
        ends: up to where the table has landed.
    """
    sums: dict[tuple[str, int], WindowSum] = {}
    sent = dict.fromkeys(settled, Total(0, 0))
    is_behind: set[int] = set()
    for agent in agents.values():
        for (of, start_ms), one in agent.sent.items():
            day_ms = day_start_ms(start_ms)
            if of != topic or day_ms not in settled:
                continue
            count, content_hash = one.message.count, one.message.content_hash
            sums[agent.agent_id, start_ms] = WindowSum(count, content_hash)
            so_far = sent[day_ms]
            sent[day_ms] = Total(so_far.count + count, (so_far.content_hash + content_hash) % HASH_MODULUS)
            if any(end > ends.get(partition, 0) for partition, end in one.message.acked.items()):
                is_behind.add(day_ms)
    unlike = {
        day_ms: UnlikeDay(sent[day_ms], landed, is_awaited=landed.count > sent[day_ms].count or day_ms in is_behind)
        for day_ms, total in settled.items()
        if (landed := Total(total.count, total.hash)) != sent[day_ms]
    }
    return sums, unlike
