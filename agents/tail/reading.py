"""Reading one stream on: from the bytes behind what is read, the next chunk of whole lines. Pure steps (effects.py).

Every read begins with the bytes before the position, which must be as they were: a file that was truncated and filled again,
even beyond the position between two looks, is noticed before a byte of it is taken for the old stream's.

A chunk ends with a newline. Bytes behind the last newline wait: they are looked through once (`scan_to`) and read again when
their newline comes. They are a line without it when nobody will finish it: the stream ends here (one-shot), or its file was
rotated away and is quiet. If the writer goes on after all, a newline alone is skipped, and what comes before one is a later
part of the same line: as many lines begin in the records as in the file.

A stream that comes to rest keeps none of these bytes; on news it is proved anew, as after a start (`verify`).

Where a rule makes one event of several lines (events/multiline.py), a chunk ends with an event: its last one waits, unsent, for
a line that begins another, until the file has been quiet for the rule's time-out, or this is a finite run. Also a line that is
too long to be read as a whole ends it. So what was forced is where a chunk ends, which is in its row.
"""

from dataclasses import dataclass, replace

from headrace.agents.effects import Now, Read, Stat, Steps
from headrace.agents.events.containers import is_stderr
from headrace.agents.events.lines import UTF_8, EncodingScan, part_length
from headrace.agents.events.pipeline import LINE_HEAD_BYTES, EventRule, compiled
from headrace.agents.rows import ChunkRow, LineHead, StreamRow
from headrace.agents.tail.identity import GUARD_BYTES, FileStat, digest
from headrace.agents.tail.proof import verify
from headrace.agents.tail.stream import RECORD_COST_BYTES, Stream

QUIET_MS = 10_000  # a rotated file or copy that nobody has written to for so long is taken to be finished
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read at once, and how much may be on its way. Costs are memory in the agent and its client library.

    `settled_streams` are kept awake at most of those that are done with and had news in the last seconds.
    """

    chunk_bytes: int = 256 * 1024
    chunk_lines: int = 2048
    round_bytes: int = 2 * 1024 * 1024
    stream_cost_bytes: int = 4 * 1024 * 1024
    total_cost_bytes: int = 8 * 1024 * 1024
    settled_streams: int = 256


@dataclass(frozen=True, slots=True)
class Planned:
    """A chunk ready to be sent once its row is durable (a repeated one is: `repeat`)."""

    chunk: ChunkRow
    data: bytes
    after: StreamRow
    cost_bytes: int
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Replaced:
    """The file no longer holds the stream's bytes: it was truncated, or filled again."""


Outcome = Planned | Replaced | None


def read_on(stream: Stream, now: Now, limits: Limits, *, once: bool) -> Steps[Outcome]:
    """Read what comes next in a stream whose file is open."""
    assert stream.handle is not None
    if stream.replay:
        return (yield from _repeat(stream))
    stat = yield Stat(stream.handle)
    if stat is None:
        return None
    if stream.limit is None and once:
        stream.limit = stat.size
    size = stat.size if stream.limit is None else min(stat.size, stream.limit)
    if stat.size < max(stream.scan_to, stream.row.size_seen):  # a log only grows
        return Replaced()
    before = stream.stat
    changed = before is None or (before.size, before.mtime_ns) != (stat.size, stat.mtime_ns)
    if stream.at_rest and (changed or size != stream.scan_to or (stream.rotated and stream.tail_bytes)):
        proved = yield from _wake(stream, stat)
        if not proved:
            return Replaced() if proved is False else None
    if stat != stream.stat:
        stream.stat = stat
    stream.looked(now, stat.size)
    if changed:
        stream.stir()
        stream.changed_ms = now.monotonic_ms
    elif stream.held and not _is_quiet(stream, now):
        return None
    elif size == stream.scan_to and stream.line_end < 0:
        stream.reached(size)
        if stream.idle and not (once or (stream.rotated and stream.tail_bytes)):
            stream.rest()
            return None
        return (yield from _finish_tail(stream, now, limits, once=once))
    return (yield from _read_unread(stream, now, limits, size, once=once))


def _read_unread(stream: Stream, now: Now, limits: Limits, size: int, *, once: bool) -> Steps[Outcome]:
    """The next chunk of a file that has grown, or is not read to its end."""
    outcome = yield from _next_chunk(stream, now, limits, size)
    if isinstance(outcome, Replaced):
        return outcome
    if outcome is None:
        stream.reached(stream.scan_to)
        if once and stream.scan_to == size:
            return (yield from _finish_tail(stream, now, limits, once=True))
    return outcome


def _wake(stream: Stream, stat: FileStat) -> Steps[bool | None]:
    """What is to be read on is proved anew, because nothing of its file was kept at rest; as `verify` answers."""
    assert stream.handle is not None
    return (yield from verify(stream, stream.handle, stat))


