"""Gzip files: which stream goes on in one, and at which byte of what it holds. Pure steps (effects.py).

An archive is looked through once, a slice at a time between other work, before anything is shipped from it: then it is known
how long its content is, whether it is damaged, and the hash of all bytes up to where a stream was read. A stream goes on in
it only if that hash is the stream's own (audit.md, Files). A trailer of one member (RFC 1952 §2.3.1: CRC-32 and size) that
equals a stream's hash and position proves without looking that the archive holds what was shipped and nothing else.

What holds the lines of a log that is still there waits until that log is gone. One that is nobody's is a new stream where
an input asks for it, or where it was written, rotated and packed between two looks. One that changes is looked through again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from headrace.agents.effects import Close, Measure, Measured, Note, Now, Opened, Read, Seen, Steps
from headrace.agents.rows import PASSED
from headrace.agents.run import Run
from headrace.agents.tail.identity import HEAD_BYTES, FileKey, FileStat, is_gzip_name
from headrace.agents.tail.meeting import Meeting, begins_as, is_copy
from headrace.agents.tail.proof import hold_if_proved, verify
from headrace.agents.tail.reading import QUIET_MS
from headrace.agents.tail.strangers import LONGEST_WAIT_MS, Strangers
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.streams import Streams

MOST_OPEN = 2  # archives that are looked through or read at once: each costs about 1.5 MB
TRUNCATED = "truncated"
_SIZE_MODULUS = 1 << 32


@dataclass(slots=True)
class _Looking:
    """An archive that is looked through, for the streams that may go on in it."""

    opened: Opened
    head: bytes
    streams: tuple[Stream, ...]
    marks: tuple[tuple[int, int], ...]
    found: Measured | None = None

    @property
    def archive(self) -> tuple[int, int]:
        return self.opened.stat.size, self.opened.stat.mtime_ns

    def content_stat(self, found: Measured) -> FileStat:
        """The stat of what the archive holds."""
        return replace(self.opened.stat, size=found.size)

    def holds(self, stream: Stream, found: Measured) -> bool:
        """Whether the archive holds all bytes up to where a stream is read."""
        mark = _mark(stream)
        return mark in self.marks and stream.read_to <= found.size and found.crcs[mark] == stream.crc


class Archives:
    """The archives of one agent."""

    def __init__(self, streams: Streams, strangers: Strangers, meeting: Meeting, run: Run) -> None:
        self._streams, self._strangers, self._meeting, self._run = streams, strangers, meeting, run
        self._looking: dict[FileKey, _Looking] = {}
        self._taken: dict[str, tuple[int, int]] = {}  # stream id -> size and time of the archive that it is read from
        self._plain: set[FileKey] = set()  # files that only bear such a name

    def is_archive(self, seen: Seen, key: FileKey, stream: Stream | None) -> bool:
        """Whether a listed file is to be looked into."""
        if stream is not None and stream.row.begin == PASSED:
            return True
        if stream is not None and stream.handle is not None and stream.row.stream_id not in self._taken:
            return False  # held as what it was before it got this name
        return seen.input.decompress and is_gzip_name(seen.path) and key not in self._plain

    def replace(self, stream: Stream, fresh: Stream) -> None:
        """What a stream's file holds is another stream from now on: an archive stays one."""
        if stream.row.stream_id in self._taken:
            self._taken[fresh.row.stream_id] = self._taken.pop(stream.row.stream_id)
            fresh.rotated = True

    def look_through(self) -> Steps[bool]:
        """One slice of one archive; returns whether there was something to look through."""
        for looking in self._looking.values():
            if looking.found is None:
                found = yield Measure(looking.opened.handle, looking.marks)
                if found.done:
                    looking.found = found
                return True
        return False

    def end_look(self, present: set[FileKey]) -> Steps[None]:
        """Let go of archives that are not there any more."""
        for key in [key for key in self._looking if key not in present]:
            yield Close(self._looking.pop(key).opened.handle)
        self._plain &= present
        self._taken = {stream_id: at for stream_id, at in self._taken.items() if stream_id in self._streams.by_id}

    # ---- a stream's own

    def own(self, stream: Stream, seen: Seen, key: FileKey, now: Now) -> Steps[bool]:
        """A listed archive that is a stream's file. Returns whether it is known what it holds now."""
        stream.input, stream.listed, stream.rotated = seen.input, True, True
        stream.path, stream.matched = seen.path, seen.matched
        if stream.row.begin == PASSED:
            return (yield from self._passed_over(stream, seen, key, now))
        if self._taken.get(stream.row.stream_id) == (seen.stat.size, seen.stat.mtime_ns):
            yield from self._go_on(stream, now)
            return True
        if stream.handle is not None:
            if not stream.idle:
                return False  # it has changed; what is on its way is heard of first
            yield from self._let_go(stream)
        looking = yield from self._looked_through(seen, key, (stream,), now)
        if isinstance(looking, Stream):
            self._taken[stream.row.stream_id] = (seen.stat.size, seen.stat.mtime_ns)
            return True
        if looking is None or looking.found is None:
            return False
        stat = looking.content_stat(looking.found)
        if looking.holds(stream, looking.found) and (yield from verify(stream, looking.opened.handle, stat)):
            self._taken[stream.row.stream_id] = looking.archive
            return True
        yield Close(looking.opened.handle)
        yield from self._streams.detach(stream, now, "the file does not hold the stream's bytes any more")
        return False

    def _passed_over(self, stream: Stream, seen: Seen, key: FileKey, now: Now) -> Steps[bool]:
        """A listed archive of which nothing is shipped, if it is the one that was there when its input began."""
        if self._taken.get(stream.row.stream_id) != (seen.stat.size, seen.stat.mtime_ns):
            opened = yield from self._strangers.open(seen, packed=True)
            if opened is None:
                return key in self._strangers.unreadable
            own = yield from verify(stream, opened.handle, opened.stat)
            stream.release()
            yield Close(opened.handle)
            if own is False:
                yield from self._streams.detach(stream, now, "another file has its place")
            if not own:
                return False
            self._taken[stream.row.stream_id] = (seen.stat.size, seen.stat.mtime_ns)
        stream.looked(now, 0)
        stream.reached(0)
        return True

    def _go_on(self, stream: Stream, now: Now) -> Steps[None]:
        """Nothing has changed: what is read to its end is complete, and let go."""
        if stream.handle is not None and stream.ended:
            yield from self._let_go(stream)
        if stream.handle is None:
            stream.looked(now, stream.read_to)
            stream.reached(stream.read_to)

    def _let_go(self, stream: Stream) -> Steps[None]:
        handle = stream.release()
        assert handle is not None
        yield Close(handle)

    # ---- nobody's

    def stranger(self, seen: Seen, key: FileKey, complete: Now | None, now: Now) -> Steps[bool]:
        """A listed archive that is no stream's file. Returns whether it is decided what it is."""
        if self._strangers.is_refused(seen, key):
            return True
        origins = yield from self._streams.origins(seen.input.topic, seen.path, now)
        if not seen.matched and not origins:
            return True
        unseen = not seen.matched and self._meeting.is_unseen(seen, key, origins)
        looking = yield from self._looked_through(seen, key, self._candidates(seen, origins), now)
        if isinstance(looking, Stream):
            if looking.row.detached:
                yield from self._streams.continue_in(looking, seen, replace(seen.stat, size=looking.read_to))
                looking.stat = None
                looking.completeness.forget_look()  # at the file that is gone
                yield from self._take(looking, seen, None, now)
            else:
                self._strangers.refuse(seen, key)
            return True
        if looking is None or looking.found is None:
            return key in self._strangers.unreadable
        unseen_from = origins[0] if unseen else None
        return (yield from self._decide(looking, looking.found, seen, key, unseen_from, complete, now))

    def _candidates(self, seen: Seen, origins: list[Stream]) -> tuple[Stream, ...]:
        """The streams whose bytes an archive may hold: those whose name it bears, and any that may have no file."""
        of_topic = [stream for stream in self._streams.by_id.values() if stream.row.topic == seen.input.topic]
        lost = [stream for stream in of_topic if self._may_have_no_file(stream, seen.key)]
        return tuple({stream.row.stream_id: stream for stream in (*reversed(origins), *lost)}.values())

    def _may_have_no_file(self, stream: Stream, key: FileKey) -> bool:
        """Whether no name leads to a stream's file any more, or another file has its inode, which is not known yet."""
        return _has_no_name(stream) or self._streams.waits(stream, key)

    def _decide(
        self,
        looking: _Looking,
        found: Measured,
        seen: Seen,
        key: FileKey,
        unseen_from: Stream | None,
        complete: Now | None,
        now: Now,
    ) -> Steps[bool]:
        """An archive was looked through: a stream goes on in it, or begins, or it is left alone.

        `unseen_from` is the stream of the log that it was written as, if nobody saw it then.
        """
        stat, handle = looking.content_stat(found), looking.opened.handle
        for stream in looking.streams:
            sent = stream.read_to or stream.replay  # one of which nothing was sent is not continued: a new one says the same
            may_go_on = sent and stream.row.detached and looking.holds(stream, found)
            if may_go_on and (yield from hold_if_proved(stream, handle)):
                yield from self._streams.continue_in(stream, seen, stat)
                yield from self._take(stream, seen, found, now)
                return True
        held = [stream for stream in looking.streams if stream.handle is not None]
        copied = bool(held) and (yield from is_copy(handle, found.size, held))
        if not copied and seen.matched:
            stream = self._streams.begin(seen.input, seen.path, handle, stat, complete, now)
        elif not copied and unseen_from is not None:
            stream = yield from self._meeting.begin_unseen(seen, handle, stat, unseen_from, complete, now)
        else:
            self._strangers.refuse(seen, key)
            yield Close(handle)
            return True
        yield from self._take(stream, seen, found, now)
        return True

    def _take(self, stream: Stream, seen: Seen, found: Measured | None, now: Now) -> Steps[None]:
        """A stream goes on, or begins, in an archive."""
        stream.rotated = stream.listed = True
        stream.path, stream.matched, stream.input = seen.path, seen.matched, seen.input
        self._taken[stream.row.stream_id] = (seen.stat.size, seen.stat.mtime_ns)
        if found is not None and found.broken:
            yield Note(f"{found.broken}: {found.lost_bytes} bytes cannot be read", seen.path, stream.row.stream_id)
            yield from self._streams.lose(stream, found.lost_bytes, now, found.broken)

    # ---- looking through

    def _looked_through(
        self, seen: Seen, key: FileKey, streams: Iterable[Stream], now: Now
    ) -> Steps["_Looking | Stream | None"]:
        """What is known of an archive: a stream whose bytes it holds and nothing else, or what was found in it; None: not yet.

        What was found is handed over with its handle.
        """
        looking = self._looking.get(key)
        if looking is None:
            return (yield from self._begin(seen, key, streams, now))
        if looking.archive != (seen.stat.size, seen.stat.mtime_ns):
            yield Close(self._looking.pop(key).opened.handle)
            return None
        if looking.found is None:
            return None
        truncated = looking.found.broken == TRUNCATED
        if truncated and not self._run.once and self._strangers.unchanged_ms(seen, key, now) < LONGEST_WAIT_MS:
            return None  # whoever writes it may go on
        del self._looking[key]
        streams = tuple(streams)
        awake = {stream.row.stream_id: stream for stream in streams}  # one may have slept since, and is another object now
        looking.streams = tuple(awake[each.row.stream_id] for each in looking.streams if each.row.stream_id in awake)
        lost = [stream for stream in streams if self._may_have_no_file(stream, key) and stream.row.head_bytes]
        late = yield from _that_begin_as(lost, looking.head)
        may_lose = any(self._streams.waits(each, key) and looking.holds(each, looking.found) for each in looking.streams)
        if may_lose or any(_mark(stream) not in looking.marks for stream in late):
            yield Close(looking.opened.handle)
            return None  # a stream lost its file meanwhile, or is about to: look again, for it too
        return looking

    def _begin(self, seen: Seen, key: FileKey, streams: Iterable[Stream], now: Now) -> Steps[Stream | None]:
        """Open an archive that is quiet: what its trailer proves is known at once, the rest is looked through from now on."""
        reading = sum(self._streams.by_id[each].handle is not None for each in self._taken if each in self._streams.by_id)
        if len(self._looking) + reading >= MOST_OPEN:
            return None
        if not self._run.once and self._strangers.unchanged_ms(seen, key, now) < QUIET_MS:
            return None
        streams = tuple(streams)
        if any(self._streams.waits(stream, key) for stream in streams) or self._streams.any_unmet(key[0]):
            return None
        opened = yield from self._strangers.open(seen, packed=True)
        if opened is None:
            return None
        if opened.trailer is None:
            self._plain.add(key)
            yield Close(opened.handle)
            return None
        head = yield Read(opened.handle, 0, HEAD_BYTES)
        may_hold = yield from _that_begin_as(streams, head or b"")
        for stream in may_hold:
            shipped_whole = stream.read_to and not stream.replay and not stream.row.begin
            if shipped_whole and opened.trailer == (stream.crc, stream.read_to % _SIZE_MODULUS):
                yield Close(opened.handle)
                return stream
        marks = tuple(sorted({_mark(stream) for stream in may_hold}))
        self._looking[key] = _Looking(opened, head or b"", tuple(may_hold), marks)
        return None


def _that_begin_as(streams: Iterable[Stream], head: bytes) -> Steps[list[Stream]]:
    """The streams whose first bytes a file with such a head may hold; of which none is known, too."""
    found = {}
    for stream in streams:
        found[stream] = not stream.row.head_bytes or (yield from begins_as(stream, head))
    return [stream for stream, may_hold in found.items() if may_hold]


def _has_no_name(stream: Stream) -> bool:
    """Whether a stream has lost its file, or holds one that no name leads to any more."""
    return stream.row.detached or not stream.listed


def _mark(stream: Stream) -> tuple[int, int]:
    """The bytes that a stream's hash covers."""
    return stream.row.begin, stream.read_to
