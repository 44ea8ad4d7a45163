"""The tailer's core: which stream each file is, what is read next, what may be sent, and how far all is acknowledged.

Pure: no I/O, no clock, no randomness; steps yield effects (effects.py). It holds what audit.md promises:

- a stream's row and a chunk's row are durable (Save) before the first record is sent (Send);
- positions advance over a contiguous run of delivered chunks only;
- a file is a stream's own only where its bytes prove it (meeting.py, archives.py);
- a file that was rotated away is followed to its end until it is quiet and acknowledged, whatever its name is now;
- `complete_at` is true: every complete line that was readable then is acknowledged.

Not detectable: a truncated file filled again with the very same bytes up to the position; a file made and destroyed, or
rotated out of the globs, between two looks; bytes that a writer appends to a rotated, unlisted file after the holding time.
"""

from collections.abc import Iterable, Iterator, Set
from typing import Any

from headrace.agents.effects import Close, Linked, Listing, Now, Seen, Stat, Steps
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.run import Run
from headrace.agents.tail.archives import Archives
from headrace.agents.tail.asleep import Sleeper
from headrace.agents.tail.beginning import Beginnings
from headrace.agents.tail.identity import FileKey
from headrace.agents.tail.letting_go import LettingGo
from headrace.agents.tail.meeting import Meeting
from headrace.agents.tail.reading import Planned, Replaced, read_on
from headrace.agents.tail.sending import send_planned
from headrace.agents.tail.strangers import Strangers
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.streams import Streams

IDLE_MS = 10_000  # a file that did not change for so long is looked at by the listing only


