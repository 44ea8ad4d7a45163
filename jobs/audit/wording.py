"""How the audit's sentences name times and agents. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.jobs.audit.announced import Agent

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def when(at_ms: float) -> str:
    """A time as people read it: `2026-11-22 13:40:00Z`; one that no calendar knows is the calendar's first or last."""
    at = _EPOCH + timedelta(milliseconds=min(max(at_ms, _FIRST_MS), _LAST_MS))
    return f"{at.replace(tzinfo=None).isoformat(' ', 'seconds')}Z"


def how_long(ms: float) -> str:
    """`75 s`, `12 min`, `3 h` or `2 d`, rounded down."""
    for unit, size_ms in (("d", 2 * 86_400_000), ("h", 2 * 3_600_000), ("min", 2 * 60_000)):
        if ms >= size_ms:
            return f"{int(ms // (size_ms // 2))} {unit}"
    return f"{int(ms // 1000)} s"


def name_of(agent: Agent) -> str:
    """`agent 5f0c… (web-7)`."""
    return f"agent {agent.agent_id} ({agent.host})" if agent.host else f"agent {agent.agent_id}"
