r"""Logs of containers: the lines of a runtime, each around a piece of what a program wrote → events. Pure.

CRI: `<RFC 3339 time> stdout|stderr <tags> <text>`, where the first tag is `F`, or `P` for a text that the next line of the same
stream goes on with. Docker's json-file: `{"log": …, "stream": …, "time": …}`; a text without its `\n` goes on. Which of them a
line is, it says itself. Sources: kubelet-cri-logging.md of kubernetes/community, cri-api's LogTag; moby's jsonlog.

stdout and stderr are written into one file side by side, so an event's lines may lie apart. Its message is its raw lines with
newlines between, its position that of the first. The events of one of the two lie in the order of their positions and never
within each other; those of both may. Therefore they are two streams to whoever drops repeats (audit.md): stderr has a stream
id of its own, made from the file's, and each a `since` of its own, the end of the message before as the loader counts it
(sinks/repeats.py): position, bytes of the message, a newline. So the lines of the other between them are neither a hole nor
taken for records that have landed. A line that no runtime wrote belongs to the first.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash

from headrace.agents.events import timestamps
from headrace.agents.events.multiline import Grouping, Rule
from headrace.agents.events.parsers.parser import PARSE_ERROR, Parsed, Parser

_STREAMS = ("stdout", "stderr")


def stderr_stream_id(stream_id: str) -> str:
    """The id of the stream that a container's stderr is; `stream_id` is the file's."""
    return str(uuid.UUID(xxhash.xxh3_128_hexdigest(f"{stream_id}/stderr".encode())))


@dataclass(frozen=True, slots=True)
class Piece:
    """What a runtime's line holds: which stream's (1: stderr), its time as written, the text, whether that ends a line."""

    stream: int
    time: str
    text: str
    ends: bool
    fields: Mapping[str, str] = field(default_factory=dict)


def piece_of(line: str) -> Piece | None:
    """Read one line of a runtime; None where it is none."""
    if line.startswith("{"):
        return _docker(line)
    parts = line.split(" ", 3)
    if len(parts) < 3 or parts[1] not in _STREAMS:
        return None
    tag = parts[2].split(":", 1)[0]
    if tag not in ("F", "P"):
        return None
    return Piece(_STREAMS.index(parts[1]), parts[0], parts[3] if len(parts) == 4 else "", tag == "F")


def is_stderr(line: bytes) -> bool:
    """Whether a line, or the beginning of one, is stderr's; False where it does not say."""
    piece = piece_of(line.decode("utf-8", "replace"))
    return piece is not None and piece.stream == 1


def _docker(line: str) -> Piece | None:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text, stream, time = members.get("log"), members.get("stream"), members.get("time")
    if not isinstance(text, str) or stream not in _STREAMS or not isinstance(time, str):
        return None
    attributes = members.get("attrs")
    said = {name: value for name, value in attributes.items() if isinstance(value, str)} if isinstance(attributes, dict) else {}
    return Piece(_STREAMS.index(stream), time, text.removesuffix("\n"), text.endswith("\n"), said)


@dataclass(slots=True)
class Event:
    """One event: which stream's, the indexes of its lines, and what may go on with it."""

    stream: int
    lines: list[int]
    size_bytes: int
    partial: bool = False  # its last text has not ended
    over: bool = False  # nothing goes on with it


