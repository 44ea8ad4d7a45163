"""The agents that the audit knows, as they stand: what `headrace audit agents` lists. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from headrace.audit import HEARTBEAT_INTERVAL_MS
from headrace.errors import UsageError
from headrace.jobs.audit.announced import Agent

Standing = Literal["active", "silent", "stopped", "finished", "retired", "cloned"]
SILENT_MS = 3 * HEARTBEAT_INTERVAL_MS


@dataclass(frozen=True, slots=True)
class Known:
    """One agent. `drained_to_ms` is None where nothing is claimed, or all (finished); `clock_ms`: ahead of the broker's."""

    agent: str
    host: str | None
    state: Standing | None
    drained_to_ms: int | None
    heard_ms: int | None
    clock_ms: int | None
    topics: tuple[str, ...]


def listed(agents: Iterable[Agent], now_ms: int) -> list[Known]:
    """All agents, by host; `state` is None for one of which no heartbeat has landed."""
    found = [
        Known(
            agent.agent_id,
            agent.host,
            _standing(agent, now_ms),
            int(agent.frontier_ms) if math.isfinite(agent.frontier_ms) else None,
            agent.heard_ms,
            agent.clock_ahead_ms,
            tuple(sorted(agent.acked)),
        )
        for agent in agents
    ]
    return sorted(found, key=lambda known: (known.host or "", known.agent))


def _standing(agent: Agent, now_ms: int) -> Standing | None:
    if agent.retired_ms is not None:
        return "retired"
    if agent.clone is not None:
        return "cloned"
    if agent.state == "active" and agent.heard_ms is not None and now_ms - agent.heard_ms > SILENT_MS:
        return "silent"
    return agent.state


def named(agents: Iterable[Agent], name: str) -> str:
    """The id of the agent that a name means: its id, the beginning of it, or its host's name where one agent alone has that.

    Raises:
        UsageError: none is called so, or several are.
    """
    found = [agent for agent in agents if name == agent.agent_id or agent.agent_id.startswith(name) or agent.host == name]
    exact = [agent for agent in found if agent.agent_id == name]
    if len(chosen := exact or found) == 1:
        return chosen[0].agent_id
    if not chosen:
        raise UsageError(f"no agent {name!r} has announced anything; see headrace audit agents")
    raise UsageError(f"{name!r} may be any of {', '.join(sorted(agent.agent_id for agent in chosen)[:10])}; write the id")
