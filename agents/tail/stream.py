"""One stream while the agent runs: how far it is read, what is on its way, how far it is acknowledged, when it was complete.

Pure. Owned by the tailer; nobody else changes a stream. Invariants: `row.position` ≤ `read_to` ≤ `scan_to`; the chunks in
flight cover `[row.position, read_to)` in order, but for newlines that were skipped; `row` moves over a contiguous run of
delivered chunks.

A stream that is read to its file's end and acknowledged is at rest: it keeps no bytes of the file, only their digests, and
before it is read on it proves itself anew. There may be ten thousand of them.
"""

from dataclasses import replace
from typing import Any

from headrace.agents.effects import Advance, Input, Now, Seen, Shipped
from headrace.agents.events.lines import cut, encoding_of
from headrace.agents.events.pipeline import EventRule, compiled
from headrace.agents.events.rate import Bucket
from headrace.agents.flight import Completeness, Flight
from headrace.agents.rows import ChunkRow, LineHead, StreamRow
from headrace.agents.tail.identity import GUARD_BYTES, HEAD_BYTES, FileStat, digest, running_hash

# What a record costs in memory on its way beside its message: the envelope (about 250 B) and librdkafka's own (about 220 B).
RECORD_COST_BYTES = 500


class Stream:
    """The mutable state of one stream; see the module's docstring for its invariants."""

    __slots__ = (
        "at_rest",
        "bucket",
        "changed_ms",
        "completeness",
        "crc",
        "detached_ms",
        "flight",
        "guard",
        "handle",
        "head",
        "held",
        "input",
        "left",
        "limit",
        "line",
        "line_end",
        "listed",
        "loss_settled",
        "matched",
        "path",
        "read_to",
        "replay",
        "rotated",
        "row",
        "saved",
        "scan_guard",
        "scan_to",
        "seen",
        "shipped_to",
        "skip",
        "stat",
        "stderr_to",
        "tail_open",
    )  # fmt: skip

    def __init__(self, row: StreamRow, source: Input | None, *, complete: Now | None, now: Now, saved: bool) -> None:
        self.row = row
        self.input = source
        self.saved = saved
        self.path = row.path
        self.handle: int | None = None
        self.read_to = self.scan_to = row.position
        self.shipped_to, self.stderr_to = row.shipped_to, row.stderr_to
        self.bucket: Bucket | None = None
        self.crc = row.crc
        self.guard = self.scan_guard = b""
        self.head = b""
        self.at_rest = False  # its file is open, and `guard` and `head` are not kept
        self.held = False  # the last event of the file waits for a line that ends it (its rule says so); nothing else is unread
        self.tail_open = row.tail_open
        self.skip = 0
        self.line = row.line
        self.line_end = -1  # where the long line ends whose parts are being sent: behind its newline, or at the file's end
        self.replay: tuple[ChunkRow, ...] = ()
        self.flight = Flight()
        self.stat: FileStat | None = None
        self.seen: Seen | None = None  # as it was listed, while it is settled: nothing is unread or unacknowledged since
        self.listed = self.matched = True
        self.rotated = False
        self.left = False  # no input asks for its file any more
        self.limit: int | None = None
        self.changed_ms = self.detached_ms = now.monotonic_ms
        self.loss_settled = False
        self.completeness = Completeness(complete)

    @property
    def complete(self) -> Now | None:
        """The last look of which all is acknowledged; None: of none yet."""
        return self.completeness.at

    @property
    def position(self) -> int:
        """The byte up to which everything is acknowledged."""
        return self.row.position

    @property
    def rule(self) -> EventRule | None:
        """Which of its lines are one event; None: each is."""
        return compiled(self.input.pipeline).events if self.input is not None else None

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way and nothing waits to be repeated."""
        return not self.flight and not self.replay

    @property
    def within_line(self) -> bool:
        """Whether what comes next goes on with a line that was sent without its newline (that newline alone is no part)."""
        return self.tail_open and not self.skip

    @property
    def tail_bytes(self) -> int:
        """Bytes behind the last newline, as far as they were looked at."""
        return self.scan_to - self.read_to - self.skip

    @property
    def behind_bytes(self) -> int:
        """Bytes known to be in the file and not acknowledged; a partial line counts."""
        return max(0, self.row.size_seen - self.row.position)

    @property
    def destroyed_bytes(self) -> int:
        """Of a detached stream: bytes that were seen and cannot be read any more, unless a copy continues it."""
        return max(0, self.row.size_seen - self.read_to - self.skip)

    @property
    def ended(self) -> bool:
        """In a finite run: whether all of the file, as far as this run goes, is read and acknowledged."""
        if self.handle is None:
            return not self.flight
        if self.stat is None or not self.idle:
            return False
        size = self.stat.size if self.limit is None else min(self.stat.size, self.limit)
        return self.row.position + self.skip >= size

    def settle(self, seen: Seen) -> None:
        """A look found it unchanged, with nothing to read or to be acknowledged, and no tail."""
        self.seen, self.stat = seen, seen.stat

    def wake(self, seen: Seen, handle: int | None) -> None:
        """It was asleep since its file was as `seen` says, and settled."""
        self.input, self.path, self.matched = seen.input, seen.path, seen.matched
        self.row = replace(self.row, device=seen.stat.device, inode=seen.stat.inode)
        self.handle, self.at_rest = handle, handle is not None
        self.settle(seen)

    def is_still(self, seen: Seen, now: Now) -> bool:
        """Whether a look at `now` finds a settled file as the last one did; then it is complete as of now."""
        if self.seen is not seen:
            return False
        self.completeness.at = now
        return True

    def stir(self) -> None:
        """Something has happened, or may have: it was complete until the last look."""
        if self.seen is not None and self.complete is not None:
            self.row = replace(self.row, complete_ms=self.complete.wall_ms)
        self.seen = None

    def hold(self, handle: int, guard: bytes, head: bytes) -> None:
        """Begin to read from an open file whose bytes before `read_to` were proved to be the stream's."""
        self.stir()
        self.handle, self.at_rest = handle, False
        self.guard = self.scan_guard = guard
        self.head = head
        self.scan_to = self.read_to
        self.skip = 0
        self.line_end = -1
        self.held = False
        self.stat = None
        self.completeness.forget_look()

    def release(self) -> int | None:
        """Let go of the file, and return the handle to close."""
        handle, self.handle = self.handle, None
        self._forget_bytes()
        return handle

    def rest(self) -> None:
        """All of the file is read and acknowledged, but for the tail behind the last newline, which is read again."""
        self.at_rest = True
        self._forget_bytes()

    def _forget_bytes(self) -> None:
        self.guard = self.scan_guard = self.head = b""

    def rewind(self) -> None:
        """Forget what a scan found: what is read next begins at `read_to` again."""
        self.scan_to, self.scan_guard, self.skip = self.read_to, self.guard, 0
        self.held = False

    def row_after(self, chunk: ChunkRow, data: bytes) -> StreamRow:
        """The row once the chunk is delivered; `data` is the chunk's bytes, without a newline skipped before them."""
        skipped = b"\n" * (chunk.start - chunk.since)
        passed = skipped + data
        head = self.head if len(self.head) >= HEAD_BYTES else (self.head + passed)[:HEAD_BYTES]
        guard = (self.guard + passed)[-GUARD_BYTES:]
        tail_open = not data.endswith(b"\n") and not chunk.more
        return replace(
            self.row,
            position=chunk.end,
            crc=running_hash(passed, self.crc),
            guard=digest(guard),
            head=digest(head),
            head_bytes=len(head),
            tail_open=tail_open,
            line=_line_behind(chunk, data) if tail_open or chunk.more else None,
        )

    def sent(self, chunk: ChunkRow, data: bytes, after: StreamRow, cost_bytes: int) -> None:
        """The chunk is on its way, at a cost in memory: read on behind it."""
        passed = b"\n" * (chunk.start - chunk.since) + data
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + passed)[:HEAD_BYTES]
        self.guard = (self.guard + passed)[-GUARD_BYTES:]
        self.crc = after.crc
        self.read_to = chunk.end
        self.tail_open, self.line = after.tail_open, after.line
        if self.line is None or self.tail_open:
            self.line_end = -1
        self.rewind()
        self.flight.sent(chunk, cost_bytes, after)

    def allowance(self, now: Now) -> int:
        """How many lines the input's rate limit lets pass now; 0 where it has none."""
        assert self.input is not None
        limit = compiled(self.input.pipeline).rate_limit
        if limit is None:
            return 0
        self.bucket = self.bucket or Bucket()
        return self.bucket.allowance(limit, now.monotonic_ms)

    def shipped(self, what: Shipped) -> None:
        """What became of the chunk that was sent last."""
        self.shipped_to, self.stderr_to = what.shipped_to, what.stderr_to
        self.flight.shipped(what)
        if self.bucket is not None:
            self.bucket.use(what.allowed)

    def delivered(self, start: int, result: Any) -> Advance | None:
        """A chunk is acknowledged as a whole: advance over the contiguous run of such chunks, if there is one."""
        done = self.flight.delivered(start, result)
        if not done:
            return None
        after = done[-1].after
        self.row = replace(
            self.row,
            position=after.position,
            crc=after.crc,
            guard=after.guard,
            head=after.head,
            head_bytes=after.head_bytes,
            tail_open=after.tail_open,
            line=after.line,
            shipped_to=done[-1].shipped.shipped_to,
            stderr_to=done[-1].shipped.stderr_to,
        )
        self._settle_marks()
        return Advance(self.row, tuple(entry.chunk for entry in done), tuple(entry.result for entry in done))

    def looked(self, at: Now, size: int) -> None:
        """A look begun at `at` found `size` bytes: remember it until all of them are read."""
        self.completeness.looked(at, size)
        if size > self.row.size_seen:
            self.row = replace(self.row, size_seen=size)

    def reached(self, position: int) -> None:
        """All up to `position` is read, or a partial line: the look that waits for it is complete once that is acknowledged."""
        self.completeness.reached(position, self.read_to)
        self._settle_marks()

    def _settle_marks(self) -> None:
        if not self.replay and self.completeness.settle(self.row.position) and self.complete is not None:
            self.row = replace(self.row, complete_ms=self.complete.wall_ms)


def _line_behind(chunk: ChunkRow, data: bytes) -> LineHead:
    """What the next part of the line shares that a chunk ends within; `data` is the chunk's bytes."""
    if chunk.line is not None:
        return replace(chunk.line, part=chunk.line.part + 1)
    pipeline = compiled(chunk.pipeline)
    rule = pipeline.events
    tail, stderr = (data[data.rfind(b"\n") + 1 :], False) if rule is None else rule.last(data)
    encoding = encoding_of(tail)
    event_time_us = pipeline.time_of(tail.decode(encoding), chunk.read_time_ms * 1000)
    return LineHead(encoding, event_time_us, len(cut(tail, encoding, chunk.split_bytes)), stderr)
