"""Files that are let go: no input asks for them any more, they are gone, held beyond a bound, or too many are open. Pure steps.

What is let go keeps its position: a file that is asked for again, or met again under a name, goes on.
"""

from dataclasses import replace

from headrace.agents.effects import Close, Listing, Now, Seen, Stat, Steps
from headrace.agents.run import Run
from headrace.agents.tail.asleep import Sleeper
from headrace.agents.tail.held import Held
from headrace.agents.tail.strangers import Strangers
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.streams import Streams

HOLD_UNLINKED_MS = 60_000  # how long a removed file that is quiet is held open for a writer that has it open too
HOLD_RENAMED_MS = 300_000  # the same for one that was renamed out of sight; it costs no disk space

GONE = "the file is gone"


class LettingGo:
    """Of one agent's streams."""

    def __init__(self, streams: Streams, strangers: Strangers, run: Run) -> None:
        self._streams, self._strangers, self._run = streams, strangers, run
        self._held = Held()

    def leave(self, stream: Stream | None, seen: Seen, listing: Listing) -> Steps[bool]:
        """Whether no input asks for a file any more: then it is let go, once what was on its way at a crash is sent again.

        Its position is kept: if an input asks for it again, it goes on.
        """
        if stream is None:
            return seen.input.topic not in listing.topics
        if seen.matched:
            stream.left = False
        elif seen.path == stream.row.path:
            stream.left = not stream.replay
        elif stream.left:
            stream.left = not any(
                each.matched and (each.input.topic, each.path) == (stream.row.topic, stream.row.path) for each in listing.files
            )
        if stream.left:
            stream.stir()
        if stream.left and (handle := stream.release()) is not None:
            stream.stat = None  # when it is met again, it is looked into
            stream.rewind()
            yield Close(handle)
        return stream.left

    def absent(self, stream: Stream, now: Now) -> Steps[None]:
        """A stream whose own file is not listed."""
        stream.stir()
        if stream.listed:
            stream.changed_ms = now.monotonic_ms  # who has it open may write to it for a while from now on
        stream.listed, stream.rotated = False, True
        if stream.row.detached:
            yield from self._streams.settle(stream, now)
        elif stream.handle is None:
            if stream.left:  # what is unread in it was not asked for
                stream.row = replace(stream.row, size_seen=min(stream.row.size_seen, stream.read_to))
            yield from self._streams.detach(stream, now, GONE)
        elif stream.stat is not None and stream.idle and stream.ended:
            hold_ms = HOLD_RENAMED_MS if stream.stat.links else HOLD_UNLINKED_MS
            if self._run.once or now.monotonic_ms - stream.changed_ms >= hold_ms:
                yield from self._streams.detach(stream, now, "")

    def bound_held(self, now: Now) -> Steps[None]:
        """Let go of deleted files beyond what their input may hold of the disk: what is unread of them is lost."""
        files: list[tuple[Stream, int]] = []
        for stream in self._streams.by_id.values():
            how = stream.input
            if stream.handle is None or stream.listed or how is None or (how.held_bytes, how.held_ms) == (None, None):
                continue
            stat = yield Stat(stream.handle)
            if stat is not None and not stat.links:
                files.append((stream, stat.size))
        for stream, size, why in self._held.beyond(files, now):
            unread = size - stream.read_to - stream.skip
            yield from self._streams.detach(
                stream, now, "deleted, and let go before all of it was shipped" if unread > 0 else ""
            )
            if unread > 0:
                yield from self._streams.lose(stream, unread, now, why)

    def shed(self, now: Now) -> Steps[None]:
        """Close the files that were quiet for longest, where too many are open; each can be found by its name again.

        None of which this look has news: a stream is complete when it is let go.
        """
        held: list[Stream | Sleeper] = [stream for stream in self._streams.by_id.values() if stream.handle is not None]
        held += [sleeper for sleeper in self._streams.asleep.values() if sleeper.handle is not None]
        spare = len(held) + self._strangers.turned_away - self._strangers.most
        if spare <= 0:
            return
        for stream in sorted(held, key=lambda stream: stream.changed_ms):
            if spare <= 0:
                return
            if isinstance(stream, Sleeper) or self._may_let_go(stream, now):
                handle = stream.release()
                assert handle is not None
                yield Close(handle)
                spare -= 1

    def _may_let_go(self, stream: Stream, now: Now) -> bool:
        """Whether all of a file is acknowledged that was there at the last look, and it can be found again."""
        news = stream.changed_ms == now.monotonic_ms
        at_end = stream.stat is not None and stream.scan_to >= stream.stat.size and stream.idle and not news
        return at_end and stream.listed and not (stream.rotated and stream.tail_bytes > 0)
