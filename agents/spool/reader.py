"""The core that reads spools: what is read next, what may be sent, how far all is acknowledged. Pure; steps yield effects.

What the tailer promises for files it promises for spools (audit.md), with a record's number as position:

- a stream's row and a chunk's row are durable (Save) before the first record is sent (Send);
- positions advance over a contiguous run of delivered chunks only, and only what a durable position has passed is released;
- a chunk that was on its way is read again by its bounds and sent only if its lines are the very same: otherwise the rest of
  the spool is another stream (a repeat under a new identity rather than one identity with two contents);
- records that the disk has destroyed are told as lost, once, in the transaction in which the position passes them;
- `complete_at` is true: all that was durable in every spool then is acknowledged.

One spool is one stream, for ever. Its row's `path` names the spool, `head` the spool's own id: a spool that was deleted and
begun anew under the same name is another stream.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.agents.effects import Advance, Forget, Input, Lost, Note, Now, ReadSpool, Save, SendRecords, Shipped, Steps
from headrace.agents.events.pipeline import compiled
from headrace.agents.events.rate import Bucket
from headrace.agents.flight import Completeness, Flight
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.run import Run
from headrace.agents.spool.frames import Records
from headrace.agents.spool.log import Hole
from headrace.agents.tail.identity import digest
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.stream import RECORD_COST_BYTES

# A chunk's records were received within so long: the last one's time is the read time of all.
CHUNK_SPAN_MS = 1000
_WITHOUT_END = 1 << 62


@dataclass(frozen=True, slots=True)
class SpoolSeen:
    """A spool as it is now: its name among the streams, its own id, how its lines are shipped, and `[first, end)` in it."""

    path: str
    spool_id: str
    input: Input
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class _Planned:
    chunk: ChunkRow
    records: Records
    cost_bytes: int
    repeat: bool


class _Stream:
    """One spool's stream while the agent runs. Invariant: `row.position` ≤ `read_to` ≤ `seen.end`."""

    __slots__ = ("bucket", "complete", "flight", "last_ms", "read_to", "replay", "row", "saved", "seen", "shipped_to")

    def __init__(self, row: StreamRow, seen: SpoolSeen, chunks: Iterable[ChunkRow], *, saved: bool) -> None:
        self.row, self.seen, self.saved = row, seen, saved
        self.read_to = row.position
        self.shipped_to = row.shipped_to
        self.bucket = Bucket()
        self.replay = deque(chunks)
        self.flight = Flight()
        self.complete = Completeness(None)
        self.last_ms = row.complete_ms  # when the last record was received that was read; wall time

    def allowance(self, now: Now) -> int:
        """How many lines the input's rate limit lets pass now; 0 where it has none."""
        limit = compiled(self.seen.input.pipeline).rate_limit
        return 0 if limit is None else self.bucket.allowance(limit, now.monotonic_ms)

    def shipped(self, what: Shipped) -> None:
        """What became of the chunk that was sent last."""
        self.shipped_to = what.shipped_to
        self.flight.shipped(what)
        self.bucket.use(what.allowed)

    def looked(self, now: Now) -> None:
        self.complete.looked(now, self.seen.end)
        self.reached()

    def reached(self) -> None:
        self.complete.reached(self.read_to, self.read_to)
        self.settle()

    def settle(self) -> None:
        if not self.replay and self.complete.settle(self.row.position) and self.complete.at is not None:
            self.row = replace(self.row, complete_ms=self.complete.at.wall_ms)


