"""One topic, as it is judged: who writes it, what has landed, and whom nobody waited for. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.audit import HASH_MODULUS, WINDOW_MS, Total
from headrace.jobs.audit.announced import Agent
from headrace.jobs.audit.evidence import Landed, Recount, Trouble, WindowSum
from headrace.jobs.audit.sent_windows import Sent
from headrace.jobs.audit.totals import Gap
from headrace.jobs.audit.wording import name_of, when
from headrace.sinks.table.audit_totals import day_start_ms


@dataclass(slots=True)
class Case:
    """What a topic's windows are judged by.

    `writers` in the order in which they are told; `known` are all agents there are; `now_ms` is wall time, only for how long
    an agent has been silent.
    """

    topic: str
    writers: Sequence[Agent]
    landed: Landed
    recounts: Mapping[tuple[str, int], Recount]
    now_ms: int
    lateness_ms: int
    known: Iterable[Agent]
    _assumed: set[str] = field(default_factory=set)
    _explained: dict[tuple[str, Gap], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._explained = {
            (agent.agent_id, gap): start_ms
            for agent in self.writers
            for gap in agent.gaps.get(self.topic, ())
            for agent_id, start_ms in self.landed.sums
            if agent_id == agent.agent_id and self._excess(agent, start_ms) == gap.more
        }

    def sent(self, agent: Agent, start_ms: int) -> Sent | None:
        """What an agent has announced of a window."""
        return agent.sent_of(self.topic, start_ms)

    def landed_of(self, agent: Agent, start_ms: int) -> WindowSum:
        """What of an agent has landed in a window."""
        if day_start_ms(start_ms) in self.landed.settled:
            sent = self.sent(agent, start_ms)
            return WindowSum(sent.count, sent.content_hash) if sent else WindowSum(0, 0)
        return self.landed.sums.get((agent.agent_id, start_ms), WindowSum(0, 0))

    def _excess(self, agent: Agent, start_ms: int) -> Total:
        landed, sent = self.landed_of(agent, start_ms), self.sent(agent, start_ms)
        count, content_hash = (sent.count, sent.content_hash) if sent else (0, 0)
        return Total(landed.count - count, (landed.content_hash - content_hash) % HASH_MODULUS)

    def needed_ms(self, start_ms: int | None) -> float:
        """The time that agents have to be past; None: of a topic without windows."""
        return -math.inf if start_ms is None else start_ms + WINDOW_MS + self.lateness_ms

    def is_retired(self, agent: Agent, start_ms: int | None) -> bool:
        """Whether an agent's word is not waited for: neither its claim nor that it announces what it had sent."""
        return agent.retired_ms is not None and (start_ms is None or start_ms + WINDOW_MS > agent.retired_ms)

    def assume(self, agent: Agent) -> None:
        """An agent's word was not asked for."""
        self._assumed.add(agent.agent_id)

    def assumed(self) -> tuple[str, ...]:
        """What the verdict rests on beside what was announced and has landed."""
        retired = [
            f"assumed retired: {name_of(agent)}, silent since {when(agent.heard_ms) if agent.heard_ms else 'ever'}"
            for agent in self.writers
            if agent.agent_id in self._assumed
        ]
        until_ms = self.landed.uncounted_until_ms
        told = "not compared by number: windows before {}, from which a rewind took rows that do not say whose they are"
        return (*retired, *([] if until_ms is None else [told.format(when(until_ms))]))

    def gaps(self, agent: Agent, start_ms: int | None) -> list[Gap]:
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

    def overlapping(self, troubles: Iterable[Trouble], start_ms: int) -> int:
        """How many records of troubles a window may have held."""
        return sum(trouble.count for trouble in troubles if trouble.overlaps(start_ms))