def _repeat(stream: Stream) -> Steps[Outcome]:
    """Read a chunk again that was on its way when the agent ended; it must still hold the very same bytes."""
    chunk = stream.replay[0]
    assert stream.handle is not None
    data = yield Read(stream.handle, chunk.start, chunk.end - chunk.start)
    if data is None:
        return None
    if len(data) != chunk.end - chunk.start or digest(data) != chunk.content or chunk.since != stream.read_to:
        return Replaced()
    return Planned(chunk, data, stream.row_after(chunk, data), _cost_bytes(chunk, data), repeat=True)


def _next_chunk(stream: Stream, now: Now, limits: Limits, size: int, *, whole_bytes: int = 0) -> Steps[Outcome]:
    """Whole lines from what is unread; `whole_bytes` is given where so many are known to be needed."""
    if stream.line is not None and (stream.line_end >= 0 or not stream.tail_open):
        return (yield from _next_part(stream, now, size))
    assert stream.handle is not None
    assert stream.input is not None
    chunk_bytes = whole_bytes or limits.chunk_bytes
    scanning = stream.scan_to > stream.read_to
    guard = stream.scan_guard
    data = yield Read(stream.handle, stream.scan_to - len(guard), len(guard) + min(chunk_bytes, size - stream.scan_to))
    if data is None:
        return None
    if data[: len(guard)] != guard:
        return Replaced()
    fresh = data[len(guard) :]
    if not scanning:
        stream.skip = 1 if stream.tail_open and fresh.startswith(b"\n") else 0
    newline = fresh.find(b"\n") if scanning or stream.within_line else fresh.rfind(b"\n", stream.skip)
    if newline < 0:
        stream.scan_to += len(fresh)
        stream.scan_guard = data[-GUARD_BYTES:]
        return None
    end = stream.scan_to + newline + 1
    if stream.within_line:
        return (yield from _begin_parts(stream, now, end, size, terminated=True))
    if not scanning and stream.rule is not None:
        return (yield from _next_events(stream, now, limits, size, fresh, grown=whole_bytes > limits.chunk_bytes))
    if not scanning:
        return _plan(stream, now, fresh[stream.skip : newline + 1], limits.chunk_lines)
    if end - stream.read_to <= max(limits.chunk_bytes, stream.input.split_bytes + 1):  # short enough to be read as a whole
        whole_bytes = end - stream.read_to if stream.rule is None else _longest_event_bytes(stream, stream.rule, limits)
        stream.rewind()
        return (yield from _next_chunk(stream, now, limits, size, whole_bytes=whole_bytes))
    return (yield from _begin_parts(stream, now, end, size, terminated=True))


def _next_events(stream: Stream, now: Now, limits: Limits, size: int, fresh: bytes, *, grown: bool) -> Steps[Outcome]:
    """Whole events from what is unread; `grown` says that `fresh` holds the longest event, and a line, if they are there."""
    assert stream.rule is not None
    assert stream.input is not None
    lines = fresh[stream.skip : fresh.rfind(b"\n") + 1]
    start = stream.read_to + stream.skip
    whole = stream.rule.whole_bytes(lines, 1 if grown else limits.chunk_lines)
    if whole:
        return _planned(stream, now, start, lines[:whole], None, more=False)
    if stream.read_to + len(fresh) < size:
        if grown:
            forced = stream.rule.forced_bytes(lines)
            return _planned(stream, now, start, lines[:forced], None, more=False)
        longest = _longest_event_bytes(stream, stream.rule, limits)
        return (yield from _next_chunk(stream, now, limits, size, whole_bytes=longest))
    if stream.limit is not None:
        return _planned(stream, now, start, fresh[stream.skip :], None, more=False)
    if _is_quiet(stream, now):
        return _planned(stream, now, start, lines, None, more=False)
    stream.held = True
    return None


def _longest_event_bytes(stream: Stream, rule: EventRule, limits: Limits) -> int:
    """How many bytes hold the longest event and the longest line that is read as a whole; more than a chunk."""
    assert stream.input is not None
    return limits.chunk_bytes + rule.max_bytes + stream.input.split_bytes + 2


def _is_quiet(stream: Stream, now: Now) -> bool:
    """Whether a file has not changed for as long as its last event waits."""
    return stream.rule is None or now.monotonic_ms - stream.changed_ms >= stream.rule.timeout_ms


def _plan(stream: Stream, now: Now, data: bytes, most_lines: int) -> Planned:
    """Make a chunk of whole lines (or of one unterminated one), at most so many."""
    lines = data.count(b"\n")
    if lines > most_lines:
        data = data[: len(data) - len(data.split(b"\n", most_lines)[-1])]
        lines = most_lines
    start = stream.read_to + stream.skip
    return _planned(stream, now, start, data, None, more=False)