@dataclass(frozen=True, slots=True)
class ContainerRule:
    """How a runtime's lines become events: texts that go on are joined, then `rule` is for what they say (None: a line each).

    An event has at most `max_bytes` of raw lines. `timeout_ms` is how long one that may go on is waited for.
    """

    rule: Rule | None = None
    timeout_ms: int = 1000
    max_bytes: int = 512 * 1024

    def events(self, lines: Sequence[bytes]) -> list[Event]:
        """All events, by their first line.

        Args:
            lines: without their newlines; no event has lines before them.
        """
        events: list[Event] = []
        last: list[Event | None] = [None, None]
        groupings = [self._grouping(), self._grouping()]
        for index, line in enumerate(lines):
            piece = piece_of(line.decode("utf-8", "replace"))
            stream, before = (piece.stream, last[piece.stream]) if piece else (0, last[0])
            if piece is not None and before is not None and self._goes_on(before, piece, groupings[stream], len(line)):
                before.lines.append(index)
                before.size_bytes += 1 + len(line)
                before.partial = not piece.ends
                continue
            if before is not None:
                before.over = True
            event = Event(stream, [index], len(line), piece is not None and not piece.ends, over=piece is None)
            events.append(event)
            last[stream], groupings[stream] = event, self._grouping()
            if piece is not None:
                groupings[stream].begins(piece.text.encode(), len(line))
        return events

    def _grouping(self) -> Grouping:
        return Grouping(self.rule or Rule())

    def _goes_on(self, before: Event, piece: Piece, grouping: Grouping, size_bytes: int) -> bool:
        if before.over or before.size_bytes + 1 + size_bytes > self.max_bytes:
            return False
        if before.partial:
            return True
        return self.rule is not None and not grouping.begins(piece.text.encode(), size_bytes)

    def whole_bytes(self, data: bytes, most_lines: int) -> int:
        """As Rule's: how many bytes are whole events of both streams. One that may go on is over by the time of later lines."""
        lines = data.split(b"\n")[:-1]
        events = self.events(lines)
        ends = [event.lines[-1] if self._is_over(event, lines) else len(lines) for event in events]
        return _bound(lines, events, ends, most_lines)

    def forced_bytes(self, data: bytes) -> int:
        """Where to cut what cannot be waited for: if possible, where no text goes on."""
        lines = data.split(b"\n")[:-1]
        events = self.events(lines)
        ends = [len(lines) if event.partial and not event.over else event.lines[-1] for event in events]
        return _bound(lines, events, ends, len(lines)) or len(data)

    def _is_over(self, event: Event, lines: Sequence[bytes]) -> bool:
        if event.over or (self.rule is None and not event.partial):
            return True
        at, latest = (_time_us(lines[index]) for index in (event.lines[-1], -1))
        return at is not None and latest is not None and latest - at >= self.timeout_ms * 1000

    def last(self, data: bytes) -> tuple[bytes, bool]:
        """As Rule's: the event of the last line."""
        lines = data.split(b"\n")
        event = next(event for event in reversed(self.events(lines)) if event.lines[-1] == len(lines) - 1)
        return b"\n".join([lines[index] for index in event.lines]), event.stream == 1


def _bound(lines: Sequence[bytes], events: Sequence[Event], ends: Sequence[int], most_lines: int) -> int:
    """The bytes before a line with which no event goes on: if there are several, the last within `most_lines`."""
    bounds = []
    reached = -1
    for event, end in zip(events, ends, strict=True):
        if event.lines[0] > max(reached, 0):
            bounds.append(event.lines[0])
        reached = max(reached, end)
    if lines and reached < len(lines):
        bounds.append(len(lines))
    if not bounds:
        return 0
    count = max((bound for bound in bounds if bound <= most_lines), default=bounds[0])
    return sum(map(len, lines[:count])) + count


def _time_us(line: bytes) -> int | None:
    piece = piece_of(line.decode("utf-8", "replace"))
    return timestamps.iso(piece.time, 0) if piece is not None else None


def container_parser(inner: Parser, metadata: Mapping[str, str]) -> Parser:
    """A parser of such events: what the program wrote is `log`, `inner` finds fields in it; the time is the runtime's."""

    def parse(text: str, read_time_us: int) -> Parsed:
        pieces = [piece_of(line) for line in text.split("\n")]
        first = pieces[0]
        if first is None:
            event_time_us, fields = inner(text, read_time_us)
            return event_time_us, {**fields, **metadata, PARSE_ERROR: "not a line of a container runtime"}
        said = [(piece.text, piece.ends) for piece in pieces if piece is not None]
        log = "".join(text + ("\n" if ends else "") for text, ends in said).removesuffix("\n")
        _, fields = inner(log, read_time_us)
        own = {"log": log, "stream": _STREAMS[first.stream]}
        return timestamps.iso(first.time, read_time_us), {**fields, **first.fields, **metadata, **own}

    return parse


def container_rule_of(step: Mapping[str, Any] | None, rule: Rule | None) -> ContainerRule | None:
    """The rule that a definition says; None where it says none."""
    if step is None:
        return None
    return ContainerRule(rule, rule.timeout_ms if rule is not None else step["timeout_ms"], step["max_bytes"])
