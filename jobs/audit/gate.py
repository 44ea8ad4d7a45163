"""The gate: is all of some topics and of some time complete? For `headrace audit --wait` and for whoever starts a night's jobs.

A verdict follows from what has landed, and from who has been silent for how long. So a gate that waits looks whether any
table's log has grown, which costs a list of names for each, and judges again only what that concerns, or all when an agent
falls silent or is taken for retired; it looks as often as costs it a tenth of its time.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from headrace.audit import AUDIT_TOPIC
from headrace.errors import HeadraceError, StorageError, UsageError
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.heads import Heads
from headrace.jobs.audit.judged import SUMMED, TopicVerdict, Verdict, sums_of, worst
from headrace.jobs.audit.reasons import REMEDIES, Spell, spells
from headrace.jobs.audit.wording import when

EXIT_STATUS: Final[dict[Verdict, int]] = {"complete": 0, "incomplete": 3, "unknown": 4}
_LEAST_POLL_S: Final = 1.0
_MOST_POLL_S: Final = 60.0
_COST_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What a gate found at `judged_ms` of windows that overlap [since_ms, until_ms), which may be infinite."""

    state: Verdict
    topics: tuple[TopicVerdict, ...]
    since_ms: float
    until_ms: float
    judged_ms: int

    @property
    def exit_status(self) -> int:
        """0 complete; 3 incomplete, also where other windows are unknown still; 4 unknown."""
        return EXIT_STATUS["incomplete" if self.is_incomplete else self.state]

    @property
    def is_incomplete(self) -> bool:
        """Whether some window is: nothing that is waited for makes it all complete, whatever becomes of the others."""
        return any(topic.windows.count_of("incomplete") for topic in self.topics)

    def spells(self) -> list[Spell]:
        """Why it is not complete, topic by topic; empty if it is."""
        return [spell for topic in self.topics for spell in reasons_of(topic)]

    def summary(self) -> dict[str, Any]:
        """The same as JSON values: what a ledger of nightly runs keeps. Equal reasons of windows in a row are one."""
        return {
            "version": 1,
            "state": self.state,
            "since": _time(self.since_ms),
            "until": _time(self.until_ms),
            "judged": _time(self.judged_ms),
            "topics": [_topic_summary(topic) for topic in self.topics],
        }

    @property
    def assumed(self) -> list[str]:
        """What it rests on that nobody announced, of any topic: which agents are taken for retired."""
        return sorted({said for topic in self.topics for said in topic.assumed})


class Stopping(Protocol):
    """What a `threading.Event` is to one who waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds; True as soon as it is set."""
        ...


Tell = Callable[[GateVerdict, HeadraceError | None], None]


class Gate:
    """Judges some topics of one root over and over; `topics` empty: all that there are at the time."""

    def __init__(
        self,
        root: Path | str,
        topics: Sequence[str] = (),
        *,
        since_ms: float = -math.inf,
        until_ms: float = math.inf,
        retire_after_ms: float = math.inf,
    ) -> None:
        self._topics, self._since_ms, self._until_ms = tuple(topics), since_ms, until_ms
        self._heads = Heads(root)
        self._moved = self._heads.moved()  # before anything is judged: what lands meanwhile is seen to have moved
        self.auditor = Auditor(root, retire_after_ms=retire_after_ms)
        self._quiet: frozenset[tuple[str, bool]] = frozenset()
        self._judged: dict[str, TopicVerdict] = {}

    def look(self) -> None:
        """Take notice of what has landed since the last look. Raises StorageError, VersionError: it cannot be read now."""
        self._moved |= self._heads.moved()
        if AUDIT_TOPIC in self._moved:
            self.auditor.listen()
            self._judged.clear()
        for topic in self._moved:
            self._judged.pop(topic, None)
        self._moved.clear()

    def judge(self, *, now_ms: int) -> GateVerdict:
        """The verdict by what had landed at the last look, or has since."""
        if (quiet := self.auditor.quiet(now_ms)) != self._quiet:  # nothing lands, and time passes
            self._quiet = quiet
            self._judged.clear()
        topics = self._topics or self.auditor.topics()
        verdicts = tuple(self._verdict(topic, now_ms) for topic in topics)
        state = worst(verdict.state for verdict in verdicts) if verdicts else self.auditor.judge_nothing(now_ms=now_ms)
        return GateVerdict(state, verdicts, self._since_ms, self._until_ms, now_ms)

    def _verdict(self, topic: str, now_ms: int) -> TopicVerdict:
        if (known := self._judged.get(topic)) is not None:
            return known
        verdict = self.auditor.judge(topic, now_ms=now_ms, since_ms=self._since_ms, until_ms=self._until_ms)
        if not any(spell.reason.kind in ("damaged", "early") for spell in reasons_of(verdict)):  # these end without a record
            self._judged[topic] = verdict
        return verdict