def _planned(stream: Stream, now: Now, start: int, data: bytes, line: LineHead | None, *, more: bool) -> Planned:
    assert stream.input is not None
    chunk = ChunkRow(
        stream_id=stream.row.stream_id,
        start=start,
        end=start + len(data),
        since=stream.read_to,
        shipped_to=stream.shipped_to,
        stderr_to=stream.stderr_to,
        read_time_ms=now.wall_ms,
        pipeline=stream.input.pipeline,
        split_bytes=stream.input.split_bytes,
        content=digest(data),
        line=line,
        more=more,
        allowance=stream.allowance(now),
    )
    return Planned(chunk, data, stream.row_after(chunk, data), _cost_bytes(chunk, data))


def _cost_bytes(chunk: ChunkRow, data: bytes) -> int:
    records = 1 if chunk.line else data.count(b"\n") + 1 + 2 * len(data) // chunk.split_bytes
    return len(data) + records * RECORD_COST_BYTES


def _finish_tail(stream: Stream, now: Now, limits: Limits, *, once: bool) -> Steps[Outcome]:
    """The bytes behind the last newline, as a line, when nobody will finish it."""
    start = stream.read_to + stream.skip
    finished = once or (stream.rotated and now.monotonic_ms - stream.changed_ms >= QUIET_MS)
    if not finished or stream.scan_to <= start or stream.handle is None or stream.input is None:
        return None
    if stream.within_line or stream.scan_to - start > max(limits.chunk_bytes, stream.input.split_bytes + 1):
        return (yield from _begin_parts(stream, now, stream.scan_to, stream.scan_to, terminated=False))
    length = len(stream.guard) + stream.scan_to - stream.read_to
    data = yield Read(stream.handle, stream.read_to - len(stream.guard), length)
    if data is None:
        return None
    tail = data[len(stream.guard) + stream.skip :]
    if len(data) < length or not data.startswith(stream.guard) or b"\n" in tail:  # not what was looked through
        return Replaced()
    return _planned(stream, now, start, tail, None, more=False)


def _begin_parts(stream: Stream, now: Now, end: int, size: int, *, terminated: bool) -> Steps[Outcome]:
    """Look through a long line, or the rest of one whose beginning was sent, for its encoding; then send its first part."""
    assert stream.handle is not None
    assert stream.input is not None
    start = stream.read_to + stream.skip
    scan = EncodingScan()
    first = b""
    at, text_end = start, end - 1 if terminated else end
    while at < text_end:
        block = yield Read(stream.handle, at, min(_BLOCK_BYTES, text_end - at))
        if block is None:
            return None
        if not block or b"\n" in block:  # not what was looked through
            return Replaced()
        first = first or block[:LINE_HEAD_BYTES]
        at += len(block)
        scan.feed(block, final=at == text_end)
    if stream.within_line:
        assert stream.line is not None
        stream.line = stream.line if scan.encoding == UTF_8 else replace(stream.line, encoding=scan.encoding)
    else:
        pipeline = compiled(stream.input.pipeline)
        event_time_us = pipeline.time_of_start(first, scan.encoding, now.wall_ms * 1000)
        stream.line = LineHead(scan.encoding, event_time_us, 0, pipeline.container is not None and is_stderr(first))
    stream.line_end = end
    return (yield from _next_part(stream, now, size))


def _next_part(stream: Stream, now: Now, size: int) -> Steps[Outcome]:
    """The next part of a long line; after a restart in its middle, its end is looked for again."""
    assert stream.handle is not None
    assert stream.input is not None
    assert stream.line is not None
    if stream.line_end < 0:
        stream.line_end = yield from _find_line_end(stream, size)
    if stream.line_end < 0:
        return None
    start = stream.read_to + stream.skip
    limit = stream.input.split_bytes
    length = min(limit + 4, stream.line_end - start)
    data = yield Read(stream.handle, stream.read_to - len(stream.guard), len(stream.guard) + stream.skip + length)
    if data is None:
        return None
    fresh = data[len(stream.guard) + stream.skip :]
    text = fresh.removesuffix(b"\n")
    if not data.startswith(stream.guard) or len(fresh) < length or b"\n" in text:
        return Replaced()
    part = part_length(text, stream.line.encoding, limit)
    more = part < len(text) or start + length < stream.line_end
    return _planned(stream, now, start, text[:part] if more else fresh, stream.line, more=more)


def _find_line_end(stream: Stream, size: int) -> Steps[int]:
    """Where the line ends that is read within, or the file; -1 where the system fails."""
    assert stream.handle is not None
    at = stream.read_to
    while at < size:
        block = yield Read(stream.handle, at, min(_BLOCK_BYTES, size - at))
        if block is None:
            return -1
        if not block:
            break
        newline = block.find(b"\n")
        if newline >= 0:
            return int(at + newline + 1)
        at += len(block)
    return int(at)


def row_with_chunk(stream: Stream, planned: Planned) -> StreamRow:
    """The stream's row as it must be durable with the chunk: its position stands, its head is known further."""
    return replace(stream.row, head=planned.after.head, head_bytes=planned.after.head_bytes)
