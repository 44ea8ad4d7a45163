"""Where shipping begins in the files that are there when an input first begins (`start`). Pure steps (effects.py).

It is decided once for all of them, before any topic is known, and durable with the input's name: whatever comes later is read
from its first byte. A file of which something is passed over gets its stream at once, with the fingerprints that recognise it
and its copies, so that rotation, compression and truncation are met as for any other. An archive is passed over whole, or
not at all. In doubt nothing is: a file that cannot be read yet, or that bears the name of a log that an agent knew.
"""

from collections.abc import Set
from dataclasses import dataclass, replace

from headrace.agents.effects import Close, Listing, Note, Now, Open, Opened, Read, Save, Seen, Steps
from headrace.agents.events.lines import encoding_of
from headrace.agents.events.pipeline import Pipeline, compiled
from headrace.agents.rows import PASSED, StreamRow
from headrace.agents.tail.identity import (
    GUARD_BYTES,
    HEAD_BYTES,
    FileKey,
    digest,
    is_gzip_name,
    is_unreadable_name,
    rotated_from,
)
from headrace.agents.tail.strangers import LONGEST_WAIT_MS
from headrace.agents.tail.streams import Streams

SCANNED_BYTES = 1024 * 1024  # how far lines of a log may stand from their place in the order of times
_BLOCK_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024  # what is looked at of a line


class Beginnings:
    """Decides for the inputs of one agent."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def decide(self, listing: Listing, inputs: Set[tuple[str, str]]) -> Steps[None]:
        """Decide for all files of inputs (topic, name) that begin now; `listing` has what lies beside them, too."""
        streams, known = self._streams, self._streams.names
        origins = {(seen.input.topic, seen.path): seen for seen in listing.files if seen.matched}
        rows: dict[FileKey, StreamRow] = {}
        passed: dict[str, list[int]] = {}
        for seen in listing.files:
            key, names = seen.key, (seen.path, *rotated_from(seen.path))
            if key in rows or key in streams.by_key or key in streams.asleep or any((key[0], name) in known for name in names):
                continue
            found = [origins[key[0], name] for name in names if (key[0], name) in origins]
            origin = seen if seen.matched else found[0] if found else None
            if origin is None or origin.input.start.from_beginning or (key[0], origin.input.name) not in inputs:
                continue
            row = yield from self._row(seen, origin, listing.begun)
            if row is not None:
                rows[key] = row
                passed.setdefault(origin.input.name, []).append(max(row.begin, 0))
        yield Save(tuple(rows.values()), inputs=tuple(sorted(inputs)))
        for row in rows.values():
            self._streams.remember(row, listing.begun)
        for name, begins in passed.items():
            told = f"{len(begins)} file(s) are not shipped from their beginning: {sum(begins):,} bytes passed over"
            yield Note(f"input {name} begins; {told}", "")

    def _row(self, seen: Seen, origin: Seen, now: Now) -> Steps[StreamRow | None]:
        """The stream of a file of which something is passed over; None where nothing is."""
        earliest_ms = origin.input.start.earliest_ms(now.wall_ms) if seen.matched else None
        written_ms = seen.stat.mtime_ns // 1_000_000
        packed = seen.input.decompress and is_gzip_name(seen.path)
        if is_unreadable_name(seen.path) and not seen.explicit:
            return None
        if not seen.matched and written_ms <= now.wall_ms - LONGEST_WAIT_MS:
            return None  # what was rotated away so long ago is left alone in any case
        if packed and earliest_ms is not None and written_ms >= earliest_ms:
            return None
        opened = yield Open(seen.path, packed)
        if not isinstance(opened, Opened):
            return None
        row = None
        if opened.stat.key == seen.stat.key:
            row = yield from self._row_of(opened, seen, origin, earliest_ms, now)
        yield Close(opened.handle)
        return row

    def _row_of(self, opened: Opened, seen: Seen, origin: Seen, earliest_ms: int | None, now: Now) -> Steps[StreamRow | None]:
        path = seen.path if opened.trailer is not None else origin.path
        row = self._streams.row_of(origin.input, path, opened.stat, now.wall_ms)
        if opened.trailer is not None:
            head = (yield Read(opened.handle, 0, HEAD_BYTES)) or b""
            return replace(row, begin=PASSED, head=digest(head), head_bytes=len(head))
        begin = yield from end_of_lines(opened.handle, opened.stat.size)
        if earliest_ms is not None and opened.stat.mtime_ns // 1_000_000 >= earliest_ms:
            search = Search(opened.handle, compiled(seen.input.pipeline), now.wall_ms * 1000)
            begin = yield from search.begin_of(earliest_ms * 1000, begin)
        head = (yield Read(opened.handle, 0, min(HEAD_BYTES, begin))) or b""
        guard = (yield Read(opened.handle, max(0, begin - GUARD_BYTES), min(GUARD_BYTES, begin))) or b""
        if not begin or len(head) < min(HEAD_BYTES, begin) or len(guard) < min(GUARD_BYTES, begin):
            return None  # truncated meanwhile: what it holds is new
        return replace(
            row, begin=begin, position=begin, shipped_to=begin, stderr_to=begin, size_seen=opened.stat.size,
            head=digest(head), head_bytes=len(head), guard=digest(guard),
        )  # fmt: skip


def end_of_lines(handle: int, size: int) -> Steps[int]:
    """The byte behind the last newline of a file's first `size` bytes; 0 where there is none, or it cannot be read."""
    at = size
    while at > 0:
        start = max(0, at - _BLOCK_BYTES)
        block = (yield Read(handle, start, at - start)) or b""
        newline = block.rfind(b"\n")
        if newline >= 0:
            return int(start + newline + 1)
        at = start
    return 0


