"""Verdicts made by hand, for tests of how they are shown."""

from collections.abc import Mapping, Sequence

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.gate import GateVerdict
from headrace.jobs.audit.judged import Row, TopicVerdict, Verdict, Windows, WindowVerdict, worst
from headrace.jobs.audit.reasons import Reason

DAY = 1_763_856_000_000  # 2025-11-23
STATES: Mapping[str, Verdict] = {"c": "complete", "i": "incomplete", "u": "unknown"}


def verdict(**topics: str) -> GateVerdict:
    """Topics by name, a letter (c, i, u) for each window from `DAY` on; `.`: there is none."""
    found = tuple(topic(name, states) for name, states in topics.items())
    return GateVerdict(worst(each.state for each in found), found, float("-inf"), float("inf"), DAY + 86_400_000)


def topic(name: str, states: Sequence[str]) -> TopicVerdict:
    """One topic, as in `verdict`."""
    windows = Windows(window(name, n, STATES[state]) for n, state in enumerate(states) if state != ".")
    return TopicVerdict(name, worst(each.state for each in windows), (), windows)


def window(name: str, n: int, state: Verdict, *, sent: int = 100) -> WindowVerdict:
    """Window `n` of the day: of an incomplete one three are missing, an unknown one waits for an agent that is silent."""
    start = DAY + n * WINDOW_MS
    landed = sent - 3 if state == "incomplete" else sent
    reasons = {
        "complete": (),
        "incomplete": (Reason("missing", f"agent a (web-1) sent {sent}, and {landed} have landed: 3 are missing", "a"),),
        "unknown": (Reason("silent", f"agent b (web-2) is drained to 00:00, not past {n}; last heard 00:01", "b"),),
    }[state]
    row = Row(name, start, "a", "web-1", sent, 0, 0, landed, n % 2, 0, 0, 0, state)
    return WindowVerdict(name, start, state, reasons, (row,))
