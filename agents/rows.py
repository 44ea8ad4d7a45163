"""What the agent remembers durably about files: a row per stream, and a row per chunk of lines on its way.

Pure data. Everything that a record's bytes are made from is either in the file or in these rows, and the rows are durable
before the first record is sent: that is why a repeat after kill -9 is equal byte for byte (audit.md, "The agent repeats").
"""

from dataclasses import dataclass

SPOOLED = "spool:"  # begins the path of a spool's stream; a file's begins with a slash
PASSED = -1  # where an archive begins of which nothing is shipped
UNPLACED = -1  # the partition of a stream whose topic is not known yet
SHIPPING, DONE, CHANGED, DAMAGED = "shipping", "done", "changed", "damaged"


@dataclass(frozen=True, slots=True)
class LineHead:
    """What every part of a split line shares: the encoding of the whole line, and the time found at its start.

    `event_time_us` is None where the line has no time of its own. `part` is the number of the part that comes next. `stderr`
    says which of a container's two streams it is of.
    """

    encoding: str
    event_time_us: int | None
    part: int
    stderr: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a dropped file was when it was begun (its size in bytes, its mtime), and how it stands (directory/drops.py).

    SHIPPING; DONE: all of it is acknowledged; CHANGED: it changed under our hands; DAMAGED: an archive, shipped as far as it
    could be decoded. What changed or is damaged is counted as lost, and left where it is.
    """

    size: int
    mtime_ns: int
    state: str = SHIPPING


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One incarnation of a file: kept through rename, new after truncation or for a new file.

    `host`, `service`, `source`, `topic` and `partition` are as first seen and never change. `position` is the file's byte up
    to which everything is acknowledged (or rejected), `crc` the running hash of all bytes before it, `guard` the digest of
    the last 256 of them. `head` is the digest of the first `head_bytes` bytes. `line` is given where the position is within
    a line; `tail_open` says that the file ended there when it was sent, so that the line may be over or go on. `detached`
    says that its own file was truncated, replaced or removed; only a copy that proves to hold the same bytes may continue it.
    `size_seen` is the greatest size seen. `complete_ms` is the wall time (ms) of the last look that found nothing unread.
    `shipped_to` is where the last record before the position ended: before it, where lines were left out by the pipeline. In a
    container's log that is stdout's last, and `stderr_to` the same for stderr's (events/containers.py). `dropped` is given for
    a file of a `directory` input.
    `begin` is the first byte that is shipped: what lies before it was passed over when the input began (tail/beginning.py), and
    `crc` covers the bytes from there on; PASSED for an archive of which all is passed over. `partition` is UNPLACED until the
    topic is known. `target` is where the file lay when `path` led to it through a link; empty where it did not.
    """

    stream_id: str
    topic: str
    partition: int
    host: str
    service: str
    source: str
    path: str
    device: int
    inode: int
    birth_ns: int
    position: int = 0
    crc: int = 0
    guard: str = ""
    head_bytes: int = 0
    head: str = ""
    tail_open: bool = False
    line: LineHead | None = None
    detached: bool = False
    size_seen: int = 0
    complete_ms: int = 0
    shipped_to: int = 0
    stderr_to: int = 0
    begin: int = 0
    target: str = ""
    dropped: Dropped | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode

    @property
    def is_spooled(self) -> bool:
        """Whether it is the stream of a spool: `path` names that, `position` is a record's number (spool/reader.py)."""
        return self.path.startswith(SPOOLED)


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A run of lines read in one go, `[start, end)` of the file, sent and not yet acknowledged as a whole.

    `since` is where the chunk before it ended: `start`, or one less where a newline between them was skipped; `shipped_to` is
    where the stream's previous record ended, which is what the first record says (in a container's log, `stderr_to` for
    stderr), and `allowance` how many lines a rate limit lets pass.
    `read_time_ms`, the pipeline's definition (events/pipeline.py) and `split_bytes` (max_line_bytes) are as they were when it
    was read. `content` is the digest of its bytes: a file that no longer holds them is another stream. `line` is given where
    the chunk is one part of a long line, and `more` where that line goes on behind it.
    """

    stream_id: str
    start: int
    end: int
    since: int
    shipped_to: int
    read_time_ms: int
    pipeline: str
    split_bytes: int
    content: str
    line: LineHead | None = None
    more: bool = False
    allowance: int = 0
    stderr_to: int = 0