@dataclass(slots=True)
class Search:
    """Looks for lines by their own time, as a pipeline finds it; `timed` says that one that has a time was met."""

    handle: int
    pipeline: Pipeline
    read_time_us: int
    timed: bool = False

    def begin_of(self, earliest_us: int, end: int) -> Steps[int]:
        """The first byte of the first line whose time is `earliest_us` or later; `end` if none is, 0 if none has a time.

        Logs are in the order of time, but for a MiB: so a long one is halved, and looked through from a MiB before on.
        """
        low, high = 0, end
        while high - low > SCANNED_BYTES:
            middle = (low + high) // 2
            found = yield from self.first(middle, min(high, middle + SCANNED_BYTES), 0)
            if found is not None and found[1] < earliest_us:
                low = found[0]
            else:
                high = middle
        found = yield from self.first(max(0, low - SCANNED_BYTES), end, earliest_us)
        if found is not None:
            return found[0]
        return end if self.timed else 0

    def first(self, at: int, until: int, earliest_us: int) -> Steps[tuple[int, int] | None]:
        """Of the lines that begin and end in `[at, until)`, the first with such a time: its first byte, and the time (µs)."""
        at = max(0, at - 1)  # the newline before may be the one that ends a line here
        begin: int | None = 0 if at == 0 else None  # of the line that is looked at; None: of none yet
        line = b""
        while at < until:
            block = yield Read(self.handle, at, min(_BLOCK_BYTES, until - at))
            if not block:
                return None
            *ends, rest = block.split(b"\n")
            for piece in ends:
                if begin is not None:
                    time_us = self._time_of((line + piece)[: _LINE_BYTES + 1])
                    if time_us is not None and time_us >= earliest_us:
                        return begin, time_us
                at += len(piece) + 1
                begin, line = at, b""
            at += len(rest)
            line = (line + rest)[: _LINE_BYTES + 1]
        return None

    def _time_of(self, line: bytes) -> int | None:
        encoding = encoding_of(line)
        if len(line) > _LINE_BYTES:
            time_us = self.pipeline.time_of_start(line, encoding, self.read_time_us)
        else:
            time_us = self.pipeline.time_of(line.decode(encoding), self.read_time_us)
        self.timed = self.timed or time_us is not None
        return time_us