def gate(
    root: Path | str,
    topics: Sequence[str] = (),
    *,
    since_ms: float = -math.inf,
    until_ms: float = math.inf,
    retire_after_ms: float = math.inf,
    timeout_s: float = 0.0,
    stop: Stopping | None = None,
    tell: Tell = lambda verdict, trouble: None,  # noqa: ARG005
) -> GateVerdict:
    """Whether all of some topics and of [since_ms, until_ms) is complete; waits up to `timeout_s` while it may become so.

    Args:
        root: of the landed tables; nothing needs to run.
        topics: none: all. One of which nothing is known is unknown.
        until_ms: if finite, every agent must be past it, also where nothing of that time has landed.
        retire_after_ms: agents that have been silent for longer are taken for retired, which the verdict says.
        stop: set when it shall wait no longer.
        tell: is given every verdict after which it waits, and why there is no newer one.
    Raises:
        UsageError, StorageError: there is no such root, or it, or what agents have announced, cannot be read; at first, or
            still at the end of the wait. VersionError: a newer headrace has written it.
    """
    asked = Gate(root, topics, since_ms=since_ms, until_ms=until_ms, retire_after_ms=retire_after_ms)
    return wait(asked, timeout_s=timeout_s, stop=stop, tell=tell)


def wait(asked: Gate, *, timeout_s: float, stop: Stopping | None, tell: Tell) -> GateVerdict:
    """The gate's verdict as soon as it is complete or some of it incomplete, or the last one after `timeout_s`; see `gate`."""
    deadline_s = time.monotonic() + timeout_s
    verdict = asked.judge(now_ms=_now_ms())
    trouble: HeadraceError | None = None
    cost_s = 0.0
    while verdict.state == "unknown" and not verdict.is_incomplete and (left_s := deadline_s - time.monotonic()) > 0:
        tell(verdict, trouble)
        pause_s = min(max(cost_s * _COST_SHARE, _LEAST_POLL_S), _MOST_POLL_S, left_s)
        if stop is None:
            time.sleep(pause_s)
        elif stop.wait(pause_s):
            break
        began_s = time.monotonic()
        try:
            asked.look()
            verdict, trouble = asked.judge(now_ms=_now_ms()), None
        except (StorageError, UsageError) as error:  # a store that does not answer, a mount that went away
            trouble = error
        cost_s = time.monotonic() - began_s
    if trouble is not None:
        raise trouble
    return verdict


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def reasons_of(verdict: TopicVerdict) -> list[Spell]:
    """Why a topic is not complete: what concerns no window in particular, then by windows."""
    of_all = {reason.same: reason for reason in verdict.reasons}
    of_windows = spells(verdict.topic, verdict.windows.reasons())
    for spell in of_windows:
        of_all.pop(spell.reason.same, None)
    return [Spell(verdict.topic, reason, ()) for reason in of_all.values()] + of_windows


def _topic_summary(topic: TopicVerdict) -> dict[str, Any]:
    sums = sums_of(topic.windows)
    return {
        "topic": topic.topic,
        "state": topic.state,
        "windows": {state: topic.windows.count_of(state) for state in EXIT_STATUS},
        **{name: sums[name] for name in SUMMED},
        "reasons": [_spell_summary(spell) for spell in reasons_of(topic)],
        "assumed": list(topic.assumed),
    }


def _spell_summary(spell: Spell) -> dict[str, Any]:
    return {
        "kind": spell.reason.kind,
        "agent": spell.reason.agent,
        "since": _time(spell.starts[0]) if spell.starts else None,
        "until": None if spell.end_ms is None else _time(spell.end_ms),
        "windows": len(spell.starts),
        "what": str(spell.reason),
        "do": REMEDIES[spell.reason.kind],
    }


def _time(at_ms: float) -> str | None:
    return when(at_ms).replace(" ", "T") if math.isfinite(at_ms) else None
