r"""Which lines are one event: a rule, as a pipeline's definition names it. Pure; a rule looks at bytes, never at times.

Lines are grouped from an event's first line on, and nothing is remembered over the bound between two events: from whichever
event's beginning the grouping starts, it finds the same events. Hence a chunk of whole events is all that a repeat needs, and
a cut that a time-out or a limit forced is in the chunk's row as its end. What is behind such a cut is grouped as if the file
began there; frames of a trace find each other even so.

A trace begins at its own first line (`Traceback …`, `panic: …`, `java.lang.IllegalStateException: …`), not at the line that a
logger wrote before it; `start` is for those who want both in one. The formats: CPython's traceback.py (chains, exception
groups; a message of several lines only where they are indented), java.lang.Throwable.printStackTrace, Go's
runtime/traceback.go. A blank line behind a trace belongs to it: whether the trace goes on is known behind the blank line only.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.agents.events.patterns import Pattern, pattern

LOOKED_AT_BYTES: Final = 1024  # of each line, so that a pattern's cost has a bound

_Test = Callable[[bytes], object]
_FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class _Step:
    """In some state: a line that passes `test` leads to state `then`, and belongs to the event before it if it `joins`."""

    test: _Test
    then: str
    joins: bool = True


def _matches(pattern: bytes) -> _Test:
    return re.compile(pattern).match


def _contains(text: bytes) -> _Test:
    return lambda line: text in line


def _is_call(line: bytes) -> bool:
    """Whether a line looks like one of Go's frames: `main.(*T).f[...](0xc000012345, {0x1, 0x2})`."""
    return line.endswith(b")") and b"(" in line and b": " not in line


_BLANK, _INDENTED = _matches(rb"\s*\Z"), _matches(rb"[ \t]")
_TRACEBACK = _contains(b"Traceback (most recent call last):")
_GOROUTINE = _matches(rb"goroutine \d+ (?:[^\[]{0,80})\[[^\]]+\]:\Z|runtime stack:\Z")

_Steps = Mapping[str, tuple[_Step, ...]]
_PYTHON: Final[_Steps] = {
    _FRESH: (
        _Step(_TRACEBACK, "python", joins=False),
        _Step(_matches(rb'[ \t]+File "[^"]*", line \d+'), "python", joins=False),
    ),
    "python": (
        _Step(_INDENTED, "python"),
        _Step(_matches(rb"[^\W\d][\w.<>]*(?::| \(|\Z)"), "python.end"),
    ),
    "python.end": (
        _Step(_BLANK, "python.gap"),
        _Step(_TRACEBACK, "python", joins=False),
        _Step(_INDENTED, "python.end"),
    ),
    "python.gap": (
        _Step(_matches(rb"During handling of the above exception, another exception occurred:"), "python.chain"),
        _Step(_matches(rb"The above exception was the direct cause of the following exception:"), "python.chain"),
    ),
    "python.chain": (_Step(_TRACEBACK, "python"), _Step(_BLANK, "python.chain")),
}
_JAVA: Final[_Steps] = {
    _FRESH: (
        _Step(
            _matches(
                rb"[ \t]+(?:eval )?at \S|[ \t]*(?:Caused by|Suppressed|Wrapped by): |[ \t]*nested exception is:"
                rb"|[ \t]*\.\.\. \d+ (?:more|common frames omitted)|[ \t]*(?:Caused by: )?\[CIRCULAR REFERENCE"
                rb"|[ \t]*--- End of (?:inner exception stack trace|stack trace from previous)"
            ),
            _FRESH,
        ),
    )
}
_GO: Final[_Steps] = {
    _FRESH: (
        _Step(_contains(b"panic: "), "go", joins=False),
        _Step(_contains(b"http: panic serving "), "go", joins=False),
        _Step(_matches(rb"fatal error: |SIGQUIT: quit"), "go", joins=False),
        _Step(_GOROUTINE, "go.frames", joins=False),
    ),
    "go": (
        _Step(_GOROUTINE, "go.frames"),
        _Step(_BLANK, "go.gap"),
        _Step(_matches(rb"[ \t]|\[signal |panic: |PC="), "go"),
    ),
    "go.gap": (_Step(_GOROUTINE, "go.frames"), _Step(_BLANK, "go.gap")),
    "go.frames": (
        _Step(_BLANK, "go.gap"),
        _Step(_matches(rb"[ \t]|created by |\.\.\.|[a-z]\w{1,5} +0x[0-9a-f]+\Z"), "go.frames"),
        _Step(_is_call, "go.frames"),
        _Step(_matches(rb"exit status \d+\Z"), _FRESH),
    ),
}
TRACES: Final[Mapping[str, _Steps]] = {"python": _PYTHON, "java": _JAVA, "go": _GO}


