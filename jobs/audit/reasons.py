"""Why a window is not complete: a sentence for people, a kind for programs, and what to do about each kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from headrace.audit import WINDOW_MS

Kind = Literal[
    "early", "damaged", "cloned", "unheard", "silent", "stopped", "behind", "unlanded", "unannounced", "audit_absent",
    "audit_lost", "awaited", "unsaid", "lost", "dropped", "missing", "excess", "altered",
]  # fmt: skip

REMEDIES: Final[dict[Kind, str]] = {
    "early": "ask again when that time is over",
    "damaged": "put back what is named; headrace check --deep ROOT names all that is not as it landed",
    "cloned": "give each host a state_dir of its own, then retire the identity that both had",
    "unheard": "wait for its first heartbeat; if the host is gone for good, retire the agent",
    "silent": "start the agent again, or see why it does not reach the broker; if the host is gone for good, retire it",
    "stopped": "start the agent again; if it is not to come back, retire it",
    "behind": "wait: the agent is still sending what was written then, and says so with its next heartbeat",
    "unlanded": "wait for the loader; see how far it is with headrace lag",
    "unannounced": "wait until something lands, or see whether the topic is named rightly",
    "audit_absent": "let the loader land topic _audit too; see how far it is with headrace lag",
    "audit_lost": "what agents said is gone from the broker: raise the retention of _audit, and count the window again",
    "awaited": "wait: the agent's next heartbeat says whether it sent them",
    "unsaid": "a message of _audit was lost or altered: raise its retention, and count again with headrace audit --recount",
    "lost": "raise the topic's retention or start more loaders; what was lost is named by headrace check ROOT",
    "dropped": "see the agent's log and docs/agents.md for the cause that is named",
    "missing": "look into the quarantine (headrace quarantine list); headrace audit --recount says which; then send them again",
    "excess": "rows that nobody announced: another writer, or an older state of the agent; compare with headrace query",
    "altered": "something between the agent and the table changes messages; compare a row with the host's own log",
}
"""What to do, by kind; docs/audit.md has the same table."""
_FAULTS: Final[frozenset[Kind]] = frozenset({"unsaid", "lost", "dropped", "missing", "excess", "altered"})
_OF_FRONTIERS: Final[frozenset[Kind]] = frozenset({"silent", "stopped", "behind"})


class Reason(str):
    """The sentence; `kind` is the same for programs, and `agent` the id of the one that it speaks of, if of one."""

    __slots__ = ("agent", "kind")
    kind: Kind
    agent: str | None

    def __new__(cls, kind: Kind, sentence: str, agent: str | None = None) -> "Reason":
        reason = super().__new__(cls, sentence)
        reason.kind, reason.agent = kind, agent
        return reason

    @property
    def is_fault(self) -> bool:
        """Whether it makes a window incomplete; else unknown."""
        return self.kind in _FAULTS

    @property
    def is_of_agent(self) -> bool:
        """Whether it holds for all windows after a time, in all topics that the agent writes to."""
        return self.kind in _OF_FRONTIERS

    @property
    def same(self) -> tuple[str, str | None]:
        """Equal where two windows have the same reason: that an agent is not past them, says the last of them."""
        return (self.kind, self.agent) if self.is_of_agent else (self, self.agent)


@dataclass(frozen=True, slots=True)
class Spell:
    """One reason of a topic over all windows in a row that have it; without windows it is of the topic as a whole."""

    topic: str
    reason: Reason
    starts: tuple[int, ...]

    @property
    def end_ms(self) -> int | None:
        """Where its last window ends."""
        return self.starts[-1] + WINDOW_MS if self.starts else None


def spells(topic: str, windows: Iterable[tuple[int, Sequence[Reason]]]) -> list[Spell]:
    """Each reason once for all windows in a row that have it, in the order in which they begin.

    Args:
        windows: start and reasons of each, by start.
    """
    found: list[_Open] = []
    going_on: dict[tuple[str, str | None], _Open] = {}
    for start_ms, reasons in windows:
        before, going_on = going_on, {}
        for reason in reasons:
            spell = before.get(reason.same)
            if spell is None:
                spell = _Open(reason)
                found.append(spell)
            spell.reason = reason
            spell.starts.append(start_ms)
            going_on[reason.same] = spell
    return [Spell(topic, spell.reason, tuple(spell.starts)) for spell in found]


@dataclass(slots=True)
class _Open:
    reason: Reason
    starts: list[int] = field(default_factory=list)