class SpoolReader:
    """The streams of all spools of one agent.

    Args:
        rows, chunks: of spools, as they were durable when the agent ended.
    """

    def __init__(self, rows: Iterable[StreamRow], chunks: Iterable[ChunkRow], run: Run) -> None:
        self._run = run
        self._rows = {row.path: row for row in rows}
        self._chunks: dict[str, list[ChunkRow]] = {}
        for chunk in sorted(chunks, key=lambda chunk: chunk.start):
            self._chunks.setdefault(chunk.stream_id, []).append(chunk)
        self._streams: dict[str, _Stream] = {}  # by path
        self._by_id: dict[str, _Stream] = {}
        self._looked: Now | None = None

    # ---- what there is

    def look(self, now: Now, spools: Sequence[SpoolSeen]) -> Steps[None]:
        """Take in how far each spool reaches; `now` is the moment before they were asked. A spool may be there for ever."""
        all_ready = True
        for seen in spools:
            stream = self._streams.get(seen.path)
            if stream is None:
                if not self._run.ready(seen.input.topic):
                    all_ready = False
                    continue
                stream = yield from self._begin(seen, now)
            stream.seen = seen
            stream.looked(now)
        known = {seen.path for seen in spools}
        for path in [path for path in self._rows if path not in known]:
            yield from self._gone(self._rows.pop(path), now)
        if all_ready:
            self._looked = now

    def _gone(self, row: StreamRow, now: Now) -> Steps[None]:
        """A stream whose spool was deleted, by whomever: what it held is lost."""
        if row.size_seen > row.position:
            yield Note(f"the spool is gone, with {row.size_seen - row.position} bytes of lines", row.path, row.stream_id)
            yield Lost(row, 0, row.complete_ms, now.wall_ms)
        yield Forget(row.stream_id)

    def _begin(self, seen: SpoolSeen, now: Now) -> Steps[_Stream]:
        """A spool of which this run has read nothing yet."""
        row = self._rows.pop(seen.path, None)
        if row is not None and row.head != seen.spool_id:
            yield from self._gone(row, now)
            row = None
        stream = self._new(seen, seen.first, now) if row is None else self._known(row, seen)
        self._streams[seen.path] = self._by_id[stream.row.stream_id] = stream
        return stream

    def _known(self, row: StreamRow, seen: SpoolSeen) -> _Stream:
        return _Stream(row, seen, self._chunks.get(row.stream_id, ()), saved=True)

    def _new(self, seen: SpoolSeen, position: int, now: Now) -> _Stream:
        """Its row is durable with its first chunk."""
        stream_id, source = self._run.mint(), seen.input
        row = StreamRow(
            stream_id=stream_id,
            topic=source.topic,
            partition=self._run.place(source.topic, stream_id),
            host=self._run.host,
            service=source.service or "",
            source=seen.path,
            path=seen.path,
            device=0,
            inode=0,
            birth_ns=0,
            position=position,
            shipped_to=position,
            head=seen.spool_id,
            complete_ms=now.wall_ms,
        )
        return _Stream(row, seen, (), saved=False)

    # ---- what is read and sent

    def read(self, now: Now) -> Steps[bool]:
        """One round: at most one chunk of every spool, saved together, then sent. Returns whether anything was sent."""
        planned: list[tuple[_Stream, _Planned]] = []
        for stream in list(self._streams.values()):
            if stream.read_to >= stream.seen.end and not stream.replay:
                continue
            limits = self._run.budget.limits_for(stream.row)
            if limits is None or stream.flight.cost_bytes >= limits.stream_cost_bytes:
                continue
            plan = yield from self._plan(stream, limits, now)
            if plan is not None:
                planned.append((stream, plan))
                self._run.budget.take(stream.row, plan.cost_bytes)
        if not planned:
            return False
        fresh = [(stream, plan) for stream, plan in planned if not plan.repeat]
        if fresh:
            for stream, _ in fresh:
                stream.row, stream.saved = replace(stream.row, size_seen=stream.seen.end), True
            yield Save(tuple(stream.row for stream, _ in fresh), tuple(plan.chunk for _, plan in fresh))
        for stream, plan in planned:
            if plan.repeat:
                stream.replay.popleft()
            stream.read_to = plan.chunk.end
            stream.last_ms = plan.chunk.read_time_ms
            stream.flight.sent(plan.chunk, plan.cost_bytes, replace(stream.row, position=plan.chunk.end))
            stream.reached()
            stream.shipped((yield SendRecords(stream.row, plan.chunk, plan.records, stream.seen.input.name)))
        return True

    def _plan(self, stream: _Stream, limits: Limits, now: Now) -> Steps[_Planned | None]:
        """What comes next in one spool."""
        if stream.replay:
            return (yield from self._repeat(stream, now))
        found = yield ReadSpool(
            stream.row.path, stream.read_to, limits.chunk_lines, limits.chunk_bytes, limits.chunk_bytes, CHUNK_SPAN_MS
        )
        if isinstance(found, Hole):
            yield from self._pass_hole(stream, found, now)
            return None
        if found is None:
            return None
        source = stream.seen.input
        chunk = ChunkRow(
            stream_id=stream.row.stream_id,
            start=found.start,
            end=found.end,
            since=found.start,
            shipped_to=stream.shipped_to,
            read_time_ms=max(origin.received_ms for origin in found.origins),
            pipeline=source.pipeline,
            split_bytes=source.split_bytes,
            content=_content(found),
            allowance=stream.allowance(now),
        )
        return _Planned(chunk, found, _cost_bytes(found, chunk), repeat=False)

    def _repeat(self, stream: _Stream, now: Now) -> Steps[_Planned | None]:
        """Read a chunk again that was on its way when the agent ended: its records must be the very same."""
        chunk = stream.replay[0]
        size = chunk.end - chunk.start
        found = yield ReadSpool(stream.row.path, chunk.start, _WITHOUT_END, size, _WITHOUT_END, _WITHOUT_END)
        if found is None:
            return None
        same = isinstance(found, Records) and found.end == chunk.end and _content(found) == chunk.content
        if same and chunk.start == stream.read_to:
            return _Planned(chunk, found, _cost_bytes(found, chunk), repeat=True)
        yield from self._replace(stream, now)
        return None

    def _replace(self, stream: _Stream, now: Now) -> Steps[None]:
        """The spool does not hold what was sent of it: what it holds is another stream, from the position on."""
        if stream.flight:
            return  # word of what is on its way comes first
        yield Note("the spool does not hold what was sent of it; its rest is another stream", stream.row.path)
        yield Forget(stream.row.stream_id)
        del self._by_id[stream.row.stream_id]
        fresh = self._new(stream.seen, stream.row.position, now)
        self._streams[stream.row.path] = self._by_id[fresh.row.stream_id] = fresh

    def _pass_hole(self, stream: _Stream, hole: Hole, now: Now) -> Steps[None]:
        """Once all before it is acknowledged, say that records are lost, and go on behind them."""
        if stream.flight or stream.row.position != hole.start:
            return
        stream.row = replace(stream.row, position=hole.end)
        stream.read_to, stream.saved = hole.end, True
        yield Note(f"{hole.end - hole.start} bytes of the spool's lines are destroyed", stream.row.path, stream.row.stream_id)
        yield Lost(stream.row, hole.size_bytes, stream.last_ms, now.wall_ms)
        stream.reached()

    def delivered(self, stream_id: str, start: int, result: Any) -> Steps[None]:
        """All records of a chunk are acknowledged, or durable among the rejected; `result` is handed on to Advance."""
        stream = self._by_id[stream_id]
        before = stream.flight.cost_bytes
        done = stream.flight.delivered(start, result)
        self._run.budget.take(stream.row, stream.flight.cost_bytes - before)
        if done:
            stream.row = replace(stream.row, position=done[-1].after.position, shipped_to=done[-1].shipped.shipped_to)
            stream.settle()
            yield Advance(stream.row, tuple(entry.chunk for entry in done), tuple(entry.result for entry in done))

    # ---- what is known

    def complete_at(self) -> Now | None:
        """The latest moment of which it is known that all that was durable in the spools then is acknowledged."""
        latest = self._looked
        for stream in self._streams.values():
            if latest is None or stream.complete.at is None:
                return None
            if stream.complete.at.monotonic_ms < latest.monotonic_ms:
                latest = stream.complete.at
        return latest

    def position_in(self, path: str) -> int:
        """Up to where a spool is acknowledged."""
        stream = self._streams.get(path)
        return 0 if stream is None else stream.row.position

    def complete_in(self, path: str) -> Now | None:
        """The last moment at which all of a spool that was durable then is acknowledged now."""
        stream = self._streams.get(path)
        return None if stream is None else stream.complete.at

    def has_read(self, spools: Iterable[SpoolSeen]) -> bool:
        """Whether all that is in these spools is acknowledged."""
        return all(seen.path in self._streams and self._streams[seen.path].row.position >= seen.end for seen in spools)

    def has(self, stream_id: str) -> bool:
        """Whether it is a spool's stream."""
        return stream_id in self._by_id


def _content(records: Records) -> str:
    return digest(b"\0".join(records.lines))


def _cost_bytes(records: Records, chunk: ChunkRow) -> int:
    size = records.size_bytes
    return size + 2 * records.beside_bytes + (len(records.lines) + 2 * size // chunk.split_bytes) * RECORD_COST_BYTES
