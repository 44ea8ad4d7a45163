"""One dropped file while it is shipped. Pure."""

from dataclasses import replace

from headrace.agents.directory.folder import Found
from headrace.agents.effects import Measured, Now, Steps
from headrace.agents.rows import Dropped, StreamRow
from headrace.agents.tail.identity import FileStat
from headrace.agents.tail.proof import verify
from headrace.agents.tail.reading import Planned
from headrace.agents.tail.stream import Stream

LEFT = "left"  # why no more is read of a file than what is to be repeated: no input asks for it (or it is CHANGED)
FileKey = tuple[int, int, int, str]  # device, inode, birth time, and the topic


def key_of(found: Found) -> FileKey:
    """Which file it is; what no input asks for is found by its stat alone."""
    topic = "" if found.folder is None else found.folder.input.topic
    return (*found.stat.key, found.stat.birth_ns, topic)


class DroppedFile:
    """A file that was begun and is not done with.

    `stat` and `path` are as found last, `before` is as an Arrival's. `folder` None: no input asks for it. `read` says that all
    of it was sent; `ending`, where there is one, why no more is sent of it than what was on its way at a crash.
    """

    __slots__ = ("before", "ending", "folder", "handle", "key", "measured", "packed", "path", "read", "stat", "stream")

    def __init__(self, key: FileKey, found: Found, stream: Stream, before: Now | None) -> None:
        self.key, self.path, self.stat, self.folder = key, found.path, found.stat, found.folder
        self.stream, self.before = stream, before
        self.packed = self.read = False
        self.ending = ""
        self.handle: int | None = None
        self.measured: Measured | None = None

    @property
    def row(self) -> StreamRow:
        return self.stream.row

    @property
    def dropped(self) -> Dropped:
        """What it was when it was begun."""
        assert self.stream.row.dropped is not None
        return self.stream.row.dropped

    def is_as_begun(self, stat: FileStat) -> bool:
        """Whether it has not changed."""
        return (stat.size, stat.mtime_ns) == (self.dropped.size, self.dropped.mtime_ns)

    def becomes(self, state: str, stat: FileStat | None = None) -> None:
        """How it stands from now on, and the stat that it has now, where that is another."""
        now = self.dropped if stat is None else Dropped(stat.size, stat.mtime_ns)
        self.stream.row = replace(self.stream.row, dropped=replace(now, state=state))

    def prove(self) -> Steps[bool | None]:
        """An open file of known size: whether it holds what was sent of it, and is read on; None: the system fails."""
        assert self.handle is not None
        size = self.stat.size if self.measured is None else self.measured.size
        if self.stream.saved:
            proved = yield from verify(self.stream, self.handle, replace(self.stat, size=size))
            if not proved:
                return proved
        else:
            self.stream.hold(self.handle, b"", b"")
        self.stream.limit = size
        self.stream.row = replace(self.stream.row, size_seen=size)
        return True

    def is_at_end(self, outcome: object) -> bool:
        """Whether all of it is read with what was read now."""
        stream = self.stream
        if isinstance(outcome, Planned):
            return not stream.replay and outcome.chunk.end == stream.limit
        return not stream.replay and stream.read_to + stream.skip == stream.limit

    @property
    def is_to_be_read(self) -> bool:
        """Whether something of it is to be read; nothing more is where no input asks for it."""
        return not self.read and (self.ending != LEFT or bool(self.stream.replay) or self.handle is not None)

    @property
    def can_be_read_on(self) -> bool:
        """Whether nothing is left to read of it, or what is left can be read without its name."""
        known = self.stream.input is not None or bool(self.stream.replay)
        return self.read or (self.handle is not None and known)

    @property
    def is_looked_through(self) -> bool:
        """Whether it is an archive of which is not known yet how long its content is."""
        return self.handle is not None and self.packed and not (self.measured and self.measured.done)

    @property
    def order(self) -> tuple[int, str]:
        """In which order files are shipped."""
        return self.dropped.mtime_ns, self.row.path

    @property
    def acknowledged(self) -> bool:
        """Whether all of it was sent, and nothing of it is on its way."""
        return self.read and self.stream.idle

    @property
    def behind_bytes(self) -> int:
        """How many bytes of it are not acknowledged (of an archive, of what is known of its content)."""
        return max(0, self.row.size_seen - self.row.position)
