"""Streams asleep: of a file that is read to its end, acknowledged and quiet only this is kept. Pure.

The row is asked of the state when something happens to the file; until then every look that finds it as it was says that it
is complete as of that look. There may be ten thousand of them: a stream takes 1.1 KB with its row, one asleep 0.3 KB.
"""

from headrace.agents.effects import Now, Seen
from headrace.agents.events.rate import Bucket
from headrace.agents.rows import PASSED, StreamRow
from headrace.agents.tail.identity import FileKey
from headrace.agents.tail.stream import Stream


class Sleeper:
    """One stream asleep. `seen` is its file as every look since found it; None after a start, until its file is met."""

    __slots__ = ("bucket", "changed_ms", "handle", "key", "position", "seen", "stream_id")

    def __init__(self, stream_id: str, key: FileKey, position: int, now: Now) -> None:
        self.stream_id, self.key, self.position = stream_id, key, position
        self.handle: int | None = None
        self.seen: Seen | None = None
        self.bucket: Bucket | None = None
        self.changed_ms = now.monotonic_ms

    def is_still(self, seen: Seen) -> bool:
        """Whether a look finds the file as the last one did; the same in other words after a reload."""
        if self.seen is not seen:
            if self.seen != seen:
                return False
            self.seen, self.key = seen, seen.key
        return True

    def release(self) -> int | None:
        """Let go of the file, and return the handle to close."""
        handle, self.handle = self.handle, None
        return handle

    def wake(self, row: StreamRow, complete: Now | None, now: Now) -> Stream:
        """The stream as it was, from its durable row.

        Args:
            complete: the last look that found it as it is.
        """
        stream = Stream(row, None, complete=complete if self.seen is not None else None, now=now, saved=True)
        if self.seen is not None:
            stream.wake(self.seen, self.handle)
        stream.bucket, stream.changed_ms = self.bucket, self.changed_ms
        return stream


def sleeper_of_row(row: StreamRow, now: Now) -> Sleeper | None:
    """A durable stream of which nothing is on its way, after a start; None where more than its file has to be known."""
    if row.detached or row.target or row.begin == PASSED:
        return None
    return Sleeper(row.stream_id, (row.topic, *row.key), row.position, now)


def sleeper_of(stream: Stream, now: Now) -> Sleeper | None:
    """A settled stream; None where it has something that neither the state nor its file can give back."""
    seen = stream.seen
    assert seen is not None
    if not stream.saved or stream.left or stream.skip or stream.limit is not None or stream.row.target:
        return None
    if stream.input is not seen.input or stream.path != seen.path:
        return None
    sleeper = Sleeper(stream.row.stream_id, seen.key, seen.stat.size, now)
    sleeper.handle, sleeper.seen, sleeper.bucket, sleeper.changed_ms = stream.handle, seen, stream.bucket, stream.changed_ms
    return sleeper