@dataclass(frozen=True, slots=True)
class Rule:
    """How lines are grouped.

    `traces` are names of TRACES. With `start`, every line that it does not match goes on with the event before; without, a line
    goes on where a trace does, or where `continue_` matches. Both are searched for in a line's first LOOKED_AT_BYTES. An event
    has at most so many lines, and bytes with the newlines between them, but for one line that alone has more.
    `timeout_ms` is how long a quiet file's last event is waited for; grouping itself knows no time.
    """

    traces: tuple[str, ...] = ()
    start: Pattern | None = None
    continue_: Pattern | None = None
    timeout_ms: int = 1000
    max_lines: int = 1000
    max_bytes: int = 512 * 1024

    def starts(self, lines: Sequence[bytes]) -> list[int]:
        """The indexes of the lines that begin an event; the first of them, where there is one, does in any case.

        Args:
            lines: without their newlines, from an event's first line on.
        """
        grouping = Grouping(self)
        return [index for index, line in enumerate(lines) if grouping.begins(line, len(line))]

    def whole_bytes(self, data: bytes, most_lines: int) -> int:
        """How many of `data`'s bytes are whole events, that is events behind which another begins.

        Args:
            data: whole lines, from an event's first line on.
            most_lines: take no more lines than that, but for one event that alone has more.
        """
        lines = data.split(b"\n")[:-1]
        bounds = self.starts(lines)[1:]
        if not bounds:
            return 0
        end = max((bound for bound in bounds if bound <= most_lines), default=bounds[0])
        return sum(map(len, lines[:end])) + end

    def forced_bytes(self, data: bytes) -> int:
        """Where to cut one event that cannot be waited for: behind the lines that are there."""
        return len(data)

    def last(self, data: bytes) -> tuple[bytes, bool]:
        """The last event of a chunk, whose last line has no newline; and whether it is a container's stderr's."""
        lines = data.split(b"\n")
        return b"\n".join(lines[self.starts(lines)[-1] :]), False

    def grouped(self, lines: Sequence[bytes]) -> list[bytes]:
        """A chunk's events, as the lines that they are made of."""
        starts = self.starts(lines)
        if len(starts) == len(lines):
            return list(lines)
        return [b"\n".join(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


class Grouping:
    """Lines of one stream on their way into events, from an event's first line on."""

    __slots__ = ("_lines", "_rule", "_size_bytes", "_state", "_steps")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._steps = _steps(rule.traces)
        self._state = _FRESH
        self._lines = self._size_bytes = 0

    def begins(self, line: bytes, size_bytes: int) -> bool:
        """Whether a line begins an event.

        Args:
            line: its text, where the file says something around it.
            size_bytes: what it takes of its event.
        """
        rule, head = self._rule, line[:LOOKED_AT_BYTES].rstrip(b"\r")
        joins = self._joins(head)
        if joins and 0 < self._lines < rule.max_lines and self._size_bytes + 1 + size_bytes <= rule.max_bytes:
            self._lines += 1
            self._size_bytes += 1 + size_bytes
            return False
        if joins:  # cut by a limit, or the first of all: as if the file began here
            self._state = _FRESH
            self._joins(head)
        self._lines, self._size_bytes = 1, size_bytes
        return True

    def _joins(self, head: bytes) -> bool:
        rule = self._rule
        if rule.start is not None:
            return not rule.start.found_in(head)
        return self._goes_on(head) or (rule.continue_ is not None and rule.continue_.found_in(head))

    def _goes_on(self, head: bytes) -> bool:
        """Whether a trace goes on with a line; the state is the one behind it."""
        for state in (self._state, _FRESH) if self._state != _FRESH else (_FRESH,):
            for step in self._steps.get(state, ()):
                if step.test(head):
                    self._state = step.then
                    return step.joins
        self._state = _FRESH
        return False


def rule_of(steps: Mapping[str, Any] | None) -> Rule | None:
    """The rule that a definition says: the fields of Rule, `continue` without the underscore; None where it says none."""
    if steps is None:
        return None
    patterns = {name: pattern(steps[name]) for name in ("start", "continue") if name in steps}
    return Rule(
        tuple(steps["traces"]), patterns.get("start"), patterns.get("continue"),
        steps["timeout_ms"], steps["max_lines"], steps["max_bytes"],
    )  # fmt: skip


def _steps(traces: tuple[str, ...]) -> _Steps:
    """The steps of several kinds of traces, as one table."""
    merged: dict[str, tuple[_Step, ...]] = {}
    for name in traces:
        for state, steps in TRACES[name].items():
            merged[state] = merged.get(state, ()) + steps
    return merged