class Tailer:
    """All that one agent tails.

    Args:
        rows, chunks: what was durable when the agent ended.
        max_open: how many files are held open at most, but for those that can no longer be found by a name.
    """

    def __init__(self, rows: Iterable[StreamRow], chunks: Iterable[ChunkRow], run: Run, *, max_open: int) -> None:
        self._run = run
        self._streams = Streams(rows, chunks, run)
        self._strangers = Strangers(self._streams, max_open)
        self._meeting = Meeting(self._streams, self._strangers, run)
        self._archives = Archives(self._streams, self._strangers, self._meeting, run)
        self.beginnings = Beginnings(self._streams)
        self._letting_go = LettingGo(self._streams, self._strangers, run)
        self._awake: list[Stream] = []  # those that may have news: after a look all, then those that had some lately
        self._turn = 0
        self._listed: Now | None = None  # the last listing of which every file was taken in
        self._claim: Now | None = None

    # ---- what there is

    def look(self, listing: Listing) -> Steps[None]:
        """Match a listing with the streams: new files, renamed ones, copies, archives, files rotated away or removed."""
        now = listing.begun
        yield from self._streams.begin_look(listing)
        self._strangers.begin_look()
        present, waiting = set[FileKey](), set[FileKey]()
        for seen in listing.files:
            key = seen.key
            if key in present:
                continue  # the same file by another name
            present.add(key)
            if not self._streams.is_still(seen, now) and not (yield from self._look_at(seen, key, listing)):
                waiting.add(key)
                self._streams.put_off(seen, key)
        for sleeper in [each for key, each in self._streams.asleep.items() if key not in present]:
            yield from self._streams.wake(sleeper, now)
        for stream in list(self._streams.by_id.values()):
            if stream.seen is not None and stream.complete is now:
                continue  # it was still
            if stream.row.detached or (stream.row.topic, *stream.row.key) not in present:
                yield from self._letting_go.absent(stream, now)
        yield from self._letting_go.bound_held(now)
        looked = {topic for topic in listing.topics if self._run.ready(topic)}
        self._meeting.end_look(listing, present, waiting, looked)
        self._strangers.end_look(present)
        yield from self._archives.end_look(present)
        yield from self._letting_go.shed(now)
        self._rest(now)
        self._streams.end_look(listing)
        self._awake = [each for each in self._streams.by_id.values() if each.seen is None or self._is_recent(each, now)]
        if not waiting:
            self._listed = now

    def _look_at(self, seen: Seen, key: FileKey, listing: Listing) -> Steps[bool]:
        """A file of which there may be news. Returns whether it is decided what it is."""
        sleeper = self._streams.asleep.get(key)
        if sleeper is not None:
            if sleeper.seen is None and (yield from self._is_put_off(seen, listing)):
                return False
            yield from self._streams.wake(sleeper, listing.begun)
        if (yield from self._letting_go.leave(self._streams.by_key.get(key), seen, listing)):
            return True
        return self._run.ready(seen.input.topic) and (yield from self._take_in(seen, key, listing.begun))

    def _is_put_off(self, seen: Seen, listing: Listing) -> Steps[bool]:
        """Whether a file that is to be met after a start cannot be opened in this look: then its stream sleeps on."""
        if seen.input.topic not in listing.topics:
            return False
        return not (self._run.ready(seen.input.topic) and (yield from self._strangers.may_open(seen)))

    def _rest(self, now: Now) -> None:
        """Put to sleep what this look found settled: what was quiet for a while, and the quietest where there are many more."""
        settled = [stream for stream in self._streams.by_id.values() if stream.seen is not None and stream.complete is now]
        settled.sort(key=lambda stream: stream.changed_ms)
        for index, stream in enumerate(settled):
            if self._is_recent(stream, now) and len(settled) - index <= self._run.budget.limits.settled_streams:
                return
            self._streams.rest(stream, now)

    def _take_in(self, seen: Seen, key: FileKey, now: Now) -> Steps[bool]:
        """One file of a listing. Returns whether it is decided what it is."""
        stream = self._streams.by_key.get(key)
        if self._archives.is_archive(seen, key, stream):
            if stream is None:
                return (yield from self._archives.stranger(seen, key, self._listed, now))
            return (yield from self._archives.own(stream, seen, key, now))
        if stream is not None and stream.handle is not None:
            return self._follow(stream, seen, now)
        if stream is not None:
            return (yield from self._resume(stream, seen, key, now))
        return (yield from self._meet(seen, key, now))

    def _follow(self, stream: Stream, seen: Seen, now: Now) -> bool:
        """A file that is held open is listed, under its own name or another."""
        if seen.matched or stream.input is None:
            stream.input = seen.input
        stream.listed = True
        stream.path, stream.matched = seen.path, seen.matched
        stream.rotated = self._streams.is_rotated(stream, seen.path)
        stat = stream.stat
        if stat is None or (stat.size, stat.mtime_ns) != (seen.stat.size, seen.stat.mtime_ns):
            stream.changed_ms = now.monotonic_ms
            stream.stir()
        elif stream.scan_to == seen.stat.size:
            stream.looked(now, seen.stat.size)
            stream.reached(stream.scan_to)
            if stream.idle and not stream.tail_bytes and not stream.held and not self._run.once:
                stream.settle(seen)
        return True

    def _resume(self, stream: Stream, seen: Seen, key: FileKey, now: Now) -> Steps[bool]:
        """A stream's file is there and not open: after a start, or because too many were open."""
        if stream.flight:
            return False  # it was let go with these on their way; they are acknowledged first
        before = stream.stat
        tail_due = stream.tail_bytes and self._streams.is_rotated(stream, seen.path)
        unchanged = before is not None and (before.size, before.mtime_ns) == (seen.stat.size, seen.stat.mtime_ns)
        if unchanged and stream.idle and not tail_due:
            return self._follow(stream, seen, now)
        own = yield from self._meeting.own(stream, seen, now)
        if own is None:
            return key in self._strangers.unreadable
        return self._follow(stream, seen, now) if own else (yield from self._meet(seen, key, now))

    def _meet(self, seen: Seen, key: FileKey, now: Now) -> Steps[bool]:
        """A file that is no stream's own."""
        met = yield from self._meeting.stranger(seen, key, self._listed, now)
        return self._follow(met, seen, now) if isinstance(met, Stream) else met

    # ---- what is read and sent

    def read(self, now: Now) -> Steps[bool]:
        """One round: at most one chunk of every stream that may have news, saved together, then sent.

        Returns whether anything was sent or looked through, so that another round is worth it at once.
        """
        busy = yield from self._archives.look_through()
        planned: list[tuple[Stream, Planned]] = []
        spent = 0
        self._awake = order = [stream for stream in self._awake if stream.handle is not None and self._due(stream, now)]
        turn = self._turn % len(order) if order else 0
        turned_away: int | None = None
        for index, stream in enumerate(order[turn:] + order[:turn]):
            if spent >= self._run.budget.limits.round_bytes:
                turned_away = index if turned_away is None else turned_away
                break
            limits = self._run.budget.limits_for(stream.row)
            if limits is None or stream.flight.cost_bytes >= limits.stream_cost_bytes:
                turned_away = index if turned_away is None else turned_away
                continue
            outcome = yield from read_on(stream, now, limits, once=self._run.once)
            if isinstance(outcome, Replaced):
                yield from self._replace(stream, now)
            elif outcome is not None:
                planned.append((stream, outcome))
                spent += len(outcome.data)
                self._run.budget.take(stream.row, outcome.cost_bytes)
        self._turn = turn + (turned_away or 0)  # whoever found no room is asked first
        if not planned:
            return busy
        yield from send_planned(planned)
        return True

    def _due(self, stream: Stream, now: Now) -> bool:
        stat = stream.stat
        if stat is None or stream.replay or not stream.listed or self._is_recent(stream, now):
            return True
        return stream.scan_to < stat.size or (stream.rotated and stream.tail_bytes > 0)

    def _is_recent(self, stream: Stream, now: Now) -> bool:
        return now.monotonic_ms - stream.changed_ms < IDLE_MS

    def _replace(self, stream: Stream, now: Now) -> Steps[None]:
        """The file was truncated, or filled again, in place: what it holds now is a new stream."""
        handle, source = stream.release(), stream.input
        assert handle is not None
        assert source is not None
        yield from self._streams.detach(stream, now, "truncated or written anew")
        stat = yield Stat(handle)
        if stat is None:
            yield Close(handle)
            return
        name = stream.path if stream.matched else stream.row.path  # a name that an input asks for, so that it is found again
        fresh = self._streams.begin(source, name, handle, stat, stream.complete, now)
        self._archives.replace(stream, fresh)
        self._awake.append(fresh)

    def delivered(self, stream_id: str, start: int, result: Any) -> Steps[None]:
        """All records of a chunk are acknowledged, or durable among the rejected; `result` is handed on to Advance."""
        stream = self._streams.by_id[stream_id]
        before = stream.flight.cost_bytes
        advance = stream.delivered(start, result)
        self._run.budget.take(stream.row, stream.flight.cost_bytes - before)
        if advance is not None:
            yield advance

    # ---- what is known

    def complete_at(self) -> Now | None:
        """The latest moment of which it is known that every complete line readable then is acknowledged; None: of none yet.

        A stream that sleeps is complete as of the last look, or was not met yet, and then no look has taken in all files.
        """
        latest = self._listed
        for stream in self._streams.by_id.values():
            if latest is None:
                return self._claim
            if stream.left and not stream.flight:
                continue
            if stream.row.detached and not stream.flight and (stream.loss_settled or not stream.destroyed_bytes):
                continue
            if stream.complete is None or stream.complete.monotonic_ms < latest.monotonic_ms:
                latest = stream.complete
        if latest is not None and (self._claim is None or latest.monotonic_ms > self._claim.monotonic_ms):
            self._claim = latest
        return self._claim

    @property
    def known_paths(self) -> Set[tuple[str, str]]:
        """(topic, path) of all streams: what lies beside them under a rotated name may be theirs."""
        return self._streams.names

    @property
    def has_more(self) -> bool:
        """Whether the last look had no time, or no descriptor, for some of the files: the next is to come soon."""
        return self._strangers.has_more or self._strangers.turned_away > 0

    @property
    def unopened(self) -> Iterator[tuple[Seen, Stream | Sleeper | None, Now | None]]:
        """Files that the last look left for a later one, the streams that they are, and when nothing of them waited.

        What lies beside logs and is no stream's own may be nobody's: it is not among them.
        """
        for key, seen in self._strangers.unopened.items():
            stream = self._streams.by_key.get(key)
            held = self._streams.asleep.get(key) if stream is None else stream
            if held is not None or seen.matched:
                yield seen, held, self._listed if stream is None else stream.complete

    @property
    def linked(self) -> list[Linked]:
        """Files that links led to: where a link leads elsewhere now, they are looked for where they lay."""
        return self._streams.linked

    @property
    def ended(self) -> bool:
        """In a finite run: whether all that was found is read and acknowledged."""
        return self._listed is not None and all(stream.ended for stream in self._streams.by_id.values())

    @property
    def position_bytes(self) -> tuple[int, int]:
        """(acknowledged, known) bytes of all files that are there."""
        return self._streams.position_bytes

    @property
    def streams(self) -> Iterable[Stream]:
        """All that are awake, to be looked at."""
        return self._streams.by_id.values()

    @property
    def asleep(self) -> Iterable[Sleeper]:
        """All others."""
        return self._streams.asleep.values()
