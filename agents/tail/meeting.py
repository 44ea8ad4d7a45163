"""What a listed file is that is held by no stream: a stream's own after a start, a copy, a new log, or nobody's. Pure steps.

A file goes on with a stream only if it bears the stream's name plus a rotation suffix, holds all its bytes up to the position,
and the stream's own file is gone or truncated. In doubt a file is a new stream: a repeat under a new identity, not a loss.
"""

from headrace.agents.effects import Close, Listing, Note, Now, Opened, Read, Save, Seen, Steps
from headrace.agents.run import Run
from headrace.agents.tail.identity import HEAD_BYTES, FileKey, FileStat, digest, is_gzip_name, is_unreadable_name, rotated_from
from headrace.agents.tail.proof import copies, verify
from headrace.agents.tail.strangers import LONGEST_WAIT_MS, Strangers
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.streams import Streams

COMPARED_BYTES = 64 * 1024  # how much of a file's end tells whether it is a copy of a log that is still written


class Meeting:
    """Decides what files are."""

    def __init__(self, streams: Streams, strangers: Strangers, run: Run) -> None:
        self._streams, self._strangers, self._run = streams, strangers, run
        self._looked: set[str] = set()  # topics whose files were looked at since the start
        self._last_files: tuple[Seen, ...] = ()  # that the last look found, but for those that it did not take in
        self._last_waiting: set[FileKey] = set()
        self._last_keys: set[FileKey] | None = None  # the others', made when they are asked for
        self._last_topics: set[str] = set()  # beside whose logs it looked
        self._unseen: dict[FileKey, bool] = {}  # files beside ours: whether they were made and rotated away between two looks
        self._left: set[tuple[str, str]] = set()  # topic and path of what is left alone in this look, and was in the last
        self._last_left: set[tuple[str, str]] = set()
        self._last_look_ms = 0

    def end_look(self, listing: Listing, present: set[FileKey], waiting: set[FileKey], looked: set[str]) -> None:
        """A look is over that took in all files but those that wait; it looked beside the logs of some topics."""
        self._last_left, self._left, self._last_look_ms = self._left, set(), listing.begun.wall_ms
        self._last_files, self._last_waiting, self._last_keys, self._last_topics = listing.files, waiting, None, looked
        self._looked.update({key[0] for key in present if key[0] in looked and key not in waiting})
        self._unseen = {key: unseen for key, unseen in self._unseen.items() if key in present}

    def own(self, stream: Stream, seen: Seen, now: Now) -> Steps[bool | None]:
        """A stream's file is there and not open. True: it is held again; False: it is another one now; None: not known yet."""
        opened = yield from self._strangers.open(seen)
        if opened is None:
            return None
        proved = yield from verify(stream, opened.handle, opened.stat)
        if proved:
            self._streams.place(stream)
            if seen.path == stream.row.path:
                self._streams.lies(stream, opened.stat.target)
            return True
        yield Close(opened.handle)
        if proved is None:
            return None
        self._unseen[seen.key] = True  # it was ours, and was written anew since
        yield from self._streams.detach(stream, now, "the file does not hold the stream's bytes any more")
        return False

    def stranger(self, seen: Seen, key: FileKey, complete: Now | None, now: Now) -> Steps[bool | Stream]:
        """A file that is no stream's own: returns the stream that goes on in it, or else whether it is decided what it is."""
        if self._strangers.is_refused(seen, key):
            self._left.add((key[0], seen.path))
            return True
        origins = yield from self._streams.origins(seen.input.topic, seen.path, now)
        if not seen.matched and not origins:
            return True
        if is_unreadable_name(seen.path) and not seen.explicit:
            if self._strangers.refuse(seen, key):
                yield Note("looks compressed and is not shipped; exclude it, or name it without a wildcard", seen.path)
            return True
        rotated_out = not seen.matched and self.is_unseen(seen, key, origins)
        opened = yield from self._strangers.open(seen)
        if opened is None:
            return key in self._strangers.unreadable
        waits = bool(origins) and not self._run.once and not self._strangers.is_quiet(seen, key, now)
        if waits and (yield from self._may_be_copy(opened, origins)):
            yield Close(opened.handle)
            return not seen.matched
        returned = self._streams.returned(seen.input.topic, seen.path, opened.stat)
        for stream in (*returned, *reversed(origins)):
            proved = stream.row.detached and (yield from copies(stream, opened.handle, opened.stat.size))
            if proved:
                why = "the file is back" if stream in returned else "goes on in a copy"
                yield from self._streams.continue_in(stream, seen, opened.stat, why)
                return stream
            if proved is None:
                yield Close(opened.handle)
                return False
        if seen.matched:
            self._streams.begin(seen.input, seen.path, opened.handle, opened.stat, complete, now)
            return True
        return (yield from self._beside(seen, key, opened, origins, complete, now, rotated_out=rotated_out))

    def _beside(
        self, seen: Seen, key: FileKey, opened: Opened, origins: list[Stream], complete: Now | None, now: Now, *,
        rotated_out: bool,
    ) -> Steps[bool]:  # fmt: skip
        """A file beside our logs in which no stream goes on: one that was rotated away unseen, or nobody's."""
        is_left = not rotated_out or (yield from is_copy(opened.handle, opened.stat.size, origins))
        if is_left is False:
            yield from self.begin_unseen(seen, opened.handle, opened.stat, origins[0], complete, now)
            return True
        if is_left:
            self._strangers.refuse(seen, key)
        yield Close(opened.handle)
        return is_left is True

    def begin_unseen(
        self, seen: Seen, handle: int, stat: FileStat, origin: Stream, complete: Now | None, now: Now
    ) -> Steps[Stream]:
        """A file that was written and rotated away unseen: a stream under the name that it was written under."""
        stream = self._streams.begin(seen.input, origin.row.path, handle, stat, complete, now)
        stream.saved = True  # at once: its name does not bring it back
        yield Save((stream.row,))
        return stream

    def is_unseen(self, seen: Seen, key: FileKey, origins: list[Stream]) -> bool:
        """Whether a file beside ours was made since the last look; unless it is a copy, it was rotated away between two looks.

        At the first look for such files: one that was written to since this agent started, or, where an agent knew the log
        before, since its last durable look (or a little before: it may have waited then). It is decided when a file is first
        met. An archive is new, but what it holds may be a file that was left alone: gzip keeps its time, and its name.
        """
        if key not in self._unseen:
            self._unseen[key] = self._judge_unseen(seen, key, origins)
        if not self._unseen[key]:
            self._left.add((key[0], seen.path))
        return self._unseen[key]

    def _judge_unseen(self, seen: Seen, key: FileKey, origins: list[Stream]) -> bool:
        written_ms = seen.stat.mtime_ns // 1_000_000
        if key[0] not in self._looked:
            unseen = written_ms > self._known_to_ms(origins)
        elif key[0] in self._last_topics and any(self._streams.was_known((key[0], name)) for name in rotated_from(seen.path)):
            unseen = not self._was_taken_in(key)
        else:
            unseen = written_ms >= self._run.started.wall_ms
        if is_gzip_name(seen.path):
            left = (key[0], seen.path.removesuffix(".gz")) in self._left | self._last_left
            unseen = unseen and not left and written_ms > self._last_look_ms - LONGEST_WAIT_MS
        return unseen

    def _was_taken_in(self, key: FileKey) -> bool:
        """Whether the last look took in a file."""
        if self._last_keys is None:
            self._last_keys = {seen.key for seen in self._last_files} - self._last_waiting
        return key in self._last_keys

    def _known_to_ms(self, origins: list[Stream]) -> int:
        """Up to when (wall ms) what lies beside some logs is known from before the start: their last look, or a little before.

        Where that is still to come, the clock was ahead then: known is what was written before the newest of the logs was made.
        """
        known_ms = max(stream.row.complete_ms for stream in origins) - LONGEST_WAIT_MS
        if known_ms <= self._run.started.wall_ms:
            return known_ms
        born_ms = max(stream.row.birth_ns for stream in origins) // 1_000_000
        return born_ms if born_ms <= self._run.started.wall_ms else 0

    def _may_be_copy(self, opened: Opened, origins: list[Stream]) -> Steps[bool]:
        """Whether a file begins as one of the streams does (an empty one may be a copy that was only just begun)."""
        head = yield Read(opened.handle, 0, HEAD_BYTES)
        if not head:
            return True
        for stream in origins:
            if (yield from begins_as(stream, head)):
                return True
        return False


def begins_as(stream: Stream, head: bytes) -> Steps[bool]:
    """Whether a file with such a head may hold the stream's first bytes; where these are not at hand, a shorter one may."""
    if not stream.row.head_bytes:
        return False
    if digest(head[: stream.row.head_bytes]) == stream.row.head:
        return True
    own = stream.head
    if not own and stream.handle is not None:
        own = (yield Read(stream.handle, 0, HEAD_BYTES)) or b""
    return own.startswith(head) if own else len(head) < stream.row.head_bytes


def is_copy(handle: int, size: int, origins: list[Stream]) -> Steps[bool | None]:
    """Whether a file ends with what an open log holds in the same place; of an empty one nothing is to be shipped yet.

    None: the system fails.
    """
    start = max(0, size - COMPARED_BYTES)
    end = yield Read(handle, start, size - start)
    if end is None:
        return None
    for stream in origins:
        if end and stream.handle is not None and (yield Read(stream.handle, start, len(end))) == end:
            return True
    return not end
