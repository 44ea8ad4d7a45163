"""The audit again and again: judges what has changed, keeps `_SUCCESS`, and holds what is told of it (docs/audit.md)."""

import logging
import math
import re
import time
from dataclasses import dataclass
from typing import Final

from headrace.audit import AUDIT_TOPIC, WINDOW_MS
from headrace.clock import Clock
from headrace.errors import HeadraceError, StorageError
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.config import Audit
from headrace.jobs.audit.gate import GateVerdict, reasons_of
from headrace.jobs.audit.heads import Heads
from headrace.jobs.audit.judged import TopicVerdict, worst
from headrace.jobs.audit.marking import Marking
from headrace.jobs.audit.marks import HOUR_MS
from headrace.sinks.table.reader import TableSnapshot

logger = logging.getLogger(__name__)

_AGAIN: Final = -1
"""Judged until then: to be judged again, though nothing should land."""
_READ_AGAIN_MS: Final = HOUR_MS
"""How often marks are read again, and older hours that have none are judged."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the last round that went well has found; `took_s` is how long it took.

    The verdict is on each window from `since_ms` until the last one of which nothing is expected any more, also on those of
    which nothing was written.
    """

    verdict: GateVerdict
    took_s: float
    written: int
    taken: int


class Watching:
    """Judges one root, round by round; one owner, whose thread is the only one that calls `round`."""

    def __init__(self, keys: Audit, clock: Clock) -> None:
        self._keys, self._clock = keys, clock
        self._heads = Heads(keys.root)
        self._moved: set[str] = set()
        self._quiet: frozenset[tuple[str, bool]] = frozenset()
        self._auditor: Auditor | None = None
        self._judged: dict[str, tuple[int, TopicVerdict]] = {}
        self._markings: dict[str, Marking] = {}
        self._read_ms = clock.monotonic_ms()
        self._began_ms = clock.monotonic_ms()
        self.standing: Standing | None = None
        self.trouble: str | None = None
        """Why the last round has failed; None if it has not."""

    def why_not_ready(self) -> str | None:
        """Why what is told is not the state of a minute ago."""
        if self.trouble is not None:
            return self.trouble
        return "nothing has been judged yet" if self.standing is None else None

    def why_not_alive(self) -> str | None:
        """A round that takes longer than ten intervals, and ten minutes, does not end any more."""
        silent_s = (self._clock.monotonic_ms() - self._began_ms) / 1000
        return f"the last round began {silent_s:.0f} s ago" if silent_s > 10 * max(self._keys.every, 60) else None

    def round(self) -> None:
        """Judge what has changed. Never raises what a store or a table may cause: `trouble` says it."""
        self._began_ms = self._clock.monotonic_ms()
        try:
            self._judge_all(self._clock.wall_ms())
        except HeadraceError as error:
            if str(error) != self.trouble:
                logger.error("the audit's round failed: %s", error)
            self.trouble = str(error)
        else:
            self.trouble = None

    def _judge_all(self, now_ms: int) -> None:
        began_s = time.monotonic()
        self._listen()
        until_ms = _due_ms(now_ms, int(self._keys.lateness * 1000))
        since_ms = (until_ms - int(self._keys.horizon * 1000)) // HOUR_MS * HOUR_MS
        assert self._auditor is not None
        if (quiet := self._auditor.quiet(now_ms)) != self._quiet:
            self._quiet = quiet
            self._judged.clear()
        topics = [topic for topic in self._auditor.topics() if self._is_wanted(topic)]
        for gone in self._judged.keys() - set(topics):
            del self._judged[gone]
        troubles = [trouble for topic in topics if (trouble := self._judge(topic, since_ms, until_ms, now_ms))]
        verdicts = tuple(self._judged[topic][1] for topic in topics)
        verdict = GateVerdict(worst(each.state for each in verdicts), verdicts, since_ms, until_ms, now_ms)
        marks = [marking.marks for marking in self._markings.values()]
        self.standing = Standing(
            verdict, time.monotonic() - began_s, sum(one.written for one in marks), sum(one.taken for one in marks)
        )
        if troubles:
            more = f" (and {len(troubles) - 1:,} more topics)" if len(troubles) > 1 else ""
            raise StorageError(f"{troubles[0]}{more}; let the audit write there, or set audit.success: false")

    def _listen(self) -> None:
        """Take notice of what has landed."""
        self._moved |= self._heads.moved()
        if self._auditor is None:
            retire_after_ms = math.inf if self._keys.retire_after is None else self._keys.retire_after * 1000
            lateness_ms = int(self._keys.lateness * 1000)
            self._auditor = Auditor(self._keys.root, lateness_ms=lateness_ms, retire_after_ms=retire_after_ms)
        elif AUDIT_TOPIC in self._moved:
            self._auditor.listen()
        if AUDIT_TOPIC in self._moved:
            self._judged.clear()
        for topic in self._moved:
            self._judged.pop(topic, None)
        self._moved.clear()
        if self._clock.monotonic_ms() - self._read_ms > _READ_AGAIN_MS:
            self._read_ms = self._clock.monotonic_ms()
            self._judged.clear()
            for marking in self._markings.values():
                marking.review()

    def _is_wanted(self, topic: str) -> bool:
        return any(re.fullmatch(pattern, topic) for pattern in self._keys.topics)

    def _judge(self, topic: str, since_ms: int, until_ms: int, now_ms: int) -> str | None:
        """Judge a topic, if anything of it has changed; why its marks could not be kept, if they could not."""
        known = self._judged.get(topic)
        if known is not None and known[0] == until_ms:
            return None
        assert self._auditor is not None
        auditor = self._auditor

        def judge(since_ms: int, until_ms: int) -> tuple[TopicVerdict, TableSnapshot | None]:
            verdict = auditor.judge(topic, now_ms=now_ms, since_ms=since_ms, until_ms=until_ms, every_window=True)
            return verdict, auditor.table(topic)

        verdict, table = judge(since_ms, until_ms)
        is_damaged, is_settled, trouble = _is_damaged(verdict), True, None
        if self._keys.success and (table is not None or is_damaged):
            marking = self._markings.setdefault(topic, Marking(self._keys.root, topic))
            try:
                if table is None:
                    marking.withdraw(since_ms, until_ms)
                else:
                    is_settled = marking.settle(table, verdict, since_ms, judge, now_ms=now_ms)
            except StorageError as error:
                is_settled, trouble = False, f"_SUCCESS cannot be kept: {error}"
        self._judged[topic] = (until_ms if is_settled and not is_damaged else _AGAIN, verdict)
        return trouble


def _is_damaged(verdict: TopicVerdict) -> bool:
    return any(spell.reason.kind == "damaged" for spell in reasons_of(verdict))


def _due_ms(now_ms: int, lateness_ms: int) -> int:
    """The end of the last window whose lateness is over."""
    return (now_ms - lateness_ms) // WINDOW_MS * WINDOW_MS
